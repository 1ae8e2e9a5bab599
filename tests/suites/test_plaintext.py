"""The suite without encryption: it computes the plain products and refuses malformed bytes like any other."""

from __future__ import annotations

import numpy as np
import pytest
from support.pools import NONCE

from securealign.errors import CiphertextError, ErrorCode
from securealign.he.entropy import SystemEntropy
from securealign.he.interface import CovarianceShape, EncryptedRows, HeadShape
from securealign.he.plaintext import PlaintextSuite
from securealign.limits import MAX_CHUNK_BYTES
from securealign.matrices import Rows

SUITE = PlaintextSuite()
SESSION = bytes(32)
ENTROPY = SystemEntropy()
COVARIANCE = CovarianceShape(rows=6, provider_dim=3, columns=2)
HEAD = HeadShape(provider_dim=3, classes=2, slots=4)


@pytest.fixture
def covariance():
    rng = np.random.default_rng(0)
    left, right = rng.normal(size=(6, 3)), rng.normal(size=(6, 2))
    encryptor = SUITE.covariance_encryptor(COVARIANCE, SESSION, Rows(right), ENTROPY)
    evaluator = SUITE.covariance_evaluator(COVARIANCE, SESSION, Rows(left), ENTROPY)
    return encryptor, evaluator, left.T @ right


@pytest.fixture
def head():
    rng = np.random.default_rng(1)
    weight, bias = rng.normal(size=(3, 2)), rng.normal(size=2)
    encryptor = SUITE.head_encryptor(HEAD, SESSION, ENTROPY)
    return encryptor, SUITE.head_evaluator(HEAD, SESSION, weight, bias, ENTROPY), (weight, bias)


def floats(*values):
    return np.array(values, dtype="<f8").tobytes()


def test_it_promises_nothing():
    info = SUITE.info
    assert not info.encrypts
    assert not info.function_private
    assert (info.classical_bits, info.quantum_bits) == (0, 0)
    assert len(info.parameter_digest) == 32


@pytest.mark.parametrize("max_bytes", [16, 40, 1 << 20])
def test_a_covariance_in_pieces_is_the_plain_product(covariance, max_bytes):
    encryptor, evaluator, product = covariance
    evaluator.accept_key(encryptor.key_material())
    pieces = list(encryptor.encrypt(max_bytes))
    assert all(len(piece.data) <= max_bytes for piece in pieces)
    assert [piece.first for piece in pieces] == list(np.cumsum([0, *(piece.count for piece in pieces)])[:-1])
    for piece in pieces:
        evaluator.absorb(piece)
    result = evaluator.finish()
    assert len(result) == SUITE.covariance_sizes(COVARIANCE).result
    assert np.allclose(encryptor.decrypt(result), product)


@pytest.mark.parametrize("key", [b"", b"plaintex", b"plaintext\0", b"PLAINTEXT"])
def test_another_key_is_refused(covariance, head, key):
    for evaluator in (covariance[1], head[1]):
        with pytest.raises(CiphertextError, match="constant of the plaintext suite") as caught:
            evaluator.accept_key(key)
        assert caught.value.code is ErrorCode.CIPHERTEXT_MALFORMED


def test_a_pool_with_content_is_refused(head):
    with pytest.raises(CiphertextError, match="no offline phase"):
        head[0].load_pool(0, b"x", NONCE)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_out_of_range(covariance, head, value):
    head[0].encrypt(0, 0, np.zeros((1, 3)))
    for read in (
        lambda: covariance[1].absorb(EncryptedRows(0, 1, floats(1, value))),
        lambda: covariance[0].decrypt(floats(1, 2, 3, 4, value, 6)),
        lambda: head[1].evaluate(0, 0, 1, floats(value, 2, 3)),
        lambda: head[0].decrypt(0, 0, floats(1, value)),
    ):
        with pytest.raises(CiphertextError, match="NaN or infinite") as caught:
            read()
        assert caught.value.code is ErrorCode.COEFFICIENT_OUT_OF_RANGE


def test_declared_sizes_hold_what_is_sent():
    sizes = SUITE.head_sizes(HEAD)
    assert sizes.pool == 0
    assert sizes.key == len(SUITE.head_encryptor(HEAD, SESSION, ENTROPY).key_material())
    largest = HeadShape(provider_dim=8192, classes=4096, slots=1)
    assert SUITE.head_sizes(largest).batch * 8192 * 8 <= MAX_CHUNK_BYTES
