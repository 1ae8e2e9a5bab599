"""What passes between a party and its worker: a JSON header and raw bytes.

Never pickle: once a library has read a peer's bytes, its process may be under that peer's control, and what it answers
is read here as carefully as any stranger's.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Iterator, Sequence

import numpy as np

from securealign.matrices import FloatMatrix

Value = int | str | bytes | list[bytes] | FloatMatrix

_LENGTHS = struct.Struct("<II")
_BLOB = struct.Struct("<Q")
_MAX_HEADER = 1 << 24
#: Largest frame: an encrypted product of two 8,192-dimensional spaces stays below it.
_MAX_FRAME = 1 << 32


class FrameError(Exception):
    """Bytes that are not a frame, or the end of the stream within one."""


def send(stream: socket.socket, name: str, values: Sequence[Value]) -> None:
    """Send a name and values."""
    blobs: list[bytes] = []
    described = [_describe(value, blobs) for value in values]
    header = json.dumps([name, described]).encode()
    lengths = b"".join(_BLOB.pack(len(blob)) for blob in blobs)
    stream.sendall(b"".join([_LENGTHS.pack(len(header), len(blobs)), header, lengths, *blobs]))


def receive(stream: socket.socket) -> tuple[str, list[Value]]:
    """Return the next name and values; raises `FrameError` for anything else, `TimeoutError` when the socket does."""
    size, count = _LENGTHS.unpack(_read(stream, _LENGTHS.size))
    if size > _MAX_HEADER or count > _MAX_HEADER:
        raise FrameError("a header is too large")
    header = bytes(_read(stream, size))
    lengths = [length for (length,) in _BLOB.iter_unpack(_read(stream, count * _BLOB.size))]
    if sum(lengths) > _MAX_FRAME:
        raise FrameError("a frame is too large")
    blobs = [_read(stream, length) for length in lengths]
    try:
        name, described = json.loads(header)
        rest = iter(blobs)
        values = [_restore(kind, fields, rest) for kind, *fields in described]
    except (ValueError, TypeError, KeyError, StopIteration, RecursionError) as error:
        raise FrameError("a header does not describe its values") from error
    if not isinstance(name, str):
        raise FrameError("a frame has no name")
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
        case np.ndarray():
            matrix = np.ascontiguousarray(value, dtype="<f8")
            blobs.append(matrix.tobytes())
            return ["matrix", *matrix.shape]


def _restore(kind: str, fields: list[int | str], blobs: Iterator[bytearray]) -> Value:
    """Return a value from its description; whatever does not fit raises one of the errors that `receive` expects."""
    match kind, fields:
        case "int", [int(number)]:
            return number
        case "str", [str(text)]:
            return text
        case "bytes", []:
            return bytes(next(blobs))
        case "list", [int(count)] if count >= 0:
            return [bytes(next(blobs)) for _ in range(count)]
        case "matrix", [int(rows), int(columns)]:
            return np.frombuffer(next(blobs), dtype="<f8").reshape(rows, columns)
    raise ValueError(kind)


def _read(stream: socket.socket, size: int) -> bytearray:
    data = bytearray(size)
    view = memoryview(data)
    while view:
        count = stream.recv_into(view)
        if not count:
            raise FrameError("the stream ended")
        view = view[count:]
    return data
