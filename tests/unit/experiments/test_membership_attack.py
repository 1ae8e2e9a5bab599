import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from securealign.lab.experiments.membership.attack import (
    SINGULAR_VALUES,
    fit_logistic,
    likelihood_scores,
    log_distances,
    log_residuals,
    logistic_scores,
    map_features,
)
from securealign.lab.experiments.membership.observe import evaluate, mean_interval, ranking
from securealign.lab.experiments.membership.shadow import draw_members, fold_numbers

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize("shape", [(7, 5), (5, 7), (80, 70)])
def test_features_are_those_of_the_singular_value_decomposition(shape):
    affine = RANDOM.normal(size=(shape[0] + 1, shape[1]))
    weight, features = affine[:-1], map_features(affine)
    singular = np.linalg.svd(weight, compute_uv=False)
    shares = singular / singular.sum()
    assert features[0] == pytest.approx(np.sqrt(np.sum(weight**2)))
    assert features[1] == pytest.approx(singular[0])
    assert features[2] == pytest.approx(np.exp(-np.sum(shares * np.log(shares))))
    assert features[3] == pytest.approx(np.linalg.norm(affine[-1]))
    rows = np.linalg.norm(weight, axis=1)
    assert features[4:8] == pytest.approx([rows.mean(), rows.std(), rows.min(), rows.max()])
    count = min(*shape, SINGULAR_VALUES)
    np.testing.assert_allclose(features[12 : 12 + count], singular[:count], rtol=1e-6)
    assert len(features) == 12 + SINGULAR_VALUES
    assert not features[12 + count :].any()


def test_residuals_are_those_of_the_affine_map():
    affine, source = RANDOM.normal(size=(4, 2)), RANDOM.normal(size=(5, 3))
    target = source @ affine[:-1] + affine[-1]
    target[0] += [3, 4]
    found = log_residuals(affine, source, target)
    assert found[0] == pytest.approx(np.log(25))
    assert (found[1:] < -50).all()


@pytest.mark.parametrize("exact", [True, False])
def test_distances_vanish_for_rows_that_the_deviation_is_made_of(exact):
    rows = RANDOM.normal(size=(8, 20))
    projection = RANDOM.normal(size=(20, 20))
    deviation = np.linalg.solve(projection, rows[:4].T @ RANDOM.normal(size=(4, 9)))
    found = log_distances((projection, deviation), rows, 4, RANDOM, exact=exact)
    assert (found[:4] < -30).all()
    assert (found[4:] > -2).all()


def test_logistic_regressions_are_those_of_scikit_learn():
    features = RANDOM.normal(size=(60, 8))
    labels = RANDOM.random((60, 3)) < 1 / (1 + np.exp(-2 * features[:, :3]))
    found = fit_logistic(features, labels)
    for target in range(3):
        model = LogisticRegression(tol=1e-8).fit(features, labels[:, target])
        np.testing.assert_allclose(found[:-1, target], model.coef_[0], atol=2e-3)
        assert found[-1, target] == pytest.approx(model.intercept_[0], abs=2e-3)


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.thorough
def test_scores_tell_members_if_and_only_if_statistics_do(told):
    members = draw_members(80, 20, RANDOM, exact=True)
    folds = fold_numbers(80, 4)
    statistics = RANDOM.normal(size=members.shape) - 4 * told * members
    features = RANDOM.normal(size=(80, 25))
    features[:, :20] += 4 * told * members
    features[:, 24] = 3.0
    for scores in (likelihood_scores(statistics, members, folds), logistic_scores(features, members, folds)):
        found = evaluate(scores, members, folds, 0)
        if told:
            assert found["accuracy low"] > 0.8
            assert found["AUROC low"] > 0.9
            assert found["TPR low"] > 0.3
        else:
            assert found["accuracy low"] < 0.5 < found["accuracy high"] + 0.02
            assert found["TPR"] < 0.1


def test_a_statistic_that_never_varies_says_nothing():
    members = draw_members(8, 4, RANDOM, exact=True)
    scores = likelihood_scores(np.zeros(members.shape), members, fold_numbers(8, 2))
    np.testing.assert_array_equal(scores, np.zeros(members.shape))
    area, alarms = ranking(scores, members, 0)
    assert (area.value, alarms.value) == (0.5, 0.0)


def test_the_ranking_is_that_of_all_pairs():
    members = draw_members(10, 6, RANDOM, exact=True)
    scores = np.round(RANDOM.normal(size=members.shape) + members, 1)
    area, alarms = ranking(scores, members, 0)
    inside, outside = scores[members], scores[~members]
    differences = inside[:, None] - outside
    assert area.value == pytest.approx(np.mean(differences > 0) + np.mean(differences == 0) / 2)
    assert alarms.value == pytest.approx(np.mean(inside > outside.max()))
    assert area.low < area.value < area.high


def test_intervals_of_means_hold_the_mean_in_95_of_100_cases():
    held = 0
    for _ in range(400):
        found = mean_interval(RANDOM.normal(size=6))
        held += found.low < 0 < found.high
    assert 0.92 < held / 400 < 0.98
