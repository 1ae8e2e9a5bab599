"""Affine maps to compare with those of `ClearFit`, fitted in clear on rows of both parties.

Every function takes Z_B (n, d_B) and Z_A (n, d_A), row i of both for the same text, and returns the map of raw
embeddings. All but the control fit standardised rows; a `penalty` has the unit of their Gram matrices.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from securealign.alignment.maps import AlignmentMap
from securealign.alignment.ridge import check_paired
from securealign.alignment.scaling import Scaling, Vector
from securealign.matrices import FloatMatrix, Rows


def fit_reduced_rank(z_b: npt.ArrayLike, z_a: npt.ArrayLike, penalty: float, *, rank: int = 64) -> AlignmentMap:
    """Return the ridge map cut to the `rank` directions of Z_A that it predicts most of (Izenman 1975)."""
    source, target = _standardised(z_b, z_a)
    x, y = source.rows, target.rows
    ridge = np.linalg.solve(x.T @ x + penalty * np.eye(x.shape[1]), x.T @ y)
    predicted = x @ ridge
    _, directions = np.linalg.eigh(predicted.T @ predicted)
    kept = directions[:, -min(rank, directions.shape[1]) :]
    return _raw(ridge @ kept @ kept.T, source, target, {"fit": "reduced rank", "rank": rank})


def fit_procrustes(z_b: npt.ArrayLike, z_a: npt.ArrayLike) -> AlignmentMap:
    """Return the best rotation with one scaling factor (Schönemann 1966); between dimensions, a part of a rotation."""
    source, target = _standardised(z_b, z_a)
    left, values, right = np.linalg.svd(source.rows.T @ target.rows, full_matrices=False)
    rotation = left @ right
    factor = values.sum() / np.sum((source.rows @ rotation) ** 2)
    return _raw(rotation * factor, source, target, {"fit": "orthogonal Procrustes"})


def fit_whitening(z_b: npt.ArrayLike, z_a: npt.ArrayLike, penalty: float) -> AlignmentMap:
    """Return the map that whitens Z_B, rotates, and gives it the covariance of Z_A; it needs Z_A's Gram matrix too."""
    source, target = _standardised(z_b, z_a)
    x, y = source.rows, target.rows
    whiten = _power(x.T @ x, penalty, -0.5)
    colour, uncolour = (_power(y.T @ y, penalty, power) for power in (0.5, -0.5))
    left, _, right = np.linalg.svd(whiten @ (x.T @ y) @ uncolour, full_matrices=False)
    return _raw(whiten @ left @ right @ colour, source, target, {"fit": "whitening"})


def fit_mean_only(z_b: npt.ArrayLike, z_a: npt.ArrayLike) -> AlignmentMap:
    """Return the map that only moves the mean, keeping the first dimensions and padding with none: a control."""
    source, target = np.asarray(z_b, dtype=np.float64), np.asarray(z_a, dtype=np.float64)
    check_paired(len(source), len(target))
    weight = np.eye(source.shape[1], target.shape[1])
    return AlignmentMap(weight, target.mean(axis=0) - source.mean(axis=0) @ weight, {"fit": "mean only"})


def explained(z_a: npt.ArrayLike, mapped: npt.ArrayLike) -> float:
    """Return R^2, the share of the variance of Z_A (n, d_A) that the mapped rows explain; 1 at most."""
    truth = np.asarray(z_a, dtype=np.float64)
    spread = float(np.sum((truth - truth.mean(axis=0)) ** 2))
    return 1 - float(np.sum((truth - np.asarray(mapped)) ** 2)) / spread if spread else 0.0


class _Side(NamedTuple):
    """Standardised rows (n, d) less their mean, their scale (d,), and the raw embedding (d,) at which they are zero."""

    rows: FloatMatrix
    scale: Vector
    centre: Vector


def _standardised(z_b: npt.ArrayLike, z_a: npt.ArrayLike) -> list[_Side]:
    sides = []
    for values, name in ((z_b, "Z_B"), (z_a, "Z_A")):
        given = Rows(values, name=name)
        scaling = Scaling.of(given, name)
        rows = scaling.rows(given).block(0, given.shape[0])
        mean = rows.mean(axis=0)
        sides.append(_Side(rows - mean, scaling.scale, scaling.mean + scaling.scale * mean))
    check_paired(len(sides[0].rows), len(sides[1].rows))
    return sides


def _raw(weight: FloatMatrix, source: _Side, target: _Side, metadata: dict[str, object]) -> AlignmentMap:
    """Return the map of raw rows, given the weight (d_B, d_A) for standardised rows."""
    raw = weight / source.scale[:, None] * target.scale
    return AlignmentMap(raw, target.centre - source.centre @ raw, metadata)


def _power(gram: FloatMatrix, penalty: float, power: float) -> FloatMatrix:
    """Return a power of a penalised Gram matrix."""
    values, vectors = np.linalg.eigh(gram)
    raised: FloatMatrix = (vectors * (np.maximum(values, 0) + penalty) ** power) @ vectors.T
    return raised
