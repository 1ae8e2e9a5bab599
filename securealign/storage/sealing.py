"""Authenticated encryption of what is kept on disk."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from securealign.errors import KeyStoreError

_NONCE_BYTES = 12


class Deriver(Protocol):
    """A secret from which other keys are derived, such as a stored key."""

    @property
    def name(self) -> str:
        """The name of the key."""

    def derive(self, context: bytes) -> bytes:
        """Return 32 secret bytes for a context."""


class Sealer:
    """AES-256-GCM under a key derived for one folder, with random nonces: good for 2^32 messages under one key."""

    def __init__(self, key: Deriver) -> None:
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

    def __init__(self, current: Deriver, find: Callable[[str], Deriver] | None = None) -> None:
        self.current = Sealer(current)
        self._find = find

    def named(self, name: str) -> Sealer:
        """Return what a session was sealed with; raises `KeyStoreError` when its key was destroyed."""
        if name == self.current.name:
            return self.current
        if self._find is None:
            raise KeyStoreError("A session was sealed under a key that is not here.", hint="Start a new session.")
        return Sealer(self._find(name))
