"""Arithmetic modulo 2^log_q on numpy arrays, and the wire form of residues.

A residue is held as two int64 limbs, `low` in [0, 2^40) and `high` in [0, 2^(log_q - 40)): a product of a 40-bit limb
and a ternary matrix with up to 8,192 terms is exact in float64. On the wire a row of r residues is r little-endian
64-bit words followed by r little-endian 16-bit words, so that packing needs no loop over elements.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from securealign.errors import CiphertextError, ErrorCode
from securealign.he.lwe.parameters import ANSWER_BYTES, LOG_ANSWER_MODULUS, RESIDUE_BYTES

LIMB_BITS = 40
#: Limbs for products with integer vectors; the third holds the rest.
NARROW_BITS = 27

#: Rows handled at a time, so that temporaries stay in the cache.
_BLOCK_ROWS = 16

_LOW_MASK = np.int64((1 << LIMB_BITS) - 1)
_NARROW_MASK = np.uint64((1 << NARROW_BITS) - 1)

IntMatrix = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]
Halves = npt.NDArray[np.uint16]


class Residues(NamedTuple):
    """A matrix over Z_q in two non-negative int64 limbs of equal shape."""

    low: IntMatrix
    high: IntMatrix

    def columns(self, selected: slice) -> Residues:
        """Return some of the columns, as views."""
        return Residues(self.low[:, selected], self.high[:, selected])


def reduce(low: IntMatrix, high: IntMatrix, log_q: int) -> Residues:
    """Carry `low` into `high` and reduce modulo 2^log_q; limbs may be any int64, also negative."""
    reduced = Residues(np.empty(low.shape, dtype=np.int64), np.empty(low.shape, dtype=np.int64))
    high_mask = np.int64((1 << (log_q - LIMB_BITS)) - 1)
    for first in range(0, len(low), _BLOCK_ROWS):
        rows = slice(first, first + _BLOCK_ROWS)
        np.bitwise_and(low[rows], _LOW_MASK, out=reduced.low[rows])
        carried = low[rows] >> LIMB_BITS
        carried += high[rows]
        np.bitwise_and(carried, high_mask, out=reduced.high[rows])
    return reduced


def add(left: Residues, right: Residues, log_q: int) -> Residues:
    """Return the sum of two matrices modulo 2^log_q."""
    return reduce(left.low + right.low, left.high + right.high, log_q)


def pack(residues: Residues) -> bytes:
    """Return the wire form of residues of shape (rows, columns): rows * columns * 10 bytes."""
    rows, columns = residues.low.shape
    out = np.empty((rows, columns * RESIDUE_BYTES), dtype=np.uint8)
    words, halves = planes(out, columns)
    np.bitwise_or(residues.low, residues.high << LIMB_BITS, out=words.view(np.int64))
    halves[...] = residues.high >> (64 - LIMB_BITS)
    return out.tobytes()


def unpack(data: npt.NDArray[np.uint8], columns: int, log_q: int) -> tuple[Words, Halves]:
    """Return the planes of rows that a peer sent, after checking them.

    `data` has shape (rows, columns * 10). Raises `CiphertextError` when a residue is not below 2^log_q; for log_q = 80
    every pattern of ten bytes is one.
    """
    words, halves = planes(data, columns)
    if log_q < 80 and bool((halves >> np.uint16(log_q - 64)).any()):
        raise CiphertextError("A residue is not below the modulus.", code=ErrorCode.COEFFICIENT_OUT_OF_RANGE)
    return words, halves


def planes(data: npt.NDArray[np.uint8], columns: int) -> tuple[Words, Halves]:
    """Return the 64-bit and 16-bit planes of rows in wire form, shape (rows, columns * 10), as views."""
    return data[:, : 8 * columns].view("<u8"), data[:, 8 * columns :].view("<u2")


def narrow_limb(words: Words, halves: Halves, index: int, log_q: int, out: npt.NDArray[np.float64]) -> None:
    """Write limb `index` (0, 1: 27 bits, 2: the rest below log_q) of wire planes into the float64 matrix `out`."""
    if index == 2:
        limb = _top_limb(words, halves, 2 * NARROW_BITS, log_q)
    else:
        limb = words >> np.uint64(NARROW_BITS * index)
        limb &= _NARROW_MASK
    # Below 2^63 the signed view is the same number, and int64 converts faster than uint64.
    out[...] = limb.view(np.int64)


def wide_limb(words: Words, halves: Halves, index: int, log_q: int, out: npt.NDArray[np.float64]) -> None:
    """Write limb `index` (0: 40 bits, 1: the rest below log_q) of wire planes into the float64 matrix `out`."""
    limb = words & np.uint64(_LOW_MASK) if index == 0 else _top_limb(words, halves, LIMB_BITS, log_q)
    out[...] = limb.view(np.int64)


def _top_limb(words: Words, halves: Halves, shift: int, log_q: int) -> Words:
    """Return the bits of wire planes from `shift` up to log_q."""
    limb: Words = words >> np.uint64(shift)
    limb |= np.left_shift(halves, np.uint64(64 - shift), dtype=np.uint64)
    if log_q < 8 * RESIDUE_BYTES:
        limb &= np.uint64((1 << (log_q - shift)) - 1)
    return limb


def switch_modulus(residues: Residues, log_q: int) -> IntMatrix:
    """Round residues modulo 2^log_q to the answer modulus 2^40: the nearest multiple of 2^(log_q - 40)."""
    dropped = log_q - LOG_ANSWER_MODULUS
    half = residues.low + (np.int64(1) << np.int64(dropped - 1))
    upper = residues.high << np.int64(LIMB_BITS - dropped) if dropped < LIMB_BITS else residues.high
    switched: IntMatrix = (upper + (half >> np.int64(dropped))) & np.int64((1 << LOG_ANSWER_MODULUS) - 1)
    return switched


def pack_answer(values: IntMatrix) -> bytes:
    """Return 40-bit integers as five little-endian bytes each, in row order."""
    return np.ascontiguousarray(values).astype("<i8").view(np.uint8).reshape(-1, 8)[:, :ANSWER_BYTES].tobytes()


def unpack_answer(data: memoryview, shape: tuple[int, int]) -> IntMatrix:
    """Return five-byte integers as an int64 matrix of `shape`; every pattern of five bytes is below the modulus."""
    wide = np.zeros((shape[0] * shape[1], 8), dtype=np.uint8)
    wide[:, :ANSWER_BYTES] = np.frombuffer(data, dtype=np.uint8).reshape(-1, ANSWER_BYTES)
    return wide.view("<i8").reshape(shape).astype(np.int64, copy=False)


def centre(values: IntMatrix) -> IntMatrix:
    """Map residues modulo 2^40 to [-2^39, 2^39)."""
    half = np.int64(1 << (LOG_ANSWER_MODULUS - 1))
    centred: IntMatrix = ((values + half) & np.int64((1 << LOG_ANSWER_MODULUS) - 1)) - half
    return centred
