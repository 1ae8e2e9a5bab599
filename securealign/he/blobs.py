"""The header that binds every byte string of a suite to its parameters, session, key and place.

A receiver knows the header it expects and compares all of it, and the exact length, before it touches the body.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from io import BytesIO

from securealign.errors import CiphertextError

_LAYOUT = struct.Struct("<4sBB2x16s16s16sQII")
HEADER_BYTES = _LAYOUT.size
_FORMAT = 2
#: Part of a digest kept in a header.
_TAG_BYTES = 16


class Kind(IntEnum):
    """What a blob holds."""

    COVARIANCE_KEY = 1
    COVARIANCE_ROWS = 2
    COVARIANCE_RESULT = 3
    HEAD_KEY = 4
    HEAD_POOL = 5
    HEAD_QUERY = 6
    HEAD_ANSWER = 7
    HEAD_CHOICES = 8
    HEAD_TABLES = 9


@dataclass(frozen=True)
class Binding:
    """What all blobs under one key have in common; the key's own blob carries an empty `key`."""

    #: Four bytes that name the family of suites.
    magic: bytes
    #: Digest of all parameters.
    parameters: bytes
    session: bytes
    key: bytes = b""

    def seal(self, kind: Kind, body: bytes, *, index: int = 0, rows: int, columns: int) -> bytes:
        """Return header and body; `index` is the first row, pool or slot that the blob stands for."""
        return self._header(kind, index, rows, columns) + body

    def seal_pieces(self, kind: Kind, body: Iterable[bytes], *, rows: int, columns: int) -> bytes:
        """Return header and body, of which no piece exists twice."""
        with BytesIO() as blob:
            blob.write(self._header(kind, 0, rows, columns))
            blob.writelines(body)
            return blob.getvalue()

    def open(self, kind: Kind, data: bytes, length: int, *, index: int = 0, rows: int, columns: int) -> memoryview:
        """Return the body of `data`; raises `CiphertextError` unless header and body length are the expected ones."""
        self.require_length(kind, len(data), length)
        self.require_header(kind, data[:HEADER_BYTES], index=index, rows=rows, columns=columns)
        return memoryview(data)[HEADER_BYTES:]

    @staticmethod
    def require_length(kind: Kind, size: int, length: int, *, whole: bool = True) -> None:
        """Raise `CiphertextError` unless a blob of `size` bytes, or a part of it, has a body of `length`."""
        expected = HEADER_BYTES + length
        if size > expected or (whole and size < expected):
            raise CiphertextError(f"A {kind.name} blob has {size} bytes, expected {expected}.")

    def require_header(self, kind: Kind, header: bytes, *, index: int = 0, rows: int, columns: int) -> None:
        """Raise `CiphertextError` for another header than the expected one."""
        if header != self._header(kind, index, rows, columns):
            raise CiphertextError(f"A {kind.name} blob was made for other parameters, session, key or position.")

    def _header(self, kind: Kind, index: int, rows: int, columns: int) -> bytes:
        tags = (tag[:_TAG_BYTES] for tag in (self.parameters, self.session, self.key))
        return _LAYOUT.pack(self.magic, _FORMAT, kind, *tags, index, rows, columns)
