"""Counters that outlive the process: what peers were granted and charged.

All sessions see a change at once. On disk, a session's charges and its record commit in one transaction, so a crash
loses both or none.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, MutableMapping

from securealign.storage.database import Database


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
