"""What passes between a party and its worker: a JSON header and raw bytes.

Never pickle: once a library has read a peer's bytes, the peer may control the worker, so the worker's answers are
checked like a stranger's.
"""

import json
import socket
import struct
import time
from collections.abc import Iterator, Sequence

import numpy as np

from securealign.matrices import FloatMatrix

Value = int | str | bytes | list[bytes] | FloatMatrix

_LENGTHS = struct.Struct("<II")
_BLOB = struct.Struct("<Q")
#: Largest header: names and shapes of a few values, and a sentence.
_MAX_HEADER = 1 << 16
#: Most byte strings in a frame: the ciphertexts of a product of two 8,192-dimensional spaces in slots of 1,024.
_MAX_BLOBS = 1 << 17
#: Largest frame in bytes: twice the largest result that a session allows by default.
MAX_FRAME = 1 << 30
#: Memory grows by no more than this before its bytes have arrived.
_PIECE = 1 << 20


class FrameError(Exception):
    """Bytes that are not a frame."""


class StreamEnded(FrameError):
    """The stream ended where a frame or the rest of one was due."""


def encode(name: str, values: Sequence[Value]) -> bytes:
    """Return the frame of a name and values; raises `TypeError` for what is no value, `FrameError` for too much."""
    blobs: list[bytes] = []
    described = [_describe(value, blobs) for value in values]
    header = json.dumps([name, described]).encode()
    _require_fit(len(header), len(blobs), sum(map(len, blobs)))
    lengths = b"".join(_BLOB.pack(len(blob)) for blob in blobs)
    return b"".join([_LENGTHS.pack(len(header), len(blobs)), header, lengths, *blobs])


def receive(stream: socket.socket, seconds: float | None = None) -> tuple[str, list[Value]]:
    """Return the next name and values; raises `FrameError` for anything else, and `TimeoutError` when it is late.

    The time limit covers the whole frame, however slowly its bytes arrive.
    """
    reader = _Reader(stream, None if seconds is None else time.monotonic() + seconds)
    size, count = _LENGTHS.unpack(reader.read(_LENGTHS.size))
    _require_fit(size, count, 0)
    header = reader.read(size)
    lengths = [length for (length,) in _BLOB.iter_unpack(reader.read(count * _BLOB.size))]
    _require_fit(size, count, sum(lengths))
    blobs = [reader.read(length) for length in lengths]
    try:
        return _parse(header, iter(blobs))
    except (ValueError, TypeError, OverflowError, StopIteration, RecursionError) as error:
        raise FrameError("a header does not describe its values") from error


def _require_fit(header: int, count: int, total: int) -> None:
    if header > _MAX_HEADER or count > _MAX_BLOBS or total > MAX_FRAME:
        raise FrameError(f"a header of {header} bytes or {count} byte strings of {total} are too large")


def _parse(header: bytes, blobs: Iterator[bytes]) -> tuple[str, list[Value]]:
    """Return name and values; whatever is not as `encode` writes it raises one of the errors that `receive` expects."""
    match json.loads(header):
        case [str(name), [*described]]:
            values = [_restore(kind, fields, blobs) for kind, *fields in described]
        case _:
            raise ValueError("no name or no values")
    if next(blobs, None) is not None:
        raise ValueError("bytes that belong to no value")
    return name, values


def _describe(value: Value, blobs: list[bytes]) -> list[str | int]:
    match value:
        case int():
            return ["int", int(value)]
        case str():
            return ["str", value]
        case bytes():
            blobs.append(value)
            return ["bytes"]
        case list():
            blobs.extend(value)
            return ["list", len(value)]
        case np.ndarray(ndim=2):
            matrix = np.ascontiguousarray(value, dtype="<f8")
            blobs.append(matrix.tobytes())
            return ["matrix", *matrix.shape]
        case _:
            raise TypeError(f"{type(value).__name__} is no value of a frame")


def _restore(kind: str, fields: list[int | str], blobs: Iterator[bytes]) -> Value:
    match kind, fields:
        case "int", [int(number)] if not isinstance(number, bool):
            return number
        case "str", [str(text)]:
            return text
        case "bytes", []:
            return next(blobs)
        case "list", [int(count)] if count >= 0:
            return [next(blobs) for _ in range(count)]
        case "matrix", [int(rows), int(columns)] if rows >= 0 and columns >= 0:
            return np.frombuffer(next(blobs), dtype="<f8").reshape(rows, columns)
    raise ValueError(kind)


class _Reader:
    """Reads a stream until a deadline on the clock of `time.monotonic`, if there is one."""

    def __init__(self, stream: socket.socket, deadline: float | None) -> None:
        self._stream, self._deadline = stream, deadline

    def read(self, size: int) -> bytes:
        """Return the next `size` bytes."""
        pieces = []
        while size:
            piece = self._receive(min(size, _PIECE))
            if not piece:
                raise StreamEnded("the stream ended")
            pieces.append(piece)
            size -= len(piece)
        return b"".join(pieces)

    def _receive(self, most: int) -> bytes:
        if self._deadline is not None:
            left = self._deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self._stream.settimeout(left)
        return self._stream.recv(most)
