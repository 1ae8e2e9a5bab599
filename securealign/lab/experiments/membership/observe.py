"""Observers of shadow maps: three attacks on the same maps, scored side by side."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from securealign.lab.experiments.membership.attack import (
    BoolArray,
    likelihood_scores,
    log_distances,
    log_residuals,
    logistic_scores,
    map_features,
)
from securealign.lab.experiments.membership.interval import evaluate, ranking
from securealign.lab.experiments.membership.shadow import Material, Shadows, fold_numbers
from securealign.lab.experiments.store import Row
from securealign.matrices import FloatMatrix

#: The attacks, and what their observers know besides the map and shadow maps of their own.
ATTACKS: Mapping[str, str] = {
    "features": "nothing: the paper's attack",
    "residual": "the candidate text, and both encoders",
    "span": "the candidate text, both encoders, the public texts and the ridge penalty",
}


class Observer:
    """Looks at maps one after the other and keeps what the three attacks need of each.

    `rank` is how many members a map has, and `exact` says that it has no noise.
    """

    def __init__(self, material: Material, shadows: Shadows, rank: int, seed: int, *, exact: bool) -> None:
        self._material, self._shadows, self._rank, self._exact = material, shadows, rank, exact
        self._random = np.random.default_rng(seed)
        self._features: list[FloatMatrix] = []
        self._residuals: list[FloatMatrix] = []
        self._distances: list[FloatMatrix] = []

    def see(self, affine: FloatMatrix) -> None:
        """Look at one map (d_B + 1, d_A)."""
        shadows, material = self._shadows, self._material
        self._features.append(map_features(affine))
        self._residuals.append(log_residuals(affine, material.pool_source, material.pool_target))
        product = shadows.projection, affine - shadows.reference
        self._distances.append(log_distances(product, shadows.directions, self._rank, self._random, exact=self._exact))

    def rows(self, members: BoolArray, folds: int, seed: int) -> list[Row]:
        """Return how often each attack is right about members (maps, pool).

        `plain AUROC` is that of a statistic by itself, the same threshold for all targets, without shadow maps.
        """
        numbers = fold_numbers(len(members), folds)
        features = np.array(self._features)
        found: list[Row] = [
            {"attack": "features", **evaluate(logistic_scores(features, members, numbers), members, numbers, seed)}
        ]
        for attack, values in (("residual", self._residuals), ("span", self._distances)):
            statistics = np.array(values)
            scores = likelihood_scores(statistics, members, numbers)
            plain, _ = ranking(-statistics, members, seed)
            found.append({"attack": attack, **evaluate(scores, members, numbers, seed), **plain.row("plain AUROC")})
        return found

    def fit(self, members: BoolArray) -> Row:
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
