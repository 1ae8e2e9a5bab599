"""The durable sessions of either party: of a provider by who opened them, of a client by the work that they do."""

from __future__ import annotations

import threading
from collections.abc import Mapping, MutableMapping, Sequence
from contextlib import AbstractContextManager

from securealign.errors import ErrorCode, KeyStoreError, RemoteProtocolError
from securealign.protocol.rates import RateLimiter, sessions_per_hour
from securealign.storage.counters import Ledger, SessionCounters
from securealign.storage.folder import StateFolder
from securealign.storage.journal import SessionJournal
from securealign.storage.records import SessionRecords


class ProviderSessions:
    """The sessions of a provider, by identity, phase and nonce of their client, and the ledgers that they charge."""

    def __init__(
        self,
        folder: StateFolder,
        ledgers: Mapping[str, Ledger],
        *,
        keep_seconds: float,
        max_per_hour: int | None = None,
    ) -> None:
        self._records = SessionRecords(folder)
        self._clock = folder.clock
        self._ledgers = ledgers
        self._keep_seconds = keep_seconds
        self._rate = None if max_per_hour is None else RateLimiter(sessions_per_hour(max_per_hour), threading.Lock())

    def create(
        self, identity: str, phase: str, nonce: bytes
    ) -> tuple[SessionJournal, Mapping[str, MutableMapping[str, float]]]:
        """Begin a session; raises `RemoteProtocolError` for a used nonce, and beyond the rate of its client."""
        if self._rate is not None:
            self._rate.take(identity, self._clock())
        counters = self._counters()
        try:
            journal = self._records.create(_handle(identity, phase, nonce), phase, counters=list(counters.values()))
        except KeyStoreError as error:
            raise RemoteProtocolError(
                "The client opens a session that is over, or was opened before.", code=ErrorCode.SESSION_UNKNOWN
            ) from error
        return journal, counters

    def find(
        self, identity: str, phase: str, nonce: bytes
    ) -> tuple[SessionJournal, Mapping[str, MutableMapping[str, float]]] | None:
        """Return a session that may go on, None if there is none."""
        counters = self._counters()
        journal = self._records.find(_handle(identity, phase, nonce), counters=list(counters.values()))
        return None if journal is None else (journal, counters)

    def expired(self, phase: str) -> Sequence[tuple[str, bytes]]:
        """Return identity and nonce of the sessions that nobody came back to in time."""
        handles = self._records.unfinished(self._clock() - self._keep_seconds)
        parts = [handle.split("/", 2) for handle in handles if handle.count("/") >= 2]
        return [(identity, bytes.fromhex(nonce)) for own, nonce, identity in parts if own == phase]

    def delete(self, identity: str, phase: str, nonce: bytes) -> None:
        """Forget a session altogether."""
        self._records.delete(_handle(identity, phase, nonce))

    def revert(self, counters: Mapping[str, MutableMapping[str, float]]) -> None:
        """Take back what a session has changed in its counters and not recorded."""
        for counter in counters.values():
            if isinstance(counter, SessionCounters):
                counter.revert()

    def _counters(self) -> dict[str, SessionCounters]:
        return {kind: ledger.of_session() for kind, ledger in self._ledgers.items()}


def _handle(identity: str, phase: str, nonce: bytes) -> str:
    # The name of a client comes last: it may hold anything.
    return f"{phase}/{nonce.hex()}/{identity}"


class ClientSessions:
    """The sessions of a client, one at a time for each piece of work, named by a digest of all that it depends on."""

    def __init__(self, folder: StateFolder, *, keep_seconds: float) -> None:
        self._folder = folder
        self._records = SessionRecords(folder)
        for handle in self._records.unfinished(folder.clock() - keep_seconds):
            self._records.delete(handle)

    def find(self, phase: str, work: bytes) -> SessionJournal | None:
        """Return the session in which this work was begun, None if there is none."""
        return self._records.find(f"{phase}/{work.hex()}")

    def create(self, phase: str, work: bytes, *, key: str) -> SessionJournal:
        """Begin a session for this work under a key, in place of any before."""
        self.delete(phase, work)
        return self._records.create(f"{phase}/{work.hex()}", phase, key=key)

    def delete(self, phase: str, work: bytes) -> None:
        """Forget the session of this work."""
        self._records.delete(f"{phase}/{work.hex()}")

    def locked(self, phase: str, work: bytes) -> AbstractContextManager[None]:
        """Hold the work: two processes on one session would use its slots twice."""
        return self._folder.locked(f"{phase}/{work.hex()}")
