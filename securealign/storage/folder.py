"""A state folder: its database, its files, its locks, and the key that seals them."""

import hashlib
import secrets
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from securealign.errors import ErrorCode, KeyStoreError
from securealign.files import write_atomically
from securealign.keys.handles import KeyHandle
from securealign.locks import locked
from securealign.storage.database import Database

_NONCE_BYTES = 12


class Sealer:
    """AES-256-GCM under a key derived for one folder, with random nonces: good for 2^32 messages under one key."""

    def __init__(self, key: KeyHandle) -> None:
        #: Name of the key.
        self.name = key.name
        self._cipher = AESGCM(key.derive(b"securealign/storage"))

    def __reduce__(self) -> str:
        raise TypeError("a sealer holds a key and cannot be pickled or copied")

    def seal(self, content: bytes, place: str) -> bytes:
        """Return the content encrypted and bound to its place."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, content, place.encode())

    def open(self, sealed: bytes, place: str) -> bytes:
        """Return the content; raises `KeyStoreError` for bytes that were altered, moved or made under another key."""
        try:
            return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], place.encode())
        except (InvalidTag, ValueError) as error:
            raise KeyStoreError(
                f"A part of the stored sessions ({place}) was altered, or was written under another key.",
                hint="Restore the key store that belongs to this folder, or give up its sessions and start new ones.",
            ) from error


class Sealers:
    """What seals new sessions, and what opens those that were begun under an earlier key."""

    def __init__(self, current: KeyHandle, find: Callable[[str], KeyHandle] | None = None) -> None:
        self.current = Sealer(current)
        self._find = find

    def named(self, name: str) -> Sealer:
        """Return what a session was sealed with; raises `KeyStoreError` when its key was destroyed."""
        if name == self.current.name:
            return self.current
        if self._find is None:
            raise KeyStoreError("A session was sealed under a key that is not here.", hint="Start a new session.")
        return Sealer(self._find(name))


class BlobFolder:
    """A folder of files that are written once, read whole, and deleted when no record names them any more."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def write(self, content: bytes) -> str:
        """Store a content and return its address; durable when it returns."""
        address = hashlib.sha256(content).hexdigest()
        write_atomically(self._folder / address, content, mode=0o600)
        return address

    def read(self, address: str) -> bytes:
        """Return a content; raises `KeyStoreError` when it is missing or not what was written."""
        try:
            content = (self._folder / address).read_bytes()
        except OSError as error:
            raise _damaged(f"A stored blob cannot be read ({error.strerror})") from error
        if hashlib.sha256(content).hexdigest() != address:
            raise _damaged("A stored blob was altered")
        return content

    def delete(self, addresses: Iterable[str]) -> None:
        """Delete contents that no record names."""
        for address in addresses:
            (self._folder / address).unlink(missing_ok=True)

    def sweep(self, named: set[str], before: float) -> None:
        """Delete files that a crash has left: not in `named`, and written before a time (Unix seconds)."""
        for path in self._folder.iterdir():
            if path.name not in named and path.stat().st_mtime < before:
                path.unlink(missing_ok=True)


def _damaged(what: str) -> KeyStoreError:
    return KeyStoreError(f"{what}.", hint="Give up the interrupted session: start a new one.")


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
        self._folder, self.sealers, self.clock = folder, sealers, clock
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
