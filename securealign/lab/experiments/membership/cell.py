"""One setting: its shadow maps, what the attacks make of them, and what differential privacy promises."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np

from securealign.commands import Progress
from securealign.lab.experiments.membership.observe import Observer
from securealign.lab.experiments.membership.private import DELTA, PrivateRows, PrivateTexts, noise_plan
from securealign.lab.experiments.membership.setting import AttackConfig, SweepPlan
from securealign.lab.experiments.membership.shadow import (
    ClearShadows,
    Material,
    Shadows,
    draw_members,
    shuffle_members,
)
from securealign.lab.experiments.store import Row
from securealign.protocol.policy.privacy import Privacy


def attack_setting(material: Material, config: AttackConfig, plan: SweepPlan, report: Progress) -> list[Row]:
    """Return a row for each epsilon and attack; `report` receives how many of the shadow maps are done."""
    random = np.random.default_rng([plan.seed, config.rows, config.shots])
    # The bound of differential privacy holds for members that are drawn independently of each other.
    members = draw_members(plan.maps_of(config), 2 * config.shots, random, exact=config.unit == "text")
    shadows = _shadows(material, config, plan)
    exact = not config.epsilons
    rank = int(members.sum(axis=1).max())
    observers = [Observer(material, shadows, rank, plan.seed, exact=exact) for _ in config.epsilons or (None,)]
    for done, weights in enumerate(shadows.maps(members)):
        report(done, len(members))
        for observer, affine in zip(observers, weights, strict=True):
            observer.see(affine)
    report(len(members), len(members))
    labels = shuffle_members(members, random) if config.shuffled else members
    found = []
    for epsilon, observer in zip(config.epsilons or (None,), observers, strict=True):
        head = {
            "unit": config.unit,
            "rows": len(material.public_source),
            "shots": config.shots,
            "penalty": config.penalty,
            "epsilon": epsilon,
            "maps": len(members),
            "targets": members.shape[1],
            "bound": _bound(config, epsilon),
            **observer.fit(members),
        }
        found += [{**head, **row} for row in observer.rows(labels, plan.folds, plan.seed)]
    return found


def _shadows(material: Material, config: AttackConfig, plan: SweepPlan) -> Shadows:
    penalty = material.penalty(config.penalty)
    public = len(material.public_source)
    if config.unit == "row":
        plans = [noise_plan(material, epsilon, public + 2 * config.shots) for epsilon in config.epsilons]
        return PrivateRows(material, penalty, plans[0] if plans else None, plan.seed)
    if config.epsilons:
        plans = [noise_plan(material, epsilon, public + config.shots) for epsilon in config.epsilons]
        return PrivateTexts(material, penalty, plans, plan.seed)
    return ClearShadows(material, penalty)


def _bound(config: AttackConfig, epsilon: float | None) -> float | None:
    """Return the accuracy that no observer exceeds, where differential privacy says so: Phi(mu / 2)."""
    if config.unit != "row" or epsilon is None:
        return None
    mu = 1 / Privacy(epsilon=epsilon, delta=DELTA, max_epsilon=epsilon).noise_multiplier
    return NormalDist().cdf(mu / 2)
