"""Bytes on the cable around a payload: gRPC, HTTP/2, TLS 1.3, TCP and IP.

Segments are full but for the last of a message, and acknowledged by segments without data. Frames with which HTTP/2
opens windows and measures round trips are left out: about 30 bytes of each short message.
"""

from typing import NamedTuple

#: Compression flag and length before every gRPC message.
GRPC_PREFIX_BYTES = 5
#: Header of an HTTP/2 frame, and what one holds at most unless the peer allows more (RFC 9113, sections 4.1 and 4.2).
FRAME_HEADER_BYTES, FRAME_BYTES = 9, 16_384
#: Header, content type and tag of a TLS 1.3 record, and what one holds at most (RFC 8446, section 5).
RECORD_OVERHEAD_BYTES, RECORD_BYTES = 22, 16_384
#: IPv4 header, TCP header and the timestamps that Linux sends (RFC 9293, RFC 7323).
SEGMENT_HEADER_BYTES = 52
#: Data of a segment on Ethernet: 1,500 bytes without the headers.
SEGMENT_BYTES = 1448
#: Segments that one acknowledgement covers at least (RFC 9293, section 3.8.6.3). Those that arrive together share one:
#: Linux was counted at 2.2 to 4.2, so that bytes against a bulk upload come out up to 5 % too high.
SEGMENTS_PER_ACKNOWLEDGEMENT = 2


class Wire(NamedTuple):
    """Bytes on the cable in the direction of a message, and those that acknowledge it in the other."""

    forward: int
    backward: int


#: One session: the client meets the provider on a connection of its own, then opens the channel; both handshakes of
#: mutual TLS with elliptic-curve certificates, preface and settings of HTTP/2, header fields of the call, its trailers.
CONNECTION = Wire(forward=5_550, backward=8_050)


def stream_bytes(payload: int) -> int:
    """Return what TCP carries for a payload: the message with its gRPC prefix, in HTTP/2 frames, in TLS records."""
    message = payload + GRPC_PREFIX_BYTES
    framed = message + -(-message // FRAME_BYTES) * FRAME_HEADER_BYTES
    return framed + -(-framed // RECORD_BYTES) * RECORD_OVERHEAD_BYTES


def segments(stream: int) -> int:
    """Return how many segments carry so many bytes."""
    return -(-stream // SEGMENT_BYTES)


def wire(payload: int) -> Wire:
    """Return the bytes on the cable for one message."""
    stream = stream_bytes(payload)
    count = segments(stream)
    acknowledgements = -(-count // SEGMENTS_PER_ACKNOWLEDGEMENT)
    return Wire(stream + count * SEGMENT_HEADER_BYTES, acknowledgements * SEGMENT_HEADER_BYTES)
