"""Ridge regression from sufficient statistics, so that neither party needs the other's rows.

W = (G + lambda I)^-1 X with the centred Gram matrix G of Z_B and the centred cross-covariance X of Z_B and Z_A, and
b = mean_A - mean_B W (paper, section 3.1; the intercept is not penalised).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import scipy.linalg

from securealign.alignment.maps import AlignmentMap
from securealign.errors import ConfigurationError, ErrorCode, InputError
from securealign.matrices import BLOCK_ROWS, FloatMatrix, Rows

#: A ridge penalty in the units of the Gram matrix, or "auto".
Penalty = float | Literal["auto"]
#: "auto" is this share of the mean diagonal of the centred Gram matrix: it does not depend on the scale of embeddings.
AUTO_SHARE = 0.01


@dataclass
class Moments:
    """Count, mean (d,) and centred Gram matrix (d, d) of rows that arrive in blocks."""

    count: int
    mean: npt.NDArray[np.float64]
    gram: FloatMatrix

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

    def update(self, block: FloatMatrix) -> None:
        """Add a block of rows; exact merging of centred moments (Chan, Golub, LeVeque 1983)."""
        mean = block.mean(axis=0)
        centred = block - mean
        shift = mean - self.mean
        total = self.count + len(block)
        self.gram += centred.T @ centred + np.outer(shift, shift) * (self.count * len(block) / total)
        self.mean += shift * (len(block) / total)
        self.count = total


@dataclass
class CrossMoments:
    """Moments of Z_B, mean of Z_A (d_A,) and centred cross-covariance Z_B^T Z_A (d_B, d_A), in clear."""

    source: Moments
    target_mean: npt.NDArray[np.float64]
    cross: FloatMatrix

    @classmethod
    def empty(cls, source_columns: int, target_columns: int) -> CrossMoments:
        """Return the moments of no rows."""
        return cls(Moments.empty(source_columns), np.zeros(target_columns), np.zeros((source_columns, target_columns)))

    def update(self, source: FloatMatrix, target: FloatMatrix) -> None:
        """Add a block of paired rows."""
        source_mean, target_mean = source.mean(axis=0), target.mean(axis=0)
        source_shift, target_shift = source_mean - self.source.mean, target_mean - self.target_mean
        total = self.source.count + len(source)
        self.cross += (source - source_mean).T @ (target - target_mean)
        self.cross += np.outer(source_shift, target_shift) * (self.source.count * len(source) / total)
        self.target_mean += target_shift * (len(source) / total)
        self.source.update(source)


def check_paired(source_rows: int, target_rows: int) -> None:
    """Raise `InputError` unless Z_B and Z_A have as many rows."""
    if source_rows != target_rows:
        raise InputError(
            f"Z_B has {source_rows} rows and Z_A has {target_rows}.",
            hint="Row i of both must embed the same text.",
            code=ErrorCode.SHAPE_MISMATCH,
        )


def fit_map(z_b: npt.ArrayLike, z_a: npt.ArrayLike, ridge: Penalty) -> AlignmentMap:
    """Return the ridge map from Z_B (N, d_B) to Z_A (N, d_A), reading both in blocks; raises `InputError`."""
    source, target = Rows(z_b, name="Z_B"), Rows(z_a, name="Z_A")
    check_paired(source.shape[0], target.shape[0])
    moments = CrossMoments.empty(source.shape[1], target.shape[1])
    for first in range(0, source.shape[0], BLOCK_ROWS):
        moments.update(source.block(first, first + BLOCK_ROWS), target.block(first, first + BLOCK_ROWS))
    return solve_ridge(moments.source, moments.target_mean, moments.cross, ridge)


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
