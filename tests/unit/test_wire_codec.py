"""The wire format says what the messages say, and the generated code says what the .proto files say."""

from __future__ import annotations

import os
import re
import runpy
import sys
from dataclasses import fields
from pathlib import Path
from typing import get_args

import pytest
from google.protobuf.message import Message as Protobuf
from hypothesis import given, settings
from hypothesis import strategies as st
from support import messages as examples

from securealign.errors import ErrorCode, RemoteProtocolError
from securealign.limits import FRAME_OVERHEAD_BYTES, MAX_CHUNK_BYTES, MAX_FRAME_BYTES
from securealign.protocol import messages as m
from securealign.wire import InferenceCodec, TrainingCodec
from securealign.wire.v1 import common_pb2, inference_pb2, training_pb2

ROOT = Path(__file__).parents[2]
PROTOS = sorted((ROOT / "proto" / "securealign" / "v1").glob("*.proto"))
PHASES = [
    pytest.param(TrainingCodec(), training_pb2.TrainingMessage, examples.TRAINING, id="training"),
    pytest.param(InferenceCodec(), inference_pb2.InferenceMessage, examples.INFERENCE, id="inference"),
]


@pytest.mark.parametrize(
    ("codec", "messages"),
    [(TrainingCodec(), examples.training_messages), (InferenceCodec(), examples.inference_messages)],
    ids=["training", "inference"],
)
@settings(max_examples=200, deadline=None)
@given(st.data())
def test_messages_come_back_as_they_went(codec, messages, data):
    message = data.draw(messages)
    frame = codec.encode(message)
    assert codec.decode(frame) == message
    assert codec.encode(codec.decode(frame)) == frame


def test_every_message_has_an_example():
    assert {type(message) for message in examples.TRAINING + examples.INFERENCE} == set(get_args(m.Message))


@pytest.mark.parametrize(("codec", "envelope", "messages"), PHASES)
def test_every_field_of_the_envelope_is_a_message_of_the_phase(codec, envelope, messages):
    named = {}
    for message in messages:
        parsed = envelope.FromString(codec.encode(message))
        named[parsed.WhichOneof("message")] = type(message)
    assert set(named) == {field.name for field in envelope.DESCRIPTOR.fields}
    assert set(named.values()) == {type(message) for message in messages}


def protobuf_of(kind: type) -> type[Protobuf]:
    modules = (common_pb2, training_pb2, inference_pb2)
    return next(vars(module)[kind.__name__] for module in modules if kind.__name__ in vars(module))


@pytest.mark.parametrize("kind", [*get_args(m.Message), m.Hello, m.Accept, m.SuiteOffer])
def test_messages_and_protobuf_have_the_same_fields(kind):
    assert {field.name for field in fields(kind)} == {field.name for field in protobuf_of(kind).DESCRIPTOR.fields}


def test_error_codes_have_the_numbers_of_the_wire():
    listed = {name.removeprefix("ERROR_CODE_"): number for name, number in common_pb2.ErrorCode.items()}
    assert listed.pop("UNSPECIFIED") == 0
    assert listed == {code.name: code.number for code in ErrorCode if code.name in listed}


def test_output_modes_have_the_numbers_of_the_wire():
    listed = {name.removeprefix("OUTPUT_MODE_"): number for name, number in inference_pb2.OutputMode.items()}
    assert listed.pop("UNSPECIFIED") == 0
    assert listed == {mode.name: mode.value for mode in m.OutputMode}


def test_a_frame_has_room_for_a_whole_chunk():
    data = bytes(MAX_CHUNK_BYTES)
    largest = 2**64 - 1
    for codec, message in (
        (TrainingCodec(), m.KeyChunk(total=largest, offset=largest - len(data), data=data)),
        (TrainingCodec(), m.RowBatch(first=2**32 - 1, count=2**32 - 1, data=data)),
        (InferenceCodec(), m.PoolChunk(pool=2**32 - 1, total=largest, offset=largest - len(data), data=data)),
        (InferenceCodec(), m.Query(pool=2**32 - 1, first_slot=2**32 - 1, count=2**32 - 1, data=data)),
    ):
        assert len(codec.encode(message)) <= MAX_FRAME_BYTES
    assert MAX_FRAME_BYTES - MAX_CHUNK_BYTES == FRAME_OVERHEAD_BYTES


def changed(message: m.Message, path: str, value: object) -> bytes:
    """Return the bytes of an example with one protobuf field replaced."""
    codec, envelope = (
        (TrainingCodec(), training_pb2.TrainingMessage())
        if message in examples.TRAINING
        else (InferenceCodec(), inference_pb2.InferenceMessage())
    )
    envelope.ParseFromString(codec.encode(message))
    *parents, name = path.split(".")
    target = getattr(envelope, envelope.WhichOneof("message"))
    for parent in parents:
        target = getattr(target, parent) if not parent.isdigit() else target[int(parent)]
    target.ClearField(name)
    if isinstance(value, list):
        getattr(target, name).extend(value)
    elif value is not None:
        setattr(target, name, value)
    return envelope.SerializeToString()


def example(kind: type) -> m.Message:
    return next(message for message in examples.TRAINING + examples.INFERENCE if type(message) is kind)


MALFORMED = [
    (m.TrainingHello, "hello", None),
    (m.TrainingHello, "hello.versions", []),
    (m.TrainingHello, "hello.versions", [1] * 17),
    (m.TrainingHello, "hello.suites", []),
    (m.TrainingHello, "hello.nonce", bytes(31)),
    (m.TrainingHello, "hello.nonce", bytes(33)),
    (m.TrainingHello, "hello.suites.0.name", ""),
    (m.TrainingHello, "hello.suites.0.name", "x" * 257),
    (m.TrainingHello, "hello.suites.0.name", "line\nbreak"),
    (m.TrainingHello, "hello.suites.0.parameter_set", ""),
    (m.TrainingHello, "hello.suites.0.parameter_digest", b""),
    (m.TrainingHello, "client_dim", 0),
    (m.TrainingHello, "rows", 0),
    (m.TrainingHello, "dataset_digest", b""),
    (m.TrainingAccept, "accept", None),
    (m.TrainingAccept, "accept.nonce", b""),
    (m.TrainingAccept, "provider_dim", 0),
    (m.TrainingAccept, "dataset_digest", bytes(64)),
    (m.TrainingAccept, "window", 0),
    (m.TrainingAccept, "window", 1025),
    (m.TrainingAccept, "space", bytes(15)),
    (m.TrainingAccept, "space", b""),
    (m.TrainingAccept, "total_squares", -1.0),
    (m.TrainingAccept, "total_squares", float("inf")),
    (m.TrainingAccept, "total_squares", float("nan")),
    (m.RowBatch, "count", 0),
    (m.RowBatch, "data", bytes(MAX_CHUNK_BYTES + 1)),
    (m.KeyChunk, "total", 8),
    (m.KeyChunk, "offset", 1),
    (m.KeyChunk, "offset", 2**64 - 1),
    (m.Confirm, "transcript_digest", bytes(31)),
    (m.InferenceHello, "provider_dim", 0),
    (m.InferenceHello, "slots", 0),
    (m.InferenceHello, "space", bytes(15)),
    (m.InferenceAccept, "classes", 0),
    (m.InferenceAccept, "class_names", ["a"]),
    (m.InferenceAccept, "class_names", ["a", ""]),
    (m.InferenceAccept, "class_names", ["a", "\x1b[31m"]),
    (m.InferenceAccept, "output", 0),
    (m.InferenceAccept, "output", 2),
    (m.InferenceAccept, "window", 0),
    (m.Query, "count", 0),
    (m.Answer, "count", 0),
    (m.Answer, "data", bytes(MAX_CHUNK_BYTES + 1)),
    (m.PoolChunk, "total", 3),
]


@pytest.mark.parametrize(("kind", "path", "value"), MALFORMED)
def test_fields_out_of_bounds_are_refused(kind, path, value):
    message = example(kind)
    codec = TrainingCodec() if message in examples.TRAINING else InferenceCodec()
    with pytest.raises(RemoteProtocolError) as caught:
        codec.decode(changed(message, path, value))
    assert caught.value.code is ErrorCode.FRAME_MALFORMED


@pytest.mark.parametrize(("name", "number"), [("too many suites", 17), ("as many as allowed", 16)])
def test_suites_are_counted(name, number):
    offers = [common_pb2.SuiteOffer(name="s", parameter_set="p", parameter_digest=bytes(32))] * number
    frame = changed(example(m.TrainingHello), "hello.suites", offers)
    if number > 16:
        with pytest.raises(RemoteProtocolError, match="offers 1 to 16 suites"):
            TrainingCodec().decode(frame)
    else:
        assert len(TrainingCodec().decode(frame).hello.suites) == number


def test_text_that_is_not_unicode_is_refused():
    frame = TrainingCodec().encode(example(m.TrainingHello)).replace(b"plaintext", b"plain\xff\xfe\xfd\xfc")
    with pytest.raises(RemoteProtocolError, match="not a protobuf message"):
        TrainingCodec().decode(frame)


def test_messages_are_immutable_and_made_by_keyword():
    with pytest.raises(AttributeError):
        example(m.Query).pool = 1
    with pytest.raises(TypeError):
        m.UploadAck(1)


def test_the_generated_code_is_current(tmp_path, monkeypatch):
    pytest.importorskip("grpc_tools", reason="grpcio-tools, of the extra 'dev', generates the code")
    pytest.importorskip("mypy_protobuf", reason="mypy-protobuf, of the extra 'dev', generates the type stubs")
    # The plugin of protoc lies beside the interpreter, whether or not its environment is activated.
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    script = runpy.run_path(str(ROOT / "scripts" / "gen-proto"))
    monkeypatch.setattr(sys, "argv", ["gen-proto", str(tmp_path)])
    assert script["main"]() == 0
    committed = ROOT / "securealign" / "wire" / "v1"
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {path.name for path in committed.iterdir() if path.is_file()}
    for name in names:
        assert (tmp_path / name).read_text() == (committed / name).read_text(), f"run scripts/gen-proto: {name} differs"


def uncommented(text: str) -> list[str]:
    """Return the messages, enums, services and fields of a .proto file that no comment explains.

    A comment covers the fields that follow it without a gap. Fields that are messages are explained where those are
    defined, and values of an enum by its comment.
    """
    missing, covered, inside = [], False, ""
    for line in map(str.strip, text.splitlines()):
        if line.startswith("//"):
            covered = True
        elif block := re.match(r"(message|enum|service|oneof) (\w+)", line):
            if not covered and block[1] != "oneof":
                missing.append(block[2])
            inside, covered = block[1], False
        elif found := re.match(r"(repeated )?(\w+) (\w+) = \d+;", line):
            own_message = found[2][0].isupper() and found[2] != "OutputMode"
            if not (covered or inside == "enum" or own_message):
                missing.append(found[3])
        elif not line or line == "}":
            covered = False
    return missing


@pytest.mark.parametrize("path", PROTOS, ids=lambda path: path.name)
def test_messages_and_fields_carry_comments(path):
    assert uncommented(path.read_text(encoding="utf-8")) == []


def test_the_lint_sees_what_has_no_comment():
    assert uncommented("message A {\n  uint32 b = 1;\n}\n// C.\nmessage C {\n  // d.\n  bytes d = 1;\n}\n") == [
        "A",
        "b",
    ]
