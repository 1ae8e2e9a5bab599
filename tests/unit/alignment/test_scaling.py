"""Deviations divide embeddings, so none may be zero, or so small that what it divides is noise."""

from __future__ import annotations

import numpy as np
import pytest

from securealign.alignment.scaling import deviations, floored


@pytest.mark.parametrize(
    ("deviation", "expected"),
    [
        ([1, 2, 3], [1, 2, 3]),
        ([1, 1, 1, 4e-6], [1, 1, 1, 1e-3]),
        ([1, 1, 100, 0], [1, 1, 100, 1e-3]),
        ([0, 0, 0, 2, 4], [3e-3, 3e-3, 3e-3, 2, 4]),
        ([0, 0], [1, 1]),
        ([1e-30, 1e-30], [1e-30, 1e-30]),
    ],
    ids=["ordinary", "nearly dead", "dead", "most are dead", "all are dead", "small"],
)
def test_a_deviation_is_at_least_a_thousandth_of_the_median(deviation, expected):
    given = np.array(deviation, dtype=np.float64)
    kept = given.copy()
    np.testing.assert_allclose(floored(given), expected)
    np.testing.assert_array_equal(given, kept)


def test_deviations_follow_the_unit_of_the_rows():
    rows = np.random.default_rng(0).normal(size=(50, 4))
    rows[:, 2] = 3
    np.testing.assert_allclose(deviations(1e-9 * rows), 1e-9 * deviations(rows))


def test_constant_dimensions_stay_constant_where_most_are():
    rows = np.tile([0.1, 0.7, 1e3 / 7, 0.0], (30, 1))
    rows[:, 3] = np.random.default_rng(0).normal(size=30)
    spread = rows[:, 3].std()
    np.testing.assert_allclose(deviations(rows), spread * np.array([1e-3, 1e-3, 1e-3, 1]))
