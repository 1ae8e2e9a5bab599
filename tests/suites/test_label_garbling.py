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
        self.circuit = bits, *self.terms
        shares = random.integers(0, 1 << bits, (2, classes - 1 + buckets, SLOTS))
        self.bits = np.stack([spread(share, bits) for share in shares])
        self.deltas = words(random, SLOTS, 2)
        self.deltas[:, 0] |= np.uint64(1 << 63)
        self.zeros = words(random, *self.bits.shape, 2)
        self.first = first
        garbler = Garbler(self.circuit, SLOTS)
        garbler.deltas[...], garbler.shares[...] = self.deltas, self.zeros
        self.outputs, self.tables = garbler.run(b"k" * 16, first).copy(), garbler.tables.copy()
        self.garbler = garbler

    def evaluate(
        self, key: bytes = b"k" * 16, tables: np.ndarray | None = None, first: int | None = None
    ) -> np.ndarray:
        evaluator = Evaluator(self.circuit, SLOTS)
        self.load(evaluator, self.tables if tables is None else tables)
        return evaluator.run(key, self.first if first is None else first)

    def load(self, evaluator: Evaluator, tables: np.ndarray) -> None:
        evaluator.shares[...] = self.zeros ^ select(self.bits, self.deltas)
        evaluator.tables[...] = tables


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


@pytest.mark.parametrize(("classes", "buckets"), [(2, 1), (12, 2)])
def test_all_runs_are_alike_and_nothing_is_left_of_those_before(classes, buckets):
    """Steps are done at once in the first runs, and noted in one of the others."""
    garbled = Garbled(classes, 16, 4, buckets)
    garbler, evaluator = garbled.garbler, Evaluator(garbled.circuit, SLOTS)
    active, random = garbled.evaluate(), np.random.default_rng(1)
    for _ in range(7):
        garbler.shares[...], garbler.deltas[...] = words(random, *garbler.shares.shape), words(random, SLOTS, 2)
        garbler.run(bytes(16), 0)
        garbler.shares[...], garbler.deltas[...] = garbled.zeros, garbled.deltas
        assert (garbler.run(b"k" * 16, garbled.first) == garbled.outputs).all()
        assert (garbler.tables == garbled.tables).all()
        garbled.load(evaluator, words(random, *garbled.tables.shape))
        assert not (evaluator.run(bytes(16), 0) == active).any()
        garbled.load(evaluator, garbled.tables)
        assert (evaluator.run(b"k" * 16, garbled.first) == active).all()


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
    evaluator = Evaluator((16, 20, 4, 1), SLOTS)
    evaluator.run(bytes(16), 3)
    tweaks = evaluator._tweaks.reshape(-1, 2)
    assert len(tweaks) == len(np.unique(tweaks, axis=0)) == 2 * counts(16, 20, 4, 1).gates * SLOTS


def test_blocks_have_keys_of_their_own_and_cover_every_slot_once():
    layout = LabelLayout(2, 8, 1, 0, 40)
    blocks = list(layout.blocks(5, 33))
    assert [slot for _, slots, _ in blocks for slot in range(slots.start, slots.stop)] == list(range(5, 38))
    assert all(block * BLOCK_SLOTS + first == slots.start for block, slots, first in blocks)
    keys = {block_key(place, block, salt) for place in (b"a", b"b") for block in range(3) for salt in (b"s", b"t")}
    assert len(keys) == 12
