"""Exact matrix products modulo q on floating-point BLAS.

Residues are split into limbs small enough for every partial sum to stay below 2^53, where float64 is exact: 40-bit
limbs against ternary matrices (sums of up to 8,192 terms), 27-bit limbs against integer vectors of norm up to 2^20
(sums of up to `TILE_ROWS` terms, folded into int64 after each tile). Tiles bound the memory whatever the number of rows
is.
"""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from securealign.compute import compute, one_blas_thread
from securealign.errors import KeyStoreError
from securealign.he.lwe import residues

#: Rows multiplied at a time.
TILE_ROWS = 2048
#: Rows of a public matrix that exist at a time where all of its products are small.
BLOCK_ROWS = 256
#: Largest 2-norm of a row of an integer operand. A sum with 27-bit limbs over a tile, in any order, stays below
#: 2^20 * sqrt(2048) * 2^27 < 2^53 by Cauchy-Schwarz; over 2^20 rows it stays below 2^57.
OPERAND_NORM_LIMIT = 1 << 20
#: Rows converted to limbs at a time, so that the temporaries stay in the second-level cache.
_CONVERT_ROWS = 16
#: Multiplications below which a product is not worth dividing; BLAS does not divide it either.
_SMALL = 1 << 18

Planes = tuple[residues.Words, residues.Halves]
Limb = Callable[[residues.Words, residues.Halves, int, int, npt.NDArray[np.float64]], None]


def tiles(rows: int, size: int = TILE_ROWS) -> list[tuple[int, int]]:
    """Return (first, count) of the tiles of a matrix of so many rows."""
    return [(first, min(size, rows - first)) for first in range(0, rows, size)]


def _fill(limb: Limb, parts: Sequence[Planes], index: int, log_q: int, out: npt.NDArray[np.float64]) -> None:
    """Write limb `index` of the matrices in `parts`, side by side, into `out`."""
    left = 0
    for words, halves in parts:
        right = left + words.shape[1]
        for first in range(0, len(words), _CONVERT_ROWS):
            rows = slice(first, first + _CONVERT_ROWS)
            limb(words[rows], halves[rows], index, log_q, out[rows, left:right])
        left = right


def public_times_ternary(
    public: Planes, ternary: npt.NDArray[np.float64], log_q: int
) -> tuple[residues.IntMatrix, residues.IntMatrix]:
    """Return A S as unreduced limbs, each below 2^53 in magnitude: A (r, n) in wire planes, S (n, w) ternary."""
    (words, halves), width = public, ternary.shape[1]
    limb = np.empty(words.shape)
    sums = [np.empty((len(words), width), dtype=np.int64) for _ in range(2)]

    def multiply(rows: slice) -> None:
        for index, total in enumerate(sums):
            _fill(residues.wide_limb, [(words[rows], halves[rows])], index, log_q, limb[rows])
            total[rows] = limb[rows] @ ternary

    if words.size * width < _SMALL:
        multiply(slice(None))
    else:
        with one_blas_thread():
            compute().each(len(words), multiply)
    return sums[0], sums[1]


class IntegerProduct:
    """Accumulates U [X | Y | ...] for integer U (m, r) and matrices that arrive in tiles.

    No row of U exceeds `OPERAND_NORM_LIMIT` in norm, and no tile has more than `tile` rows, at most `TILE_ROWS`.
    """

    def __init__(self, rows: int, columns: int, log_q: int, tile: int = TILE_ROWS) -> None:
        self._sums = [np.zeros((rows, columns), dtype=np.int64) for _ in range(3)]
        # Kept between tiles: the kernel would have to clear fresh pages for each.
        self._limb = np.empty((tile, columns))
        self._partial = np.empty((rows, columns))
        self._log_q = log_q

    def add(self, operand: npt.NDArray[np.float64], parts: Sequence[Planes]) -> None:
        """Add the product of `operand` transposed, shape (t, m), with a tile of t rows."""
        limb = self._limb[: len(operand)]
        for index, total in enumerate(self._sums):

            def fill(rows: slice, index: int = index) -> None:
                own = [(words[rows], halves[rows]) for words, halves in parts]
                _fill(residues.narrow_limb, own, index, self._log_q, limb[rows])

            def multiply(rows: slice, total: residues.IntMatrix = total) -> None:
                np.matmul(operand.T[rows], limb, out=self._partial[rows])
                self._fold(total[rows], self._partial[rows])

            if limb.size * len(self._partial) < _SMALL:
                fill(slice(None))
                multiply(slice(None))
                continue
            with one_blas_thread():
                # Every row of the product needs the whole limb.
                compute().each(len(limb), fill)
                compute().each(len(total), multiply)

    @staticmethod
    def _fold(total: residues.IntMatrix, partial: npt.NDArray[np.float64]) -> None:
        """Add exact float64 sums of a tile to int64 totals, in pieces that stay in the cache."""
        for first in range(0, len(total), _CONVERT_ROWS):
            rows = slice(first, first + _CONVERT_ROWS)
            np.add(total[rows], partial[rows].astype(np.int64), out=total[rows])

    def checkpoint(self) -> bytes:
        """Return the sums as they are, for `restore`."""
        return b"".join(total.astype("<i8", copy=False).tobytes() for total in self._sums)

    def restore(self, state: bytes) -> bytes:
        """Take the sums of a checkpoint at the beginning of `state`, and return what follows them."""
        size = self._sums[0].nbytes
        if len(state) < size * len(self._sums):
            raise KeyStoreError("A checkpoint of sums is too short.", hint="Start a new session.")
        for index, total in enumerate(self._sums):
            total[:] = np.frombuffer(state, dtype="<i8", count=total.size, offset=index * size).reshape(total.shape)
        return state[size * len(self._sums) :]

    def result(self) -> residues.Residues:
        """Return the sum of all tiles modulo q."""
        first, second, third = self._sums
        mask = np.int64((1 << residues.NARROW_BITS) - 1)
        second = second + (first >> residues.NARROW_BITS)
        third = third + (second >> residues.NARROW_BITS)
        second &= mask
        # Regroup 27 + 27 + rest bits as 40 + rest: the low limb takes 13 bits of the second.
        taken = residues.LIMB_BITS - residues.NARROW_BITS
        low = (first & mask) | ((second & np.int64((1 << taken) - 1)) << residues.NARROW_BITS)
        high = (second >> taken) + (third << (residues.NARROW_BITS - taken))
        return residues.reduce(low, high, self._log_q)
