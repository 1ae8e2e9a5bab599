"""The provider's coordinates have a name: maps into others are refused, and so is the rest of a session in others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.durable import DurableInference, DurableTraining
from support.machines import inference_client, inference_provider, training_client, training_provider
from support.pair import PLAINTEXT, TOY_LWE, InferenceCase, Pair, TrainingCase

from securealign.errors import ErrorCode, KeyStoreError, RemoteProtocolError
from securealign.protocol import messages as m
from securealign.protocol import streams
from securealign.protocol.states import State
from securealign.protocol.training import client as training_module
from securealign.wire import InferenceCodec, TrainingCodec

HERE, ELSEWHERE = bytes(range(16)), bytes(range(1, 17))
ROWS = np.random.default_rng(0).normal(size=(20, 3))


def training_pair(**options):
    columns = np.random.default_rng(1).normal(size=(20, 2))
    client = training_client([TOY_LWE], columns)
    provider = training_provider([TOY_LWE], ROWS, **options)
    return Pair(client, provider, TrainingCodec())


def inference_pair(theirs=HERE, ours=HERE):
    case = InferenceCase()
    client = inference_client([PLAINTEXT], 3, slots=4, space=theirs)
    provider = inference_provider([PLAINTEXT], case.head, space=ours)
    return Pair(client, provider, InferenceCodec())


def greet(pair, **changes):
    """Open the session with an altered greeting."""
    pair.start()
    message = pair.codec.decode(pair.up.popleft())
    versions = changes.pop("versions", message.hello.versions)
    pair.up.append(pair.codec.encode(replace(message, hello=replace(message.hello, versions=versions), **changes)))
    pair.carry()


def test_a_client_learns_the_name_of_the_space_and_the_squared_norm_of_the_rows_in_it():
    pair = training_pair(space=HERE, total_squares=12.5)
    pair.start()
    pair.carry()
    pair.assert_done()
    assert (pair.client.space, pair.client.total_squares) == (HERE, 12.5)


def test_a_squared_norm_that_is_not_given_is_that_of_the_rows():
    pair = training_pair()
    pair.start()
    pair.carry()
    assert pair.client.space == m.UNNAMED_SPACE
    assert pair.client.total_squares == pytest.approx(np.sum(ROWS**2))


def test_a_map_into_the_providers_space_is_served():
    pair = inference_pair()
    pair.start()
    pair.carry()
    assert pair.provider.error is None
    assert pair.client.accepted is not None


@pytest.mark.parametrize("name", [ELSEWHERE, m.UNNAMED_SPACE, b""], ids=["another", "unnamed", "empty"])
def test_a_map_into_another_space_is_refused_before_any_key_is_sent(name):
    pair = inference_pair()
    greet(pair, space=name)
    pair.assert_aborted(ErrorCode.SPACE_MISMATCH, by="provider")
    assert "align again" in pair.provider.error.hint
    assert HERE.hex() in pair.provider.error.message
    assert len(pair.carried) == 2


def test_a_client_is_told_what_to_do_and_not_which_space_it_should_have_named():
    pair = inference_pair(theirs=ELSEWHERE)
    pair.start()
    pair.carry()
    pair.assert_aborted(ErrorCode.SPACE_MISMATCH, by="provider")
    assert "align again" in str(pair.client.error)
    assert HERE not in pair.carried[-1].frame
    assert HERE.hex().encode() not in pair.carried[-1].frame


@pytest.mark.parametrize("changes", [{"space": b""}, {"space": ELSEWHERE}, {"space": b"", "provider_dim": 99}], ids=str)
def test_an_older_client_is_refused_for_its_version_before_anything_else(changes):
    pair = inference_pair()
    greet(pair, versions=(1,), **changes)
    pair.assert_aborted(ErrorCode.VERSION_UNSUPPORTED, by="provider")


def test_another_space_is_found_before_another_dimension():
    """Both are wrong for a map of another provider, and aligning again is what helps."""
    pair = inference_pair()
    greet(pair, space=ELSEWHERE, provider_dim=4)
    pair.assert_aborted(ErrorCode.SPACE_MISMATCH, by="provider")


@pytest.mark.parametrize("total", [-1.0, float("nan"), float("inf")])
def test_a_squared_norm_is_a_number_of_at_least_zero(total):
    pair = training_pair()
    pair.start()
    pair.deliver_up()
    accept = pair.codec.decode(pair.down.popleft())
    with pytest.raises(RemoteProtocolError, match="a squared norm is neither negative nor infinite"):
        replace(accept, total_squares=total)
    with pytest.raises(RemoteProtocolError, match="a space has a name of 16 bytes"):
        replace(accept, space=b"")


@pytest.fixture
def small_messages(monkeypatch):
    monkeypatch.setattr(training_module, "MAX_CHUNK_BYTES", 600)
    monkeypatch.setattr(streams, "MAX_CHUNK_BYTES", 2000)


MOMENTS = range(3, 11)


def interrupted(session, moment):
    session.start_client()
    session.carry(until=moment)
    session.crash_provider()
    return session


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_client_that_was_killed_knows_the_space_and_the_squared_norm_still(moment, small_messages):
    case = TrainingCase(suites=(TOY_LWE,), rows=12)
    session = DurableTraining(case=case, space=HERE)
    session.start_client()
    session.carry(until=moment)
    session.crash_client()
    session.start_client()
    session.carry()
    client = session.client.machine
    assert client.state is State.DONE
    assert (client.space, client.total_squares) == (HERE, pytest.approx(np.sum(case.z_a**2)))


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("make", [DurableTraining, DurableInference], ids=["training", "inference"])
def test_a_session_goes_on_in_the_same_space_only(make, moment, small_messages):
    case = TrainingCase(suites=(TOY_LWE,), rows=12) if make is DurableTraining else InferenceCase(suites=(TOY_LWE,))
    same = interrupted(make(case=case), moment)
    same.connect()
    same.carry()
    assert same.client.machine.state is State.DONE

    other = interrupted(make(case=case), moment)
    other.space = ELSEWHERE
    other.connect()
    with pytest.raises(KeyStoreError) as caught:
        other.carry()
    assert caught.value.code is ErrorCode.SESSION_UNKNOWN
    assert "new session" in caught.value.hint
