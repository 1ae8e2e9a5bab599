"""Ways to fit an affine map from paired rows in clear: ridge regression on standardised rows, and its rivals.

Every function takes Z_B (n, d_B) and Z_A (n, d_A), row i of both for the same text, and returns the map of raw
embeddings. `scale` (d_B,) divides the dimensions of Z_B before penalties apply: language models have a few dimensions
that are a hundred times as large as the rest, and a penalty relative to those would wipe out all others. Both parties
can take it from the public texts.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from securealign.alignment.maps import AlignmentMap
from securealign.alignment.ridge import CrossMoments, Moments, check_paired, solve_ridge
from securealign.alignment.scaling import deviations
from securealign.matrices import FloatMatrix

Vector = npt.NDArray[np.float64]

#: Penalties to choose from, as shares of the mean diagonal of the Gram matrix.
SHARES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0)
_HELD_OUT = 5


def scale_of(rows: npt.ArrayLike) -> Vector:
    """Return the standard deviation of every dimension of rows (n, d), floored where it is all but dead, shape (d,)."""
    return deviations(rows)


def moments_of(z_b: npt.ArrayLike, z_a: npt.ArrayLike, scale: Vector | None = None) -> CrossMoments:
    """Return the moments of scaled Z_B with Z_A: all that a ridge map depends on; more rows can be added to them."""
    source, target = _Centred.of(z_b, scale), _Centred.of(z_a)
    check_paired(len(source.rows), len(target.rows))
    moments = Moments(len(source.rows), source.mean, source.gram())
    return CrossMoments(moments, target.mean, source.rows.T @ target.rows)


def with_rows(
    moments: CrossMoments, z_b: npt.ArrayLike, z_a: npt.ArrayLike, scale: Vector | None = None
) -> CrossMoments:
    """Return moments with more rows, leaving the given ones as they are."""
    merged = copy.deepcopy(moments)
    rows = np.asarray(z_b, dtype=np.float64)
    merged.update(rows if scale is None else rows / scale, np.asarray(z_a, dtype=np.float64))
    return merged


def ridge_from(moments: CrossMoments, share: float, scale: Vector | None = None) -> AlignmentMap:
    """Return the ridge map of moments of scaled rows; `share` as in `fit_ridge`."""
    gram = moments.source.gram
    penalty = share * max(float(np.trace(gram)) / len(gram), np.finfo(np.float64).tiny)
    fitted = solve_ridge(moments.source, moments.target_mean, moments.cross, penalty)
    weight = fitted.weight if scale is None else fitted.weight / scale[:, None]
    return AlignmentMap(weight, fitted.bias, {"fit": "ridge", "share": share, "rows": moments.source.count})


def fit_ridge(z_b: npt.ArrayLike, z_a: npt.ArrayLike, share: float, scale: Vector | None = None) -> AlignmentMap:
    """Return the ridge map; the penalty is `share` of the mean diagonal of the Gram matrix of the scaled rows."""
    return ridge_from(moments_of(z_b, z_a, scale), share, scale)


def fit_reduced_rank(
    z_b: npt.ArrayLike, z_a: npt.ArrayLike, share: float, scale: Vector | None = None, *, rank: int = 64
) -> AlignmentMap:
    """Return the ridge map cut to the `rank` directions of Z_A that it predicts most of (Izenman 1975)."""
    source, target = _Centred.of(z_b, scale), _Centred.of(z_a)
    ridge = fit_ridge(source.rows, target.rows, share).weight
    predicted = source.rows @ ridge
    _, directions = np.linalg.eigh(predicted.T @ predicted)
    kept = directions[:, -min(rank, directions.shape[1]) :]
    return _unscaled(source, target, ridge @ kept @ kept.T, {"fit": "reduced rank", "rank": rank})


def fit_procrustes(z_b: npt.ArrayLike, z_a: npt.ArrayLike, scale: Vector | None = None) -> AlignmentMap:
    """Return the best rotation with one scaling factor (Schönemann 1966); between dimensions, a part of a rotation."""
    source, target = _Centred.of(z_b, scale), _Centred.of(z_a)
    check_paired(len(source.rows), len(target.rows))
    left, values, right = np.linalg.svd(source.rows.T @ target.rows, full_matrices=False)
    rotation = left @ right
    spread = float(np.sum((source.rows @ rotation) ** 2))
    return _unscaled(
        source,
        target,
        rotation * (values.sum() / max(spread, np.finfo(np.float64).tiny)),
        {"fit": "orthogonal Procrustes"},
    )


def fit_whitening(z_b: npt.ArrayLike, z_a: npt.ArrayLike, share: float, scale: Vector | None = None) -> AlignmentMap:
    """Return the map that whitens Z_B, rotates, and gives it the covariance of Z_A; it needs Z_A's Gram matrix too."""
    source, target = _Centred.of(z_b, scale), _Centred.of(z_a)
    check_paired(len(source.rows), len(target.rows))
    whiten, colour = _power(source.gram(), share, -0.5), _power(target.gram(), share, 0.5)
    uncolour = _power(target.gram(), share, -0.5)
    left, _, right = np.linalg.svd(whiten @ (source.rows.T @ target.rows) @ uncolour, full_matrices=False)
    return _unscaled(source, target, whiten @ left @ right @ colour, {"fit": "whitening"})


def fit_mean_only(z_b: npt.ArrayLike, z_a: npt.ArrayLike) -> AlignmentMap:
    """Return the map that only moves the mean, keeping the first dimensions and padding with none: a control."""
    source, target = _Centred.of(z_b), _Centred.of(z_a)
    check_paired(len(source.rows), len(target.rows))
    return _unscaled(source, target, np.eye(source.rows.shape[1], target.rows.shape[1]), {"fit": "mean only"})


def choose_share(
    z_b: npt.ArrayLike, z_a: npt.ArrayLike, scale: Vector | None = None, shares: Sequence[float] = SHARES
) -> float:
    """Return the penalty share whose map explains most of every fifth row, fitted on the others."""
    rows_b, rows_a = np.asarray(z_b, dtype=np.float64), np.asarray(z_a, dtype=np.float64)
    held = np.arange(len(rows_b)) % _HELD_OUT == 0
    source, target = _Centred.of(rows_b[~held], scale), _Centred.of(rows_a[~held])
    values, vectors = np.linalg.eigh(source.gram())
    projected = vectors.T @ (source.rows.T @ target.rows)
    unseen = ((rows_b[held] / source.scale) - source.mean) @ vectors
    truth, mean = rows_a[held] - target.mean, max(float(values.mean()), np.finfo(np.float64).tiny)

    def missed(share: float) -> float:
        return float(np.sum((unseen @ (projected / (np.maximum(values, 0) + share * mean)[:, None]) - truth) ** 2))

    return min(shares, key=missed)


def explained(z_a: npt.ArrayLike, mapped: npt.ArrayLike) -> float:
    """Return R^2, the share of the variance of Z_A (n, d_A) that the mapped rows explain; 1 at most."""
    truth = np.asarray(z_a, dtype=np.float64)
    spread = float(np.sum((truth - truth.mean(axis=0)) ** 2))
    return 1 - float(np.sum((truth - np.asarray(mapped)) ** 2)) / spread if spread else 0.0


class _Centred:
    """Rows divided by a scale and centred."""

    def __init__(self, rows: FloatMatrix, mean: Vector, scale: Vector) -> None:
        self.rows, self.mean, self.scale = rows, mean, scale

    @classmethod
    def of(cls, values: npt.ArrayLike, scale: Vector | None = None) -> _Centred:
        rows = np.asarray(values, dtype=np.float64)
        divided = rows if scale is None else rows / scale
        mean: Vector = divided.mean(axis=0)
        return cls(divided - mean, mean, np.ones(rows.shape[1]) if scale is None else scale)

    def gram(self) -> FloatMatrix:
        gram: FloatMatrix = self.rows.T @ self.rows
        return gram


def _power(gram: FloatMatrix, share: float, power: float) -> FloatMatrix:
    """Return a power of a penalised Gram matrix."""
    values, vectors = np.linalg.eigh(gram)
    raised: FloatMatrix = (vectors * (np.maximum(values, 0) + share * values.mean()) ** power) @ vectors.T
    return raised


def _unscaled(source: _Centred, target: _Centred, weight: FloatMatrix, metadata: dict[str, object]) -> AlignmentMap:
    """Return the map of raw rows, given the one of scaled and centred rows (d_B, d_A)."""
    raw = weight / source.scale[:, None]
    return AlignmentMap(raw, target.mean - source.mean @ weight, {**metadata, "rows": len(source.rows)})
