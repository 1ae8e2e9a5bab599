"""The owner of the key regresses the noise of ten thousand answers on errors it knows, to find the head in it.

The noise U E + R E' - E1 S holds U, and E is the client's own. Without the flood the head is read off; under it
neither the head, nor the norm of a class, nor which of two heads answered.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from support.lwe_attacks import SMALLEST_P, Residuals, random_head, without_flooding
from support.toy import TOY

from securealign.he.lwe.parameters import LWE_128, STATISTICAL_BITS

ANSWERS = 10_000


@pytest.fixture(scope="module")
def unprotected():
    with pytest.MonkeyPatch.context() as monkeypatch:
        without_flooding(monkeypatch)
        return Residuals(monkeypatch, *random_head(1), slots=ANSWERS)


@pytest.fixture(scope="module")
def protected():
    with pytest.MonkeyPatch.context() as monkeypatch:
        return Residuals(monkeypatch, *random_head(1), slots=ANSWERS)


def test_regression_reads_the_head_without_the_flood(unprotected):
    # To one part in a hundred; what is left is the noise R E', which more answers average away.
    error = np.abs(unprotected.regression() - unprotected.operand).max()
    assert error < 0.01 * np.abs(unprotected.operand).max()


def test_regression_reads_nothing_under_the_flood(protected):
    estimate = protected.regression()
    assert stats.pearsonr(estimate.ravel(), protected.operand.ravel()).pvalue > SMALLEST_P
    signs = (estimate > 0) == (protected.operand > 0)
    assert stats.binomtest(int(signs.sum()), signs.size).pvalue > SMALLEST_P


def test_the_spread_of_the_noise_shows_the_norm_of_a_class_without_the_flood(unprotected):
    norms = np.linalg.norm(unprotected.operand, axis=1)
    assert np.allclose(unprotected.noise.std(axis=1) / norms, 3.2, rtol=0.05)


def test_the_noise_of_every_class_is_uniform_under_the_flood(protected):
    width = 2.0**protected.plan.flood_bits
    for noise in protected.noise:
        assert stats.kstest(noise / width, "uniform", args=(-1, 2)).pvalue > SMALLEST_P
    # Neighbouring answers are as unrelated as distant ones.
    assert stats.pearsonr(protected.noise[:, 1:].ravel(), protected.noise[:, :-1].ravel()).pvalue > SMALLEST_P


@pytest.mark.parametrize("flooding", [False, True])
def test_noise_tells_two_heads_apart_only_without_the_flood(monkeypatch, flooding):
    if not flooding:
        without_flooding(monkeypatch)
    weight, bias = random_head(1)
    heads = np.hstack([weight * 0.01, weight]), np.hstack([bias * 0.01, bias])
    residuals = Residuals(monkeypatch, *heads, slots=400)
    pvalue = stats.ks_2samp(residuals.noise[:4].ravel(), residuals.noise[4:].ravel()).pvalue
    assert (pvalue > SMALLEST_P) == flooding


# What the planner promises, against what was measured.


@pytest.mark.thorough
@pytest.mark.parametrize(("parameters", "answers"), [(TOY, ANSWERS), (LWE_128, 100)], ids=["toy", "lwe-128"])
def test_the_flood_is_wider_than_any_noise_by_the_statistical_bits(monkeypatch, parameters, answers):
    without_flooding(monkeypatch)
    residuals = Residuals(monkeypatch, *random_head(1), slots=answers, parameters=parameters)
    plan = residuals.plan
    assert 2.0**plan.flood_bits >= 2.0**STATISTICAL_BITS * plan.noise_bound
    assert np.abs(residuals.noise).max() < plan.noise_bound
    # The bound is six standard deviations of the largest class, and no looser than rounding up to a power of two.
    assert 0.5 < residuals.noise.std(axis=1).max() / (plan.noise_bound / 6) < 1.05
    # Noise x moves a flood of half-width w by a statistical distance of |x| / 2w; its mean is what a proof counts.
    distance = np.abs(residuals.noise).mean() / 2.0 ** (plan.flood_bits + 1)
    assert distance < 2.0**-STATISTICAL_BITS / 12
