"""A state folder: its database, its files, its locks, and the key that seals them."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

from securealign.errors import ErrorCode, KeyStoreError
from securealign.locks import locked
from securealign.storage.blobs import BlobFolder
from securealign.storage.database import Database
from securealign.storage.sealing import Sealers

#: Parts below this size live in the database, larger ones in files of their own.
_INLINE_BYTES = 1 << 16
#: Seconds after which a file that no record names counts as left by a crash.
_ORPHAN_SECONDS = 86_400.0

Clock = Callable[[], float]


def lock_file(folder: Path, name: str) -> Path:
    """Return the file of a lock in a state folder."""
    return folder / "locks" / hashlib.sha256(name.encode()).hexdigest()[:32]


class Part(NamedTuple):
    """A sealed part: its bytes, or the address of the file that holds them."""

    content: bytes | None
    address: str | None


class StateFolder:
    """What a party keeps on disk between connections and processes; `clock` gives Unix seconds."""

    def __init__(self, folder: Path, sealers: Sealers, *, clock: Clock = time.time) -> None:
        self._folder = folder
        self.sealers = sealers
        self.clock = clock
        self.database = Database(folder / "sessions.db")
        self.blobs = BlobFolder(folder / "blobs")
        with self.database.reading() as connection:
            named = {row[0] for row in connection.execute("SELECT address FROM part WHERE address IS NOT NULL")}
        self.blobs.sweep(named, clock() - _ORPHAN_SECONDS)

    def store(self, sealed: bytes) -> Part:
        """Return where a sealed part goes, and write it to a file of its own if it is large."""
        return Part(sealed, None) if len(sealed) < _INLINE_BYTES else Part(None, self.blobs.write(sealed))

    def load(self, part: Part) -> bytes:
        """Return a sealed part."""
        return part.content if part.content is not None else self.blobs.read(part.address or "")

    def locked(self, name: str) -> AbstractContextManager[None]:
        """Hold a lock that ends with the process; raises `KeyStoreError` when another process holds it."""
        busy = KeyStoreError(
            f"Another process works on this in {self._folder}.",
            hint="Wait until it has ended, or stop it.",
            code=ErrorCode.STORE_LOCKED,
        )
        return locked(lock_file(self._folder, name), busy)

    def close(self) -> None:
        """Close the database."""
        self.database.close()
