"""The SQLite database of a state folder, and its counters: what peers were granted and charged.

All sessions see a change of a counter at once. On disk, a session's charges and its record commit in one transaction,
so a crash loses both or none.
"""

import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from pathlib import Path

from securealign.errors import KeyStoreError

#: Layout of the tables; a database of another one is refused, not converted.
_LAYOUT = 1
_TABLES = """
CREATE TABLE session (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    handle TEXT NOT NULL UNIQUE,  -- who and which: see records
    phase TEXT NOT NULL,
    key TEXT NOT NULL,            -- name of the key that its randomness derives from
    sealed_by TEXT NOT NULL,      -- name of the key that seals it
    updated REAL NOT NULL,        -- Unix seconds
    outcome TEXT NOT NULL DEFAULT '',
    fields BLOB                   -- sealed snapshot
);
CREATE TABLE part (               -- frames and blobs of a session: here, or in a file
    session INTEGER NOT NULL REFERENCES session(id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    number INTEGER,               -- of a frame; NULL for a blob
    content BLOB,
    address TEXT,
    PRIMARY KEY (session, name)
) WITHOUT ROWID;
CREATE INDEX part_by_number ON part (session, number);
CREATE TABLE counter (
    ledger TEXT NOT NULL,
    name TEXT NOT NULL,
    value NUMERIC NOT NULL,
    PRIMARY KEY (ledger, name)
) WITHOUT ROWID;
"""

#: The counters of a peer by ledger, such as "rank"; what a session changes is recorded with the session.
Counters = Mapping[str, MutableMapping[str, float]]


class Database:
    """One connection behind a lock, for all threads of a process; commits survive a loss of power."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # SQLite would make it readable by all that the umask allows.
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        try:
            self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30.0)
            self._prepare()
        except sqlite3.DatabaseError as error:
            raise KeyStoreError(
                f"{path} is no database of sessions, or is damaged: {error}.",
                hint="Move the state folder away to start without its sessions and ledgers, or restore a backup of it.",
            ) from error

    def _prepare(self) -> None:
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"):
            self._connection.execute(f"PRAGMA {pragma}")
        with self.transaction() as connection:
            layout = connection.execute("PRAGMA user_version").fetchone()[0]
            if layout == 0:
                for statement in _TABLES.split(";\n"):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version={_LAYOUT}")
            elif layout != _LAYOUT:
                raise KeyStoreError(
                    f"The database of sessions has layout {layout}, this release writes {_LAYOUT}.",
                    hint="Finish its sessions with the release that began them, then move the folder away.",
                )

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Run a block that is committed as a whole, or not at all."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Run a block that only reads."""
        with self._lock:
            yield self._connection

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._connection.close()


class Ledger:
    """The counters of one kind, by name; one process at a time may change them."""

    def __init__(self, database: Database, kind: str) -> None:
        self.kind = kind
        #: Held while a session reads a counter and changes it.
        self.lock = threading.RLock()
        with database.reading() as connection:
            rows = connection.execute("SELECT name, value FROM counter WHERE ledger = ?", (kind,)).fetchall()
        self.values: dict[str, float] = dict(rows)


class SessionCounters(MutableMapping[str, float]):
    """The counters of a ledger as one session sees and changes them."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._changes: dict[str, float] = {}

    def __getitem__(self, name: str) -> float:
        with self._ledger.lock:
            return self._ledger.values[name]

    def __setitem__(self, name: str, value: float) -> None:
        with self._ledger.lock:
            change = value - self._ledger.values.get(name, 0)
            self._ledger.values[name] = value
            self._changes[name] = self._changes.get(name, 0) + change

    def __delitem__(self, name: str) -> None:
        self[name] = 0

    def __iter__(self) -> Iterator[str]:
        return iter(dict(self._ledger.values))

    def __len__(self) -> int:
        return len(self._ledger.values)

    def write(self, connection: sqlite3.Connection) -> None:
        """Write the changes of the session as part of a transaction; `settle` once it is committed."""
        rows = [(self._ledger.kind, name, change) for name, change in self._changes.items() if change]
        connection.executemany(
            "INSERT INTO counter VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET value = value + excluded.value", rows
        )

    def settle(self) -> None:
        """Mark the changes so far as committed."""
        self._changes.clear()

    def revert(self) -> None:
        """Undo the changes that were not committed."""
        with self._ledger.lock:
            for name, change in self._changes.items():
                self._ledger.values[name] -= change
            self._changes.clear()
