"""Protocol messages to protobuf bytes and back.

Decoding never trusts: bytes that protobuf rejects, a stream message without content, or fields that the message types
refuse end as `RemoteProtocolError`. Protobuf objects stay inside this module; they are never logged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, TypeVar

from google.protobuf.message import DecodeError
from google.protobuf.message import Message as Protobuf

from securealign.errors import ErrorCode, RemoteProtocolError
from securealign.protocol import messages as m
from securealign.wire.v1 import common_pb2, inference_pb2, training_pb2

T = TypeVar("T")


def _flat(kind: Callable[..., T], names: tuple[str, ...]) -> Callable[[Any], T]:
    """Return a decoder for a message whose fields have the same names and plain types on both sides."""
    return lambda source: kind(**{name: getattr(source, name) for name in names})


def _offer(source: common_pb2.SuiteOffer) -> m.SuiteOffer:
    return m.SuiteOffer(name=source.name, parameter_set=source.parameter_set, parameter_digest=source.parameter_digest)


def _hello(source: common_pb2.Hello) -> m.Hello:
    return m.Hello(
        versions=tuple(source.versions), suites=tuple(_offer(suite) for suite in source.suites), nonce=source.nonce
    )


def _accept(source: common_pb2.Accept) -> m.Accept:
    return m.Accept(version=source.version, suite=_offer(source.suite), nonce=source.nonce)


def _training_hello(source: training_pb2.TrainingHello) -> m.TrainingHello:
    return m.TrainingHello(
        hello=_hello(source.hello),
        dimension=source.dimension,
        rows=source.rows,
        dataset_digest=source.dataset_digest,
    )


def _privacy(source: training_pb2.TrainingAccept) -> m.PrivacyTerms | None:
    if not source.HasField("privacy"):
        return None
    terms = source.privacy
    return m.PrivacyTerms(epsilon=terms.epsilon, delta=terms.delta, noise_multiplier=terms.noise_multiplier)


def _training_accept(source: training_pb2.TrainingAccept) -> m.TrainingAccept:
    return m.TrainingAccept(
        accept=_accept(source.accept),
        dimension=source.dimension,
        dataset_digest=source.dataset_digest,
        window=source.window,
        space=source.space,
        total_squares=source.total_squares,
        privacy=_privacy(source),
    )


def _inference_hello(source: inference_pb2.InferenceHello) -> m.InferenceHello:
    return m.InferenceHello(
        hello=_hello(source.hello), features=source.features, slots=source.slots, space=source.space
    )


def _inference_accept(source: inference_pb2.InferenceAccept) -> m.InferenceAccept:
    try:
        output = m.OutputMode(source.output)
    except ValueError as error:
        raise RemoteProtocolError("The output mode is not known here.", code=ErrorCode.FRAME_MALFORMED) from error
    return m.InferenceAccept(
        accept=_accept(source.accept),
        classes=source.classes,
        class_names=tuple(source.class_names),
        output=output,
        queries_left=source.queries_left,
        window=source.window,
        live_pools=source.live_pools,
        logit_bits=source.logit_bits,
    )


def _abort(source: common_pb2.Abort) -> m.Abort:
    return m.Abort(code=ErrorCode.from_number(source.code))


def _to_protobuf(value: Any) -> Any:  # noqa: ANN401 - a field of any message
    """Return the protobuf form of a field: nested messages become dictionaries, enums numbers."""
    if isinstance(value, m.OutputMode):
        return value.value
    if isinstance(value, ErrorCode):
        return value.number
    if isinstance(value, tuple):
        return [_to_protobuf(item) for item in value]
    if isinstance(value, m.Hello | m.Accept | m.SuiteOffer | m.PrivacyTerms):
        return {field.name: _to_protobuf(getattr(value, field.name)) for field in fields(value)}
    return value


class _PhaseCodec:
    """The codec of one phase: a stream message whose oneof has a field for every message of the phase."""

    def __init__(
        self, envelope: type[Protobuf], entries: Mapping[str, tuple[type[m.Message], Callable[[Any], m.Message]]]
    ) -> None:
        self._envelope = envelope
        self._decoders = {name: decode for name, (_, decode) in entries.items()}
        self._names = {kind: name for name, (kind, _) in entries.items()}

    def encode(self, message: m.Message) -> bytes:
        """Return the bytes of a message of this phase."""
        body = {field.name: _to_protobuf(getattr(message, field.name)) for field in fields(message)}
        return self._envelope(**{self._names[type(message)]: body}).SerializeToString(deterministic=True)

    def decode(self, data: bytes) -> m.Message:
        """Return the message in `data`; raises `RemoteProtocolError` for anything that is not one of this phase."""
        envelope = self._envelope()
        try:
            envelope.ParseFromString(data)
        except DecodeError as error:
            raise RemoteProtocolError("A frame is not a protobuf message.", code=ErrorCode.FRAME_MALFORMED) from error
        name = envelope.WhichOneof("message")
        if name is None:
            raise RemoteProtocolError("A frame holds no known message.", code=ErrorCode.FRAME_MALFORMED)
        return self._decoders[name](getattr(envelope, name))


_CHUNK = ("total", "offset", "data")
#: Messages about the stream rather than of a phase.
_STREAM: dict[str, tuple[type, Callable[[Any], Any]]] = {
    "resume": (m.Resume, _flat(m.Resume, ("nonce", "received"))),
    "resumed": (m.Resumed, _flat(m.Resumed, ("received",))),
    "received": (m.Received, _flat(m.Received, ("count",))),
    "confirm": (m.Confirm, _flat(m.Confirm, ("transcript_digest",))),
    "abort": (m.Abort, _abort),
}


class TrainingCodec(_PhaseCodec):
    """Codec of training streams."""

    def __init__(self) -> None:
        super().__init__(
            training_pb2.TrainingMessage,
            {
                "hello": (m.TrainingHello, _training_hello),
                "accept": (m.TrainingAccept, _training_accept),
                "key": (m.KeyChunk, _flat(m.KeyChunk, _CHUNK)),
                "rows": (m.RowBatch, _flat(m.RowBatch, ("first", "count", "data"))),
                "ack": (m.UploadAck, _flat(m.UploadAck, ("received",))),
                "finish": (m.Finish, _flat(m.Finish, ())),
                "result": (m.ResultChunk, _flat(m.ResultChunk, _CHUNK)),
                **_STREAM,
            },
        )


class InferenceCodec(_PhaseCodec):
    """Codec of inference streams."""

    def __init__(self) -> None:
        super().__init__(
            inference_pb2.InferenceMessage,
            {
                "hello": (m.InferenceHello, _inference_hello),
                "accept": (m.InferenceAccept, _inference_accept),
                "key": (m.KeyChunk, _flat(m.KeyChunk, _CHUNK)),
                "ack": (m.UploadAck, _flat(m.UploadAck, ("received",))),
                "prepare": (m.Prepare, _flat(m.Prepare, ("pool",))),
                "pool": (m.PoolChunk, _flat(m.PoolChunk, ("pool", *_CHUNK))),
                "query": (m.Query, _flat(m.Query, ("pool", "first_slot", "count", "data"))),
                "answer": (m.Answer, _flat(m.Answer, ("pool", "first_slot", "count", *_CHUNK))),
                **_STREAM,
            },
        )
