"""What alignments give away of the provider's public embeddings, against the number of rows and the penalty."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import numpy.typing as npt

from securealign.alignment import AlignmentMap
from securealign.alignment.clear import ClearFit
from securealign.alignment.scaling import deviations
from securealign.lab.experiments.leakage.spectrum import Fitted, Spectrum
from securealign.lab.experiments.setting import Setting
from securealign.lab.experiments.store import Row, Store
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

    def __init__(self, setting: Setting, source: str, sizes: tuple[int, ...]) -> None:
        self._setting = setting
        self.source = source
        self.sizes = sizes
        self._spectra: dict[tuple[int, int], Spectrum] = {}
        self._unseen: dict[tuple[int, int], FloatMatrix] = {}

    @cached_property
    def rows(self) -> FloatMatrix:
        """All of the client's public embeddings."""
        return self._setting.public(self.source).astype(np.float64)

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
        return np.random.default_rng([2, seed]).permutation(len(self._setting.corpora.public_texts))


class PairSweep:
    """The cells of one client and one provider."""

    def __init__(self, setting: Setting, store: Store, sweep: Sweep, target: str) -> None:
        self._setting, self._store, self._sweep = setting, store, sweep
        self.source, self.target = sweep.source, target
        self._fits: dict[tuple[int, int], Fitted] = {}

    @cached_property
    def _public_fit(self) -> ClearFit:
        return self._setting.public_fit(self.source, self.target)

    @property
    def _share(self) -> float:
        """The penalty that the public texts choose, as a share of the mean diagonal of the Gram matrix."""
        return self._public_fit.penalty / float(self._public_fit.regression.values.mean())

    @cached_property
    def _targets(self) -> FloatMatrix:
        return self._setting.public(self.target).astype(np.float64)

    def alignment(self) -> list[Row]:
        """Return what is leaked, used and predicted for every size and seed."""
        sizes, seeds = self._sweep.sizes, self._setting.seeds
        key = {**self._setting.public_key(self.source, self.target), "sizes": list(sizes), "seeds": seeds}
        return self._store.rows(
            "leakage-alignment", key, lambda: [self._leak(size, seed) for size in sizes for seed in range(seeds)]
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

    def penalty(self) -> list[Row]:
        """Return what maps of the largest size use and predict under every penalty, for one draw."""
        size = self._sweep.sizes[-1]

        def compute() -> list[Row]:
            fitted = self._fit(size, 0)
            return [
                {
                    "rows": size, "share": share, "leaked": fitted.leaked,
                    "used": fitted.used(share), "held_out": self._unseen(fitted, size, 0, share),
                }
                for share in PENALTIES
            ]  # fmt: skip

        key = {**self._setting.public_key(self.source, self.target), "size": size, "penalties": list(PENALTIES)}
        return self._store.rows("leakage-penalty", key, compute)

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
        return self._public_fit.map(self._setting.map)
