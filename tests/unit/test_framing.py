"""Bytes on the cable: more than the payload, by how much, and what acknowledges them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securealign.transport import framing
from securealign.transport.framing import SEGMENT_BYTES, SEGMENT_HEADER_BYTES, segments, stream_bytes, wire

MIB = 1 << 20
payloads = st.integers(0, 64 * MIB)
#: What is around the smallest message: a prefix, one frame, one record.
LEAST_FRAMING = framing.GRPC_PREFIX_BYTES + framing.FRAME_HEADER_BYTES + framing.RECORD_OVERHEAD_BYTES


@given(payloads)
def test_every_layer_adds_bytes(payload):
    stream = stream_bytes(payload)
    assert stream >= payload + LEAST_FRAMING
    assert wire(payload).forward >= stream + SEGMENT_HEADER_BYTES


@given(payloads, payloads)
def test_more_payload_is_never_less_on_the_cable(one, other):
    less, more = sorted((one, other))
    assert stream_bytes(less) <= stream_bytes(more)
    assert wire(less).forward <= wire(more).forward
    assert wire(less).backward <= wire(more).backward


@given(payloads)
def test_a_byte_more_is_a_byte_more_on_the_cable(payload):
    assert stream_bytes(payload + 1) > stream_bytes(payload)
    assert wire(payload + 1).forward > wire(payload).forward


@given(payloads, payloads)
def test_a_message_that_is_cut_in_two_is_not_cheaper(one, other):
    """Each part has a prefix, frames and segments of its own."""
    whole, first, second = wire(one + other), wire(one), wire(other)
    assert first.forward + second.forward > whole.forward
    assert first.backward + second.backward >= whole.backward


@pytest.mark.parametrize("payload", [0, 1, 6, 34, 100, 1000])
def test_a_small_message_travels_in_one_frame_one_record_and_one_segment(payload):
    assert stream_bytes(payload) == payload + LEAST_FRAMING
    assert wire(payload) == (payload + LEAST_FRAMING + SEGMENT_HEADER_BYTES, SEGMENT_HEADER_BYTES)


def test_a_confirmation_of_34_bytes_is_mostly_framing():
    assert wire(34).forward > 3 * 34


@pytest.mark.parametrize(("payload", "most"), [(MIB, 0.05), (64 * MIB, 0.05), (16_000, 0.06), (1_000, 0.1)])
def test_of_a_large_message_framing_is_a_small_part(payload, most):
    assert 0 < wire(payload).forward / payload - 1 < most


def test_framing_before_tcp_is_a_few_bytes_in_a_thousand():
    assert stream_bytes(MIB) / MIB - 1 < 0.003


@given(payloads)
def test_a_segment_in_two_is_acknowledged(payload):
    count, cost = segments(stream_bytes(payload)), wire(payload)
    acknowledgements, rest = divmod(cost.backward, SEGMENT_HEADER_BYTES)
    assert rest == 0
    assert count / 2 <= acknowledgements <= count / 2 + 0.5
    assert cost.forward == stream_bytes(payload) + count * SEGMENT_HEADER_BYTES


def test_acknowledgements_of_a_large_message_are_a_fiftieth_of_it():
    assert 0.01 < wire(64 * MIB).backward / (64 * MIB) < 0.03


@given(st.integers(1, 10**9))
def test_segments_are_full_but_for_the_last(stream):
    count = segments(stream)
    assert (count - 1) * SEGMENT_BYTES < stream <= count * SEGMENT_BYTES


def test_nothing_needs_no_segment():
    assert segments(0) == 0


def test_a_connection_costs_more_than_any_small_message_in_both_directions():
    """Two handshakes with certificates of both parties."""
    assert framing.CONNECTION.forward > 10 * wire(100).forward
    assert framing.CONNECTION.backward > 10 * wire(100).forward
