"""What a suite says beforehand of a session: memory of the provider's side, and bits that an answer can hold."""

from __future__ import annotations

import math
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from support.pools import NONCE
from support.toy import TOY, ToySuite, ask

from securealign.he.entropy import SystemEntropy
from securealign.he.interface import NUMBER_BITS, CovarianceShape, HeadShape
from securealign.he.lwe.suite import LweSuite
from securealign.he.plaintext import PlaintextSuite
from securealign.limits import MAX_CHUNK_BYTES
from securealign.matrices import Rows

SESSION = bytes(32)
TOY_LWE, LWE, PLAINTEXT = LweSuite(TOY), LweSuite(), PlaintextSuite()


def peak(work: Callable[[], object]) -> int:
    """Return the most bytes that were allocated at a time."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def covariance(suite, shape: CovarianceShape) -> Callable[[], object]:
    """Return the provider's part of a training session, from the arrival of its key to a checkpoint and the result."""
    random = np.random.default_rng(0)
    left = random.normal(size=(shape.rows, shape.provider_dim))
    right = random.normal(size=(shape.rows, shape.columns))
    encryptor = suite.covariance_encryptor(shape, SESSION, Rows(right), SystemEntropy())
    key, pieces = encryptor.key_material(), list(encryptor.encrypt(MAX_CHUNK_BYTES))

    def work():
        evaluator = suite.covariance_evaluator(shape, SESSION, Rows(left), SystemEntropy())
        received = bytearray(key)
        evaluator.accept_key(bytes(received))
        for piece in pieces:
            evaluator.absorb(piece)
        state = evaluator.checkpoint()
        sealed = bytes(bytearray(state))
        del state
        return [sealed, evaluator.finish()]

    return work


def head(suite, shape: HeadShape) -> Callable[[], object]:
    """Return the provider's part of an inference session that uses two pools up, from the arrival of its key."""
    random = np.random.default_rng(0)
    weight, bias = random.normal(size=(shape.provider_dim, shape.classes)), random.normal(size=shape.classes)
    encryptor = suite.head_encryptor(shape, SESSION, SystemEntropy())
    key, batch = encryptor.key_material(), min(shape.slots, suite.head_sizes(shape).batch)
    places = [(pool, first) for pool in range(2) for first in range(0, shape.slots - batch + 1, batch)]
    # A query does not depend on who prepared its pool.
    other = suite.head_evaluator(shape, SESSION, weight, bias, SystemEntropy())
    other.accept_key(key)
    for pool in range(2):
        encryptor.load_pool(pool, other.prepare(pool, NONCE), NONCE)
    queries = {place: encryptor.encrypt(*place, random.normal(size=(batch, shape.provider_dim))) for place in places}

    def work():
        evaluator = suite.head_evaluator(shape, SESSION, weight, bias, SystemEntropy())
        received = bytearray(key)
        evaluator.accept_key(bytes(received))
        kept = [evaluator.prepare(pool, NONCE) and evaluator.checkpoint(pool) for pool in range(2)]
        return kept + [evaluator.evaluate(*place, batch, query) for place, query in queries.items()]

    return work


def tall(rows: int, provider_dim: int, columns: int) -> CovarianceShape:
    return CovarianceShape(rows=rows, provider_dim=provider_dim, columns=columns)


def wide(provider_dim: int, classes: int, slots: int) -> HeadShape:
    return HeadShape(provider_dim=provider_dim, classes=classes, slots=slots)


@pytest.mark.parametrize(
    ("suite", "shape"),
    [
        (TOY_LWE, tall(2100, 200, 300)),
        (TOY_LWE, tall(30, 600, 400)),
        (TOY_LWE, tall(5000, 9, 64)),
        (TOY_LWE, tall(2, 1, 1)),
        (LWE, tall(2100, 64, 65)),
        (PLAINTEXT, tall(3000, 200, 300)),
        (TOY_LWE, wide(200, 20, 64)),
        (TOY_LWE, wide(30, 500, 700)),
        (TOY_LWE, wide(2000, 3, 5)),
        (TOY_LWE, wide(1, 1, 1)),
        (LWE, wide(384, 6, 16)),
        (PLAINTEXT, wide(200, 20, 64)),
    ],
)
def test_a_session_stays_within_its_estimate_and_the_estimate_is_not_idle(suite, shape):
    sizes, work = (suite.head_sizes, head) if isinstance(shape, HeadShape) else (suite.covariance_sizes, covariance)
    estimate, used = sizes(shape).memory, peak(work(suite, shape))
    assert used < estimate
    if used > 20_000_000:
        assert estimate < 3 * used


def test_logits_of_lwe_hold_what_the_flood_leaves_of_the_modulus():
    assert LWE.head_sizes(wide(768, 6, 64)).answer_bits == 6 * 18
    # Observed: the error of many answers fills a share 2^-18 of the modulus, and no less.
    random = np.random.default_rng(1)
    weight, bias, slots = random.normal(size=(4, 1)), random.normal(size=1), 1000
    encryptor, evaluator = ToySuite().head_pair(weight, bias, slots)
    encryptor.load_pool(0, evaluator.prepare(0, NONCE), NONCE)
    queries = np.tile(random.normal(size=4), (slots, 1))
    errors = ask(encryptor, evaluator, queries)[:, 0] - (queries @ weight + bias)[:, 0]
    state = encryptor._pools[0]
    modulus = math.ldexp(1, TOY.log_q - int(state.queries[0].exponents[0]) - state.exponent)
    bits = TOY_LWE.head_sizes(wide(4, 1, slots)).answer_bits
    assert math.log2(modulus / np.ptp(errors)) == pytest.approx(bits, abs=0.01)


def test_logits_of_other_suites_count_as_the_numbers_they_are_decoded_to():
    assert PLAINTEXT.head_sizes(wide(768, 6, 64)).answer_bits == 6 * NUMBER_BITS
