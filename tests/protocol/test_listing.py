"""The list of what a provider offers: its bytes, and what a client refuses in one."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securealign.errors import ErrorCode, RemoteProtocolError
from securealign.protocol.listing import HeadListing, Listing, SpaceListing
from securealign.protocol.messages import OutputMode
from securealign.wire import decode_listing, decode_listing_request, encode_listing, encode_listing_request

HEAD = HeadListing(
    name="topics",
    classes=2,
    class_names=("a", "b"),
    output=OutputMode.LABEL,
    provider_dim=6,
    space=bytes(16),
    space_name="news",
    head_digest=bytes(32),
    queries_left=0,
    bits_left=None,
    max_slots=64,
    answer_bits=1,
    abstains=False,
)
SPACE = SpaceListing(name="news", dataset_digest=bytes(32), rows=60, provider_dim=6, space=bytes(16))
LISTING = Listing(heads=(HEAD, replace(HEAD, name="spam", bits_left=0, class_names=())), spaces=(SPACE,))


def test_a_list_and_a_question_survive_the_wire():
    assert decode_listing(encode_listing(LISTING)) == LISTING
    assert decode_listing_request(encode_listing_request("topics")) == "topics"


@given(st.binary(max_size=200))
def test_any_bytes_are_a_list_or_a_malformed_frame(data):
    listing, code = LISTING, ErrorCode.FRAME_MALFORMED
    try:
        listing = decode_listing(data)
    except RemoteProtocolError as error:
        code = error.code
    assert code is ErrorCode.FRAME_MALFORMED
    assert decode_listing(encode_listing(listing)) == listing


@pytest.mark.parametrize(
    "change",
    [
        {"name": "../escape"},
        {"name": ""},
        {"space_name": "NEWS"},
        {"classes": 0},
        {"max_slots": 0},
        {"space": bytes(15)},
        {"head_digest": b""},
        {"class_names": ("a",)},
        {"class_names": ("a", "\x1b[2J")},
    ],
)
def test_a_head_that_cannot_be_is_refused(change):
    with pytest.raises(RemoteProtocolError, match="malformed"):
        replace(HEAD, **change)


@pytest.mark.parametrize("change", [{"name": ""}, {"rows": 0}, {"space": b""}, {"dataset_digest": bytes(31)}])
def test_a_space_that_cannot_be_is_refused(change):
    with pytest.raises(RemoteProtocolError, match="malformed"):
        replace(SPACE, **change)
