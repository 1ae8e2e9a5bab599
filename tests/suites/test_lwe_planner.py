"""The bit budget: what a plan promises holds for the worst data it admits, and what does not fit is refused."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.entropy import SeededEntropy
from support.pools import NONCE
from support.toy import TOY, TOY_76, ToySuite, predicted_error

from securealign.errors import ErrorCode, InputError, SuiteError
from securealign.he.blobs import HEADER_BYTES
from securealign.he.interface import CovarianceShape, HeadShape
from securealign.he.lwe import sampling
from securealign.he.lwe.parameters import LWE_128, LWE_128Q, STATISTICAL_BITS
from securealign.he.lwe.planner import MAX_RELATIVE_ERROR, MAX_TERMS, OPERAND_NORM, BitBudget
from securealign.he.lwe.products import OPERAND_NORM_LIMIT
from securealign.he.lwe.suite import LweSuite
from securealign.he.scales import largest_exponents

PLANS = [
    BitBudget(parameters, left=768, terms=terms, width=769)
    for parameters in (TOY, TOY_76, LWE_128, LWE_128Q)
    for terms in (1, 10_000, MAX_TERMS)
]


@pytest.mark.parametrize("plan", PLANS)
def test_product_noise_and_flood_stay_within_half_the_modulus(plan):
    rounded_message = plan.message_norm + math.sqrt(plan.terms) / 2
    largest = plan.operand_bound * rounded_message + plan.noise_bound + 2.0**plan.flood_bits
    assert largest < 2.0 ** (plan.parameters.log_q - 1)


@pytest.mark.parametrize("plan", PLANS)
def test_messages_fit_in_the_words_they_are_computed_in(plan):
    assert plan.message_norm + 2.0**40 < 2.0**63
    assert plan.flood_bits <= 62
    assert plan.operand_bound < OPERAND_NORM_LIMIT


@pytest.mark.parametrize("plan", PLANS)
def test_flood_is_wider_than_the_noise_by_the_statistical_bits(plan):
    assert 2.0**plan.flood_bits >= 2.0**STATISTICAL_BITS * plan.noise_bound
    assert plan.distance_bits == pytest.approx(STATISTICAL_BITS - math.log2(768 * 769))


def test_noise_bound_is_six_deviations_of_the_noise():
    plan = BitBudget(TOY, left=1, terms=50, width=1)
    random = np.random.default_rng(1)
    row = random.normal(size=50)
    row = np.rint(row * OPERAND_NORM / np.linalg.norm(row))
    samples, entropy = 20_000, SeededEntropy(b"noise")
    errors = sampling.gaussian(entropy, (samples, 50)) @ row
    # Every entry of R and S at its largest: the bound must not count on zeros.
    errors += sampling.gaussian(entropy, (samples, 2 * TOY.dimension)) @ np.ones(2 * TOY.dimension)
    assert errors.std() * 6 == pytest.approx(plan.noise_bound, rel=0.03)


@pytest.mark.parametrize("plan", PLANS)
def test_noise_bound_counts_all_three_errors(plan):
    # U E, R E' and E1 S, with S at its largest.
    squares = np.arange(-1024, 1024.0) ** 2
    norms = plan.operand_bound**2 + plan.parameters.dimension * (squares.mean() + 1)
    assert plan.noise_bound == pytest.approx(6 * math.sqrt((3.19**2 + 1 / 12) * norms), rel=1e-13)


@pytest.mark.parametrize(("log_q", "missing"), [(72, 4), (73, 3), (74, 2), (75, 1)])
def test_a_modulus_that_is_too_small_is_refused_and_the_missing_bits_are_named(log_q, missing):
    parameters = dataclasses.replace(TOY, log_q=log_q)
    with pytest.raises(SuiteError, match=f"about {missing} bits short") as refusal:
        BitBudget(parameters, left=1, terms=1, width=1)
    assert refusal.value.code is ErrorCode.PLAN_INFEASIBLE
    assert BitBudget(dataclasses.replace(TOY, log_q=log_q + missing), left=1, terms=1, width=1)


def test_more_rows_than_accumulators_hold_are_refused():
    with pytest.raises(SuiteError, match="exact accumulation"):
        BitBudget(LWE_128, left=1, terms=MAX_TERMS + 1, width=1)


def test_shipped_sets_lose_no_more_than_seventeen_bits():
    for parameters in (LWE_128, LWE_128Q):
        assert BitBudget(parameters, left=768, terms=10_000, width=769).relative_error < 2.0**-16
    assert BitBudget(TOY_76, left=1, terms=1, width=1).relative_error < MAX_RELATIVE_ERROR


def _just_above_a_power_of_two(matrix: np.ndarray, limit: float) -> np.ndarray:
    """Scale columns so that they use only half of their range: the scale is a power of two."""
    return matrix / np.linalg.norm(matrix, axis=0) * limit * (1 + 1e-6)


@pytest.mark.parametrize("parameters", [TOY, TOY_76], ids=lambda parameters: parameters.name)
@pytest.mark.parametrize("rows", [1, 50, 2500])
def test_the_promised_error_is_met_by_the_worst_data_and_not_exceeded(parameters, rows):
    random = np.random.default_rng(rows)
    plan = BitBudget(parameters, left=30, terms=rows, width=30)
    left = _just_above_a_power_of_two(random.normal(size=(rows, 30)), OPERAND_NORM)
    right = _just_above_a_power_of_two(random.normal(size=(rows, 30)), plan.message_norm)
    errors = ToySuite(parameters).covariance(left, right) - left.T @ right
    ratio = (errors / predicted_error(plan.relative_error, left, right)).std()
    # With a single row there is one rounding error per row of U, so its share of the deviation is a small sample.
    assert 0.8 < ratio < 1.1


@pytest.mark.parametrize("kind", ["normal", "sparse", "heavy tails", "constant"])
def test_the_promised_error_is_not_exceeded_whatever_the_data_look_like(kind):
    random = np.random.default_rng(3)
    shape = (200, 20)
    left, right = {
        "normal": lambda: random.normal(size=(2, *shape)),
        "sparse": lambda: random.normal(size=(2, *shape)) * (random.random((2, *shape)) < 0.02),
        "heavy tails": lambda: random.standard_cauchy(size=(2, *shape)),
        "constant": lambda: np.ones((2, *shape)),
    }[kind]()
    plan = BitBudget(TOY, left=20, terms=200, width=20)
    errors = ToySuite().covariance(left, right) - left.T @ right
    predicted = predicted_error(plan.relative_error, left, right)
    live = predicted > 0
    assert (np.abs(errors[~live]) < 1e-100).all()
    assert (errors[live] / predicted[live]).std() < 1.05
    assert np.abs(errors[live] / predicted[live]).max() < 5.5


@given(st.floats(1e-100, 1e100), st.floats(1, 2.0**62))
def test_exponents_are_the_largest_that_fit(norm, limit):
    exponent = int(largest_exponents(np.array([norm]), limit)[0])
    assert math.ldexp(norm, exponent) <= limit * (1 + 1e-12)
    assert math.ldexp(norm, exponent + 1) > limit * (1 - 1e-12)


def test_columns_of_zeros_have_the_largest_scale():
    assert largest_exponents(np.array([0.0, 1.0]), 4.0).tolist() == [450, 2]


@pytest.mark.parametrize("norm", [math.nan, math.inf, 1e200])
def test_norms_that_no_scale_fits_are_refused(norm):
    with pytest.raises(InputError) as refusal:
        largest_exponents(np.array([1.0, norm]), 2.0**62)
    assert refusal.value.code is ErrorCode.NON_FINITE_INPUT


def test_sizes_are_exact():
    suite = ToySuite()
    random = np.random.default_rng(0)
    encryptor, evaluator = suite.covariance_pair(random.normal(size=(9, 3)), random.normal(size=(9, 2)))
    sizes = LweSuite(TOY).covariance_sizes(CovarianceShape(rows=9, provider_dim=3, columns=2))
    key = encryptor.key_material()
    evaluator.accept_key(key)
    pieces = list(encryptor.encrypt(HEADER_BYTES + 2 * 20))
    for rows in pieces:
        evaluator.absorb(rows)
    plan = BitBudget(TOY, left=3, terms=9, width=2)
    assert [len(rows.data) for rows in pieces] == [HEADER_BYTES + rows.count * plan.row_bytes for rows in pieces]
    assert (len(key), len(evaluator.finish())) == (sizes.key, sizes.result)
    assert plan.key_bytes == sizes.key

    head_sizes = LweSuite(TOY).head_sizes(HeadShape(provider_dim=4, classes=3, slots=5))
    encryptor, evaluator = suite.head_pair(random.normal(size=(4, 3)), random.normal(size=3), 5)
    assert (len(encryptor.key_material()), len(evaluator.prepare(0, NONCE))) == (head_sizes.key, head_sizes.pool)
