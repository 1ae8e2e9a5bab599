"""How long, and how often, a client tries to get back to its provider."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from securealign.errors import ErrorCode, SecurealignError

#: Failures that may pass by themselves.
PASSING = frozenset(
    {
        ErrorCode.CONNECTION_LOST,
        # A provider that is stopped ends the streams that it serves so.
        ErrorCode.CANCELLED,
        ErrorCode.PEER_UNREACHABLE,
        ErrorCode.SERVER_BUSY,
        ErrorCode.MEMORY_EXHAUSTED,
    }
)


@dataclass(frozen=True, kw_only=True)
class Patience:
    """Waits that double from `first_seconds` to `longest_seconds`, with up to half of each left to chance.

    Without chance, all clients of a provider that starts again would come back at once. A failure is final when nothing
    has been received for `seconds`.
    """

    seconds: float = 300.0
    #: For a provider that was never met: long enough for one that starts again, short enough for a wrong address.
    first_meeting_seconds: float = 10.0
    first_seconds: float = 0.2
    longest_seconds: float = 15.0
    #: Called when waiting begins, with the reason.
    notice: Callable[[SecurealignError], None] = lambda error: None
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    chance: Callable[[], float] = random.random

    def begin(self) -> Waiting:
        """Return a wait of this kind that has not begun."""
        return Waiting(self)


class Waiting:
    """The state of one client's patience."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._since = 0.0
        self._first: SecurealignError | None = None
        self._next = patience.first_seconds

    def progressed(self) -> None:
        """Take note that something was received."""
        self._first = None
        self._next = self._patience.first_seconds

    def after(self, error: SecurealignError, *, met: bool = True) -> None:
        """Wait before another try; less patiently for a provider that was never `met`.

        Raises the error itself when it will not pass, and the first one since then when nothing was received too long.
        """
        patience = self._patience
        if error.code not in PASSING:
            raise error
        now = patience.clock()
        longest = patience.seconds if met else min(patience.seconds, patience.first_meeting_seconds)
        begins = self._first is None
        if self._first is None:
            self._first, self._since = error, now
        if now - self._since >= longest:
            raise self._first
        if begins:
            patience.notice(error)
        patience.sleep(self._next * (0.5 + 0.5 * patience.chance()))
        self._next = min(2 * self._next, patience.longest_seconds)
