"""Scores of out-of-distribution texts, and the two figures that judge them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score, roc_curve

from securealign.errors import InputError
from securealign.lab.experiments.ood.measure import auroc, auroc_error, energy_score, fpr_at, msp_score

property_test = settings(deadline=None)
# Few different values, so that many are tied.
SCORES = st.lists(st.integers(-3, 3), min_size=1, max_size=40)


def joined(inside, outside):
    return np.r_[np.zeros(len(inside)), np.ones(len(outside))], np.r_[inside, outside]


@pytest.mark.thorough
@property_test
@given(SCORES, SCORES)
def test_the_area_is_that_of_scikit_learn(inside, outside):
    assert auroc(inside, outside) == pytest.approx(roc_auc_score(*joined(inside, outside)))
    assert auroc(inside, outside) + auroc(outside, inside) == pytest.approx(1.0)


@property_test
@given(SCORES, SCORES, st.sampled_from([0.5, 0.95, 1.0]))
def test_the_rate_is_the_best_on_the_curve_that_accepts_enough(inside, outside, accepted):
    truth, scores = joined(inside, outside)
    # scikit-learn's positive class is the one with the higher scores: here those in distribution.
    false, true, _ = roc_curve(1 - truth, -scores, drop_intermediate=False)
    assert fpr_at(inside, outside, accepted) == pytest.approx(false[true >= accepted - 1e-9].min())


def test_the_rate_by_hand():
    inside = np.arange(20)
    assert fpr_at(inside, [17.5, 18, 18.5, 30]) == 0.5  # 19 of 20 are accepted up to 18, and 18 is on the threshold
    assert fpr_at(inside, inside + 100.0) == 0.0
    assert fpr_at(inside, inside - 100.0) == 1.0


@property_test
@given(st.integers(0, 2**32 - 1), st.integers(2, 6))
def test_scores_are_their_definitions(seed, classes):
    logits = np.random.default_rng(seed).normal(scale=4, size=(10, classes))
    sums = np.exp(logits).sum(axis=1)
    np.testing.assert_allclose(energy_score(logits), -np.log(sums))
    np.testing.assert_allclose(msp_score(logits), -np.exp(logits.max(axis=1)) / sums)


def test_large_logits_do_not_overflow():
    logits = np.array([[1e4, -1e4], [-1e4, -2e4]])
    np.testing.assert_allclose(energy_score(logits), [-1e4, 1e4])
    np.testing.assert_allclose(msp_score(logits), [-1.0, -1.0])


@property_test
@given(st.integers(0, 2**32 - 1))
def test_energy_depends_on_the_level_of_logits_and_softmax_does_not(seed):
    logits = np.random.default_rng(seed).normal(size=(10, 3))
    np.testing.assert_allclose(energy_score(logits + 5), energy_score(logits) - 5)
    np.testing.assert_allclose(msp_score(logits + 5), msp_score(logits))


@pytest.mark.thorough
def test_the_standard_error_is_that_of_drawing_again():
    random = np.random.default_rng(0)
    areas = [auroc(random.normal(size=80), random.normal(loc=1.2, size=60)) for _ in range(400)]
    assert auroc_error(float(np.mean(areas)), 80, 60) == pytest.approx(np.std(areas), rel=0.2)
    assert auroc_error(1.0, 80, 60) == 0.0


@pytest.mark.parametrize(
    "call",
    [lambda: auroc([], [1.0]), lambda: auroc([1.0], [np.nan]), lambda: fpr_at([1.0], []), lambda: fpr_at([1], [1], 0)],
    ids=["no scores", "not a number", "nothing outside", "no share"],
)
def test_what_cannot_be_judged_is_an_input_error(call):
    with pytest.raises(InputError) as caught:
        call()
    assert caught.value.hint
