"""One setting: its shadow maps, what the attacks make of them, and what differential privacy promises."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np

from securealign.commands import Report
from securealign.lab.experiments.membership.observe import Observer
from securealign.lab.experiments.membership.private import DELTA, PrivateRows, PrivateTexts, noise_plan
from securealign.lab.experiments.membership.setting import Plan, Setting
from securealign.lab.experiments.membership.shadow import (
    ClearShadows,
    Material,
    Shadows,
    draw_members,
    shuffle_members,
)
from securealign.lab.experiments.store import Row
from securealign.protocol.policy.privacy import Privacy


def attack_setting(material: Material, setting: Setting, plan: Plan, report: Report) -> list[Row]:
    """Return a row for each epsilon and attack; `report` receives how many of the shadow maps are done."""
    random = np.random.default_rng([plan.seed, setting.rows, setting.shots])
    # The bound of differential privacy is one for members that say nothing about each other.
    members = draw_members(plan.maps_of(setting), 2 * setting.shots, random, exact=setting.unit == "text")
    shadows = _shadows(material, setting, plan)
    exact = not setting.epsilons
    rank = int(members.sum(axis=1).max())
    observers = [Observer(material, shadows, rank, plan.seed, exact=exact) for _ in setting.epsilons or (None,)]
    for done, weights in enumerate(shadows.maps(members)):
        report(done, len(members))
        for observer, affine in zip(observers, weights, strict=True):
            observer.see(affine)
    report(len(members), len(members))
    labels = shuffle_members(members, random) if setting.shuffled else members
    found = []
    for epsilon, observer in zip(setting.epsilons or (None,), observers, strict=True):
        head = {
            "unit": setting.unit,
            "rows": len(material.public_source),
            "shots": setting.shots,
            "penalty": setting.penalty,
            "epsilon": epsilon,
            "maps": len(members),
            "targets": members.shape[1],
            "bound": _bound(setting, epsilon),
            **observer.fit(members),
        }
        found += [{**head, **row} for row in observer.rows(labels, plan.folds, plan.seed)]
    return found


def _shadows(material: Material, setting: Setting, plan: Plan) -> Shadows:
    penalty = material.penalty(setting.penalty)
    public = len(material.public_source)
    if setting.unit == "row":
        plans = [noise_plan(material, epsilon, public + 2 * setting.shots) for epsilon in setting.epsilons]
        return PrivateRows(material, penalty, plans[0] if plans else None, plan.seed)
    if setting.epsilons:
        plans = [noise_plan(material, epsilon, public + setting.shots) for epsilon in setting.epsilons]
        return PrivateTexts(material, penalty, plans, plan.seed)
    return ClearShadows(material, penalty)


def _bound(setting: Setting, epsilon: float | None) -> float | None:
    """Return the accuracy that no observer exceeds, where differential privacy says so: Phi(mu / 2)."""
    if setting.unit != "row" or epsilon is None:
        return None
    mu = 1 / Privacy(epsilon=epsilon, delta=DELTA, max_epsilon=epsilon).noise_multiplier
    return NormalDist().cdf(mu / 2)
