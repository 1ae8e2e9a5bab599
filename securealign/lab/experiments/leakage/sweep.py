"""What alignments give away of the provider's public embeddings, against the number of rows and the penalty."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from securealign.alignment import AlignmentMap
from securealign.alignment.clear import ClearFit
from securealign.alignment.scaling import Vector, deviations
from securealign.lab.experiments.run import Cell, Row
from securealign.lab.experiments.setting import PairsConfig
from securealign.lab.measures.fits import explained
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


#: Ridge penalties to be compared, as shares of the mean diagonal of the Gram matrix.
PENALTIES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
#: Public rows that no map is fitted on.
HELD_OUT = 0.2

#: Indices of rows.
Drawn = npt.NDArray[np.int64]


class Sweep:
    """One client's public rows, in draws of every size; their decompositions serve all providers."""

    def __init__(self, config: PairsConfig, source: str, sizes: tuple[int, ...]) -> None:
        self._config, self.source, self.sizes = config, source, sizes
        self._spectra: dict[tuple[int, int], Spectrum] = {}
        self._unseen: dict[tuple[int, int], FloatMatrix] = {}

    @cached_property
    def rows(self) -> FloatMatrix:
        """All of the client's public embeddings."""
        return self._config.public(self.source).astype(np.float64)

    def spectrum(self, size: int, seed: int) -> Spectrum:
        """Return the decomposition of one draw."""
        if (size, seed) not in self._spectra:
            self._spectra[size, seed] = Spectrum.of(self.rows[self.drawn(size, seed)], deviations(self.rows))
        return self._spectra[size, seed]

    def unseen(self, size: int, seed: int) -> FloatMatrix:
        """Return the rows that are held out, in the directions of one draw."""
        if (size, seed) not in self._unseen:
            self._unseen[size, seed] = self.spectrum(size, seed).project(self.rows[self.held_out(seed)])
        return self._unseen[size, seed]

    def drawn(self, size: int, seed: int) -> Drawn:
        """Return the rows of one draw; a larger one holds the smaller."""
        return self._order(seed)[:size]

    def held_out(self, seed: int) -> Drawn:
        """Return the rows that no draw of this seed holds."""
        order = self._order(seed)
        return order[len(order) - int(HELD_OUT * len(order)) :]

    def _order(self, seed: int) -> Drawn:
        return np.random.default_rng([2, seed]).permutation(len(self._config.corpora.public_texts))


class PairSweep:
    """The cells of one client and one provider."""

    def __init__(self, config: PairsConfig, sweep: Sweep, target: str) -> None:
        self._config, self._sweep = config, sweep
        self.source, self.target = sweep.source, target
        self.names = {"source": sweep.source, "target": target}
        self._fits: dict[tuple[int, int], Fitted] = {}

    @cached_property
    def _public_fit(self) -> ClearFit:
        return self._config.public_fit(self.source, self.target)

    @cached_property
    def _targets(self) -> FloatMatrix:
        return self._config.public(self.target).astype(np.float64)

    def cells(self) -> Iterator[Cell]:
        """Yield what is leaked, used and predicted: for every size and seed, and by penalty for one draw."""
        sizes, seeds = self._sweep.sizes, range(self._config.seeds)
        pair = self._config.public_key(self.source, self.target)
        yield Cell(
            table="alignment",
            names=self.names,
            key={**pair, "sizes": list(sizes), "seeds": len(seeds)},
            compute=lambda: [self._leak(size, seed) for size in sizes for seed in seeds],
        )
        yield Cell(
            table="penalty",
            names=self.names,
            key={**pair, "size": sizes[-1], "penalties": list(PENALTIES)},
            compute=lambda: [self._penalised(sizes[-1], share) for share in PENALTIES],
        )

    def _leak(self, size: int, seed: int) -> Row:
        spectrum, fitted, chosen = self._sweep.spectrum(size, seed), self._fit(size, seed), self._public_fit
        # The penalty that the public texts choose, as a share of the mean diagonal of the Gram matrix.
        share = chosen.penalty / float(chosen.regression.values.mean())
        rows = self._targets[self._sweep.drawn(size, seed)]
        shuffled = spectrum.fit(np.random.default_rng([3, seed]).permutation(rows))
        return {
            "rows": size, "seed": seed, "ratio": size / len(spectrum.mean), "rank": spectrum.rank, "share": share,
            "leaked": fitted.leaked,
            "leaked_shuffled": shuffled.leaked,
            "expected_shuffled": spectrum.rank / (size - 1),
            "used": fitted.used(share),
            "held_out": self._unseen(fitted, size, seed, share),
            "held_out_least_squares": self._unseen(fitted, size, seed, 0.0),
        }  # fmt: skip

    def _penalised(self, size: int, share: float) -> Row:
        fitted = self._fit(size, 0)
        used, held_out = fitted.used(share), self._unseen(fitted, size, 0, share)
        return {"rows": size, "share": share, "leaked": fitted.leaked, "used": used, "held_out": held_out}

    def _fit(self, size: int, seed: int) -> Fitted:
        if (size, seed) not in self._fits:
            rows = self._targets[self._sweep.drawn(size, seed)]
            self._fits[size, seed] = self._sweep.spectrum(size, seed).fit(rows)
        return self._fits[size, seed]

    def _unseen(self, fitted: Fitted, size: int, seed: int, share: float) -> float:
        predicted = fitted.predict(self._sweep.unseen(size, seed), share)
        return explained(self._targets[self._sweep.held_out(seed)], predicted)

    @cached_property
    def public_map(self) -> AlignmentMap:
        """The map fitted on all public texts, of the kind that a client uses."""
        return self._public_fit.map(self._config.map)
