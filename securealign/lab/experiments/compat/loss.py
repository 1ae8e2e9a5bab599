"""What a new task may lose, from the probes: the mean with a bootstrap interval, and a prediction interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

import numpy as np
from scipy.special import stdtrit

from securealign.lab.experiments.compat.probes import Probe

#: Probability that intervals are made for.
LEVEL = 0.95
_DRAWS = 4000


@dataclass(frozen=True, kw_only=True)
class ExpectedLoss:
    """Accuracy lost, as shares; below zero where the map gains."""

    probes: int
    mean: float
    #: Bootstrap over probes, and over the test texts of each: what the mean of such probes may be.
    low: float
    high: float
    #: Prediction interval for one more task like these (Student's t, k - 1 degrees); None with a single probe.
    new_low: float | None
    new_high: float | None


def expected_loss(probes: Sequence[Probe]) -> ExpectedLoss | None:
    """Return what probes say of the loss elsewhere; None without probes."""
    if not probes:
        return None
    losses = [probe.loss for probe in probes]
    low, high = _bootstrap(probes)
    new = _prediction(losses)
    return ExpectedLoss(
        probes=len(probes), mean=fmean(losses), low=low, high=high,
        new_low=new[0] if new else None, new_high=new[1] if new else None,
    )  # fmt: skip


def _bootstrap(probes: Sequence[Probe]) -> tuple[float, float]:
    random = np.random.default_rng(0)
    # A text counts +1 when only the provider's own embeddings get it right, -1 when only the mapped ones do; drawing
    # texts with replacement is drawing these counts.
    drawn = np.empty((_DRAWS, len(probes)))
    for column, probe in enumerate(probes):
        shares = np.array([probe.lost, probe.gained, probe.tests - probe.lost - probe.gained]) / probe.tests
        counts = random.multinomial(probe.tests, shares, size=_DRAWS)
        drawn[:, column] = (counts[:, 0] - counts[:, 1]) / probe.tests
    chosen = random.integers(len(probes), size=drawn.shape)
    means = np.take_along_axis(drawn, chosen, axis=1).mean(axis=1)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _prediction(losses: Sequence[float]) -> tuple[float, float] | None:
    count = len(losses)
    if count < 2:
        return None
    reach = float(stdtrit(count - 1, (1 + LEVEL) / 2)) * stdev(losses) * (1 + 1 / count) ** 0.5
    # Accuracies are shares, so that no loss lies outside.
    return max(-1.0, fmean(losses) - reach), min(1.0, fmean(losses) + reach)
