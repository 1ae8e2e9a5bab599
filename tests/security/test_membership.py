"""Does a map tell which of the provider's texts it was made from? Attacks that must find out, and controls that cannot.

The provider's rows are of norm 1, the client's of 24 dimensions; half of the candidates are members of each shadow map.
"""

from __future__ import annotations

import numpy as np
import pytest

from securealign.lab.experiments.membership.attack import logistic_scores, map_features
from securealign.lab.experiments.membership.measure import AttackConfig, SweepPlan, attack_setting
from securealign.lab.experiments.membership.shadow import (
    ClearShadows,
    Material,
    draw_members,
    fold_numbers,
    shuffle_members,
)

D_B, D_A, POOL = 24, 20, 32
PLAN = SweepPlan(maps=80, private_maps=60)


def material(public: int, stretched: float = 1.0) -> Material:
    """Return rows of both parties, those of the first candidate as much longer."""
    random = np.random.default_rng(0)
    source = random.normal(size=(public + POOL, D_B))
    target = source @ random.normal(size=(D_B, D_A)) + 2 * random.normal(size=(public + POOL, D_A))
    target /= np.linalg.norm(target, axis=1, keepdims=True)
    source[public] *= stretched
    target[public] *= stretched
    return Material(source[:public], target[:public], source[public:], target[public:]).standardised()


def attacked(rows: Material, **setting: object):
    """Return what each attack finds."""
    chosen = AttackConfig(**{"rows": len(rows.public_source), "shots": POOL // 2, "penalty": 0.01, **setting})
    found = attack_setting(rows, chosen, PLAN, lambda done, total: None)
    return {row["attack"]: row for row in found}


@pytest.mark.thorough
def test_members_have_no_residual_where_rows_are_fewer_than_dimensions():
    found = attacked(material(6), penalty=1e-9)
    assert found["residual"]["accuracy"] > 0.99
    assert found["residual"]["residual ratio"] < 1e-6


@pytest.mark.thorough
def test_a_map_and_the_public_rows_tell_members_without_any_shadow_map():
    found = attacked(material(400))
    assert found["span"]["plain AUROC"] > 0.999


@pytest.mark.thorough
@pytest.mark.parametrize("public", [6, pytest.param(400, marks=pytest.mark.thorough)])
def test_nothing_is_found_about_members_that_have_been_shuffled(public):
    for row in attacked(material(public), shuffled=True).values():
        assert row["accuracy low"] - 0.01 < 0.5 < row["accuracy high"] + 0.01
        assert row["TPR"] < 0.05


def test_the_papers_features_tell_one_text_that_stands_out():
    members = draw_members(80, POOL, np.random.default_rng(0), exact=True)
    rows, folds = material(400, stretched=30.0), fold_numbers(80, 5)
    maps = ClearShadows(rows, rows.penalty(0.01)).maps(members)
    features = np.array([map_features(affine) for (affine,) in maps])
    accuracy = []
    for labels in (members, shuffle_members(members, np.random.default_rng(0))):
        scores = logistic_scores(features, labels, folds)
        accuracy.append(np.mean((scores > 0)[:, 0] == labels[:, 0]))
    assert accuracy[0] > 0.95
    assert accuracy[1] < 0.7


@pytest.mark.thorough
def test_differential_privacy_hides_a_row_of_the_provider_as_far_as_it_promises():
    rows = material(100)
    bare = attacked(rows, unit="row")
    noisy = attacked(rows, unit="row", epsilons=(0.5,))
    assert bare["residual"]["accuracy"] > 0.9
    for row in noisy.values():
        assert row["accuracy low"] < row["bound"] < 0.6


@pytest.mark.thorough
def test_differential_privacy_does_not_hide_that_the_client_added_a_text():
    """Outside the claim: the client's own row is in its Gram matrix, and so in how the noise is shaped."""
    found = attacked(material(8), epsilons=(0.5,), penalty=0.01)
    assert found["residual"]["accuracy low"] > 0.6
