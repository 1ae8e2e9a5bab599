"""Whatever arrives, in whatever state: a machine answers with messages, never raises and never hoards."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.messages import inference_messages, training_messages
from support.pair import TOY_LWE, InferenceCase, TrainingCase
from support.tiers import examples

from securealign.limits import MAX_FRAME_BYTES, MEBIBYTE
from securealign.protocol.machine import SessionMachine
from securealign.protocol.states import State
from securealign.wire import InferenceCodec, TrainingCodec
from securealign.wire.v1 import inference_pb2, training_pb2

PHASES = {
    "training": (TrainingCase(), TrainingCodec(), training_messages),
    "inference": (InferenceCase(), InferenceCodec(), inference_messages),
    "training under toy": (TrainingCase(suites=(TOY_LWE,)), TrainingCodec(), training_messages),
    "inference under toy": (InferenceCase(suites=(TOY_LWE,)), InferenceCodec(), inference_messages),
}
HONEST = {name: case.finished().carried for name, (case, _, _) in PHASES.items()}


def machine_after(name: str, side: str, frames: int) -> SessionMachine:
    """Return a machine that has received so many frames of an honest session."""
    case, _, _ = PHASES[name]
    pair = case.pair()
    if side == "client":
        pair.client.start()
    party = getattr(pair, side)
    mine = [carried.frame for carried in HONEST[name] if carried.to_provider is (side == "provider")]
    for frame in mine[:frames]:
        party.receive(frame)
    return party


def mutated(frames: list[bytes]) -> st.SearchStrategy[bytes]:
    """Honest frames with a part replaced."""

    def splice(frame: bytes, start: int, length: int, patch: bytes) -> bytes:
        start %= len(frame)
        return frame[:start] + patch + frame[start + length :]

    return st.builds(splice, st.sampled_from(frames), st.integers(0, 1 << 16), st.integers(0, 8), st.binary(max_size=8))


@pytest.mark.parametrize("side", ["client", "provider"])
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.thorough) if name.endswith("under toy") else name for name in PHASES],
)
@examples(60)
@given(data=st.data())
def test_a_machine_survives_any_frames(name, side, data):
    _, codec, messages = PHASES[name]
    honest = [carried.frame for carried in HONEST[name]]
    party = machine_after(name, side, data.draw(st.integers(0, len(honest))))
    frames = st.one_of(st.binary(max_size=64), messages.map(codec.encode), st.sampled_from(honest), mutated(honest))
    for frame in data.draw(st.lists(frames, max_size=6)):
        silent = party.state is State.ABORTED
        replies = party.receive(frame)
        assert not (silent and replies)
        for reply in replies:
            assert len(reply) <= MAX_FRAME_BYTES
            codec.decode(reply)
        assert (party.state is State.ABORTED) == (party.error is not None)


def field(number: int, payload: bytes) -> bytes:
    """Return a length-delimited protobuf field of at most 2 MiB."""
    size = len(payload)
    return bytes([number << 3 | 2, size & 0x7F | 0x80, size >> 7 & 0x7F | 0x80, size >> 14]) + payload


ROOM = MAX_FRAME_BYTES - 64
BOMBS = {
    "a million versions": field(1, field(1, field(1, b"\x01" * ROOM))),
    "a hundred thousand suites": field(1, field(1, b"\x12\x00" * (ROOM // 2))),
    "a hundred thousand class names": field(2, b"\x1a\x00" * (ROOM // 2)),
    "a long name": field(1, field(1, field(2, field(1, b"x" * ROOM)))),
    "deep nesting": b"\x0b" * ROOM,
    "a vast key": training_pb2.TrainingMessage(
        key={"total": 2**64 - 1, "offset": 0, "data": bytes(ROOM)}
    ).SerializeToString(),
    "a vast pool": inference_pb2.InferenceMessage(
        pool={"pool": 0, "total": 2**64 - 1, "offset": 0, "data": bytes(ROOM)}
    ).SerializeToString(),
    "a vast count": inference_pb2.InferenceMessage(
        query={"pool": 0, "first_slot": 2**32 - 1, "count": 2**32 - 1}
    ).SerializeToString(),
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
@pytest.mark.parametrize("name", ["training", "inference"])
def test_no_single_frame_takes_much_memory(name, bomb):
    assert len(bomb) <= MAX_FRAME_BYTES
    parties = [machine_after(name, side, count) for side in ("client", "provider") for count in range(4)]
    for party in parties:
        tracemalloc.start()
        party.receive(bomb)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 24 * MEBIBYTE
