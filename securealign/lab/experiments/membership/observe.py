"""Observers of shadow maps: three attacks side by side, and how often each is right, with intervals of 95 %."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit
from sklearn.metrics import auc, roc_curve

from securealign.lab.experiments.membership import attack
from securealign.lab.experiments.membership.shadow import Material, Shadows, fold_numbers
from securealign.lab.experiments.run import Row
from securealign.matrices import FloatMatrix

CHANCE = 0.5
FALSE_ALARMS = 0.01
RESAMPLES = 200
_LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A value with the ends of its interval."""

    value: float
    low: float
    high: float

    def row(self, name: str) -> Row:
        """Return the columns of a table."""
        return {name: self.value, f"{name} low": self.low, f"{name} high": self.high}


def evaluate(scores: FloatMatrix, members: attack.BoolArray, folds: attack.IntArray, seed: int) -> Row:
    """Return accuracy, AUROC and the rate of right alarms at 1 % of false ones, each with its interval, of scores.

    `fold spread` is the standard deviation of one target's accuracy over folds, on average over targets.
    """
    right = (scores > 0) == members
    by_fold = np.stack([right[folds == fold].mean(axis=0) for fold in np.unique(folds)])
    area, alarms = ranking(scores, members, seed)
    return {
        **mean_interval(right.mean(axis=0)).row("accuracy"),
        "fold spread": float(by_fold.std(axis=0, ddof=1).mean()),
        **area.row("AUROC"),
        **alarms.row("TPR"),
    }


def mean_interval(values: npt.NDArray[np.float64]) -> Estimate:
    """Return the mean of one value for each target, with Student's interval."""
    mean = float(values.mean())
    half = float(stdtrit(len(values) - 1, (1 + _LEVEL) / 2) * values.std(ddof=1) / np.sqrt(len(values)))
    return Estimate(mean, mean - half, mean + half)


def ranking(scores: FloatMatrix, members: attack.BoolArray, seed: int) -> tuple[Estimate, Estimate]:
    """Return AUROC and right alarms at 1 % of false ones, pooled over targets, with a bootstrap that draws targets."""
    maps, targets = scores.shape

    def measured(weights: npt.NDArray[np.float64]) -> tuple[float, float]:
        false_rate, true_rate, _ = roc_curve(
            members.ravel(), scores.ravel(), sample_weight=np.tile(weights, maps), drop_intermediate=False
        )
        return float(auc(false_rate, true_rate)), float(true_rate[false_rate <= FALSE_ALARMS * (1 + 1e-9)][-1])

    random = np.random.default_rng(seed)
    drawn = random.multinomial(targets, np.full(targets, 1 / targets), size=RESAMPLES).astype(np.float64)
    resampled = np.array([measured(weights) for weights in drawn])
    low, high = np.quantile(resampled, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2], axis=0)
    area, alarms = measured(np.ones(targets))
    return Estimate(area, float(low[0]), float(high[0])), Estimate(alarms, float(low[1]), float(high[1]))


#: The attacks, and what their observers know besides the map and shadow maps of their own.
ATTACKS: Mapping[str, str] = {
    "features": "nothing: the paper's attack",
    "residual": "the candidate text, and both encoders",
    "span": "the candidate text, both encoders, the public texts and the ridge penalty",
}


class Observer:
    """Looks at maps of `rank` members, without noise if `exact`, and keeps what the three attacks need of each."""

    def __init__(self, material: Material, shadows: Shadows, rank: int, seed: int, *, exact: bool) -> None:
        self._material, self._shadows, self._rank, self._exact = material, shadows, rank, exact
        self._random = np.random.default_rng(seed)
        self._features: list[FloatMatrix] = []
        self._residuals: list[FloatMatrix] = []
        self._distances: list[FloatMatrix] = []

    def see(self, affine: FloatMatrix) -> None:
        """Look at one map (d_B + 1, d_A)."""
        shadows, material = self._shadows, self._material
        self._features.append(attack.map_features(affine))
        self._residuals.append(attack.log_residuals(affine, material.pool_source, material.pool_target))
        product = shadows.projection, affine - shadows.reference
        self._distances.append(
            attack.log_distances(product, shadows.directions, self._rank, self._random, exact=self._exact)
        )

    def rows(self, members: attack.BoolArray, folds: int, seed: int) -> list[Row]:
        """Return how often each attack is right about members (maps, pool).

        `plain AUROC` is that of a statistic by itself, the same threshold for all targets, without shadow maps.
        """
        numbers = fold_numbers(len(members), folds)
        scores = attack.logistic_scores(np.array(self._features), members, numbers)
        found: list[Row] = [{"attack": "features", **evaluate(scores, members, numbers, seed)}]
        for name, values in (("residual", self._residuals), ("span", self._distances)):
            statistics = np.array(values)
            scores = attack.likelihood_scores(statistics, members, numbers)
            plain, _ = ranking(-statistics, members, seed)
            found.append({"attack": name, **evaluate(scores, members, numbers, seed), **plain.row("plain AUROC")})
        return found

    def fit(self, members: attack.BoolArray) -> Row:
        """Return how well the maps fit texts: R^2 for the candidates left out, and what a member's residual shrinks to.

        The latter is the squared residual of a candidate when it is a member over that when it is not, on average.
        """
        logs = np.array(self._residuals)
        target = self._material.pool_target
        total = np.mean(np.sum((target - target.mean(axis=0)) ** 2, axis=1))
        inside = np.sum(logs * members, axis=0) / np.maximum(members.sum(axis=0), 1)
        outside = np.sum(logs * ~members, axis=0) / np.maximum((~members).sum(axis=0), 1)
        return {
            "R2": float(1 - np.mean(np.exp(logs[~members])) / total),
            "residual ratio": float(np.exp(np.mean(inside - outside))),
        }
