"""The journal of one session in a state folder."""

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from securealign.errors import KeyStoreError
from securealign.protocol.resume.snapshot import Snapshot
from securealign.storage.database import SessionCounters
from securealign.storage.folder import Part, Sealer, StateFolder


class SessionRow(NamedTuple):
    """What identifies a session in the database."""

    number: int
    kind: str
    key: str


class SessionJournal:
    """Frames, snapshot and charges of one session."""

    def __init__(
        self, folder: StateFolder, row: SessionRow, sealer: Sealer, counters: Sequence[SessionCounters] = ()
    ) -> None:
        self._folder, self._sealer = folder, sealer
        self._session = row.number
        self._counters = counters
        self.kind = row.kind
        #: Name of the key that the randomness of the session derives from.
        self.key = row.key

    def recover(self) -> Snapshot | None:
        """Return the last snapshot, whose blobs are read when they are asked for; None if there is none."""
        with self._folder.database.reading() as connection:
            query = "SELECT fields, outcome FROM session WHERE id = ?"
            row = connection.execute(query, (self._session,)).fetchone()
            names = connection.execute("SELECT name FROM part WHERE session = ? AND number IS NULL", (self._session,))
            blobs = [name for (name,) in names]
        if row is None or row[0] is None or row[1]:
            return None
        fields = json.loads(self._sealer.open(row[0], self._place("fields")))
        self._delete("number >= ?", fields["sent"])
        return Snapshot(fields, _LazyBlobs(self, blobs))

    def record(self, first: int, frames: Sequence[bytes], snapshot: Snapshot | None) -> None:
        """Add frames, replace the snapshot and write what the session was charged, all or nothing."""
        blobs = snapshot.blobs if snapshot is not None else {}
        parts = [
            (self._session, name, number, *self._folder.store(self._sealer.seal(content, self._place(name))))
            for name, number, content in [
                *((f"frame/{number}", number, frame) for number, frame in enumerate(frames, first)),
                *((name, None, blob) for name, blob in blobs.items()),
            ]
        ]
        with self._folder.database.transaction() as connection:
            connection.executemany("INSERT INTO part VALUES (?, ?, ?, ?, ?)", parts)
            if snapshot is not None:
                fields = json.dumps(snapshot.fields).encode()
                sealed = self._sealer.seal(fields, self._place("fields"))
                connection.execute("UPDATE session SET fields = ? WHERE id = ?", (sealed, self._session))
            connection.execute("UPDATE session SET updated = ? WHERE id = ?", (self._folder.clock(), self._session))
            gone = snapshot.gone if snapshot is not None else frozenset()
            files = self._remove(connection, f"name IN ({', '.join('?' * len(gone))})", *gone) if gone else []
            for counters in self._counters:
                counters.write(connection)
        self._settle(files)

    def frames(self, first: int) -> Iterator[bytes]:
        """Yield the frames from number `first` on, each read when it is due."""
        condition = "SELECT number FROM part WHERE session = ? AND number >= ? ORDER BY number"
        with self._folder.database.reading() as connection:
            numbers = [row[0] for row in connection.execute(condition, (self._session, first))]
        for number in numbers:
            yield self._read(f"frame/{number}")

    def forget(self, below: int) -> None:
        """Give up the frames below a number."""
        self._delete("number < ?", below)

    def end(self, outcome: str) -> None:
        """Record how the session ended and what it was charged, and delete all else of it."""
        with self._folder.database.transaction() as connection:
            connection.execute(
                "UPDATE session SET outcome = ?, fields = NULL, updated = ? WHERE id = ?",
                (outcome, self._folder.clock(), self._session),
            )
            files = self._remove(connection, "1")
            for counters in self._counters:
                counters.write(connection)
        self._settle(files)

    def _place(self, name: str) -> str:
        return f"{self._session}/{name}"

    def _read(self, name: str) -> bytes:
        with self._folder.database.reading() as connection:
            query = "SELECT content, address FROM part WHERE session = ? AND name = ?"
            row = connection.execute(query, (self._session, name)).fetchone()
        if row is None:
            raise KeyStoreError(f"The record of a session lacks {name}.", hint="Start a new session.")
        return self._sealer.open(self._folder.load(Part(*row)), self._place(name))

    def _delete(self, condition: str, value: int) -> None:
        with self._folder.database.transaction() as connection:
            files = self._remove(connection, condition, value)
        self._folder.blobs.delete(files)

    def _remove(self, connection: sqlite3.Connection, condition: str, *values: int | str) -> list[str]:
        """Delete the parts under a condition, and return the files to delete once that is committed."""
        where = f"session = ? AND {condition}"  # from literals alone
        select = f"SELECT address FROM part WHERE address IS NOT NULL AND {where}"  # noqa: S608
        files = [row[0] for row in connection.execute(select, (self._session, *values))]
        connection.execute(f"DELETE FROM part WHERE {where}", (self._session, *values))  # noqa: S608
        return files

    def _settle(self, files: Sequence[str]) -> None:
        """Take note of what is committed."""
        for counters in self._counters:
            counters.settle()
        self._folder.blobs.delete(files)


class _LazyBlobs(Mapping[str, bytes]):
    """The blobs of a snapshot, each read when it is asked for: the sums of a training session are large."""

    def __init__(self, journal: SessionJournal, names: Sequence[str]) -> None:
        self._journal, self._names = journal, names

    def __getitem__(self, name: str) -> bytes:
        if name not in self._names:
            raise KeyError(name)
        return self._journal._read(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
