"""The security estimate reproduces published tables, and no parameter set below its claim can be made."""

from __future__ import annotations

import dataclasses

import pytest
from support.toy import TOY

from securealign.errors import ErrorCode, SuiteError
from securealign.he.estimator import STANDARD_LOG_Q, estimate, standard_log_q_limit
from securealign.he.lwe.parameters import LWE_128, LWE_128Q, PARAMETER_SETS, SIGMA, LweParameters
from securealign.he.lwe.suite import LweSuite

# Albrecht et al., Homomorphic Encryption Security Standard (HomomorphicEncryption.org 2018, ePrint 2019/939): the table
# of ternary secrets under the cost model BKZ.sieve, rows of 128 bits, column uSVP.
STANDARD_USVP = [(1024, 27, 131.6), (2048, 54, 129.7), (4096, 109, 128.1), (8192, 218, 128.5), (16384, 438, 128.1)]


@pytest.mark.parametrize(("dimension", "log_q", "bits"), STANDARD_USVP)
def test_estimate_reproduces_the_usvp_column_of_the_standard(dimension, log_q, bits):
    assert estimate(dimension, log_q, 3.2).classical_bits == pytest.approx(bits, abs=3)


def test_estimate_grows_with_the_dimension_and_falls_with_the_modulus():
    by_dimension = [estimate(n, 80, SIGMA).classical_bits for n in (1024, 2048, 3200, 4096, 8192)]
    by_modulus = [estimate(3200, log_q, SIGMA).classical_bits for log_q in (60, 72, 80, 100)]
    assert by_dimension == sorted(by_dimension)
    assert by_modulus == sorted(by_modulus, reverse=True)


@pytest.mark.parametrize("parameters", PARAMETER_SETS.values(), ids=str)
def test_shipped_sets_reach_128_bits_and_stay_within_the_tables(parameters):
    assert parameters.security.classical_bits >= 128
    assert parameters.classical_bits == 128
    assert parameters.log_q <= standard_log_q_limit(parameters.dimension)
    assert parameters.dimension <= 8192


def test_post_quantum_set_reaches_128_bits_of_quantum_core_svp():
    assert LWE_128Q.security.quantum_bits >= 128
    assert LWE_128.quantum_bits == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"dimension": 2048},
        {"classical_bits": 256},
        {"quantum_bits": 128},
        {"dimension": 3000},
    ],
)
def test_a_set_below_its_claim_cannot_be_made(changes):
    with pytest.raises(SuiteError) as refusal:
        dataclasses.replace(LWE_128, **changes)
    assert refusal.value.code is ErrorCode.PARAMETERS_MISMATCH


def test_a_set_that_passes_the_estimate_but_not_the_table_cannot_be_made():
    dimension = 3080
    assert estimate(dimension, 80, SIGMA).classical_bits >= 128
    assert standard_log_q_limit(dimension) < 80
    with pytest.raises(SuiteError, match="2024/463"):
        dataclasses.replace(LWE_128, dimension=dimension)


@pytest.mark.parametrize(
    "changes", [{"dimension": 60}, {"dimension": 0}, {"dimension": 8200}, {"log_q": 71}, {"log_q": 81}]
)
def test_a_set_outside_exact_arithmetic_cannot_be_made(changes):
    with pytest.raises(SuiteError, match="not usable"):
        dataclasses.replace(TOY, **changes)


def test_table_limit_is_interpolated_between_its_rows():
    assert [standard_log_q_limit(n) for n in STANDARD_LOG_Q] == list(STANDARD_LOG_Q.values())
    assert standard_log_q_limit(3072) == pytest.approx((53 + 106) / 2)
    assert standard_log_q_limit(512) == 0
    assert standard_log_q_limit(1 << 20) == STANDARD_LOG_Q[32768]


@pytest.mark.parametrize(
    "other",
    [
        dataclasses.replace(TOY, name="toz"),
        dataclasses.replace(TOY, dimension=72),
        dataclasses.replace(TOY, log_q=79),
        LweParameters(name="toy", dimension=3200, log_q=80, classical_bits=1),
    ],
)
def test_digest_tells_any_two_sets_apart(other):
    assert other.digest != TOY.digest


def test_suite_offers_what_it_can_show():
    info = LweSuite().info
    assert (info.name, info.parameter_set, info.parameter_digest) == ("lwe", "lwe-128", LWE_128.digest)
    assert (info.classical_bits, info.quantum_bits) == (128, 0)
    assert info.exact
    assert info.function_private
    assert info.encrypts
    assert not LweSuite(TOY).info.encrypts
