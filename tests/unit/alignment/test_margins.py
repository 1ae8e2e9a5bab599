"""Whether a label can be trusted: gaps between logits, and the error that encryption adds to them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from securealign.alignment.head import LinearHead
from securealign.alignment.margins import (
    DEVIATIONS,
    TOLERATED,
    expected_uncertain_share,
    gaps,
    head_norm,
    precision_warning,
    query_norms,
    uncertain_share,
    uneven_warning,
)

NUMBERS = st.floats(-1e6, 1e6, allow_subnormal=False)


@settings(deadline=None)
@given(st.lists(st.lists(NUMBERS, min_size=4, max_size=4), min_size=1, max_size=8))
def test_a_gap_is_the_difference_of_the_two_largest_logits(values):
    ordered = [sorted(row) for row in values]
    np.testing.assert_array_equal(gaps(np.array(values)), [row[-1] - row[-2] for row in ordered])


def test_a_single_class_is_never_uncertain():
    np.testing.assert_array_equal(gaps(np.zeros((3, 1))), np.inf)
    assert uncertain_share(np.zeros((3, 1)), np.full(3, 1e9)) == 0


def test_equal_logits_have_no_gap():
    np.testing.assert_array_equal(gaps(np.array([[1.0, 1.0, 0.0], [2.0, -1.0, 2.0]])), 0)


def test_labels_are_uncertain_whose_gap_is_below_six_deviations():
    logits = np.array([[0.0, 5.9], [0.0, 6.1], [0.0, 0.1], [0.0, 50.0]])
    assert DEVIATIONS == 6
    assert uncertain_share(logits, np.ones(4)) == 0.5
    assert uncertain_share(logits, np.array([1.0, 1.0, 0.01, 10.0])) == 0.5
    assert uncertain_share(logits, np.zeros(4)) == 0
    assert uncertain_share(np.zeros((0, 2)), np.zeros(0)) == 0


def test_noise_of_that_deviation_hardly_ever_changes_a_label_that_is_not_uncertain():
    random = np.random.default_rng(0)
    logits = random.normal(size=(200_000, 4))
    deviation = np.full(len(logits), 0.02)
    certain = gaps(logits) >= DEVIATIONS * deviation
    noisy = logits + random.normal(size=logits.shape) * deviation[:, None]
    differs = noisy.argmax(axis=1) != logits.argmax(axis=1)
    assert differs[~certain].mean() > 0.01
    assert differs[certain].mean() < 1e-5


def test_norms_count_the_constant_that_carries_the_bias():
    np.testing.assert_allclose(query_norms(np.array([[0.0, 0.0], [3.0, 4.0]])), [1.0, np.sqrt(26)])
    head = LinearHead(np.array([[3.0, 0.0], [4.0, 1.0]]), np.array([0.0, 12.0]), ("a", "b"))
    assert head_norm(head) == pytest.approx(np.sqrt(145))


def test_norms_of_single_precision_queries_do_not_overflow():
    assert query_norms(np.full((1, 4), 1e30, dtype=np.float32))[0] == pytest.approx(2e30)


@settings(deadline=None)
@given(st.floats(1e-3, 1e3), st.integers(0, 50))
def test_the_expected_share_does_not_depend_on_the_unit_of_the_head(factor, seed):
    random = np.random.default_rng(seed)
    head = LinearHead(random.normal(size=(5, 3)), random.normal(size=3), ("a", "b", "c"))
    scaled = LinearHead(factor * head.weight, factor * head.bias, head.class_names)
    rows = random.normal(size=(300, 5))
    assert expected_uncertain_share(head, rows, 1e-2) == expected_uncertain_share(scaled, rows, 1e-2)


def test_the_expected_share_grows_with_the_error_and_with_one_class_that_is_far_larger():
    random = np.random.default_rng(1)
    rows = random.normal(size=(2000, 5))
    head = LinearHead(random.normal(size=(5, 3)), random.normal(size=3), ("a", "b", "c"))
    shares = [expected_uncertain_share(head, rows, error) for error in (0.0, 1e-4, 1e-3, 1e-2, 1.0)]
    assert shares[0] == 0
    assert shares == sorted(shares)
    assert shares[-1] > 0.9
    far = LinearHead(head.weight, head.bias - np.array([0.0, 0.0, 1e4]), head.class_names)
    assert expected_uncertain_share(far, rows, 1e-4) > 10 * shares[1]


@pytest.mark.parametrize("share", [0.0, TOLERATED])
def test_few_uncertain_labels_are_passed_over(share):
    assert precision_warning(share) is None


def test_a_warning_names_the_share_and_what_helps():
    warning = precision_warning(0.083)
    assert warning.startswith("8.3% of the labels cannot be trusted")
    assert "output_bits" in warning
    assert "stronger penalty" in warning


def test_a_head_that_hangs_on_a_dimension_without_variance_is_pointed_out():
    weight = np.random.default_rng(3).normal(size=(20, 3))
    assert uneven_warning(LinearHead(weight, np.zeros(3), ("a", "b", "c"))) is None
    assert uneven_warning(LinearHead(np.zeros((20, 3)), np.zeros(3), ("a", "b", "c"))) is None
    # A scaler divides a column by its deviation, however small.
    weight[7] *= 1e30
    warned = uneven_warning(LinearHead(weight, np.zeros(3), ("a", "b", "c")))
    assert "1 of 20 dimensions" in warned
    assert "column 7" in warned
