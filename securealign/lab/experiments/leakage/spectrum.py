"""Rows of Z_B by their singular vectors, from which least squares and every ridge map to any Z_A follow at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from securealign.alignment.scaling import Vector
from securealign.matrices import FloatMatrix

#: Squared singular value, relative to the largest, below which a direction is noise of rounding.
_DEAD = 1e-12


@dataclass(frozen=True, repr=False, eq=False)
class Spectrum:
    """Scaled and centred rows of Z_B as U S V^T: `left` (N, r), `values` (r,), `right` (d_B, r)."""

    mean: Vector
    scale: Vector
    left: FloatMatrix
    values: Vector
    right: FloatMatrix

    @classmethod
    def of(cls, z_b: npt.ArrayLike, scale: Vector) -> Spectrum:
        """Decompose rows (N, d_B) of rank r, divided by `scale` (d_B,)."""
        rows = np.asarray(z_b, dtype=np.float64) / scale
        mean: Vector = rows.mean(axis=0)
        rows -= mean
        # The smaller product by far is several times as fast, and its digits suffice.
        wide = rows.shape[1] > len(rows)
        squares, vectors = np.linalg.eigh(rows @ rows.T if wide else rows.T @ rows)
        kept = squares > _DEAD * squares[-1]
        values, vectors = np.sqrt(squares[kept]), vectors[:, kept]
        if wide:
            return cls(mean, scale, vectors, values, rows.T @ (vectors / values))
        return cls(mean, scale, rows @ (vectors / values), values, vectors)

    @property
    def rank(self) -> int:
        """The number of directions r that rows of Z_A are known in."""
        return len(self.values)

    def project(self, z_b: npt.ArrayLike) -> FloatMatrix:
        """Return other rows (n, d_B) in these directions, shape (n, r)."""
        projected: FloatMatrix = (np.asarray(z_b, dtype=np.float64) / self.scale - self.mean) @ self.right
        return projected

    def fit(self, z_a: npt.ArrayLike) -> Fitted:
        """Return least squares of rows of Z_A (N, d_A) on these."""
        rows = np.asarray(z_a, dtype=np.float64)
        mean: Vector = rows.mean(axis=0)
        rows = rows - mean
        return Fitted(self, mean, self.left.T @ rows, float(np.vdot(rows, rows)))


@dataclass(frozen=True, repr=False, eq=False)
class Fitted:
    """Rows of Z_A in the directions of Z_B: `coordinates` (r, d_A) about `mean` (d_A,), of the total `variance`."""

    spectrum: Spectrum
    mean: Vector
    coordinates: FloatMatrix
    variance: float

    @property
    def leaked(self) -> float:
        """||P Z_A||^2 / ||Z_A||^2: the share of the variance of Z_A in the column space of Z_B, which X determines."""
        return float(np.vdot(self.coordinates, self.coordinates)) / self.variance

    def used(self, share: float) -> float:
        """Return R^2 of the ridge map on the rows that it was fitted on."""
        kept = self._kept(share)
        explained = (2 * kept - kept**2) @ np.einsum("ij,ij->i", self.coordinates, self.coordinates)
        return float(explained) / self.variance

    def predict(self, projected: FloatMatrix, share: float) -> FloatMatrix:
        """Return the ridge map of other rows, as `Spectrum.project` gives them; a share of 0 is least squares."""
        weights = (self._kept(share) / self.spectrum.values)[:, None] * self.coordinates
        predicted: FloatMatrix = projected @ weights + self.mean
        return predicted

    def _kept(self, share: float) -> Vector:
        """Return how much of each direction a penalty of `share` times the mean diagonal of the Gram matrix leaves."""
        squares = self.spectrum.values**2
        penalty = share * squares.sum() / len(self.spectrum.mean)
        kept: Vector = squares / (squares + penalty)
        return kept
