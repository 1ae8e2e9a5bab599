"""Hostile bytes for the real libraries, behind headers that are right: a typed error or a wrong number, never a crash.

The alterations hit what the native deserialiser reads. A worker may die of them; its party may not.
"""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack, closing

import numpy as np
import pytest
from support.optional import available_suite

from securealign.errors import CiphertextError
from securealign.he.blobs import HEADER_BYTES
from securealign.he.entropy import SystemEntropy
from securealign.he.interface import CovarianceShape, EncryptedRows, HeadShape
from securealign.matrices import Rows

SESSION = bytes(range(32))
COVARIANCE = CovarianceShape(rows=2, provider_dim=2, columns=3)
HEAD = HeadShape(provider_dim=3, classes=2, slots=10_000)
ENTROPY = SystemEntropy()
LENGTH_BYTES = 4
ALTERATIONS = 40


@pytest.fixture(params=["openfhe-ckks", "tenseal-ckks"])
def suite(request):
    return available_suite(request.param)


def altered(blob, seed, *, start=HEADER_BYTES + LENGTH_BYTES):
    """Return a blob with a few bits of its first native object flipped, or with some of its bytes replaced."""
    random = np.random.default_rng(seed)
    length = int.from_bytes(blob[start - LENGTH_BYTES : start], "little")
    data = np.frombuffer(blob, dtype=np.uint8).copy()
    # Half of the alterations hit the first bytes, where lengths, counts and types are.
    places = start + random.integers(0, min(length, 200) if seed % 2 else length, size=int(random.integers(1, 9)))
    if seed % 3:
        data[places] ^= (1 << random.integers(0, 8, size=len(places))).astype(np.uint8)
    else:
        data[places] = random.integers(0, 256, size=len(places))
    return data.tobytes()


def outcome(read, shape=None):
    """Return what came of reading a peer's bytes; anything but these two fails the test."""
    try:
        value = read()
    except CiphertextError as error:
        return "worker died" if "died" in error.message or "ended" in error.message else "refused"
    if shape is not None:
        assert value.shape == shape
        assert np.isfinite(value).all()
    return "read"


class Reader:
    """Keeps a party until its worker dies, and then makes another."""

    def __init__(self, stack, make):
        self._stack, self._make = stack, make
        self.party = stack.enter_context(closing(make()))

    def renew(self, last):
        if last == "worker died":
            self.party = self._stack.enter_context(closing(self._make()))


def head_pair(suite, stack):
    encryptor = stack.enter_context(closing(suite.head_encryptor(HEAD, SESSION, ENTROPY)))
    return encryptor, lambda: suite.head_evaluator(HEAD, SESSION, np.eye(3, 2), np.ones(2), ENTROPY)


def honest_session(suite):
    """Run a session that nobody disturbs."""
    queries = np.array([[0.5, -1.0, 2.0]])
    with ExitStack() as stack:
        encryptor, make = head_pair(suite, stack)
        evaluator = stack.enter_context(closing(make()))
        evaluator.accept_key(encryptor.key_material())
        answer = evaluator.evaluate(0, 0, 1, encryptor.encrypt(0, 0, queries))
        assert np.allclose(encryptor.decrypt(0, 0, answer), queries @ np.eye(3, 2) + 1, atol=1e-3)


def summary(counts):
    assert counts["refused"] + counts["worker died"] + counts["read"] == ALTERATIONS
    # An alteration that nothing notices everywhere would mean that nothing was altered where the library reads.
    assert counts["refused"] + counts["worker died"] > 0


def test_keys(suite):
    counts = Counter()
    with ExitStack() as stack:
        encryptor, make = head_pair(suite, stack)
        key, reader = encryptor.key_material(), Reader(stack, make)
        for seed in range(ALTERATIONS):
            data = altered(key, seed)
            last = outcome(lambda blob=data: reader.party.accept_key(blob))
            counts[last] += 1
            reader.renew(last)
    summary(counts)
    honest_session(suite)


def test_queries(suite):
    counts = Counter()
    with ExitStack() as stack:
        encryptor, make = head_pair(suite, stack)

        def with_key():
            evaluator = make()
            evaluator.accept_key(encryptor.key_material())
            return evaluator

        reader = Reader(stack, with_key)
        for seed in range(ALTERATIONS):
            query = altered(encryptor.encrypt(0, seed, np.ones((1, 3))), seed)
            last = outcome(lambda slot=seed, data=query: reader.party.evaluate(0, slot, 1, data))
            counts[last] += 1
            reader.renew(last)
    summary(counts)
    honest_session(suite)


def test_answers(suite):
    counts = Counter()
    with ExitStack() as stack:
        encryptor, make = head_pair(suite, stack)
        evaluator = stack.enter_context(closing(make()))
        evaluator.accept_key(encryptor.key_material())
        for seed in range(ALTERATIONS):
            answer = evaluator.evaluate(0, seed, 1, encryptor.encrypt(0, seed, np.ones((1, 3))))
            data = altered(answer, seed, start=HEADER_BYTES + 2 + LENGTH_BYTES)
            last = outcome(lambda client=encryptor, slot=seed, blob=data: client.decrypt(0, slot, blob), (1, 2))
            counts[last] += 1
            if last == "worker died":
                encryptor, _ = head_pair(suite, stack)
                evaluator = stack.enter_context(closing(make()))
                evaluator.accept_key(encryptor.key_material())
    summary(counts)
    honest_session(suite)


def test_rows(suite):
    counts = Counter()
    rows = Rows(np.ones((2, 3)))
    with ExitStack() as stack:
        encryptor = stack.enter_context(closing(suite.covariance_encryptor(COVARIANCE, SESSION, rows, ENTROPY)))
        piece = next(encryptor.encrypt(1 << 20))

        def with_key():
            evaluator = suite.covariance_evaluator(COVARIANCE, SESSION, Rows(np.eye(2)), ENTROPY)
            evaluator.accept_key(encryptor.key_material())
            return evaluator

        reader = Reader(stack, with_key)
        for seed in range(ALTERATIONS):
            data = altered(piece.data, seed)
            last = outcome(lambda blob=data: reader.party.absorb(EncryptedRows(piece.first, piece.count, blob)))
            counts[last] += 1
            reader.renew("worker died" if last == "read" else last)
    summary(counts)
    honest_session(suite)
