"""Choices and tables are made and taken in pieces: the bytes are the same, and memory follows a block of slots."""

from __future__ import annotations

import tracemalloc
from collections import deque
from collections.abc import Callable

import numpy as np
import pytest
from support.labels import LabelPair
from support.pools import NONCE

from securealign.errors import CiphertextError
from securealign.he.blobs import HEADER_BYTES
from securealign.he.interface import LabelTerms
from securealign.he.labels import extension, layout
from securealign.he.lwe.memory import head_memory

FEATURES = 5


def pair_of(classes: int = 4, slots: int = 20, **more) -> LabelPair:
    """A pair whose pool has its hint."""
    random = np.random.default_rng(1)
    pair = LabelPair(random.normal(size=(FEATURES, classes)), random.normal(size=classes), slots=slots, **more)
    pair.encryptor.load_pool(0, pair.evaluator.prepare(0, NONCE), NONCE)
    return pair


def queries(count: int) -> np.ndarray:
    return np.random.default_rng(2).normal(size=(count, FEATURES))


@pytest.fixture
def small_stretches(monkeypatch) -> None:
    """A stretch is one block of slots, and 256 transfers where columns are hashed."""
    monkeypatch.setattr(layout, "_STRETCH_TRANSFERS", 1)
    monkeypatch.setattr(extension, "_STRETCH_BYTES", 32)


@pytest.mark.thorough
@pytest.mark.parametrize("bits", [16, 15])
def test_bytes_do_not_depend_on_how_much_is_made_at_a_time(bits, request):
    """With 15 bits and 3 rows a block does not begin at a multiple of 128 transfers."""

    def made() -> tuple[bytes, bytes, np.ndarray]:
        pair = pair_of(slots=40, terms=LabelTerms(bits=bits))
        choices = pair.encryptor.choose(0)
        tables = b"".join(pair.evaluator.garble(0, choices))
        pair.encryptor.load_tables(0, tables)
        return choices, tables, pair.ask(queries(40))

    choices, tables, labels = made()
    request.getfixturevalue("small_stretches")
    again = made()
    assert again[:2] == (choices, tables)
    np.testing.assert_array_equal(again[2], labels)


def peak(work: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_garbling_takes_the_memory_of_a_block_and_no_more_than_planned(monkeypatch):
    monkeypatch.setattr(layout, "_STRETCH_TRANSFERS", 1)

    def used(slots: int, take: Callable[[object], object]) -> tuple[int, int, int]:
        pair = pair_of(8, slots)
        choices, plan = pair.encryptor.choose(0), pair.encryptor._plan
        planned = plan.sizes.memory - head_memory(plan)
        return peak(lambda: take(pair.evaluator.garble(0, choices))), planned, plan.sizes.tables

    def forget(pieces: object) -> object:
        return deque(pieces, maxlen=0)

    (few, planned, _), (many, more, tables) = used(16, forget), used(192, forget)
    assert few < planned
    assert many < more
    assert many < 2 * few
    # The control: whoever keeps all pieces holds the tables of all slots.
    kept, _, _ = used(192, list)
    assert kept > tables > many


def pieces_of(data: bytes, size: int) -> list[bytes]:
    return [data[first : first + size] for first in range(0, len(data), size)]


@pytest.mark.parametrize("size", [50, 1000, 10_000])
def test_a_client_takes_pieces_of_any_size_and_gives_each_up_with_its_last_slot(size):
    pair = pair_of()
    pieces = pieces_of(b"".join(pair.evaluator.garble(0, pair.encryptor.choose(0))), size)
    for number, piece in enumerate(pieces, 1):
        pair.encryptor.load_tables(0, piece, last=number == len(pieces))
    asked = queries(20)
    tables = pair.encryptor._choosing[0].tables
    held = [len(tables._pieces)]
    labels = []
    for first in range(0, 20, 5):
        labels.append(pair.ask(asked[first : first + 5], first))
        held.append(len(tables._pieces))
    np.testing.assert_array_equal(np.vstack(labels)[:, 0], (asked @ pair.weight + pair.bias).argmax(axis=1))
    assert held == sorted(held, reverse=True)
    assert held[-1] == 0
    assert len(set(held)) == 5


def test_malformed_pieces_are_refused_and_the_tables_can_come_again():
    pair = pair_of()
    tables = b"".join(pair.evaluator.garble(0, pair.encryptor.choose(0)))
    bad = {
        "another header": [tables[:24], bytes([tables[24] ^ 1]) + tables[25:]],
        "too short": [tables[:100], tables[100:-1]],
        "too long": [tables, b"!"],
        "without a whole header": [tables[: HEADER_BYTES - 1]],
    }
    for name, pieces in bad.items():
        *before, last = pieces
        for piece in before:
            pair.encryptor.load_tables(0, piece, last=False)
        with pytest.raises(CiphertextError):
            pair.encryptor.load_tables(0, last)
        assert pair.encryptor._choosing[0].received == 0, name
    pair.encryptor.load_tables(0, tables[:24], last=False)
    pair.encryptor.load_tables(0, tables[24:])
    assert pair.ask(queries(1)).shape == (1, 2)


def test_a_slot_answers_once_all_tables_are_made():
    pair = pair_of()
    pieces = pair.evaluator.garble(0, pair.encryptor.choose(0))
    made = [next(pieces), next(pieces)]
    with pytest.raises(CiphertextError):
        pair.evaluator.evaluate(0, 0, 1, b"")
    # What is recorded meanwhile makes the same tables again.
    restored = pair.new_evaluator()
    restored.accept_key(pair.encryptor.key_material())
    restored.restore_pool(0, pair.evaluator.checkpoint(0))
    again = pair_of().encryptor.choose(0)
    assert b"".join(restored.garble(0, again)) == b"".join([*made, *pieces])
