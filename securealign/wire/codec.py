"""Protocol messages to protobuf bytes and back, both driven by the fields of the message types.

A message and its protobuf form have the same fields. What differs is stated once, in `_reader` and `_to_protobuf`:
messages within messages, lists, optional fields and the two enums. Bytes that protobuf rejects, a stream message
without content, and fields that the message types refuse end as `RemoteProtocolError`. Protobuf objects stay inside
this module; they are never logged.
"""

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache, partial
from typing import Any, get_args, get_origin, get_type_hints

from google.protobuf.message import DecodeError
from google.protobuf.message import Message as Protobuf

from securealign.errors import ErrorCode, RemoteProtocolError
from securealign.protocol import messages as m
from securealign.protocol.listing import Listing
from securealign.wire.v1 import inference_pb2, listing_pb2, training_pb2


def _malformed(reason: str) -> RemoteProtocolError:
    return RemoteProtocolError(reason, code=ErrorCode.FRAME_MALFORMED)


#: Enums whose values are their numbers on the wire.
_ENUMS = (m.OutputMode, m.Link)


def _member(kind: type[Enum], number: int) -> Enum:
    try:
        return kind(number)
    except ValueError as error:
        raise _malformed(f"A {kind.__name__} is not known here.") from error


@cache
def _reader(hint: Any) -> Callable[[Any], Any]:  # noqa: ANN401 - the type of any field
    """Return what makes a value of a message out of its protobuf form."""
    if hint is ErrorCode:
        return ErrorCode.from_number
    if hint in _ENUMS:
        return partial(_member, hint)
    if get_origin(hint) is tuple:
        item = _reader(get_args(hint)[0])
        return lambda values: tuple(map(item, values))
    return _message_reader(hint) if is_dataclass(hint) else lambda value: value


def _message_reader(kind: Any) -> Callable[[Any], Any]:  # noqa: ANN401 - any dataclass
    hints = get_type_hints(kind)
    parts = {field.name: _field_reader(field.name, hints[field.name]) for field in fields(kind)}
    return lambda source: kind(**{name: read(source) for name, read in parts.items()})


def _field_reader(name: str, hint: Any) -> Callable[[Any], Any]:  # noqa: ANN401 - the type of any field
    """Return what reads one field of a protobuf message; one that may be None is None when it is absent."""
    options = get_args(hint)
    if type(None) not in options:
        read = _reader(hint)
        return lambda source: read(getattr(source, name))
    read = _reader(options[0])
    return lambda source: read(getattr(source, name)) if source.HasField(name) else None


def _to_protobuf(value: Any) -> Any:  # noqa: ANN401 - a field of any message
    """Return the protobuf form of a value: messages become dictionaries, enums numbers."""
    if isinstance(value, _ENUMS):
        return value.value
    if isinstance(value, ErrorCode):
        return value.number
    if isinstance(value, tuple):
        return [_to_protobuf(item) for item in value]
    if is_dataclass(value):
        return {field.name: _to_protobuf(getattr(value, field.name)) for field in fields(value)}
    return value


def _parsed(kind: type[Protobuf], data: bytes) -> Any:  # noqa: ANN401 - a message of that kind
    parsed = kind()
    try:
        parsed.ParseFromString(data)
    except DecodeError as error:
        raise _malformed("A frame is not a protobuf message.") from error
    return parsed


def encode_listing_request(head: str) -> bytes:
    """Return the bytes of the question for the list of all offers, or for the head of a name."""
    return listing_pb2.ListingRequest(head=head).SerializeToString()


def decode_listing_request(data: bytes) -> str:
    """Return the name of the head that is asked for, "" for all; raises `RemoteProtocolError` for anything else."""
    name: str = _parsed(listing_pb2.ListingRequest, data).head
    return name


def encode_listing(listing: Listing) -> bytes:
    """Return the bytes of a list of offers."""
    return listing_pb2.Listing(**_to_protobuf(listing)).SerializeToString(deterministic=True)


def decode_listing(data: bytes) -> Listing:
    """Return the list of offers in `data`; raises `RemoteProtocolError` for anything else."""
    listing: Listing = _reader(Listing)(_parsed(listing_pb2.Listing, data))
    return listing


class _StreamCodec:
    """The codec of one kind of stream, whose protobuf message has a field for each message that may travel on it."""

    def __init__(self, envelope: type[Protobuf]) -> None:
        self._envelope = envelope
        members: Any = envelope.DESCRIPTOR.oneofs_by_name["message"].fields
        self._kinds = {field.name: getattr(m, field.message_type.name) for field in members}
        self._names = {kind: name for name, kind in self._kinds.items()}

    def encode(self, message: m.Message) -> bytes:
        """Return the bytes of a message of this kind of stream."""
        frame = self._envelope(**{self._names[type(message)]: _to_protobuf(message)})
        return frame.SerializeToString(deterministic=True)

    def decode(self, data: bytes) -> m.Message:
        """Return the message in `data`; raises `RemoteProtocolError` for anything else."""
        envelope: Any = _parsed(self._envelope, data)
        name = envelope.WhichOneof("message")
        if name is None:
            raise _malformed("A frame holds no known message.")
        message: m.Message = _reader(self._kinds[name])(getattr(envelope, name))
        return message


class TrainingCodec(_StreamCodec):
    """Codec of training streams."""

    def __init__(self) -> None:
        super().__init__(training_pb2.TrainingMessage)


class InferenceCodec(_StreamCodec):
    """Codec of inference streams."""

    def __init__(self) -> None:
        super().__init__(inference_pb2.InferenceMessage)
