"""Residues in two limbs are the integers modulo 2^log_q, on the wire and off it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from securealign.errors import CiphertextError, ErrorCode
from securealign.he.lwe.residues import (
    Residues,
    add,
    centre,
    pack,
    pack_answer,
    reduce,
    switch_modulus,
    unpack,
    unpack_answer,
)

LOG_Q = st.integers(72, 80)
INT64 = st.integers(-(2**63), 2**63 - 1)
SHAPES = arrays.array_shapes(min_dims=2, max_dims=2, max_side=4)


def int64(values: object, shape: tuple[int, ...]) -> np.ndarray:
    return np.array(values, dtype=np.int64).reshape(shape)


@st.composite
def residues(draw, log_q: int):
    """Draw a small matrix over Z_q as Python integers, and in limbs."""
    shape = draw(SHAPES)
    count = shape[0] * shape[1]
    edges = st.sampled_from([0, 1, 2**39, 2**40 - 1, 2**40, 2**64 - 1, 2**64, 2 ** (log_q - 1), 2**log_q - 1])
    values = draw(st.lists(st.one_of(st.integers(0, 2**log_q - 1), edges), min_size=count, max_size=count))
    limbs = Residues(int64([v % 2**40 for v in values], shape), int64([v >> 40 for v in values], shape))
    return values, limbs


def as_integers(value: Residues) -> list[int]:
    return [int(low) + (int(high) << 40) for low, high in zip(value.low.ravel(), value.high.ravel(), strict=True)]


@given(LOG_Q, INT64, INT64)
def test_reduce_takes_any_limbs(log_q, low, high):
    reduced = reduce(int64([low], (1, 1)), int64([high], (1, 1)), log_q)
    assert as_integers(reduced) == [(low + (high << 40)) % 2**log_q]


@given(LOG_Q, st.data())
def test_addition_wraps_at_the_modulus(log_q, data):
    values, limbs = data.draw(residues(log_q))
    assert as_integers(add(limbs, limbs, log_q)) == [2 * value % 2**log_q for value in values]


@given(LOG_Q, st.data())
def test_wire_form_gives_back_what_was_packed(log_q, data):
    values, limbs = data.draw(residues(log_q))
    rows, columns = limbs.low.shape
    packed = pack(limbs)
    assert len(packed) == 10 * rows * columns
    words, halves = unpack(np.frombuffer(packed, dtype=np.uint8).reshape(rows, -1), columns, log_q)
    received = [int(word) + (int(half) << 64) for word, half in zip(words.ravel(), halves.ravel(), strict=True)]
    assert received == values


def test_wire_form_of_a_row_is_words_then_halves():
    packed = pack(Residues(int64([1, 2**40 - 1], (1, 2)), int64([1 << 24, 2**40 - 1], (1, 2))))
    assert packed.hex() == "0100000000000000" + "ff" * 8 + "0100" + "ffff"


@given(st.integers(72, 79), st.integers(0, 2**80 - 1))
def test_residues_beyond_the_modulus_are_refused(log_q, value):
    data = np.frombuffer(value.to_bytes(10, "little"), dtype=np.uint8).reshape(1, 10)
    if value < 2**log_q:
        unpack(data, 1, log_q)
        return
    with pytest.raises(CiphertextError) as refusal:
        unpack(data, 1, log_q)
    assert refusal.value.code is ErrorCode.COEFFICIENT_OUT_OF_RANGE


@given(LOG_Q, st.data())
def test_modulus_switch_rounds_to_the_nearest_multiple(log_q, data):
    values, limbs = data.draw(residues(log_q))
    step = 2 ** (log_q - 40)
    switched = switch_modulus(limbs, log_q).ravel().tolist()
    assert switched == [(value + step // 2) // step % 2**40 for value in values]


@given(LOG_Q)
def test_modulus_switch_rounds_halves_up_and_wraps(log_q):
    step = 2 ** (log_q - 40)
    for value, expected in [
        (step // 2 - 1, 0),
        (step // 2, 1),
        (2**log_q - step // 2, 0),
        (2**log_q - step // 2 - 1, -1),
    ]:
        limbs = Residues(int64([value % 2**40], (1, 1)), int64([value >> 40], (1, 1)))
        assert switch_modulus(limbs, log_q).item() == expected % 2**40


@given(SHAPES, st.data())
def test_answers_survive_the_wire(shape, data):
    values = data.draw(arrays.arrays(np.int64, shape, elements=st.integers(0, 2**40 - 1)))
    packed = pack_answer(values)
    assert len(packed) == 5 * values.size
    assert (unpack_answer(memoryview(packed), shape) == values).all()


@given(st.integers(-(2**62), 2**62))
def test_centred_values_are_congruent_and_smallest(value):
    centred = centre(int64([value], (1, 1))).item()
    assert (centred - value) % 2**40 == 0
    assert -(2**39) <= centred < 2**39
