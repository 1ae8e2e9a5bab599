"""A provider may let logits hold fewer bits: a wider flood, less precision, and nothing else changes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from support.entropy import SeededEntropy
from support.pools import NONCE
from support.toy import SESSION, TOY, TOY_76, ask

from securealign.errors import ErrorCode, SuiteError
from securealign.he.interface import HeadShape
from securealign.he.lwe.evaluation import flooded
from securealign.he.lwe.head import head_plan
from securealign.he.lwe.residues import Residues
from securealign.he.lwe.suite import LweSuite
from securealign.he.native.suite import NativeSuite
from securealign.he.openfhe_ckks.profile import PROFILE
from securealign.he.plaintext import PlaintextSuite

FEATURES, CLASSES, SLOTS = 5, 3, 1000
RANDOM = np.random.default_rng(0)
WEIGHT, BIAS = RANDOM.normal(size=(FEATURES, CLASSES)), RANDOM.normal(size=CLASSES)
QUERY = RANDOM.normal(size=FEATURES)


def shape(bits: int | None) -> HeadShape:
    return HeadShape(provider_dim=FEATURES, classes=CLASSES, slots=SLOTS, logit_bits=bits)


def errors(bits: int | None, parameters=TOY):
    """Return errors of many answers to one query as shares of the modulus, shape (slots, classes)."""
    suite = LweSuite(parameters)
    encryptor = suite.head_encryptor(shape(bits), SESSION, SeededEntropy(b"client"))
    evaluator = suite.head_evaluator(shape(bits), SESSION, WEIGHT, BIAS, SeededEntropy(b"provider"))
    evaluator.accept_key(encryptor.key_material())
    encryptor.load_pool(0, evaluator.prepare(0, NONCE), NONCE)
    queries = np.tile(QUERY, (SLOTS, 1))
    found = ask(encryptor, evaluator, queries) - (queries @ WEIGHT + BIAS)
    state = encryptor._pools[0]
    return found / math.ldexp(1, parameters.log_q - int(state.queries[0].exponents[0]) - state.exponent)


@pytest.mark.parametrize("parameters", [TOY, TOY_76], ids=["80", "76"])
@pytest.mark.parametrize("bits", [4, 6, 8, 12])
def test_errors_are_uniform_over_the_share_of_the_modulus_that_the_bits_leave(bits, parameters):
    found = errors(bits, parameters)
    # The last term is the rounding of weights and queries, which the flood is added to.
    assert np.abs(found).max() <= 2.0 ** -(bits + 1) + 3e-6
    for column in found.T:
        assert stats.kstest(column * 2.0 ** (bits + 1), "uniform", args=(-1, 2)).pvalue > 1e-4
    assert stats.pearsonr(found[1:].ravel(), found[:-1].ravel()).pvalue > 1e-4


def test_a_wide_flood_is_uniform_down_to_its_last_bits():
    """What an answer drops is flooded too: its carries would tell of the noise below."""
    zeros = Residues(*np.zeros((2, CLASSES, SLOTS), dtype=np.int64))
    flood = flooded(head_plan(TOY, shape(8)), zeros, SeededEntropy(b"flood"))
    # Of 72 bits, 40 lie in the low limb.
    high = (flood.high.ravel() + 2**31) % 2**40
    assert high.max() < 2**32
    assert stats.kstest(flood.low.ravel() / 2.0**40, "uniform").pvalue > 1e-4
    assert stats.kstest(high / 2.0**32, "uniform").pvalue > 1e-4


@pytest.mark.parametrize("bits", [18, 30, 64])
def test_more_bits_than_the_suite_gives_change_nothing(bits):
    np.testing.assert_array_equal(errors(bits), errors(None))


@pytest.mark.parametrize("bits", [4, 8, 17, 18, 40])
def test_answers_are_charged_what_they_hold(bits):
    suite = LweSuite()
    full, coarse = (
        suite.head_sizes(HeadShape(provider_dim=768, classes=6, slots=64, logit_bits=limit)) for limit in (None, bits)
    )
    assert coarse.answer_bits == 6 * min(bits, 18)
    assert (coarse.key, coarse.pool, coarse.answer) == (full.key, full.pool, full.answer)


def test_the_largest_messages_still_fit_beside_the_flood():
    for bits in range(4, 19):
        plan = head_plan(TOY, shape(bits))
        assert plan.operand_bound * plan.message_norm + 2.0 ** (plan.flood_bits + 1) <= 2.0 ** (TOY.log_q - 1)


@pytest.mark.parametrize("bits", [-1, 0, 3])
def test_too_few_bits_are_refused(bits):
    with pytest.raises(SuiteError) as caught:
        head_plan(TOY, shape(bits))
    assert caught.value.code is ErrorCode.OUTPUT_REFUSED
    assert "output_bits" in caught.value.hint


@pytest.mark.parametrize("suite", [PlaintextSuite(), NativeSuite(PROFILE)], ids=["plaintext", "native"])
def test_suites_without_a_flood_refuse(suite):
    with pytest.raises(SuiteError) as caught:
        suite.head_sizes(shape(8))
    assert caught.value.code is ErrorCode.OUTPUT_REFUSED
