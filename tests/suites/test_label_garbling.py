"""Garbled circuits give what the circuit gives in clear, and any tables give something."""

from __future__ import annotations

import numpy as np
import pytest
from support.labels import spread

from securealign.he.labels.circuits import Bits, counts, label
from securealign.he.labels.garbling import BLOCK_SLOTS, Evaluator, Garbler, colours, select
from securealign.he.labels.layout import LabelLayout
from securealign.he.labels.provider import block_key

SLOTS = 5


def words(random: np.random.Generator, *shape: int) -> np.ndarray:
    return random.integers(0, 2**64, shape, dtype=np.uint64)


class Garbled:
    """A garbled circuit with its inputs."""

    def __init__(self, classes: int = 6, bits: int = 9, segments: int = 1, buckets: int = 0, first: int = 3) -> None:
        random = np.random.default_rng(classes)
        self.terms = classes, segments, buckets
        self.gates = counts(bits, *self.terms).gates
        shares = random.integers(0, 1 << bits, (2, classes - 1 + buckets, SLOTS))
        self.bits = np.stack([spread(share, bits) for share in shares])
        self.deltas = words(random, SLOTS, 2)
        self.deltas[:, 0] |= np.uint64(1 << 63)
        self.zeros = words(random, *self.bits.shape, 2)
        self.first = first
        garbler = Garbler(self.gates, SLOTS)
        # Buffers and tweaks of an earlier block must not matter.
        garbler.begin(bytes(16), 0, self.deltas)
        label(garbler, self.zeros, *self.terms)
        garbler.begin(b"k" * 16, first, self.deltas)
        self.outputs = label(garbler, self.zeros, *self.terms)
        self.tables = garbler.tables

    def evaluate(
        self, key: bytes = b"k" * 16, tables: np.ndarray | None = None, first: int | None = None
    ) -> np.ndarray:
        evaluator = Evaluator(self.gates, SLOTS)
        active = self.zeros ^ select(self.bits, self.deltas)
        for _ in range(2):
            evaluator.begin(key, self.first if first is None else first, self.tables if tables is None else tables)
            outputs = label(evaluator, active, *self.terms)
        return outputs


@pytest.mark.parametrize(
    ("classes", "bits", "segments", "buckets"),
    [(2, 8, 1, 0), (2, 16, 4, 1), (6, 16, 4, 0), (9, 9, 4, 2), (17, 12, 2, 3), (20, 16, 4, 0)],
)
def test_garbled_equals_clear(classes, bits, segments, buckets):
    garbled = Garbled(classes, bits, segments, buckets)
    clear = label(Bits(SLOTS), garbled.bits, *garbled.terms)
    active = garbled.evaluate()
    assert (colours(active) ^ colours(garbled.outputs) == clear).all()
    assert (active == garbled.outputs ^ select(clear, garbled.deltas)).all()


def test_the_key_and_the_slot_matter():
    garbled = Garbled()
    right = garbled.evaluate()
    assert not (garbled.evaluate(key=b"l" * 16) == right).any()
    assert not (garbled.evaluate(first=4) == right).any()


def test_any_tables_give_labels():
    garbled = Garbled()
    random = np.random.default_rng(0)
    for _ in range(5):
        assert garbled.evaluate(tables=words(random, *garbled.tables.shape)).shape == garbled.outputs.shape


def test_a_tweak_occurs_once_under_a_key():
    evaluator = Evaluator(100, 8)
    evaluator.begin(bytes(16), 3, np.zeros((2, 100, 8, 2), dtype=np.uint64))
    assert len(np.unique(evaluator._tweaks.reshape(-1, 2), axis=0)) == 2 * 100 * 8


def test_blocks_have_keys_of_their_own_and_cover_every_slot_once():
    layout = LabelLayout(2, 8, 1, 0, 40)
    blocks = list(layout.blocks(5, 33))
    assert [slot for _, slots, _ in blocks for slot in range(slots.start, slots.stop)] == list(range(5, 38))
    assert all(block * BLOCK_SLOTS + first == slots.start for block, slots, first in blocks)
    keys = {block_key(place, block, salt) for place in (b"a", b"b") for block in range(3) for salt in (b"s", b"t")}
    assert len(keys) == 12
