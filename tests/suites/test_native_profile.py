"""What the profiles of native suites promise: rings of 128 bits, and digests that tell parameters apart."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.engines import PROFILE as FAKE

from securealign.errors import ErrorCode, SuiteError
from securealign.he.estimator import STANDARD_LOG_Q, estimate
from securealign.he.native.profile import CLAIMED_BITS, Ring
from securealign.he.native.suite import NativeSuite
from securealign.he.openfhe_ckks.profile import PROFILE as OPENFHE
from securealign.he.tenseal_ckks.profile import PROFILE as TENSEAL

PROFILES = {profile.name: profile for profile in (OPENFHE, TENSEAL)}
RINGS = {
    f"{name} {job}": getattr(profile, job).ring for name, profile in PROFILES.items() for job in ("covariance", "head")
}


@pytest.mark.parametrize("ring", RINGS.values(), ids=RINGS)
def test_every_ring_costs_128_bits_to_break_and_stays_within_the_table_of_2024(ring):
    assert estimate(ring.dimension, ring.log_q, 3.19).classical_bits >= CLAIMED_BITS == 128
    assert ring.log_q <= STANDARD_LOG_Q[ring.dimension]


@pytest.mark.parametrize(("dimension", "log_q"), STANDARD_LOG_Q.items())
def test_a_ring_above_the_table_cannot_be_made(dimension, log_q):
    for larger in (log_q + 1, log_q + 5, 2 * log_q):
        with pytest.raises(SuiteError, match="below 128 bits") as refusal:
            Ring(dimension=dimension, log_q=larger)
        assert refusal.value.code is ErrorCode.PARAMETERS_MISMATCH


@pytest.mark.parametrize("dimension", [512, 1023, 1000, 3000, 4095])
def test_a_ring_without_a_row_in_the_table_cannot_be_made(dimension):
    with pytest.raises(SuiteError):
        Ring(dimension=dimension, log_q=20)


@pytest.mark.parametrize("name", PROFILES)
def test_a_suite_claims_quantum_security_only_where_both_rings_have_it(name):
    info = NativeSuite(PROFILES[name]).info
    rings = [PROFILES[name].covariance.ring, PROFILES[name].head.ring]
    assert info.classical_bits == 128
    assert info.quantum_bits == (128 if all(ring.security.quantum_bits >= 128 for ring in rings) else 0)
    assert not info.function_private
    assert not info.exact


OTHERS = {
    "name": {"name": "other"},
    "parameter set": {"parameter_set": "other"},
    "chain of moduli": {"parameters": ("other",)},
    **{
        f"{job} {field}": {job: replace(getattr(OPENFHE, job), **{field: value})}
        for job in ("covariance", "head")
        for field, value in {
            "ring": Ring(dimension=8192, log_q=60),
            "message_norm": 1.0,
            "operand_norm": 1.0,
            "fresh_bytes": 1,
            "evaluated_bytes": 1,
        }.items()
    },
}


def test_every_parameter_changes_the_digest():
    digests = {
        OPENFHE.digest,
        TENSEAL.digest,
        FAKE.digest,
        *(replace(OPENFHE, **other).digest for other in OTHERS.values()),
    }
    assert len(digests) == 3 + len(OTHERS)


def test_where_an_engine_is_found_does_not_change_the_digest():
    assert replace(OPENFHE, engine="elsewhere", advice="other", package="other").digest == OPENFHE.digest


@pytest.mark.parametrize("name", PROFILES)
def test_the_product_of_the_largest_norms_fits_the_modulus(name):
    """By Cauchy and Schwarz it bounds every sum; TenSEAL multiplies it by the scales of both factors."""
    profile = PROFILES[name]
    for job in (profile.covariance, profile.head):
        scales, modulus = (1.0, job.ring.log_q) if name == "openfhe-ckks" else (2.0**80, 60 + 40)
        assert 2 * job.message_norm * job.operand_norm * scales <= 2.0**modulus
