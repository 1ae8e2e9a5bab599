"""How often an attack is right, with intervals of 95 % over targets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit
from sklearn.metrics import auc, roc_curve

from securealign.lab.experiments.membership.attack import BoolArray, IntArray
from securealign.lab.experiments.store import Row
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


def evaluate(scores: FloatMatrix, members: BoolArray, folds: IntArray, seed: int) -> Row:
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


def ranking(scores: FloatMatrix, members: BoolArray, seed: int) -> tuple[Estimate, Estimate]:
    """Return AUROC and the rate of right alarms at 1 % of false ones, pooled over targets.

    Intervals are percentiles of a bootstrap that draws targets, with all their maps.
    """
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
