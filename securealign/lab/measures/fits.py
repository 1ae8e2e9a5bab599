"""Affine maps to compare with those of `ClearFit`, fitted in clear on rows of both parties.

Every function takes Z_B (n, d_B) and Z_A (n, d_A), row i of both for the same text, and returns the map of raw
embeddings. All but the control fit standardised rows; a `penalty` is in units of their Gram matrices.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from securealign.alignment.maps import AlignmentMap
from securealign.alignment.ridge import check_paired
from securealign.alignment.scaling import Scaling, Vector
from securealign.matrices import FloatMatrix, Rows


def fit_reduced_rank(z_b: npt.ArrayLike, z_a: npt.ArrayLike, penalty: float, *, rank: int = 64) -> AlignmentMap:
    """Return the ridge map cut to the `rank` directions of Z_A that it predicts most of (Izenman 1975)."""
    pair = _Pair.of(z_b, z_a)
    source, target = pair.source.rows, pair.target.rows
    ridge = np.linalg.solve(source.T @ source + penalty * np.eye(source.shape[1]), source.T @ target)
    predicted = source @ ridge
    _, directions = np.linalg.eigh(predicted.T @ predicted)
    kept = directions[:, -min(rank, directions.shape[1]) :]
    return pair.raw(ridge @ kept @ kept.T, {"fit": "reduced rank", "rank": rank})


def fit_procrustes(z_b: npt.ArrayLike, z_a: npt.ArrayLike) -> AlignmentMap:
    """Return the best rotation with one scaling factor (Schönemann 1966); between dimensions, a part of a rotation."""
    pair = _Pair.of(z_b, z_a)
    left, values, right = np.linalg.svd(pair.source.rows.T @ pair.target.rows, full_matrices=False)
    rotation = left @ right
    spread = float(np.sum((pair.source.rows @ rotation) ** 2))
    return pair.raw(rotation * (values.sum() / spread), {"fit": "orthogonal Procrustes"})


def fit_whitening(z_b: npt.ArrayLike, z_a: npt.ArrayLike, penalty: float) -> AlignmentMap:
    """Return the map that whitens Z_B, rotates, and gives it the covariance of Z_A; it needs Z_A's Gram matrix too."""
    pair = _Pair.of(z_b, z_a)
    source, target = pair.source.rows, pair.target.rows
    whiten = _power(source.T @ source, penalty, -0.5)
    colour, uncolour = (_power(target.T @ target, penalty, power) for power in (0.5, -0.5))
    left, _, right = np.linalg.svd(whiten @ (source.T @ target) @ uncolour, full_matrices=False)
    return pair.raw(whiten @ left @ right @ colour, {"fit": "whitening"})


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


@dataclass(frozen=True, repr=False)
class _Side:
    """Standardised rows (n, d) about their own mean, and where that lies among raw embeddings, `centre` (d,)."""

    rows: FloatMatrix
    scale: Vector
    centre: Vector

    @classmethod
    def of(cls, values: npt.ArrayLike, name: str) -> _Side:
        given = Rows(values, name=name)
        scaling = Scaling.of(given, name)
        rows = scaling.rows(given).block(0, given.shape[0])
        mean = rows.mean(axis=0)
        return cls(rows - mean, scaling.scale, scaling.mean + scaling.scale * mean)


@dataclass(frozen=True, repr=False)
class _Pair:
    source: _Side
    target: _Side

    @classmethod
    def of(cls, z_b: npt.ArrayLike, z_a: npt.ArrayLike) -> _Pair:
        pair = cls(_Side.of(z_b, "Z_B"), _Side.of(z_a, "Z_A"))
        check_paired(len(pair.source.rows), len(pair.target.rows))
        return pair

    def raw(self, weight: FloatMatrix, metadata: dict[str, object]) -> AlignmentMap:
        """Return the map of raw rows, given the one of standardised rows (d_B, d_A)."""
        raw = weight / self.source.scale[:, None] * self.target.scale
        return AlignmentMap(raw, self.target.centre - self.source.centre @ raw, metadata)


def _power(gram: FloatMatrix, penalty: float, power: float) -> FloatMatrix:
    """Return a power of a penalised Gram matrix."""
    values, vectors = np.linalg.eigh(gram)
    raised: FloatMatrix = (vectors * (np.maximum(values, 0) + penalty) ** power) @ vectors.T
    return raised
