"""Handles of stored keys: what a program may hold and use without ever seeing the secret.

A stored key is 32 random bytes, its root. Everything else derives from the root by HKDF-SHA256 (RFC 5869) under labels
that no two uses share; the root itself leaves a handle for an `ExportToken` only, so that a search for that name finds
every place which can reveal a key.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import datetime
from enum import Enum
from typing import NoReturn, final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

#: Length of a root, of what derives from it and of a public part.
KEY_BYTES = 32

_PUBLIC = b"securealign/key/public"
_NAME = b"securealign/key/name"
_DERIVE = b"securealign/key/derive/"


class Purpose(Enum):
    """What a key is for; a key of one purpose is never used for another."""

    TRAINING = "training"
    INFERENCE = "inference"
    STORAGE = "storage"


class _Sealed:
    """Base of objects that other code cannot construct, copy or serialise."""

    __slots__ = ()

    def __init__(self, *_arguments: object, **_named: object) -> None:
        raise TypeError(f"{type(self).__name__} is not made by calling it; see its docstring")

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{type(self).__name__} cannot be pickled or copied")

    __getstate__ = __reduce__


@final
class ExportToken(_Sealed):
    """Permission to reveal a key, made by `ExportToken.i_understand_that_this_reveals_the_key()` and nothing else."""

    __slots__ = ()

    @classmethod
    def i_understand_that_this_reveals_the_key(cls) -> ExportToken:
        """Return the permission."""
        return object.__new__(cls)


@final
class KeyHandle(_Sealed):
    """A key of an open store: its name, and secrets that derive from it. Made by `KeyStore`.

    Two handles are equal when they name the same key. The root is no attribute of the handle, so printing, `vars` and
    debuggers that list attributes do not show it. Code that runs in this process can still reach it.
    """

    __slots__ = ("_created", "_expires", "_name", "_purpose", "_root")

    _name: str
    _purpose: Purpose
    _created: datetime
    _expires: datetime | None
    _root: Callable[[], bytes]

    @property
    def name(self) -> str:
        """Hexadecimal SHA-256 of the public part, 64 characters."""
        return self._name

    @property
    def purpose(self) -> Purpose:
        """What the key is for."""
        return self._purpose

    @property
    def created(self) -> datetime:
        """When the key was made, UTC."""
        return self._created

    @property
    def expires(self) -> datetime | None:
        """When the key may no longer be used for new sessions, UTC."""
        return self._expires

    def derive(self, context: bytes) -> bytes:
        """Return 32 secret bytes for a context, the same whenever asked, unrelated to those of any other context."""
        return _expand(self._root(), _DERIVE + self._purpose.value.encode() + b"/" + context)

    def reveal(self, token: ExportToken) -> bytes:
        """Return the root, 32 bytes; raises `TypeError` without an `ExportToken`."""
        if not isinstance(token, ExportToken):
            raise TypeError("a key is revealed for an ExportToken only")
        return self._root()

    def __repr__(self) -> str:
        return f"<KeyHandle {self._name[:16]} for {self._purpose.value}>"

    def __eq__(self, other: object) -> bool:
        return self._name == other._name if isinstance(other, KeyHandle) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._name)


def issue(root: bytes, purpose: Purpose, *, created: datetime, expires: datetime | None) -> KeyHandle:
    """Return the handle of a root, 32 bytes; for the store alone."""
    handle = object.__new__(KeyHandle)
    handle._name = key_name(root)
    handle._purpose = purpose
    handle._created = created
    handle._expires = expires
    handle._root = lambda: root
    return handle


def key_name(root: bytes) -> str:
    """Return the name of the key with this root: the hexadecimal SHA-256 of its public part."""
    return hashlib.sha256(_NAME + _expand(root, _PUBLIC)).hexdigest()


def _expand(root: bytes, label: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=label).derive(root)
