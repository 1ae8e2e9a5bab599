"""Ridge regression from sufficient statistics, so that neither party needs the other's rows.

W = (G + lambda I)^-1 X with the centred Gram matrix G of Z_B and the centred cross-covariance X of Z_B and Z_A, and
b = mean_A - mean_B W (paper, section 3.1; the intercept is not penalised).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt
import scipy.linalg

from securealign.alignment.maps import AlignmentMap
from securealign.errors import ConfigurationError, ShapeError
from securealign.matrices import FloatMatrix, Rows

#: A ridge penalty in the units of the Gram matrix, or "auto".
Penalty = float | Literal["auto"]
#: Where nothing can choose the penalty, "auto" is this share of the mean diagonal of the centred Gram matrix.
AUTO_SHARE = 0.01
#: The smallest penalty that "auto" chooses, as such a share: rows are encrypted under it before the choice is made.
SMALLEST_SHARE = 1e-6

Weights = npt.NDArray[np.float64] | None


@dataclass
class Moments:
    """Count, mean (d,) and centred Gram matrix (d, d) of rows that arrive in blocks."""

    count: int
    mean: npt.NDArray[np.float64]
    gram: FloatMatrix
    #: Sum of the weights of the rows, their number where they have none.
    weight: float = field(default=-1.0)

    def __post_init__(self) -> None:
        self.weight = float(self.count) if self.weight < 0 else self.weight

    @classmethod
    def empty(cls, columns: int) -> Moments:
        """Return the moments of no rows."""
        return cls(0, np.zeros(columns), np.zeros((columns, columns)))

    @classmethod
    def of(cls, rows: Rows) -> Moments:
        """Return the moments of all rows, in one streaming pass."""
        moments = cls.empty(rows.shape[1])
        for block in rows.blocks():
            moments.update(block)
        return moments

    def update(self, block: FloatMatrix, weights: Weights = None) -> None:
        """Add a block of rows; exact merging of centred moments (Chan, Golub, LeVeque 1983)."""
        added, mean, centred = _centred(block, weights)
        shift = mean - self.mean
        total = self.weight + added
        self.gram += centred.T @ centred + np.outer(shift, shift) * (self.weight * added / total)
        self.mean += shift * (added / total)
        self.count += len(block)
        self.weight = total


@dataclass
class CrossMoments:
    """Moments of Z_B, mean of Z_A (d_A,) and centred cross-covariance Z_B^T Z_A (d_B, d_A), in clear."""

    source: Moments
    target_mean: npt.NDArray[np.float64]
    cross: FloatMatrix
    #: Squared norm of the centred rows of Z_A.
    target_squares: float = 0.0

    @classmethod
    def empty(cls, source_columns: int, target_columns: int) -> CrossMoments:
        """Return the moments of no rows."""
        return cls(Moments.empty(source_columns), np.zeros(target_columns), np.zeros((source_columns, target_columns)))

    def update(self, source: FloatMatrix, target: FloatMatrix, weights: Weights = None) -> None:
        """Add a block of paired rows, with weights (n,) if some count more than others."""
        added, source_mean, source_rows = _centred(source, weights)
        _, target_mean, target_rows = _centred(target, weights)
        source_shift, target_shift = source_mean - self.source.mean, target_mean - self.target_mean
        merged = self.source.weight * added / (self.source.weight + added)
        self.cross += source_rows.T @ target_rows + np.outer(source_shift, target_shift) * merged
        self.target_squares += float(np.vdot(target_rows, target_rows) + merged * (target_shift @ target_shift))
        self.target_mean += target_shift * (added / (self.source.weight + added))
        self.source.update(source, weights)


def _centred(block: FloatMatrix, weights: Weights) -> tuple[float, npt.NDArray[np.float64], FloatMatrix]:
    """Return the weight of all rows, their mean, and the centred rows times the square roots of their weights."""
    if weights is None:
        mean: npt.NDArray[np.float64] = block.mean(axis=0)
        return float(len(block)), mean, block - mean
    total = float(weights.sum())
    mean = weights @ block / total
    return total, mean, (block - mean) * np.sqrt(weights)[:, None]


def check_paired(source_rows: int, target_rows: int) -> None:
    """Raise `InputError` unless Z_B and Z_A have as many rows."""
    if source_rows != target_rows:
        raise ShapeError(
            f"Z_B has {source_rows} rows and Z_A has {target_rows}.", hint="Row i of both must embed the same text."
        )


def resolve_penalty(ridge: Penalty, gram: FloatMatrix) -> float:
    """Return the penalty as a number; raises `ConfigurationError` unless it is positive and finite."""
    if ridge == "auto":
        share = AUTO_SHARE * float(np.trace(gram)) / len(gram)
        # Embeddings that do not vary have no cross-covariance either: under any penalty their map is zero.
        return share if share > 0 else 1.0
    try:
        penalty = float(ridge)
    except (TypeError, ValueError):
        penalty = 0.0
    if not (np.isfinite(penalty) and penalty > 0):
        raise ConfigurationError(
            f"A ridge penalty of {ridge!r} does not make the problem solvable.",
            hint="Use 'auto' or a number above zero.",
        )
    return penalty


def smallest_penalty(ridge: Penalty, gram: FloatMatrix) -> float:
    """Return the penalty to begin with: the smallest that "auto" chooses, or the given number."""
    if ridge == "auto":
        return SMALLEST_SHARE * float(np.trace(gram)) / len(gram)
    return resolve_penalty(ridge, gram)


def factor_ridge(gram: FloatMatrix, ridge: Penalty) -> tuple[float, FloatMatrix]:
    """Return the penalty and the lower Cholesky factor (d, d) of the penalised Gram matrix.

    Raises `ConfigurationError` when the penalty is too small to make a matrix without full rank invertible.
    """
    penalty = resolve_penalty(ridge, gram)
    try:
        # numpy's and not scipy's: each brings its own BLAS, whose idle threads would fight over the cores.
        factor = np.linalg.cholesky(gram + penalty * np.eye(len(gram))).astype(np.float64, copy=False)
    except np.linalg.LinAlgError as error:
        raise ConfigurationError(
            f"A ridge penalty of {penalty:g} is too small for these embeddings.", hint="Use 'auto' or a larger one."
        ) from error
    return penalty, factor


def solve_ridge(
    source: Moments, target_mean: npt.NDArray[np.float64], cross: FloatMatrix, ridge: Penalty
) -> AlignmentMap:
    """Return the ridge map from the moments of Z_B, the mean of Z_A (d_A,) and the centred `cross` (d_B, d_A)."""
    penalty, factor = factor_ridge(source.gram, ridge)
    weight: FloatMatrix = scipy.linalg.cho_solve((factor, True), cross)
    bias = target_mean - source.mean @ weight
    return AlignmentMap(weight, bias, {"ridge": penalty, "rows": source.count})
