"""Ciphertexts of varying length in blobs of one length.

Libraries compress what they serialise, so the length of a ciphertext differs by some bytes each time. Padded to a
length that the profile names, the size of a message depends on nothing but its shape.
"""

import struct
from collections.abc import Sequence

import numpy as np

from securealign.errors import CiphertextError, ErrorCode, SuiteError
from securealign.he.scales import Exponents
from securealign.matrices import FloatMatrix

_LENGTH = struct.Struct("<I")


def sealed_bytes(count: int, room: int) -> int:
    """Return the size of `count` objects of at most `room` bytes each."""
    return count * (_LENGTH.size + room)


def seal(
    objects: Sequence[bytes], count: int, room: int, *, fault: type[SuiteError | CiphertextError] = SuiteError
) -> bytes:
    """Return `count` objects of at most `room` bytes, each behind its length and padded with zeros.

    Raises `fault` for other objects: `CiphertextError` where a peer's bytes went into them.
    """
    largest = max(map(len, objects), default=0)
    if len(objects) != count or not all(objects) or largest > room:
        raise fault(
            f"A worker returned {len(objects)} objects of up to {largest} bytes where {count} of 1 to {room} are due.",
            code=ErrorCode.CIPHERTEXT_MALFORMED,
        )
    return b"".join(_LENGTH.pack(len(data)) + data.ljust(room, b"\0") for data in objects)


def unseal(data: memoryview, room: int) -> list[bytes]:
    """Return the objects in `data`; raises `CiphertextError` for a length or padding not ours."""
    step = sealed_bytes(1, room)
    if len(data) % step:
        raise CiphertextError(f"{len(data)} bytes are no whole number of ciphertexts of {step}.")
    objects = []
    for start in range(0, len(data), step):
        (length,) = _LENGTH.unpack_from(data, start)
        body = bytes(data[start + _LENGTH.size : start + step])
        if not 0 < length <= room or body[length:].strip(b"\0"):
            raise CiphertextError("A ciphertext has no length or padding of this suite.")
        objects.append(body[:length])
    return objects


def unscale(numbers: FloatMatrix, shape: tuple[int, int], exponents: Exponents) -> FloatMatrix:
    """Return numbers times 2^-exponents; raises `CiphertextError` for another shape or numbers that are not finite."""
    if numbers.shape != shape:
        raise CiphertextError(f"A worker decrypted numbers of shape {numbers.shape}, not {shape}.")
    with np.errstate(over="ignore", invalid="ignore"):
        unscaled: FloatMatrix = np.ldexp(numbers, -exponents)
    if not np.isfinite(unscaled).all():
        raise CiphertextError("Bytes decrypt to no finite number.", code=ErrorCode.COEFFICIENT_OUT_OF_RANGE)
    return unscaled
