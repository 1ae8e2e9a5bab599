"""The circuit in clear is the first largest number, for all sizes, ties, signs and shares."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.labels import as_numbers, expected, spread
from support.tiers import quick

from securealign.he.labels.circuits import Bits, counts, label

SIZES = [(16, 1), (16, 2), (16, 4), (20, 4), (9, 4), (12, 4)]


def run(
    differences: np.ndarray, bits: int, segments: int, buckets: int, shares: np.ndarray | None = None
) -> np.ndarray:
    """Labels and thresholds exceeded of numbers (m, slots) under random shares of the client."""
    if shares is None:
        shares = np.random.default_rng(0).integers(0, 1 << bits, differences.shape)
    wires = np.stack([spread((differences - shares) % (1 << bits), bits), spread(shares, bits)])
    circuit = Bits(differences.shape[1])
    outputs = label(circuit, wires, len(differences) + 1 - buckets, segments, buckets)
    size = counts(bits, len(differences) + 1 - buckets, segments, buckets)
    assert (tuple(circuit.layers), sum(circuit.layers), len(outputs)) == size
    return as_numbers(outputs.T, buckets)


@pytest.mark.parametrize("classes", quick(range(2, 41), (2, 3, 4, 5, 8, 9, 17, 33)))
def test_ties_signs_and_ends_of_the_range(classes):
    random = np.random.default_rng(classes)
    for bits, segments in SIZES:
        for buckets in (0, 1, 3):
            top, rows = 1 << (bits - 1), classes - 1 + buckets
            numbers = np.hstack(
                [
                    random.integers(-top, top, (rows, 60)),
                    random.integers(-1, 2, (rows, 60)),
                    -random.integers(0, 3, (rows, 30)),
                    random.choice([-top, top - 1, 0, -1], (rows, 30)),
                    np.full((rows, 1), -top),
                    np.zeros((rows, 1), dtype=np.int64),
                ]
            )
            assert (run(numbers, bits, segments, buckets) == expected(numbers, buckets)).all()


@settings(max_examples=40)
@given(st.integers(2, 40), st.integers(8, 24), st.sampled_from([1, 2, 4]), st.integers(0, 3), st.integers(0, 2**32 - 1))
def test_any_size(classes, bits, segments, buckets, seed):
    random = np.random.default_rng(seed)
    numbers = random.integers(-4, 5, (classes - 1 + buckets, 8)) * 3
    shares = random.integers(0, 1 << bits, numbers.shape)
    assert (run(numbers, bits, segments, buckets, shares) == expected(numbers, buckets)).all()


def test_every_share_gives_the_same_label():
    numbers = np.repeat(np.array([[2], [-3], [2], [1]]), 512, axis=1)
    shares = np.tile(np.arange(512), (4, 1))
    assert (run(numbers, 9, 2, 1, shares) == expected(numbers, 1)).all()


def test_a_number_beyond_the_range_wraps():
    numbers = np.array([[1 << 15, (1 << 15) - 1]])
    assert (run(numbers, 16, 4, 0)[:, 0] == [1, 0]).all()


def test_sizes_are_those_of_the_specification():
    sizes = (2, 6, 20, 77, 150)
    assert [counts(16, classes, 4, 0).gates for classes in sizes] == [15, 246, 1101, 4578, 9033]
    assert [counts(16, classes, 1, 0).gates for classes in sizes] == [15, 194, 867, 3603, 7109]
