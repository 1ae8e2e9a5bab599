"""The durable sessions of a provider, by who opened them."""

from __future__ import annotations

import threading
from collections.abc import Mapping, MutableMapping, Sequence

from securealign.errors import ErrorCode, KeyStoreError, RemoteProtocolError
from securealign.protocol.policy.rates import RateLimiter, sessions_per_hour
from securealign.storage.counters import Ledger, SessionCounters
from securealign.storage.folder import StateFolder
from securealign.storage.journal import SessionJournal
from securealign.storage.session_store import SessionStore


class ProviderSessions:
    """The sessions of a provider, by identity, kind and nonce of their client, and the ledgers that they charge."""

    def __init__(
        self,
        folder: StateFolder,
        ledgers: Mapping[str, Ledger],
        *,
        keep_seconds: float,
        max_per_hour: int | None = None,
    ) -> None:
        self._store = SessionStore(folder)
        self._clock = folder.clock
        self._ledgers = ledgers
        self._keep_seconds = keep_seconds
        self._rate = None if max_per_hour is None else RateLimiter(sessions_per_hour(max_per_hour), threading.Lock())

    def create(
        self, identity: str, kind: str, nonce: bytes
    ) -> tuple[SessionJournal, Mapping[str, MutableMapping[str, float]]]:
        """Begin a session; raises `RemoteProtocolError` for a used nonce, and beyond the rate of its client."""
        if self._rate is not None:
            self._rate.take(identity, self._clock())
        counters = self._counters()
        try:
            journal = self._store.create(_handle(identity, kind, nonce), kind, counters=list(counters.values()))
        except KeyStoreError as error:
            raise RemoteProtocolError(
                "The client opens a session that is over, or was opened before.", code=ErrorCode.SESSION_UNKNOWN
            ) from error
        return journal, counters

    def find(
        self, identity: str, kind: str, nonce: bytes
    ) -> tuple[SessionJournal, Mapping[str, MutableMapping[str, float]]] | None:
        """Return a session that may go on, None if there is none."""
        counters = self._counters()
        journal = self._store.find(_handle(identity, kind, nonce), counters=list(counters.values()))
        return None if journal is None else (journal, counters)

    def expired(self, kind: str) -> Sequence[tuple[str, bytes]]:
        """Return identity and nonce of the sessions that nobody came back to in time."""
        handles = self._store.unfinished(self._clock() - self._keep_seconds)
        parts = [handle.split("/", 2) for handle in handles if handle.count("/") >= 2]
        return [(identity, bytes.fromhex(nonce)) for own, nonce, identity in parts if own == kind]

    def delete(self, identity: str, kind: str, nonce: bytes) -> None:
        """Forget a session altogether."""
        self._store.delete(_handle(identity, kind, nonce))

    def revert(self, counters: Mapping[str, MutableMapping[str, float]]) -> None:
        """Take back what a session has changed in its counters and not recorded."""
        for counter in counters.values():
            if isinstance(counter, SessionCounters):
                counter.revert()

    def _counters(self) -> dict[str, SessionCounters]:
        return {kind: SessionCounters(ledger) for kind, ledger in self._ledgers.items()}


def _handle(identity: str, kind: str, nonce: bytes) -> str:
    # The name of a client comes last: it may hold anything.
    return f"{kind}/{nonce.hex()}/{identity}"
