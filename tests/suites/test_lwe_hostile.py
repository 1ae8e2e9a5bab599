"""Bytes of a peer: a blob that is not well-formed is refused, and nothing it holds ends in another exception."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.pools import NONCE
from support.tiers import examples
from support.toy import TOY, TOY_76, ToySuite

from securealign.errors import CiphertextError
from securealign.he.blobs import HEADER_BYTES
from securealign.he.interface import EncryptedRows
from securealign.he.lwe.parameters import LweParameters

LEFT, RIGHT = np.arange(12.0).reshape(4, 3) - 5, np.arange(8.0).reshape(4, 2) - 3
WEIGHT, BIAS, QUERIES = np.arange(6.0).reshape(3, 2) - 2, np.array([1.0, -1.0]), np.arange(6.0).reshape(2, 3)

Receiver = Callable[[bytes], object]


class Exchange:
    """Every blob of both jobs, and what receives it; seeded, so that a receiver made anew accepts the same blobs."""

    def __init__(self, parameters: LweParameters) -> None:
        self._suite = ToySuite(parameters)
        client, provider = self._suite.covariance_pair(LEFT, RIGHT)
        key = client.key_material()
        provider.accept_key(key)
        (rows,) = client.encrypt(1 << 16)
        provider.absorb(rows)
        asker, answerer = self._suite.head_pair(WEIGHT, BIAS, 2)
        pool = answerer.prepare(0, NONCE)
        asker.load_pool(0, pool, NONCE)
        query = asker.encrypt(0, 0, QUERIES)
        answer = answerer.evaluate(0, 0, 2, query)
        self._covariance_client, self._head_client, self._head_provider = client, asker, answerer
        self.blobs: dict[str, tuple[bytes, Receiver]] = {
            "key": (key, self._receive_key),
            "rows": (rows.data, self._receive_rows),
            "result": (provider.finish(), client.decrypt),
            "head key": (asker.key_material(), self._receive_head_key),
            "pool": (pool, self._receive_pool),
            "query": (query, lambda data: answerer.evaluate(0, 0, 2, data)),
            "answer": (answer, lambda data: asker.decrypt(0, 0, data)),
        }

    def _receive_key(self, data: bytes) -> object:
        _, provider = self._suite.covariance_pair(LEFT, RIGHT)
        provider.accept_key(data)
        return provider

    def _receive_rows(self, data: bytes) -> bytes:
        client, provider = self._suite.covariance_pair(LEFT, RIGHT)
        provider.accept_key(client.key_material())
        provider.absorb(EncryptedRows(0, len(RIGHT), data))
        return provider.finish()

    def _receive_head_key(self, data: bytes) -> bytes:
        _, provider = self._suite.head_pair(WEIGHT, BIAS, 2)
        provider.accept_key(data)
        return provider.prepare(0, NONCE)

    def _receive_pool(self, data: bytes) -> np.ndarray:
        client, _ = self._suite.head_pair(WEIGHT, BIAS, 2)
        client.load_pool(0, data, NONCE)
        client.encrypt(0, 0, QUERIES)
        return client.decrypt(0, 0, self.blobs["answer"][0])


@lru_cache
def exchange(parameters: LweParameters) -> Exchange:
    return Exchange(parameters)


blobs = st.tuples(st.sampled_from([TOY, TOY_76]), st.sampled_from(list(exchange(TOY).blobs)))


def flip(data: bytes, bit: int) -> bytes:
    return data[: bit // 8] + bytes([data[bit // 8] ^ (1 << bit % 8)]) + data[bit // 8 + 1 :]


@pytest.mark.parametrize("name", exchange(TOY).blobs)
@pytest.mark.parametrize("parameters", [TOY, TOY_76], ids=lambda parameters: parameters.name)
def test_the_blobs_themselves_are_accepted(parameters, name):
    data, receive = exchange(parameters).blobs[name]
    receive(data)


@pytest.mark.parametrize("name", ["rows", "result", "pool", "query", "answer"])
def test_every_truncation_around_the_header_is_refused(name):
    data, receive = exchange(TOY).blobs[name]
    for length in range(2 * HEADER_BYTES):
        with pytest.raises(CiphertextError):
            receive(data[: min(length, len(data) - 1)])


@examples(150)
@given(blobs, st.integers(0, 8 * HEADER_BYTES - 1))
def test_a_flipped_bit_of_the_header_is_refused(blob, bit):
    data, receive = exchange(blob[0]).blobs[blob[1]]
    with pytest.raises(CiphertextError):
        receive(flip(data, bit))


@examples(150)
@given(blobs, st.data())
def test_a_flipped_bit_of_the_body_is_refused_or_gives_other_numbers(blob, drawn):
    data, receive = exchange(blob[0]).blobs[blob[1]]
    bit = drawn.draw(st.integers(8 * HEADER_BYTES, 8 * len(data) - 1))
    try:
        received = receive(flip(data, bit))
    except CiphertextError:
        return
    if isinstance(received, np.ndarray):
        assert not np.isinf(received).any()


@examples(100)
@given(blobs, st.data())
def test_a_random_body_is_refused_or_gives_numbers(blob, drawn):
    data, receive = exchange(blob[0]).blobs[blob[1]]
    seed = drawn.draw(st.integers(0, 2**32 - 1))
    body = np.random.default_rng(seed).bytes(len(data) - HEADER_BYTES)
    try:
        received = receive(data[:HEADER_BYTES] + body)
    except CiphertextError:
        return
    if isinstance(received, np.ndarray):
        assert not np.isinf(received).any()


@examples(60)
@given(st.sampled_from(list(exchange(TOY).blobs)), st.binary(max_size=400))
def test_arbitrary_bytes_are_refused(name, data):
    with pytest.raises(CiphertextError):
        exchange(TOY).blobs[name][1](data)
