"""Oblivious transfer: one key of each pair, one label of each wire, and nothing for malformed bytes."""

from __future__ import annotations

import numpy as np
import pytest
from support.entropy import SeededEntropy

from securealign.errors import CiphertextError
from securealign.he.labels import extension
from securealign.he.labels.garbling import select
from securealign.he.labels.transfer import (
    OFFER_BYTES,
    POINT_BYTES,
    REPLY_BYTES,
    BasePairs,
    BaseReceiver,
    Point,
    answer_offer,
    hash_to_curve,
)

SESSION = bytes(range(32))


@pytest.fixture(scope="module")
def receiver() -> BaseReceiver:
    return BaseReceiver(SESSION, b"seed")


@pytest.fixture(scope="module")
def pairs(receiver) -> BasePairs:
    return answer_offer(SESSION, receiver.offer, SeededEntropy(b"client"))


def test_the_provider_gets_one_key_of_each_pair(receiver, pairs):
    keys = receiver.keys(pairs.reply)
    chosen = [pair[bit] for bit, *pair in zip(receiver.choices.tolist(), pairs.zeros, pairs.ones, strict=True)]
    other = [pair[1 - bit] for bit, *pair in zip(receiver.choices.tolist(), pairs.zeros, pairs.ones, strict=True)]
    assert keys == chosen
    assert not set(keys) & set(other)
    assert 30 < receiver.choices.sum() < 98
    assert len({*pairs.zeros, *pairs.ones}) == 256


def test_a_seed_makes_the_same_offer_in_one_session_only(receiver):
    assert BaseReceiver(SESSION, b"seed").offer == receiver.offer
    for another in (BaseReceiver(SESSION, b"other"), BaseReceiver(b"another session", b"seed")):
        assert another.offer != receiver.offer
        assert (another.choices != receiver.choices).any()


def test_points_that_are_none_are_refused(receiver, pairs):
    point = hash_to_curve(b"point")
    prime = 2**256 - 2**224 + 2**192 + 2**96 - 1
    off_curve = Point(point.x, point.y ^ 1).encode()
    infinity = bytes(POINT_BYTES)
    too_large = (point.x + prime).to_bytes(33, "big")[-32:] + point.y.to_bytes(32, "big")
    beyond = b"\xff" * 64
    for bad in (off_curve, infinity, too_large, beyond):
        for index in (0, 1, 255):
            offer = receiver.offer[: index * 64] + bad + receiver.offer[index * 64 + 64 :]
            with pytest.raises(CiphertextError):
                answer_offer(SESSION, offer, SeededEntropy(b"client"))
        for index in (0, 127):
            with pytest.raises(CiphertextError):
                receiver.keys(pairs.reply[: index * 64] + bad + pairs.reply[index * 64 + 64 :])
    assert len(receiver.keys(pairs.reply)) == 128


def test_other_lengths_are_refused(receiver, pairs):
    assert (len(receiver.offer), len(pairs.reply)) == (OFFER_BYTES, REPLY_BYTES)
    for change in (lambda data: data[:-1], lambda data: data + b"\0", lambda data: b""):
        with pytest.raises(CiphertextError):
            answer_offer(SESSION, change(receiver.offer), SeededEntropy(b"client"))
        with pytest.raises(CiphertextError):
            receiver.keys(change(pairs.reply))


def test_swapped_points_give_unrelated_keys(receiver, pairs):
    offer = receiver.offer[64:128] + receiver.offer[:64] + receiver.offer[128:]
    swapped = answer_offer(SESSION, offer, SeededEntropy(b"client"))
    assert swapped.reply == pairs.reply
    assert receiver.keys(swapped.reply)[0] not in {swapped.zeros[0], swapped.ones[0]}
    assert (
        receiver.keys(pairs.reply[64:128] + pairs.reply[:64] + pairs.reply[128:])[:2] != receiver.keys(pairs.reply)[:2]
    )


def test_points_whose_sum_is_infinity_are_refused():
    point = hash_to_curve(b"point")
    with pytest.raises(CiphertextError):
        point.minus(point)
    with pytest.raises(CiphertextError):
        point.plus(point)
    assert point.plus(hash_to_curve(b"other")).minus(hash_to_curve(b"other")) == point


def test_extension_gives_the_label_of_each_choice(receiver, pairs):
    random = np.random.default_rng(0)
    where = extension.place(SESSION, 3, bytes(32))
    choices = random.integers(0, 2, 1280).astype(np.uint8)
    tail = random.integers(0, 256, 16).astype(np.uint8)
    data = extension.choose(pairs.zeros, pairs.ones, where, choices, tail)
    assert len(data) == extension.choices_bytes(1280)
    rows = extension.accept(receiver.choices, receiver.keys(pairs.reply), where, memoryview(data), 1280).rows(0, 1280)
    own = extension.receive(pairs.zeros, where, 0, 1280)
    s = np.packbits(receiver.choices, bitorder="little").view("<u8")
    assert (own == rows ^ select(choices, np.broadcast_to(s, rows.shape))).all()
    assert len(np.unique(extension.correlate(own, where), axis=0)) == 1280


def test_every_altered_hash_is_refused(receiver, pairs):
    where = extension.place(SESSION, 3, bytes(32))
    data = extension.choose(pairs.zeros, pairs.ones, where, np.zeros(128, np.uint8), np.zeros(16, np.uint8))
    keys = receiver.keys(pairs.reply)
    extension.accept(receiver.choices, keys, where, memoryview(data), 128)
    start = len(data) - 129 * 16
    for place in (start, start + 16, len(data) - 1):
        altered = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
        with pytest.raises(CiphertextError):
            extension.accept(receiver.choices, keys, where, memoryview(altered), 128)


def test_padding_is_to_a_multiple_of_128():
    assert [extension.padded(count) for count in (1, 128, 129)] == [128, 128, 256]
