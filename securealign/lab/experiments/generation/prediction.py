"""The cells of next-token prediction: native models, and each pair at each depth."""

from collections.abc import Iterator
from dataclasses import asdict
from functools import cached_property, partial
from typing import Any

import numpy as np

from securealign.alignment.maps import AlignmentMap
from securealign.lab.experiments.generation.setting import GenerationConfig, Pair
from securealign.lab.experiments.run import Cell, Row
from securealign.lab.generation.causal import POST_NORM
from securealign.lab.generation.fitting import FitSettings, PairedStates, Stitch, map_key, paired_states
from securealign.lab.generation.scoring import Predictions, predict, predict_mapped, score, score_native
from securealign.lab.measures.fits import explained

PAIRED, EXACT = "paired", "exact"
FITTED, SHUFFLED = "fitted", "shuffled"


def native_cell(config: GenerationConfig, name: str) -> Cell:
    """Return how a model predicts the test passages by itself, token by token."""
    model = config.opened[name]

    def compute() -> list[Row]:
        scores = score_native(model, config.passages.test, count=config.test, max_tokens=config.max_tokens)
        facts = {fact: getattr(model, fact) for fact in ("parameters", "layers", "dimension", "vocabulary")}
        return [{"model": name, **facts, **asdict(scores), "bits_per_character": scores.bits_per_character}]

    key = {"what": "native", "model": model.fingerprint, "texts": config.test_digest, "count": config.test}
    whole = {**key, "name": name, "max_tokens": config.max_tokens}
    return Cell(table="models", names={}, key=whole, compute=compute, kept="")


class PairScorer:
    """Scores the maps of one pair; states and the target's own predictions are worked out once, and only if needed."""

    def __init__(
        self,
        config: GenerationConfig,
        pair: Pair,
        maps: dict[tuple[Stitch, FitSettings], AlignmentMap],
    ) -> None:
        self._config, self._maps = config, maps
        self._source, self._target = (config.opened[name] for name in pair)
        self._stitches = config.stitches(pair)

    def cells(self) -> Iterator[Cell]:
        """Yield the scores of every map of the pair, and of the usual one with its rows shuffled."""
        usual, other = self._config.fits
        jobs = [(stitch, usual, FITTED) for stitch in self._stitches]
        jobs += [(self._stitches[0], other, FITTED), (self._stitches[0], usual, SHUFFLED)]
        return (self._cell(*job) for job in jobs)

    def _cell(self, stitch: Stitch, fit: FitSettings, kind: str) -> Cell:
        # Depths and the control differ by so much that fewer positions show it.
        many = stitch == self._stitches[0] and kind == FITTED
        count = self._config.test if many else self._config.sweep
        key: dict[str, Any] = {
            "what": "scores",
            "map": map_key(self._config.opened, stitch, self._config.train_digest, fit),
            "names": [stitch.source, stitch.target],
            "kind": kind,
            "texts": self._config.test_digest,
            "count": count,
            "sizes": [self._config.test, self._config.max_tokens],
        }
        compute = partial(self._compute, stitch, fit, kind, count)
        return Cell(table="scores", names={}, key=key, compute=compute, kept="")

    def _compute(self, stitch: Stitch, fit: FitSettings, kind: str, count: int) -> list[Row]:
        alignment = self._maps[stitch, fit]
        if kind == SHUFFLED:
            order = np.random.default_rng(self._config.seed).permutation(len(alignment.weight))
            alignment = AlignmentMap(alignment.weight[order], alignment.bias)
        pairs = _first(self._states, count)
        source, target = pairs.source[stitch.depth], pairs.target[stitch.landing]
        mapped, r2 = predict_mapped(self._target, alignment, pairs, depth=stitch.depth, landing=stitch.landing)
        native = Predictions(self._native.nll[:count], self._native.best[:count])
        rows = []
        for positions, kept in ((PAIRED, np.ones(len(pairs), dtype=bool)), (EXACT, pairs.exact)):
            if kept.any():
                ours, own = (score(one, native, pairs.following, kept) for one in (mapped, native))
                compared = {
                    f"{measure}_{side}": getattr(found, measure)
                    for measure in ("nll", "perplexity", "top1")
                    for side, found in (("native", own), ("mapped", ours))
                }
                rows.append(
                    {
                        **asdict(stitch),
                        "penalty": str(fit.ridge),
                        "map": kind,
                        "fitted_on": int(alignment.metadata.get("rows", fit.pairs)),
                        "positions": positions,
                        "count": ours.positions,
                        "r2": r2 if positions == PAIRED else explained(target[kept], alignment.apply(source[kept])),
                        **compared,
                        "agreement": ours.agreement,
                    }
                )
        return rows

    @cached_property
    def _states(self) -> PairedStates:
        depths = list(dict.fromkeys(stitch.depth for stitch in self._stitches))
        landings = list(dict.fromkeys(stitch.landing for stitch in self._stitches))
        return paired_states(
            self._source,
            self._target,
            (depths, landings),
            self._config.passages.test,
            count=self._config.test,
            max_tokens=self._config.max_tokens,
        )

    @cached_property
    def _native(self) -> Predictions:
        return predict(self._target, self._states.target[POST_NORM], self._states.following)


def _first(pairs: PairedStates, count: int) -> PairedStates:
    return PairedStates(
        {depth: rows[:count] for depth, rows in pairs.source.items()},
        {depth: rows[:count] for depth, rows in pairs.target.items()},
        pairs.following[:count],
        pairs.exact[:count],
    )
