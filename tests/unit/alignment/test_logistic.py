"""The penalty of a head chooses itself from texts that are held out, whatever few texts there are."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from support.tiers import first_quick

from securealign.alignment.logistic import GRID, USUAL, choose_inverse_penalty, fit_logistic


def clouds(rows, classes, dimensions=10, noise=1.0, seed=0):
    """Return rows around one centre for each class, and their labels."""
    random = np.random.default_rng(seed)
    labels = np.arange(rows) % classes
    return random.normal(size=(classes, dimensions))[labels] + noise * random.normal(size=(rows, dimensions)), labels


def test_a_regression_on_few_rows_is_the_one_in_all_dimensions():
    rows, labels = clouds(30, 3, dimensions=100)
    scaler = StandardScaler().fit(rows)
    model = LogisticRegression(C=0.1, max_iter=5000).fit(scaler.transform(rows), labels)
    scores = fit_logistic(rows, labels, 0.1)
    unseen = clouds(200, 3, dimensions=100, seed=1)[0]
    expected = model.decision_function(scaler.transform(unseen))
    np.testing.assert_allclose(unseen @ scores.weight + scores.bias, expected, atol=1e-6)


def test_noise_asks_for_a_stronger_penalty():
    chosen = [choose_inverse_penalty(*clouds(300, 4, 60, noise)).inverse_penalty for noise in (8.0, 1.0)]
    assert chosen[0] < chosen[1]
    assert set(chosen) <= set(GRID)


def test_few_rows_that_tell_nothing_leave_the_usual_penalty():
    rows, labels = clouds(60, 4, 200, noise=1000.0)
    choice = choose_inverse_penalty(rows, labels)
    assert choice.inverse_penalty == USUAL
    assert choice.accuracy == pytest.approx(1 / 4, abs=0.15)


def test_a_rare_class_is_not_given_up_for_small_weights():
    rows, labels = clouds(400, 20, noise=0.3)
    rare = (labels == 0).astype(int)
    choice = choose_inverse_penalty(rows, rare)
    scores = fit_logistic(rows, rare, choice.inverse_penalty)
    told = (rows @ scores.weight + scores.bias).argmax(axis=1)
    assert np.mean(told[rare == 1]) > 0.8


def test_more_rows_than_are_needed_choose_by_a_part_of_them(monkeypatch):
    rows, labels = clouds(600, 3, noise=2.0)
    everything = choose_inverse_penalty(rows, labels)
    monkeypatch.setattr("securealign.alignment.logistic._MOST", 300)
    assert choose_inverse_penalty(rows, labels).accuracy == pytest.approx(everything.accuracy, abs=0.1)


def test_the_accuracy_is_that_of_unseen_rows():
    rows, labels = clouds(400, 3, 20, 3.0)
    choice = choose_inverse_penalty(rows[:200], labels[:200])
    scores = fit_logistic(rows[:200], labels[:200], choice.inverse_penalty)
    told = scores.classes[(rows[200:] @ scores.weight + scores.bias).argmax(axis=1)]
    assert choice.accuracy == pytest.approx(np.mean(told == labels[200:]), abs=0.08)


def test_labels_that_mean_nothing_are_not_told():
    rows, labels = clouds(300, 3, 40)
    shuffled = np.random.default_rng(1).permutation(labels)
    assert choose_inverse_penalty(rows, shuffled).accuracy == pytest.approx(1 / 3, abs=0.1)


def test_the_choice_is_the_same_every_time():
    rows, labels = clouds(100, 4, noise=2.0)
    assert choose_inverse_penalty(rows, labels) == choose_inverse_penalty(rows, labels)


@pytest.mark.parametrize("classes", [2, 5, 40])
def test_one_row_for_each_class_leaves_the_usual_penalty(classes):
    assert choose_inverse_penalty(*clouds(classes, classes)) == (USUAL, None)


@pytest.mark.parametrize("counts", first_quick([[30, 1], [30, 2, 1], [4, 4], [2] * 20, [50, *[1] * 30]], 3))
def test_classes_of_fewer_rows_than_folds_take_part(counts):
    labels = np.repeat(np.arange(len(counts)), counts)
    rows = clouds(len(labels), 2)[0] + labels[:, None]
    choice = choose_inverse_penalty(rows, labels)
    assert choice.inverse_penalty in GRID
    assert choice.accuracy is not None


def test_a_class_of_one_row_is_never_told_when_held_out():
    labels = np.repeat(np.arange(11), [10] + [1] * 10)
    rows = 100.0 * labels[:, None] + np.random.default_rng(0).normal(size=(20, 3))
    assert choose_inverse_penalty(rows, labels).accuracy <= 0.5


def test_the_choice_does_not_depend_on_units_or_offsets():
    rows, labels = clouds(120, 3, noise=3.0)
    moved = rows * np.logspace(-3, 3, rows.shape[1]) + 1000
    assert choose_inverse_penalty(rows, labels).inverse_penalty == choose_inverse_penalty(moved, labels).inverse_penalty
