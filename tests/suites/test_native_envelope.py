"""Ciphertexts of varying length in blobs of one length: one way to write them, and no other way is read."""

from __future__ import annotations

import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securealign.errors import CiphertextError, SuiteError
from securealign.he.native.envelope import seal, sealed_bytes, unseal

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
