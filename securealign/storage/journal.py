"""The journal of one session in a state folder."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from securealign.errors import KeyStoreError
from securealign.protocol.snapshot import Snapshot
from securealign.storage.counters import SessionCounters
from securealign.storage.folder import Part, StateFolder
from securealign.storage.sealing import Sealer


class SessionRow(NamedTuple):
    """What identifies a session in the database."""

    number: int
    phase: str
    key: str


class SessionJournal:
    """Frames, snapshot and charges of one session."""

    def __init__(
        self, folder: StateFolder, row: SessionRow, sealer: Sealer, counters: Sequence[SessionCounters] = ()
    ) -> None:
        self._folder = folder
        self._sealer = sealer
        self._session = row.number
        self._counters = counters
        self.phase = row.phase
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
        numbered = [(f"frame/{number}", number, frame) for number, frame in enumerate(frames, first)]
        known = self._names() if snapshot is not None else set()
        blobs = snapshot.blobs if snapshot is not None else {}
        fresh = [(name, None, blob) for name, blob in blobs.items() if blob is not None and name not in known]
        parts = [
            (self._session, name, number, *self._folder.store(self._sealer.seal(content, self._place(name))))
            for name, number, content in [*numbered, *fresh]
        ]
        with self._folder.database.transaction() as connection:
            connection.executemany("INSERT INTO part VALUES (?, ?, ?, ?, ?)", parts)
            if snapshot is not None:
                fields = json.dumps(snapshot.fields).encode()
                sealed = self._sealer.seal(fields, self._place("fields"))
                connection.execute("UPDATE session SET fields = ? WHERE id = ?", (sealed, self._session))
            connection.execute("UPDATE session SET updated = ? WHERE id = ?", (self._folder.clock(), self._session))
            for counters in self._counters:
                counters.write(connection)
        for counters in self._counters:
            counters.settle()
        if snapshot is not None and (gone := known - set(blobs)):
            self._delete(f"number IS NULL AND name IN ({', '.join('?' * len(gone))})", *gone)

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
            for counters in self._counters:
                counters.write(connection)
        for counters in self._counters:
            counters.settle()
        self._delete("1")

    def _place(self, name: str) -> str:
        return f"{self._session}/{name}"

    def _names(self) -> set[str]:
        with self._folder.database.reading() as connection:
            query = "SELECT name FROM part WHERE session = ? AND number IS NULL"
            return {name for (name,) in connection.execute(query, (self._session,))}

    def _read(self, name: str) -> bytes:
        with self._folder.database.reading() as connection:
            query = "SELECT content, address FROM part WHERE session = ? AND name = ?"
            row = connection.execute(query, (self._session, name)).fetchone()
        if row is None:
            raise KeyStoreError(f"The record of a session lacks {name}.", hint="Start a new session.")
        return self._sealer.open(self._folder.load(Part(*row)), self._place(name))

    def _delete(self, condition: str, *values: Any) -> None:  # noqa: ANN401 - numbers and names
        where = f"session = ? AND {condition}"  # from literals alone
        with self._folder.database.transaction() as connection:
            select = f"SELECT address FROM part WHERE address IS NOT NULL AND {where}"  # noqa: S608
            addresses = [row[0] for row in connection.execute(select, (self._session, *values))]
            connection.execute(f"DELETE FROM part WHERE {where}", (self._session, *values))  # noqa: S608
        self._folder.blobs.delete(addresses)


class _LazyBlobs(Mapping[str, "bytes | None"]):
    """The blobs of a snapshot, each read when it is asked for: the sums of a training session are large."""

    def __init__(self, journal: SessionJournal, names: Sequence[str]) -> None:
        self._journal = journal
        self._names = names

    def __getitem__(self, name: str) -> bytes | None:
        if name not in self._names:
            raise KeyError(name)
        return self._journal._read(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
