"""What a worker returns, in blobs of one length that are read in one way only, and its numbers without their scale."""

from __future__ import annotations

import struct
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from securealign.errors import CiphertextError, ErrorCode, SuiteError
from securealign.he.native.envelope import seal, sealed_bytes, unscale, unseal

ROOM = 12
OBJECTS = st.lists(st.binary(min_size=1, max_size=ROOM), max_size=6)


def sealed(*objects: bytes) -> bytes:
    return seal(objects, len(objects), ROOM)


@given(OBJECTS)
def test_objects_come_out_as_they_went_in(objects):
    assert unseal(memoryview(sealed(*objects)), ROOM) == objects


@given(OBJECTS)
def test_the_length_depends_on_nothing_but_their_number(objects):
    assert len(sealed(*objects)) == sealed_bytes(len(objects), ROOM)


@given(st.binary(max_size=4 * sealed_bytes(1, ROOM)))
def test_whatever_is_read_is_what_would_have_been_written(data):
    try:
        objects = unseal(memoryview(data), ROOM)
    except CiphertextError:
        return
    assert sealed(*objects) == data


@given(OBJECTS.filter(len), st.data())
def test_a_flipped_bit_gives_other_objects_or_an_error(objects, data):
    blob = bytearray(sealed(*objects))
    position = data.draw(st.integers(0, 8 * len(blob) - 1))
    blob[position // 8] ^= 1 << position % 8
    with suppress(CiphertextError):
        assert unseal(memoryview(blob), ROOM) != objects


@pytest.mark.parametrize("length", [0, ROOM + 1, 1 << 31, (1 << 32) - 1])
def test_a_length_that_no_object_has_is_refused(length):
    with pytest.raises(CiphertextError, match="length or padding"):
        unseal(memoryview(struct.pack("<I", length) + bytes(ROOM)), ROOM)


@pytest.mark.parametrize("place", range(3, ROOM))
def test_padding_that_is_not_zero_is_refused(place):
    blob = bytearray(sealed(b"abc"))
    unseal(memoryview(blob), ROOM)
    blob[4 + place] = 1
    with pytest.raises(CiphertextError, match="length or padding"):
        unseal(memoryview(blob), ROOM)


@pytest.mark.parametrize("size", [1, 3, sealed_bytes(1, ROOM) - 1, sealed_bytes(2, ROOM) + 4])
def test_a_part_of_an_object_is_refused(size):
    with pytest.raises(CiphertextError, match="whole number"):
        unseal(memoryview(bytes(size)), ROOM)


@pytest.mark.parametrize("objects", [[], [b"a"], [b"a", b"b", b"c"], [b"a", b""], [b"a", bytes(ROOM + 1)]])
def test_objects_that_a_receiver_would_refuse_are_not_sent(objects):
    with pytest.raises(SuiteError, match="where 2 of 1 to 12 are due"):
        seal(objects, 2, ROOM)
    with pytest.raises(CiphertextError):
        seal(objects, 2, ROOM, fault=CiphertextError)


# Numbers that a worker decrypted

SHAPES = st.tuples(st.integers(1, 4), st.integers(1, 4))


@given(arrays.arrays(np.float64, SHAPES, elements=st.floats(-1e6, 1e6)), st.integers(-500, 500))
def test_numbers_come_back_from_their_scale(numbers, exponent):
    assert (unscale(numbers, numbers.shape, np.array([exponent])) == np.ldexp(numbers, -exponent)).all()


@given(arrays.arrays(np.float64, SHAPES), st.integers(-2000, 2000))
def test_numbers_are_refused_when_one_of_them_is_not_finite(numbers, exponent):
    exponents = np.array([exponent])
    with np.errstate(all="ignore"):
        finite = np.isfinite(np.ldexp(numbers, -exponent)).all()
    if finite:
        assert np.isfinite(unscale(numbers, numbers.shape, exponents)).all()
        return
    with pytest.raises(CiphertextError) as refusal:
        unscale(numbers, numbers.shape, exponents)
    assert refusal.value.code is ErrorCode.COEFFICIENT_OUT_OF_RANGE


@given(SHAPES, SHAPES)
def test_numbers_of_another_shape_are_refused(shape, due):
    if shape == due:
        assert unscale(np.zeros(shape), due, np.array([0])).shape == due
        return
    with pytest.raises(CiphertextError, match="of shape"):
        unscale(np.zeros(shape), due, np.array([0]))
