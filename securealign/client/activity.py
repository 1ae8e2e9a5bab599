"""What an open client has done: messages by kind, round trips, errors; for its owner, without any content."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable

import numpy as np

from securealign.client.predictions import Failure, Traffic
from securealign.errors import SecurealignError
from securealign.protocol.states import Direction
from securealign.transport.meter import Activity as Metered
from securealign.transport.meter import Passed

_ROUND_TRIPS, _FAILURES = 1000, 20


class Activity:
    """Counts of one client over all its sessions; threads may share it."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._messages: Counter[tuple[str, bool]] = Counter()
        self._bytes: Counter[tuple[str, bool]] = Counter()
        self._online: deque[float] = deque(maxlen=_ROUND_TRIPS)
        self._failures: deque[Failure] = deque(maxlen=_FAILURES)
        self.sessions = self.queries = self.checks = 0

    def hear(self, event: Metered) -> None:
        """Count a message that passed."""
        if isinstance(event, Passed) and event.side == "client":
            kind = event.event.message.__name__, event.event.direction is Direction.SEND
            with self._lock:
                self._messages[kind] += 1
                self._bytes[kind] += event.event.size

    def answered(self, queries: int, checks: int, seconds: float) -> None:
        """Count a round trip."""
        with self._lock:
            self.queries += queries
            self.checks += checks
            self._online.append(seconds * 1000)

    def failed(self, error: SecurealignError) -> None:
        """Note an error that callers were given."""
        failure = Failure(at=self._clock(), code=error.code.name, message=error.message, hint=error.hint)
        with self._lock:
            self._failures.append(failure)

    @property
    def traffic(self) -> tuple[Traffic, ...]:
        """Messages by kind, the most bytes first."""
        with self._lock:
            found = [
                Traffic(kind=kind, sent=sent, messages=count, bytes=self._bytes[kind, sent])
                for (kind, sent), count in self._messages.items()
            ]
        return tuple(sorted(found, key=lambda traffic: -traffic.bytes))

    @property
    def failures(self) -> tuple[Failure, ...]:
        """The last errors, the oldest first."""
        with self._lock:
            return tuple(self._failures)

    def online_ms(self, quantile: float) -> float | None:
        """Return a quantile of the last round trips in milliseconds, None without any."""
        with self._lock:
            return float(np.quantile(self._online, quantile)) if self._online else None
