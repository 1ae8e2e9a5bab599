"""Inference end to end: the client decrypts the logits of its queries, slot by slot and pool by pool."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.pools import NONCE
from support.toy import TOY, TOY_76, ToySuite, ask

from securealign.errors import CiphertextError, LocalProtocolError
from securealign.he.interface import HeadShape
from securealign.he.lwe.head import head_plan


def head(features: int, classes: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    return random.normal(size=(features, classes)), random.normal(size=classes)


def queries(count: int, features: int, seed: int = 2) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, features))


def assert_close(logits, weight, bias, asked, parameters=TOY):
    """Within 5.5 standard deviations of what the plan promises; all classes share the scale of the largest."""
    plan = head_plan(parameters, HeadShape(provider_dim=weight.shape[0], classes=len(bias), slots=len(asked)))
    operand = np.linalg.norm(np.vstack([weight, bias]), axis=0).max()
    message = np.sqrt((asked**2).sum(axis=1) + 1)
    assert logits.shape == (len(asked), len(bias))
    error = np.abs(logits - (asked @ weight + bias))
    assert (error <= 5.5 * plan.relative_error * operand * message[:, None]).all()


def test_many_pools_under_one_key():
    weight, bias = head(12, 4)
    encryptor, evaluator = ToySuite().head_pair(weight, bias, slots=3)
    for pool in range(20):
        encryptor.load_pool(pool, evaluator.prepare(pool, NONCE), NONCE)
        asked = queries(3, 12, seed=pool)
        assert_close(ask(encryptor, evaluator, asked, pool=pool), weight, bias, asked)
        evaluator.retire(pool)


@settings(max_examples=25)
@given(st.integers(1, 20), st.integers(1, 5), st.permutations(range(6)), st.integers(0, 2**32 - 1))
def test_slots_are_used_in_any_order_and_number(features, classes, order, seed):
    weight, bias = head(features, classes, seed)
    encryptor, evaluator = ToySuite().head_pair(weight, bias, slots=6)
    encryptor.load_pool(0, evaluator.prepare(0, NONCE), NONCE)
    cuts = sorted({0, order[0], order[1], 6})
    for first, stop in [*pairwise(cuts)][:: 1 - 2 * (seed % 2)]:
        asked = queries(stop - first, features, seed + first)
        assert_close(ask(encryptor, evaluator, asked, first_slot=first), weight, bias, asked)


@pytest.mark.parametrize("size", [1e-9, 1e3, 1e9])
def test_a_bias_of_any_size(size):
    weight, bias = head(12, 3)
    encryptor, evaluator = ToySuite().head_pair(weight, bias * size, slots=2)
    encryptor.load_pool(0, evaluator.prepare(0, NONCE), NONCE)
    asked = queries(2, 12)
    assert_close(ask(encryptor, evaluator, asked), weight, bias * size, asked)


@pytest.mark.parametrize("features", [1, 2047, 2048, 4100])
def test_more_features_than_a_tile(features):
    weight, bias = head(features, 2)
    encryptor, evaluator = ToySuite().head_pair(weight, bias, slots=2)
    encryptor.load_pool(0, evaluator.prepare(0, NONCE), NONCE)
    asked = queries(2, features)
    assert_close(ask(encryptor, evaluator, asked), weight, bias, asked)


def test_a_modulus_that_does_not_fill_its_bytes():
    weight, bias = head(12, 3)
    encryptor, evaluator = ToySuite(TOY_76).head_pair(weight, bias, slots=2)
    encryptor.load_pool(0, evaluator.prepare(0, NONCE), NONCE)
    asked = queries(2, 12)
    assert_close(ask(encryptor, evaluator, asked), weight, bias, asked, TOY_76)


@pytest.mark.parametrize(("used", "again"), [((1, 2), (2, 1)), ((1, 2), (0, 2)), ((0, 4), (3, 1)), ((3, 1), (0, 4))])
def test_a_slot_cannot_be_used_twice(used, again):
    weight, bias = head(5, 2)
    encryptor, evaluator = ToySuite().head_pair(weight, bias, slots=4)
    encryptor.load_pool(0, evaluator.prepare(0, NONCE), NONCE)
    encryptor.encrypt(0, used[0], queries(used[1], 5))
    with pytest.raises(LocalProtocolError):
        encryptor.encrypt(0, again[0], queries(again[1], 5))


@pytest.mark.parametrize(("first", "count"), [(3, 2), (4, 1), (0, 5), (-1, 1), (0, 0)])
def test_a_batch_cannot_leave_its_pool(first, count):
    weight, bias = head(5, 2)
    encryptor, evaluator = ToySuite().head_pair(weight, bias, slots=4)
    encryptor.load_pool(0, evaluator.prepare(0, NONCE), NONCE)
    with pytest.raises(LocalProtocolError):
        encryptor.encrypt(0, first, queries(count, 5))


def test_a_pool_cannot_be_loaded_twice():
    weight, bias = head(5, 2)
    encryptor, evaluator = ToySuite().head_pair(weight, bias, slots=4)
    encryptor.load_pool(0, evaluator.prepare(0, NONCE), NONCE)
    with pytest.raises(LocalProtocolError):
        encryptor.load_pool(0, evaluator.prepare(0, NONCE), NONCE)


@pytest.mark.parametrize(
    ("pool", "first", "count"), [(1, 0, 1), (0, 2, 1), (0, 1, 2), (0, -1, 1), (0, 0, 0), (0, 0, -1)]
)
def test_provider_refuses_slots_that_no_live_pool_has(pool, first, count):
    weight, bias = head(5, 2)
    encryptor, evaluator = ToySuite().head_pair(weight, bias, slots=2)
    encryptor.load_pool(0, evaluator.prepare(0, NONCE), NONCE)
    query = encryptor.encrypt(0, 0, queries(1, 5))
    with pytest.raises(CiphertextError):
        evaluator.evaluate(pool, first, count, query)


def test_provider_refuses_a_pool_that_was_retired():
    weight, bias = head(5, 2)
    encryptor, evaluator = ToySuite().head_pair(weight, bias, slots=2)
    encryptor.load_pool(0, evaluator.prepare(0, NONCE), NONCE)
    query = encryptor.encrypt(0, 0, queries(1, 5))
    evaluator.retire(0)
    evaluator.retire(0)
    with pytest.raises(CiphertextError):
        evaluator.evaluate(0, 0, 1, query)


def test_a_pool_that_the_client_forgot_takes_no_memory_and_cannot_be_loaded_again():
    weight, bias = head(5, 2)
    encryptor, evaluator = ToySuite().head_pair(weight, bias, slots=2)
    hints = [evaluator.prepare(pool, NONCE) for pool in range(2)]
    for pool in range(2):
        encryptor.load_pool(pool, hints[pool], NONCE)
    encryptor.retire(0)
    encryptor.retire(0)
    assert list(encryptor._pools) == [1]
    with pytest.raises(LocalProtocolError, match="twice"):
        encryptor.load_pool(0, hints[0], NONCE)
    # The other pool is as it was.
    asked = queries(2, 5)
    answer = evaluator.evaluate(1, 0, 2, encryptor.encrypt(1, 0, asked))
    assert_close(encryptor.decrypt(1, 0, answer), weight, bias, asked)
