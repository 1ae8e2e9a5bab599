"""What passes between a party and its worker: every value comes out as it went in, and nothing else comes out."""

from __future__ import annotations

import json
import pickle
import socket
import struct
import threading
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from support.engines import Temptation

from securealign.he.native import frames
from securealign.he.native.frames import MAX_FRAME, FrameError, StreamEnded, encode, receive

MATRICES = arrays.arrays(np.float64, st.tuples(st.integers(0, 5), st.integers(0, 5)))
VALUES = st.one_of(st.integers(), st.text(), st.binary(), st.lists(st.binary()), MATRICES)
FRAME = encode("name", [1, "text", b"bytes", [b"a", b""], np.eye(2)])


def received(data: bytes, seconds: float | None = None):
    """Return what a receiver makes of bytes, after which the stream ends."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        writer = threading.Thread(target=_send_all, args=(ours, data))
        writer.start()
        try:
            return receive(theirs, seconds)
        finally:
            theirs.close()
            writer.join()


def _send_all(stream: socket.socket, data: bytes) -> None:
    try:
        stream.sendall(data)
        stream.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # the receiver has seen enough


def frame(header: object, *blobs: bytes) -> bytes:
    """Return a frame with any header, which need not describe its bytes."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    lengths = b"".join(struct.pack("<Q", len(blob)) for blob in blobs)
    return struct.pack("<II", len(text), len(blobs)) + text + lengths + b"".join(blobs)


def same(left: object, right: object) -> bool:
    if isinstance(left, np.ndarray):
        return isinstance(right, np.ndarray) and left.shape == right.shape and left.tobytes() == right.tobytes()
    return type(left) is type(right) and left == right


@given(st.text(), st.lists(VALUES))
def test_values_of_every_kind_come_out_as_they_went_in(name, values):
    outcome, results = received(encode(name, values))
    assert outcome == name
    assert len(results) == len(values)
    assert all(map(same, values, results))


def test_frames_follow_each_other():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(FRAME + encode("next", []))
        assert receive(theirs)[0] == "name"
        assert receive(theirs) == ("next", [])


def test_a_frame_that_is_cut_short_is_the_end_of_the_stream():
    for size in range(len(FRAME)):
        with pytest.raises(StreamEnded):
            received(FRAME[:size])


HEADERS = {
    "not JSON": b"{",
    "not text": b"\xff\xfe\xfd",
    "nothing": b"",
    "a number": 1,
    "no values": ["name"],
    "too many fields": ["name", [], []],
    "an object": {"name": [], "values": []},
    "a name that is none": [1, []],
    "values that are text": ["name", ""],
    "values that are an object": ["name", {}],
    "a value without a kind": ["name", [[]]],
    "a value that is a number": ["name", [3]],
    "a value that is nothing": ["name", [None]],
    "another kind": ["name", [["object", 1]]],
    "a kind that is a list": ["name", [[["int"], 1]]],
    "a truth for a number": ["name", [["int", True]]],
    "a fraction for a number": ["name", [["int", 1.5]]],
    "text for a number": ["name", [["int", "1"]]],
    "a number for text": ["name", [["str", 1]]],
    "bytes that are not there": ["name", [["bytes"], ["bytes"]]],
    "a longer list than there is": ["name", [["list", 2]]],
    "an endless list": ["name", [["list", 1 << 80]]],
    "a list of negative length": ["name", [["list", -1]]],
    "a matrix of negative rows": ["name", [["matrix", -1, 1]]],
    "a matrix of negative columns": ["name", [["matrix", 1, -1]]],
    "a matrix of another size": ["name", [["matrix", 2, 1]]],
    "an enormous matrix": ["name", [["matrix", 1 << 62, 1 << 62]]],
    "a matrix beyond all integers": ["name", [["matrix", 1 << 80, 0]]],
    "a matrix of three dimensions": ["name", [["matrix", 1, 1, 1]]],
    "no use for the bytes": ["name", [["int", 1]]],
    "a deep nest": b"[" * 60_000,
    "a long number": b'["name", [["int", ' + b"9" * 60_000 + b"]]]",
    "no number": b'["name", [["int", NaN]]]',
}


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
def test_a_header_that_does_not_describe_its_values_is_refused(header):
    with pytest.raises(FrameError, match="does not describe"):
        received(frame(header, bytes(8)))


def test_a_matrix_of_bytes_that_are_no_numbers_is_refused():
    with pytest.raises(FrameError):
        received(frame(["name", [["matrix", 1, 1]]], bytes(7)))


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["int", "str", "bytes", "list", "matrix"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=2),
)


@given(st.one_of(st.tuples(st.just("name"), st.lists(st.lists(JSON)).map(list)), JSON), st.lists(st.binary()))
def test_any_header_gives_values_or_a_frame_error(header, blobs):
    try:
        name, values = received(frame(header, *blobs))
    except FrameError:
        return
    assert received(encode(name, values))[0] == name


@given(st.binary(max_size=200))
def test_any_bytes_are_a_frame_error(data):
    with pytest.raises(FrameError):
        received(data)


@given(st.integers(0, 8 * len(FRAME) - 1))
def test_a_frame_with_a_flipped_bit_is_another_frame_or_an_error(position):
    altered = bytearray(FRAME)
    altered[position // 8] ^= 1 << position % 8
    try:
        outcome, values = received(bytes(altered))
    except FrameError:
        return
    assert isinstance(outcome, str)
    assert len(values) == 5


SIZES = {
    "a header of 4 GiB": struct.pack("<II", 0xFFFFFFFF, 0),
    "four billion byte strings": struct.pack("<II", 2, 0xFFFFFFFF) + b"[]",
    "a byte string of 2^40": frame(["name", [["bytes"]]])[:4]
    + struct.pack("<I", 1)
    + b'["name", [["bytes"]]]'
    + struct.pack("<Q", 1 << 40),
    "byte strings that add up": struct.pack("<II", 2, 3) + b"[]" + struct.pack("<Q", MAX_FRAME // 2) * 3,
}


@pytest.mark.parametrize("data", SIZES.values(), ids=SIZES)
def test_claims_beyond_the_limits_are_refused_before_anything_is_read(data):
    with pytest.raises(FrameError, match="too large"):
        received(data)


def peak_of(data: bytes) -> int:
    tracemalloc.start()
    try:
        with pytest.raises(StreamEnded):
            received(data)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_grows_with_the_bytes_that_arrive_and_not_with_those_that_are_claimed():
    claim = struct.pack("<II", 2, 1) + b"[]" + struct.pack("<Q", MAX_FRAME)
    assert peak_of(claim) < 4 << 20
    # The control: bytes that do arrive are kept.
    assert peak_of(claim + bytes(16 << 20)) > 16 << 20


class Trickle:
    """A stream whose next byte always comes just in time, one second after the last."""

    def __init__(self) -> None:
        self.now = 0.0

    def settimeout(self, seconds: float) -> None:
        assert seconds > 0

    def recv(self, _size: int) -> bytes:
        self.now += 1
        return b"\1"


def test_bytes_that_trickle_in_gain_no_time(monkeypatch):
    stream = Trickle()
    monkeypatch.setattr(frames.time, "monotonic", lambda: stream.now)
    with pytest.raises(TimeoutError):
        receive(stream, 5.5)
    assert stream.now == 6


def test_a_pickle_is_not_a_frame_and_not_loaded(tmp_path):
    payload = pickle.dumps(Temptation(str(tmp_path / "created")))
    with pytest.raises(FrameError):
        received(payload)
    assert not (tmp_path / "created").exists()
    # The control: the payload does what it says wherever it is loaded.
    pickle.loads(payload)  # noqa: S301
    assert (tmp_path / "created").exists()


NO_VALUES = [None, 1.5, {"a": 1}, (1,), [1], ["text"], np.zeros(3), np.zeros((1, 1, 1)), Path()]


@pytest.mark.parametrize("value", NO_VALUES, ids=repr)
def test_what_is_no_value_is_not_sent(value):
    with pytest.raises(TypeError):
        encode("name", [value])


def test_what_a_receiver_would_refuse_is_not_sent():
    half = bytes(MAX_FRAME // 2)
    for values in (["x" * (1 << 17)], [[b""] * (1 << 18)], [half, half, b"1"]):
        with pytest.raises(FrameError, match="too large"):
            encode("name", values)
