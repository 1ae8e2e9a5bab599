"""Row sources: float matrices that may be larger than memory, read in blocks and checked on the way."""

import mmap
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from securealign.errors import ErrorCode, InputError, ShapeError

FloatMatrix = npt.NDArray[np.float64]

#: Rows per block of a streaming pass: 8 MiB at 1,024 dimensions.
BLOCK_ROWS = 1024


def as_matrix(values: npt.ArrayLike, name: str, *, columns: int | None = None) -> npt.NDArray[np.floating]:
    """Return `values` as a two-dimensional float array without copying memory-mapped data.

    Raises `InputError` when it is empty, has another number of dimensions or columns, or is not numeric.
    """
    try:
        array = values if isinstance(values, np.ndarray) else np.asarray(values)
    except ValueError as error:
        raise ShapeError(f"{name} has rows of different lengths.") from error
    if array.dtype.kind in "iub":
        array = array.astype(np.float64)
    if array.dtype.kind != "f":
        raise InputError(f"{name} holds {array.dtype} values, not numbers.", hint="Pass a float array.")
    if array.ndim != 2 or 0 in array.shape:
        raise ShapeError(
            f"{name} has shape {array.shape}; a matrix of rows and columns is needed.",
            hint="Pass one embedding per row.",
        )
    if columns is not None and array.shape[1] != columns:
        raise ShapeError(
            f"{name} has {array.shape[1]} columns where {columns} are expected.",
            hint="Check that the encoder and the files belong together.",
        )
    return array


def require_finite(block: npt.NDArray[np.floating], name: str, first_row: int = 0) -> None:
    """Raise `InputError` naming the first row of `block` that holds NaN or an infinity."""
    finite = np.isfinite(block)
    if not finite.all():
        row = first_row + int(np.argmin(finite.reshape(len(block), -1).all(axis=1)))
        raise InputError(
            f"{name} holds NaN or an infinite value in row {row}.",
            hint="Remove the row or repair the encoder that made it.",
            code=ErrorCode.NON_FINITE_INPUT,
        )


def release_pages(values: npt.NDArray[np.floating]) -> None:
    """Give back the resident pages of a read-only memory-mapped matrix; the kernel reads them again when needed.

    Without it a pass over the matrix would end with all of it in this process's memory.
    """
    mapped = getattr(values, "_mmap", None)
    if isinstance(values, np.memmap) and values.mode == "r" and mapped is not None:
        mapped.madvise(mmap.MADV_DONTNEED)


class Affine(NamedTuple):
    """The map z -> (z - centre) matrix + offset: `centre` (d,), `matrix` (d, k), `offset` (k,).

    The centre is kept apart: subtracted inside the offset, a large mean would cancel and leave few correct digits.
    """

    centre: npt.NDArray[np.float64]
    matrix: FloatMatrix
    offset: npt.NDArray[np.float64]

    def apply(self, block: npt.NDArray[np.floating]) -> FloatMatrix:
        """Return the images (n, k) of rows (n, d)."""
        return (block - self.centre) @ self.matrix + self.offset


class Rows:
    """A matrix read in float64 blocks.

    `norms` bounds the Euclidean norms of the columns, shape (columns,), for a caller who knows them without a pass.
    """

    def __init__(
        self, values: npt.ArrayLike, *, name: str = "The matrix", norms: npt.NDArray[np.float64] | None = None
    ) -> None:
        self._values = as_matrix(values, name)
        self._name, self._norms = name, norms

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        rows, columns = self._values.shape
        return rows, columns

    def block(self, first: int, stop: int) -> FloatMatrix:
        """Return rows `first` to `stop` as float64; raises `InputError` for values that are not finite."""
        block = np.array(self._values[first:stop], dtype=np.float64)
        release_pages(self._values)
        require_finite(block, self._name, first)
        return block

    def blocks(self) -> Iterator[FloatMatrix]:
        """Yield the matrix in blocks of `BLOCK_ROWS` rows."""
        for first in range(0, self.shape[0], BLOCK_ROWS):
            yield self.block(first, first + BLOCK_ROWS)

    def column_norms(self) -> npt.NDArray[np.float64]:
        """Return the Euclidean norm of every column, or its known bound, shape (columns,)."""
        if self._norms is not None:
            return self._norms
        squares = np.zeros(self.shape[1])
        for block in self.blocks():
            squares += np.einsum("ij,ij->j", block, block)
        return np.sqrt(squares)


class MappedRows(Rows):
    """Rows of a source, each changed by a function of blocks; `norms` as in `Rows`.

    `columns` is their number afterwards, that of the source unless given.
    """

    def __init__(
        self,
        source: Rows,
        change: Callable[[FloatMatrix], FloatMatrix],
        *,
        columns: int | None = None,
        norms: npt.NDArray[np.float64] | None = None,
    ) -> None:
        self._source, self._change, self._columns = source, change, columns
        self._norms = norms

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns) after the change."""
        rows, columns = self._source.shape
        return rows, self._columns or columns

    def block(self, first: int, stop: int) -> FloatMatrix:
        """Return rows `first` to `stop`, changed; raises `InputError` for values that are not finite."""
        return self._change(self._source.block(first, stop))


class UnitRows(Rows):
    """The identity matrix of a size, times a factor, never held as a whole."""

    def __init__(self, size: int, factor: float) -> None:
        self._size, self._factor = size, factor
        self._norms = np.full(size, factor)

    @property
    def shape(self) -> tuple[int, int]:
        """(size, size)."""
        return self._size, self._size

    def block(self, first: int, stop: int) -> FloatMatrix:
        """Return rows `first` to `stop`."""
        stop = min(stop, self._size)
        return self._factor * np.eye(stop - first, self._size, first)


class StackedRows(Rows):
    """Rows of several sources of one width, below each other; `norms` as in `Rows`."""

    def __init__(self, parts: Sequence[Rows], norms: npt.NDArray[np.float64] | None = None) -> None:
        self._parts, self._norms = parts, norms

    @property
    def shape(self) -> tuple[int, int]:
        """(rows of all, columns)."""
        return sum(part.shape[0] for part in self._parts), self._parts[0].shape[1]

    def block(self, first: int, stop: int) -> FloatMatrix:
        """Return rows `first` to `stop`; raises `InputError` for values that are not finite."""
        blocks, start = [], 0
        for part in self._parts:
            end = start + part.shape[0]
            if first < end and start < stop:
                blocks.append(part.block(max(first, start) - start, min(stop, end) - start))
            start = end
        return np.vstack(blocks)
