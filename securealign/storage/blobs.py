"""Sealed files named by the SHA-256 of their bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from securealign.errors import KeyStoreError
from securealign.files import write_atomically


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
