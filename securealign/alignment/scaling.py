"""How far the dimensions of embeddings spread, with a floor: an encoder may have dimensions that are all but dead."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]

#: Share of the median deviation below which a dimension counts as constant. all-mpnet-base-v2 has some at 4e-6 of its
#: largest: divided by that, they would carry weights of 4e5, and the noise of an encrypted answer follows the weights.
FLOOR = 1e-3


def deviations(rows: npt.ArrayLike) -> Vector:
    """Return the standard deviation of every dimension of rows (n, d), floored, shape (d,)."""
    matrix = np.asarray(rows, dtype=np.float64)
    deviation: Vector = matrix.std(axis=0)
    # The rounding of a mean leaves a constant dimension a deviation of 1e-16, which is no spread.
    deviation[matrix.max(axis=0) == matrix.min(axis=0)] = 0
    return floored(deviation)


def floored(deviation: Vector) -> Vector:
    """Return standard deviations (d,) with a floor of 1e-3 of their median, of the non-zero ones where that is 0.

    They may then divide: a dimension that is constant, or nearly so, stays small. Where all are 0, they become 1.
    """
    spread = deviation[deviation > 0]
    if not len(spread):
        return np.ones_like(deviation)
    return np.maximum(deviation, FLOOR * float(np.median(deviation) or np.median(spread)))
