"""What an endpoint refuses: records that are older than the session, receipts out of range, and what cannot be kept."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support import messages as examples
from support.durable import DurableInference, DurableTraining
from support.journal import MemoryJournal
from support.pair import PLAINTEXT, TOY_LWE, InferenceCase, TrainingCase

from securealign.errors import (
    CiphertextError,
    ErrorCode,
    KeyStoreError,
    LocalProtocolError,
    PeerAborted,
    RemoteProtocolError,
)
from securealign.he.plaintext import PlaintextSuite
from securealign.protocol import messages as m
from securealign.protocol import streams
from securealign.protocol.resume.session import Opening, ResumableClient, ResumableProvider
from securealign.protocol.resume.snapshot import Snapshot, require_blob, require_message, restore, take_snapshot
from securealign.protocol.states import State
from securealign.wire import TrainingCodec
from securealign.wire.v1 import training_pb2

CODEC = TrainingCodec()


@pytest.fixture
def training():
    return DurableTraining(case=TrainingCase(suites=(PLAINTEXT,)))


@pytest.fixture
def inference():
    return DurableInference(case=InferenceCase(suites=(PLAINTEXT,)))


@pytest.fixture
def hello(training):
    training.start_client()
    return training.up[0]


def provider(training, journal=None):
    return ResumableProvider(training.make_provider(), journal or MemoryJournal())


def abort_code(frames):
    (message,) = map(CODEC.decode, frames)
    return message.code


def test_a_stream_begins_with_a_greeting_or_a_return(hello):
    assert Opening.of(CODEC, hello).received is None
    assert Opening.of(CODEC, CODEC.encode(m.Resume(nonce=bytes(32), received=4))) == Opening(bytes(32), 4)
    assert Opening.of(CODEC, CODEC.encode(m.Finish())) is None


def test_a_session_that_aborts_is_over_in_its_journal(training):
    journal = MemoryJournal()
    assert abort_code(provider(training, journal).receive(b"\xff")) is ErrorCode.FRAME_MALFORMED
    assert journal.outcome == "FRAME_MALFORMED"
    assert journal.recover() is None


def test_a_provider_does_not_make_anew_what_its_client_has(training, hello):
    endpoint = provider(training)
    list(endpoint.resume(5))
    assert abort_code(endpoint.receive(hello)) is ErrorCode.SESSION_ROLLED_BACK


def test_a_provider_does_not_say_what_it_cannot_record(training, hello, monkeypatch):
    endpoint = provider(training)
    monkeypatch.setattr(endpoint.machine, "capture", lambda: None)
    with pytest.raises(LocalProtocolError):
        endpoint.receive(hello)


def test_a_client_asks_for_nothing_that_it_had_recorded(training, hello):
    endpoint = provider(training)
    endpoint.receive(hello)
    endpoint.receive(CODEC.encode(m.DurableAck(messages=1)))
    assert abort_code(endpoint.resume(0)) is ErrorCode.SESSION_ROLLED_BACK


@pytest.mark.parametrize("count", [2, 2**63])
def test_a_receipt_for_what_was_never_sent_ends_the_session(training, hello, count):
    endpoint = provider(training)
    endpoint.receive(hello)
    assert abort_code(endpoint.receive(CODEC.encode(m.DurableAck(messages=count)))) is ErrorCode.SEQUENCE_BROKEN


@pytest.mark.parametrize(
    ("answer", "error", "code"),
    [
        (m.Abort(code=ErrorCode.SESSION_UNKNOWN), PeerAborted, ErrorCode.SESSION_UNKNOWN),
        (m.Resumed(received=9), RemoteProtocolError, ErrorCode.SESSION_ROLLED_BACK),
        (m.Resumed(received=0), RemoteProtocolError, ErrorCode.SESSION_ROLLED_BACK),
        (m.Finish(), RemoteProtocolError, ErrorCode.UNEXPECTED_MESSAGE),
    ],
)
def test_a_client_goes_on_only_where_its_record_ends(training, answer, error, code):
    endpoint = ResumableClient(training.make_client(), MemoryJournal())
    endpoint.send(endpoint.machine.start())
    endpoint.machine.record.peer_recorded = 1
    with pytest.raises(error) as caught:
        endpoint.resumed(CODEC.encode(answer))
    assert caught.value.code is code


def test_a_record_that_lacks_a_part_is_refused(hello):
    with pytest.raises(KeyStoreError, match="'key'"):
        require_blob({}, "key")
    with pytest.raises(KeyStoreError):
        require_message(CODEC, {"accept": hello}, "accept", m.TrainingAccept)


def test_a_record_of_another_protocol_version_is_refused():
    accept = next(message for message in examples.TRAINING if isinstance(message, m.TrainingAccept))
    envelope = training_pb2.TrainingMessage.FromString(CODEC.encode(accept))
    envelope.accept.ClearField("space")
    with pytest.raises(KeyStoreError, match="no 'accept' that this release can read"):
        require_message(CODEC, {"accept": envelope.SerializeToString()}, "accept", m.TrainingAccept)


def test_a_blob_is_recorded_once_and_named_when_the_session_needs_it_no_more(training, hello):
    machine = training.make_provider()
    machine.record.wanted = True
    machine.receive(hello)
    assert take_snapshot(machine).blobs.keys() == {"hello", "accept"}
    assert (take_snapshot(machine).blobs, take_snapshot(machine).gone) == ({}, frozenset())
    del machine.record.blobs["hello"]
    assert take_snapshot(machine).gone == {"hello"}


def test_a_record_with_other_fields_is_refused(training, hello):
    machine = training.make_provider()
    machine.receive(hello)
    fields = dict(take_snapshot(machine).fields)
    for other in ({**fields, "more": 1}, {name: fields[name] for name in fields if name != "rows"}):
        with pytest.raises(KeyStoreError, match="other fields"):
            restore(training.make_provider(), Snapshot(other, {}))


def test_a_provider_tells_what_it_has_given(training, inference):
    training.start_client()
    training.carry()
    assert training.provider.machine.columns_shown == 5
    inference.start_client()
    inference.carry(until=8)
    party = inference.provider.machine
    assert party.free_slots in {2, 4}
    inference.carry()
    assert party.free_slots == 0
    assert party.bits_answered > 0


def test_an_answer_that_did_not_decrypt_is_remembered_over_a_crash(inference):
    inference.start_client()
    inference.carry(until=8)
    inference.client.machine.undecrypted = CiphertextError("It did not decrypt.")
    inference.carry(until=10)
    snapshot = take_snapshot(inference.client.machine)
    assert snapshot is not None
    restored = inference.make_client()
    restore(restored, Snapshot(snapshot.fields, {**inference.client_journal.recover().blobs, **snapshot.blobs}))
    assert restored.undecrypted.message == "It did not decrypt."
    assert restored.state in {State.READY, State.CONFIRMING, State.DONE}


def test_a_client_that_crashes_while_a_pool_arrives_gives_it_up_and_goes_on(monkeypatch):
    monkeypatch.setattr(streams, "MAX_CHUNK_BYTES", 300)
    session = DurableInference(case=InferenceCase(suites=(TOY_LWE,)), queries=4)
    session.start_client()
    while not session.client.machine.free_slots:
        session.carry(until=session.steps + 1)
    session._leave(session.client.send(session.client.machine.prepare()))
    session._deliver_up(session.up.popleft())
    session._deliver_down(session.down.popleft())
    session._leave(session.client.send(session.client.machine.submit(session.case.queries(4)[:2])))
    session.crash_client()
    session.start_client()
    assert session.client.machine.preparing
    session.carry()
    expected = session.case.queries(4) @ session.case.head.weight + session.case.head.bias
    assert np.allclose(session.answers(), expected, atol=1e-2)


class Unkept(PlaintextSuite):
    """Has keys that cannot be made again, as the native suites have."""

    @property
    def info(self):
        return replace(super().info, restorable=False)


def test_an_inference_session_that_cannot_be_kept_goes_on_over_another_connection():
    session = DurableInference(case=InferenceCase(suites=(Unkept(),)))
    session.start_client()
    session.carry(until=9)
    session.disconnect()
    session.connect()
    session.carry()
    assert session.client.machine.state is State.DONE
