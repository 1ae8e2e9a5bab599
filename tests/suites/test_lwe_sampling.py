"""Secrets, errors and floods have exactly the distributions the security estimate assumes."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from scipy import stats
from support.entropy import ScriptedEntropy, SeededEntropy

from securealign.he.entropy import SystemEntropy, keystream
from securealign.he.lwe import sampling

TAIL = len(sampling.LOWER_CUMULATIVE)
BOUNDARIES = [*sampling.LOWER_CUMULATIVE, *(2**64 - value for value in reversed(sampling.LOWER_CUMULATIVE))]
#: A seeded test fails always or never; the level only says how unlucky a seed would have to be.
SMALLEST_P = 1e-3


def test_gaussian_table_is_the_distribution_function_at_64_bits():
    with mpmath.workdps(60):
        width = mpmath.mpf("3.19")
        exact = [int(mpmath.nint(mpmath.ncdf((x + mpmath.mpf("0.5")) / width) * 2**64)) for x in range(-TAIL, 0)]
    assert exact == list(sampling.LOWER_CUMULATIVE)


def test_gaussian_samples_follow_the_exact_distribution():
    count = 400_000
    samples = sampling.gaussian(SeededEntropy(b"gaussian"), (400, 1000))
    assert samples.shape == (400, 1000)
    probabilities = np.diff([0, *BOUNDARIES, 2**64]).astype(np.float64) / 2**64
    observed = np.bincount(samples.ravel().astype(np.int64) + TAIL, minlength=2 * TAIL + 1)
    expected = probabilities * count
    usual = expected >= 5
    assert usual.sum() > 20
    observed = np.append(observed[usual], observed[~usual].sum())
    expected = np.append(expected[usual], expected[~usual].sum())
    assert stats.chisquare(observed, expected * observed.sum() / expected.sum()).pvalue > SMALLEST_P


@pytest.mark.parametrize("offset", [0, -1])
def test_gaussian_changes_its_value_exactly_at_the_boundaries(offset):
    draws = [boundary + offset for boundary in BOUNDARIES]
    # Each draw lies in a cell of the first 16 bits that a boundary divides, so the rest is asked for.
    first = np.array([draw >> 48 for draw in draws], dtype="<u2").tobytes()
    rest = np.array([draw % 2**48 + (7 << 48) for draw in draws], dtype="<u8").tobytes()
    samples = sampling.gaussian(ScriptedEntropy(first, rest), (1, len(draws)))
    assert samples.ravel().tolist() == [index - TAIL + 1 + offset for index in range(len(draws))]


def test_one_gaussian_in_a_thousand_needs_more_than_16_bits():
    cells = np.arange(1 << 16, dtype="<u2")
    divided = {boundary >> 48 for boundary in BOUNDARIES}
    entropy = ScriptedEntropy(cells.tobytes(), bytes(8 * len(divided)))
    samples = sampling.gaussian(entropy, (1, 1 << 16)).ravel()
    assert len(divided) < 65
    assert (np.diff(samples.astype(np.int64)) >= 0).all()


def test_gaussian_has_the_width_and_no_bias():
    samples = sampling.gaussian(SeededEntropy(b"moments"), (1000, 1000)).astype(np.float64)
    assert abs(samples.mean()) < 5 * 3.2 / 1000
    assert samples.var() == pytest.approx(3.19**2 + 1 / 12, rel=0.01)


def test_every_byte_but_255_stands_for_a_ternary_value_and_each_value_for_85_bytes():
    count = 255
    script = np.arange(256, dtype=np.uint8)[::-1].tobytes()
    values = sampling.ternary(ScriptedEntropy(script + bytes(count + count // 128 + 16 - 256)), (count, 1))
    assert np.bincount(values.ravel() + 1).tolist() == [85, 85, 85]


def test_rejected_bytes_are_drawn_again():
    first = bytes([255] * 17 + [0, 2])
    second = bytes([255, 1] + [0] * 15)
    assert sampling.ternary(ScriptedEntropy(first, second), (3, 1)).ravel().tolist() == [-1, 1, 0]


def test_ternary_samples_are_uniform():
    values = sampling.ternary(SeededEntropy(b"ternary"), (300, 1000))
    assert stats.chisquare(np.bincount(values.ravel() + 1)).pvalue > SMALLEST_P


@pytest.mark.parametrize("bits", [0, 1, 40, 61, 62])
def test_flood_fills_its_range_and_never_leaves_it(bits):
    lowest = sampling.flood(ScriptedEntropy(bytes(8)), (1, 1), bits)
    highest = sampling.flood(ScriptedEntropy(bytes([255] * 8)), (1, 1), bits)
    assert (lowest.item(), highest.item()) == (-(1 << bits), (1 << bits) - 1)


def test_flood_is_uniform_at_both_ends_of_its_bits():
    values = sampling.flood(SeededEntropy(b"flood"), (100, 1000), 61) + (1 << 61)
    for bucket in (values >> 58, values & 15):
        assert stats.chisquare(np.bincount(bucket.ravel())).pvalue > SMALLEST_P


@pytest.mark.parametrize("count", [0, 1, 16, 1024, 1025, 5000])
def test_system_entropy_returns_what_was_asked_and_never_the_same(count):
    entropy = SystemEntropy()
    first, second = entropy.octets(count), entropy.octets(count)
    assert first.shape == second.shape == (count,)
    assert count < 16 or first.tobytes() != second.tobytes()


def test_keystream_can_be_read_from_any_block():
    key = bytes(range(32))
    whole = keystream(key, 200)
    assert (keystream(key, 100, offset=48) == whole[48:148]).all()
    with pytest.raises(ValueError, match="multiple of the block size"):
        keystream(key, 16, offset=8)
