"""Whatever happens to a frame on its way, one of the parties notices before the result is used."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.pair import TOY_LWE, Carried, InferenceCase, TrainingCase

from securealign.errors import ErrorCode
from securealign.protocol.states import State
from securealign.protocol.transcript import Transcript

CASES = {
    "training": TrainingCase(),
    "inference": InferenceCase(),
    "training under toy": TrainingCase(suites=(TOY_LWE,)),
    "inference under toy": InferenceCase(suites=(TOY_LWE,)),
}
HONEST = {name: case.finished().carried for name, case in CASES.items()}
FRAMES = [
    pytest.param(name, carried.number, id=f"{name}-{carried.number}")
    for name, frames in HONEST.items()
    for carried in frames
]
#: A protobuf field that no message of this protocol has: number 2047, of 1 byte.
UNKNOWN_FIELD = b"\xfa\x7f\x01x"


def inside(frame: bytes, extra: bytes) -> bytes:
    """Return a frame whose message carries `extra` at its end."""
    length, shift, end = 0, 0, 1
    while True:
        byte = frame[end]
        length |= (byte & 0x7F) << shift
        shift, end = shift + 7, end + 1
        if byte < 0x80:
            break
    assert end + length == len(frame)
    length += len(extra)
    prefix = bytearray()
    while length >= 0x80:
        prefix.append(length & 0x7F | 0x80)
        length >>= 7
    return frame[:1] + bytes(prefix) + bytes([length]) + frame[end:] + extra


def with_long_length(frame: bytes) -> bytes:
    """Return a frame that spells the length of its message with one byte more than needed."""
    end = next(index for index in range(1, len(frame)) if frame[index] < 0x80)
    return frame[:end] + bytes([frame[end] | 0x80, 0]) + frame[end + 1 :]


ALTERATIONS = {
    "an unknown field beside the message": lambda frame: [frame + UNKNOWN_FIELD],
    "an unknown field in the message": lambda frame: [inside(frame, UNKNOWN_FIELD)],
    "a longer spelling": lambda frame: [with_long_length(frame)],
    "the message twice in a frame": lambda frame: [frame + frame],
    "the last bit flipped": lambda frame: [frame[:-1] + bytes([frame[-1] ^ 1])],
    "a byte short": lambda frame: [frame[:-1]],
    "delivered twice": lambda frame: [frame, frame],
}


@pytest.mark.parametrize("change", ALTERATIONS.values(), ids=ALTERATIONS)
def test_a_single_altered_frame_ends_in_an_abort(change):
    for name, number in ((name, carried.number) for name, frames in HONEST.items() for carried in frames):

        def alter(carried: Carried, number: int = number) -> list[bytes]:
            return change(carried.frame) if carried.number == number else [carried.frame]

        assert State.ABORTED in CASES[name].finished(alter).states, f"message {number} of {name}"


@pytest.mark.parametrize("name", CASES)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_single_flipped_bit_ends_in_an_abort(name, data):
    target = data.draw(st.sampled_from(HONEST[name]))
    place = data.draw(st.integers(0, 8 * len(target.frame) - 1))

    def alter(carried: Carried) -> list[bytes]:
        frame = bytearray(carried.frame)
        if carried.number == target.number:
            frame[place // 8] ^= 1 << place % 8
        return [bytes(frame)]

    assert State.ABORTED in CASES[name].finished(alter).states


@pytest.mark.parametrize(("name", "number"), FRAMES)
def test_a_lost_frame_never_leads_to_success(name, number):
    pair = CASES[name].finished(lambda carried: [] if carried.number == number else [carried.frame])
    assert pair.client.state is not State.DONE


SWAPS = [
    pytest.param(name, first, second, id=f"{name}-{first}-{second}")
    for name in ("training under toy", "inference under toy")
    for to_provider in (True, False)
    for first, second in pairwise(frame.number for frame in HONEST[name] if frame.to_provider is to_provider)
]


@pytest.mark.parametrize(("name", "first", "second"), SWAPS)
def test_frames_that_arrive_in_another_order_never_lead_to_success(name, first, second):
    held = []

    def alter(carried: Carried) -> list[bytes]:
        if carried.number == first:
            held.append(carried.frame)
            return []
        return [carried.frame, *held] if carried.number == second else [carried.frame]

    pair = CASES[name].finished(alter)
    assert pair.client.state is not State.DONE


@pytest.mark.parametrize("name", CASES)
def test_an_unaltered_session_succeeds_and_both_digests_are_equal(name):
    pair = CASES[name].finished()
    pair.assert_done()
    assert pair.client._transcript.digest() == pair.provider._transcript.digest()


@pytest.mark.parametrize("name", CASES)
def test_without_the_comparison_an_altered_frame_goes_unnoticed(name, monkeypatch):
    """The control: what the other tests see is the transcript and not the parser."""
    monkeypatch.setattr(Transcript, "digest", lambda self: bytes(32))
    pair = CASES[name].finished(
        lambda carried: [inside(carried.frame, UNKNOWN_FIELD)] if carried.number == 0 else [carried.frame]
    )
    pair.assert_done()


@pytest.mark.parametrize("to_provider", [True, False], ids=["to the provider", "to the client"])
@pytest.mark.parametrize("name", CASES)
def test_a_harmless_change_is_found_when_transcripts_are_compared(name, to_provider):
    first = next(carried.number for carried in HONEST[name] if carried.to_provider is to_provider)
    pair = CASES[name].finished(
        lambda carried: [inside(carried.frame, UNKNOWN_FIELD)] if carried.number == first else [carried.frame]
    )
    pair.assert_aborted(ErrorCode.TRANSCRIPT_MISMATCH, by="provider")


def test_messages_that_cross_do_not_break_the_transcript():
    """Pools and answers are on their way down while queries and requests are on their way up."""
    case = InferenceCase(suites=(TOY_LWE,))
    pair = case.opened()
    pair.up.extend(pair.client.prepare())
    pair.up.extend(pair.client.submit(case.queries(2)))
    pair.deliver_up()
    pair.deliver_up()
    pair.up.extend(pair.client.submit(case.queries(2)))
    pair.deliver_down()
    pair.up.extend(pair.client.submit(case.queries(1)))
    pair.carry()
    pair.up.extend(pair.client.finish())
    pair.carry()
    pair.assert_done()
    assert pair.client._transcript.digest() == pair.provider._transcript.digest()


@settings(max_examples=50, deadline=None)
@given(order=st.lists(st.booleans(), max_size=60))
def test_no_interleaving_breaks_the_transcript(order):
    case = InferenceCase(slots=2)
    pair = case.opened()
    left = 4
    for up in order:
        if up and left and pair.client.free_slots:
            pair.up.extend(pair.client.submit(case.queries(1)))
            left -= 1
        if pair.client.may_prepare:
            pair.up.extend(pair.client.prepare())
        if up and pair.up:
            pair.deliver_up()
        elif pair.down:
            pair.deliver_down()
    pair.carry()
    pair.up.extend(pair.client.finish())
    pair.carry()
    pair.assert_done()


@given(st.lists(st.tuples(st.booleans(), st.binary(max_size=8)), max_size=8), st.data())
def test_a_digest_depends_on_every_message_and_its_direction(said, data):
    def digest(messages, phase="training"):
        transcript = Transcript(phase)
        for to_provider, frame in messages:
            (transcript.to_provider if to_provider else transcript.to_client)(frame)
        return transcript.digest()

    assert len(digest(said)) == 32
    assert digest(said) != digest(said, "inference")
    assert digest(said) != digest([*said, (True, b"")]) != digest([*said, (False, b"")])
    # Order matters within a direction and not between them.
    assert digest(said) == digest(sorted(said, key=lambda message: message[0]))
    if said:
        index = data.draw(st.integers(0, len(said) - 1))
        to_provider, frame = said[index]
        for other in ((to_provider, frame + b"x"), (not to_provider, frame)):
            assert digest(said) != digest([*said[:index], other, *said[index + 1 :]])
