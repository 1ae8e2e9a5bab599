"""The sessions of a state folder, each found by a handle that its owner chooses."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from securealign.errors import KeyStoreError
from securealign.storage.counters import SessionCounters
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
