"""What alignments give away of the provider's public embeddings, against the number of rows and the penalty."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np
import numpy.typing as npt

from securealign.alignment import AlignmentMap
from securealign.alignment.clear import ClearFit
from securealign.alignment.scaling import deviations
from securealign.lab.experiments.leakage.spectrum import Fitted, Spectrum
from securealign.lab.experiments.run import Cell
from securealign.lab.experiments.setting import PairsConfig
from securealign.lab.experiments.store import Row
from securealign.lab.measures.fits import explained
from securealign.matrices import FloatMatrix

#: Ridge penalties to be compared, as shares of the mean diagonal of the Gram matrix.
PENALTIES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
#: Public rows that no map is fitted on.
HELD_OUT = 0.2

#: Indices of rows.
Drawn = npt.NDArray[np.int64]


class Sweep:
    """One client's public rows, in draws of every size; their decompositions serve all providers."""

    def __init__(self, config: PairsConfig, source: str, sizes: tuple[int, ...]) -> None:
        self._config = config
        self.source = source
        self.sizes = sizes
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

    @property
    def _share(self) -> float:
        """The penalty that the public texts choose, as a share of the mean diagonal of the Gram matrix."""
        return self._public_fit.penalty / float(self._public_fit.regression.values.mean())

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
        spectrum, share = self._sweep.spectrum(size, seed), self._share
        fitted = self._fit(size, seed)
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
