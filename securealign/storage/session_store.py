"""The sessions of a state folder, each found by a handle that its owner chooses; a provider's by who opened them."""

import sqlite3
import threading
from collections.abc import Mapping, Sequence

from securealign.errors import ErrorCode, KeyStoreError, RemoteProtocolError
from securealign.protocol.policy.rates import RateLimiter, sessions_per_hour
from securealign.storage.database import Counters, Ledger, SessionCounters
from securealign.storage.folder import StateFolder
from securealign.storage.journal import SessionJournal, SessionRow


class SessionStore:
    """Begins, finds and deletes the journals of a folder."""

    def __init__(self, folder: StateFolder) -> None:
        self._folder = folder

    def create(
        self, handle: str, kind: str, *, key: str = "", counters: Sequence[SessionCounters] = ()
    ) -> SessionJournal:
        """Begin the record of a session; raises `KeyStoreError` if its handle is taken."""
        sealer = self._folder.sealers.current
        with self._folder.database.transaction() as connection:
            try:
                cursor = connection.execute(
                    "INSERT INTO session (handle, phase, key, sealed_by, updated) VALUES (?, ?, ?, ?, ?)",
                    (handle, kind, key, sealer.name, self._folder.clock()),
                )
            except sqlite3.IntegrityError as error:
                raise KeyStoreError(f"The session {handle} is recorded already.") from error
        return SessionJournal(self._folder, SessionRow(int(cursor.lastrowid or 0), kind, key), sealer, counters)

    def find(self, handle: str, *, counters: Sequence[SessionCounters] = ()) -> SessionJournal | None:
        """Return the journal of a session that is not over, None if there is none."""
        query = "SELECT id, phase, key, sealed_by FROM session WHERE handle = ? AND outcome = ''"
        with self._folder.database.reading() as connection:
            row = connection.execute(query, (handle,)).fetchone()
        if row is None:
            return None
        *session, sealed_by = row
        return SessionJournal(self._folder, SessionRow(*session), self._folder.sealers.named(sealed_by), counters)

    def unfinished(self, before: float) -> list[str]:
        """Return the handles of sessions that were last recorded before a time (Unix seconds)."""
        with self._folder.database.reading() as connection:
            rows = connection.execute("SELECT handle FROM session WHERE updated < ?", (before,)).fetchall()
        return [row[0] for row in rows]

    def delete(self, handle: str) -> None:
        """Forget a session altogether."""
        with self._folder.database.transaction() as connection:
            addresses = connection.execute(
                "SELECT address FROM part JOIN session ON id = session WHERE handle = ? AND address IS NOT NULL",
                (handle,),
            ).fetchall()
            connection.execute("DELETE FROM session WHERE handle = ?", (handle,))
        self._folder.blobs.delete(row[0] for row in addresses)

    def delete_older(self, before: float) -> None:
        """Forget the sessions that were last recorded before a time (Unix seconds)."""
        for handle in self.unfinished(before):
            self.delete(handle)


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
        self._ledgers, self._keep_seconds = ledgers, keep_seconds
        self._rate = None if max_per_hour is None else RateLimiter(sessions_per_hour(max_per_hour), threading.Lock())

    def create(self, identity: str, kind: str, nonce: bytes) -> tuple[SessionJournal, Counters]:
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

    def find(self, identity: str, kind: str, nonce: bytes) -> tuple[SessionJournal, Counters] | None:
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

    def revert(self, counters: Counters) -> None:
        """Take back what a session has changed in its counters and not recorded."""
        for counter in counters.values():
            if isinstance(counter, SessionCounters):
                counter.revert()

    def _counters(self) -> dict[str, SessionCounters]:
        return {kind: SessionCounters(ledger) for kind, ledger in self._ledgers.items()}


def _handle(identity: str, kind: str, nonce: bytes) -> str:
    # The name of a client comes last: it may hold anything.
    return f"{kind}/{nonce.hex()}/{identity}"
