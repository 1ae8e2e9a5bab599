"""One inference session that stays open between calls, with checks that span them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Protocol

import numpy as np

from securealign.alignment.check_calls import CheckedCalls
from securealign.errors import CiphertextError, ErrorCode, SecurealignError, TransportError
from securealign.he.entropy import Entropy
from securealign.matrices import FloatMatrix
from securealign.protocol.inference.client import InferenceClient
from securealign.protocol.messages import InferenceAccept
from securealign.protocol.resume.session import ResumableClient
from securealign.protocol.resume.snapshot import Snapshot
from securealign.transport.meter import Meter
from securealign.transport.sessions import InferenceSession, Link


class OpenLink(Protocol):
    """Opens what carries the frames of a session; `sleep` waits between two tries to reach the provider."""

    def __call__(self, endpoint: ResumableClient, *, sleep: Callable[[float], None]) -> AbstractContextManager[Link]:
        """Return the link, which is open inside the context."""


class FrameJournal:
    """Keeps the frames that a provider may ask for again after a lost connection, in memory.

    A session ends with its process: nothing that could encrypt is kept, so there is no snapshot to go on from.
    """

    def __init__(self) -> None:
        self._frames: dict[int, bytes] = {}

    def recover(self) -> Snapshot | None:
        """Return None."""
        return None

    def record(self, first: int, frames: Sequence[bytes], _snapshot: Snapshot | None) -> None:
        """Add frames from number `first` on."""
        self._frames.update(enumerate(frames, first))

    def frames(self, first: int) -> Iterator[bytes]:
        """Yield the frames from number `first` on."""
        yield from (self._frames[number] for number in sorted(self._frames) if number >= first)

    def forget(self, below: int) -> None:
        """Give up the frames below a number."""
        for number in [number for number in self._frames if number < below]:
            del self._frames[number]

    def end(self, _outcome: str) -> None:
        """Give up everything."""
        self._frames.clear()


def answered_alike(one: InferenceAccept, other: InferenceAccept) -> bool:
    """Return whether answers of two sessions are of the same head, in the same form."""
    return (one.head_digest, one.output, one.class_names, one.link) == (
        other.head_digest,
        other.output,
        other.class_names,
        other.link,
    )


class HeldSession:
    """A session whose queries come in calls; one thread at a time may use it.

    `abandon` ends all waiting for a provider that is gone. Without `checks` answers are not checked.
    """

    def __init__(
        self,
        client: InferenceClient,
        open_link: OpenLink,
        meter: Meter,
        *,
        checks: Entropy | None,
        abandon: threading.Event,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client, self._clock = client, clock
        self.begun = clock()
        self._abandon = abandon
        self._exit = ExitStack()
        with ExitStack() as stack:
            link = stack.enter_context(open_link(ResumableClient(client, FrameJournal()), sleep=self._wait))
            self._session = InferenceSession(link, client, meter)
            self._exit = stack.pop_all()
        terms = self.accepted.labels
        self._checks = CheckedCalls(checks, None if terms is None else terms.bits)

    @property
    def accepted(self) -> InferenceAccept:
        """What the provider accepted."""
        return self._session.accepted

    @property
    def suite(self) -> str:
        """The name of the session's suite."""
        return self._client.suite_name

    @property
    def slots(self) -> int:
        """Slots of a pool."""
        return self._client.slots

    @property
    def submitted(self) -> int:
        """Rows asked so far: queries, and those that check answers."""
        return self._session.submitted

    @property
    def logit_error(self) -> float:
        """Standard deviation of a logit's error for a query of norm 1."""
        return self._session.logit_error

    @property
    def age(self) -> float:
        """Seconds since the session began."""
        return self._clock() - self.begun

    @property
    def preparing(self) -> bool:
        """Whether a pool is under way."""
        return self._client.preparing

    def go_on_from(self, earlier: HeldSession) -> None:
        """Check the queries that an earlier session of the same head left unchecked, with those to come."""
        if answered_alike(self.accepted, earlier.accepted):
            self._checks = earlier._checks

    def affordable(self, queries: int) -> int:
        """Return how many of the queries to come the budget holds, as the provider said when the session began."""
        queries = max(0, min(queries, self._session.queries_left))
        while queries and self._checks.rows(queries) > self._session.queries_left:
            queries -= 1
        return queries

    def rows(self, queries: int) -> int:
        """Return the rows that a call of so many queries takes from the budget."""
        return self._checks.rows(queries)

    def ask(self, queries: FloatMatrix) -> tuple[FloatMatrix, int]:
        """Return the answers to mapped queries (m, d_A), and how many rows checked them.

        Raises `CiphertextError` for answers that do not decrypt, `RemoteProtocolError` for those that contradict each
        other or earlier ones; the session is then over. Raises the session's error where it ends.
        """
        checked = self._checks.call(queries)
        begun = self._session.submitted
        found = self._session.answers(checked.block(0, len(checked)), more=float("inf"))
        self._session.forget(begun, self._session.submitted)
        if np.isnan(found).any():
            raise CiphertextError("An answer did not decrypt.", hint="Ask the provider's operator what answered.")
        return self._checks.settle(queries, checked, found, self._session.logit_error), checked.checks

    def await_pool(self) -> None:
        """Receive the pool that is under way; does nothing without one."""
        if self._client.preparing:
            self._session.await_pool()

    def close(self) -> None:
        """End the session in agreement with the provider, as far as it can be reached, and the connection."""
        with self._exit:
            try:
                if self._session.open:
                    self._session.close()
            except SecurealignError as error:
                # All answers are given; what did not decrypt was reported with its call.
                if not isinstance(error, TransportError | CiphertextError):
                    raise

    def drop(self) -> None:
        """End the connection of a session that is over, or lost."""
        self._exit.close()

    def _wait(self, seconds: float) -> None:
        if self._abandon.wait(seconds):
            raise TransportError("The client is closing.", code=ErrorCode.CANCELLED)
