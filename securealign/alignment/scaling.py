"""Standardisation of rows before anything is fitted on them, so that no column and no row outweighs the others.

Language models have a few dimensions that are a hundred times as large as the rest, and sentence encoders have some
that hardly vary. Columns are divided by their deviation, which has a floor: standardising by a nearly dead dimension
would give it a weight without bound. Where the norms of rows are heavy-tailed, all are brought to the median norm:
shortening long ones alone leaves rows of unequal noise, for which cross-validation chooses too small a penalty.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from securealign.errors import ErrorCode, InputError
from securealign.matrices import Affine, FloatMatrix, MappedRows, Rows

Vector = npt.NDArray[np.float64]

#: Smallest deviation of a column, relative to the median one.
FLOOR = 1e-3
#: Rows are heavy-tailed when the longest exceeds this many medians.
HEAVY = 4.0
#: A deviation below this share of a column's largest magnitude is rounding error of a constant.
_ROUNDING = 64 * np.finfo(np.float64).eps


def floored(deviation: Vector) -> Vector:
    """Return standard deviations (d,) raised to `FLOOR` times the median of those above zero; 1 if all are zero."""
    varying = deviation[deviation > 0]
    if not len(varying):
        return np.ones_like(deviation)
    return np.maximum(deviation, FLOOR * float(np.median(varying)))


def deviations(rows: npt.ArrayLike) -> Vector:
    """Return the floored standard deviation of every column of rows (n, d), shape (d,)."""
    return floored(_spread(Rows(rows))[1])


@dataclass(frozen=True, repr=False)
class Scaling:
    """x = (z - mean) / scale, and all rows brought to one `norm` if it is finite: `mean` and `scale` (d,).

    That holds for the rows that a map is fitted on, never for queries.
    """

    mean: Vector
    scale: Vector
    norm: float = np.inf

    @classmethod
    def of(cls, rows: Rows, name: str = "The matrix", *, normalise: bool = True) -> Scaling:
        """Return the scaling of rows (N, d), which brings them to one norm if it may and where they are heavy-tailed.

        Raises `InputError` when no column varies or values are too large to square.
        """
        mean, deviation = _spread(rows)
        if not np.isfinite(deviation).all():
            raise InputError(
                f"{name} holds values too large to compute with.",
                hint="Divide it by a constant.",
                code=ErrorCode.NON_FINITE_INPUT,
            )
        if not deviation.any():
            raise InputError(
                f"{name} holds the same embedding in all its rows.",
                hint="Check the encoder, and that the texts differ.",
            )
        scaling = cls(mean, floored(deviation))
        if not normalise:
            return scaling
        weights = scaling.scale**-2.0
        norms = np.sqrt(np.concatenate([(block - mean) ** 2 @ weights for block in rows.blocks()]))
        median = float(np.median(norms))
        return replace(scaling, norm=median) if 0 < HEAVY * median < norms.max() else scaling

    @classmethod
    def identity(cls, columns: int) -> Scaling:
        """Return the scaling that leaves rows of a width as they are."""
        return cls(np.zeros(columns), np.ones(columns))

    @property
    def normalises(self) -> bool:
        """Whether rows are heavy-tailed, so that all are brought to one norm."""
        return bool(np.isfinite(self.norm))

    def apply(self, block: npt.NDArray[np.floating]) -> FloatMatrix:
        """Return training rows (n, d), scaled and of one norm if they are heavy-tailed."""
        scaled: FloatMatrix = (block - self.mean) / self.scale
        if self.normalises:
            norms = np.linalg.norm(scaled, axis=1, keepdims=True)
            scaled *= np.divide(self.norm, norms, out=np.ones_like(norms), where=norms > 0)
        return scaled

    def rows(self, rows: Rows) -> Rows:
        """Return training rows (N, d), scaled block by block."""
        return MappedRows(rows, self.apply)

    def raw(self, point: Vector) -> Vector:
        """Return the raw embedding (d,) of a scaled one."""
        return self.mean + self.scale * point

    def raw_map(self, weight: FloatMatrix, point: Vector, image: Vector) -> tuple[FloatMatrix, Vector]:
        """Return weight (d, k) and bias (k,) of raw embeddings, for a weight of scaled ones.

        The scaled embedding `point` (d,) becomes `image` (k,).
        """
        raw = weight / self.scale[:, None]
        return raw, image - self.raw(point) @ raw

    def then(self, affine: Affine) -> Callable[[FloatMatrix], FloatMatrix]:
        """Return what scales training rows and maps them on; in one step where none changes its norm."""
        if self.normalises:
            return lambda block: affine.apply(self.apply(block))
        return Affine(self.raw(affine.centre), affine.matrix / self.scale[:, None], affine.offset).apply


def _spread(rows: Rows) -> tuple[Vector, Vector]:
    """Return mean and standard deviation of every column, 0 for one that is constant up to rounding."""
    columns = rows.shape[1]
    count, mean, squares, largest = 0, np.zeros(columns), np.zeros(columns), np.zeros(columns)
    with np.errstate(over="ignore", invalid="ignore"):
        for block in rows.blocks():
            total = count + len(block)
            centre = block.mean(axis=0)
            shift = centre - mean
            squares += ((block - centre) ** 2).sum(axis=0) + shift**2 * (count * len(block) / total)
            mean += shift * (len(block) / total)
            largest = np.maximum(largest, np.abs(block).max(axis=0))
            count = total
        deviation: Vector = np.sqrt(squares / count)
    deviation[deviation <= _ROUNDING * largest] = 0.0
    return mean, deviation
