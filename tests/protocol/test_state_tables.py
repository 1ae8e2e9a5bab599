"""The tables are the protocol: what they hold happens and is handled, what they do not hold ends the session."""

from __future__ import annotations

import pytest
from support import messages
from support.pair import LABELS, SUITES, TOY_LWE, InferenceCase, TrainingCase

from securealign.errors import ErrorCode, LocalProtocolError, PeerAborted, RemoteProtocolError
from securealign.limits import Limits
from securealign.protocol import messages as m
from securealign.protocol import states
from securealign.protocol.machine import SessionMachine
from securealign.protocol.states import FINAL, Direction, State
from securealign.wire import InferenceCodec, TrainingCodec

ROLES = {
    "training client": (TrainingCase, "client", messages.TRAINING),
    "training provider": (TrainingCase, "provider", messages.TRAINING),
    "inference client": (InferenceCase, "client", messages.INFERENCE),
    "inference provider": (InferenceCase, "provider", messages.INFERENCE),
}
CODECS = {TrainingCase: TrainingCodec(), InferenceCase: InferenceCodec()}


def machine(role: str, state: State) -> SessionMachine:
    """Return a machine that was put into a state; only the table has a say about what it receives."""
    case, side, _ = ROLES[role]
    party = getattr(case().pair(), side)
    party._state = state
    return party


@pytest.mark.parametrize("role", ROLES)
def test_tables_agree_with_the_messages_on_who_sends_them(role):
    case, side, examples = ROLES[role]
    table = getattr(case().pair(), side).table
    here = {"client": m.Sender.CLIENT, "provider": m.Sender.PROVIDER}[side]
    events = {event for transitions in table.values() for event in transitions}
    kinds = {type(message) for message in examples} & {kind for _, kind in events}
    sent = {kind for kind in kinds if kind.sender in {here, m.Sender.BOTH}}
    received = {kind for kind in kinds if kind.sender is not here}
    assert {kind for direction, kind in events if direction is Direction.SEND} == sent
    assert {kind for direction, kind in events if direction is Direction.RECEIVE} == received


def receivable(role: str, state: State) -> set[type]:
    table = machine(role, state).table
    return {kind for direction, kind in table.get(state, {}) if direction is Direction.RECEIVE}


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(
    "state", [state for state in State if state is not State.ABORTED], ids=lambda state: state.name
)
def test_what_the_table_does_not_hold_ends_the_session(role, state):
    kind, _, examples = ROLES[role]
    codec = CODECS[kind]
    known = {m.Abort, *receivable(role, state)}
    forbidden = [message for message in examples if type(message) not in known]
    assert forbidden
    for message in forbidden:
        party = machine(role, state)
        (reply,) = party.receive(codec.encode(message))
        assert codec.decode(reply) == m.Abort(code=ErrorCode.UNEXPECTED_MESSAGE), message
        assert party.state is State.ABORTED
        assert isinstance(party.error, RemoteProtocolError)
        assert party.error.code is ErrorCode.UNEXPECTED_MESSAGE


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(
    "state", [state for state in State if state is not State.ABORTED], ids=lambda state: state.name
)
def test_a_farewell_is_taken_in_any_state(role, state):
    party = machine(role, state)
    assert party.receive(CODECS[ROLES[role][0]].encode(m.Abort(code=ErrorCode.SERVER_BUSY))) == []
    assert party.state is State.ABORTED
    assert isinstance(party.error, PeerAborted)
    assert party.error.code is ErrorCode.SERVER_BUSY


@pytest.mark.parametrize("role", ROLES)
def test_aborted_absorbs_everything(role):
    case, side, examples = ROLES[role]
    pair = case().pair()
    party = getattr(pair, side)
    first = LocalProtocolError("The first reason.", code=ErrorCode.CANCELLED)
    party.abandon(first)
    for data in [*map(pair.codec.encode, examples), b"", b"\xff", bytes(1 << 21)]:
        assert party.receive(data) == []
    party.abandon(LocalProtocolError("A second reason."))
    assert party.error is first


def record_transitions(monkeypatch) -> set[tuple]:
    """Record (role, state, direction, message type, next state) of all machines."""
    seen = set()
    advance = SessionMachine._advance

    def recording(party, direction, message):
        before = party.state
        advance(party, direction, message)
        side = "client" if party.is_client else "provider"
        seen.add((f"{party.kind} {side}", before, direction, type(message), party.state))

    monkeypatch.setattr(SessionMachine, "_advance", recording)
    return seen


def transitions(role: str) -> set[tuple]:
    table = machine(role, State.START).table
    return {(role, state, *event, target) for state, events in table.items() for event, target in events.items()}


def run_both_phases(suite) -> None:
    TrainingCase(suites=(suite,)).finished().assert_done()
    case = InferenceCase(suites=(suite,))
    pair = case.opened()
    pair.up.extend(pair.client.prepare())
    pair.up.extend(pair.client.submit(case.queries(2)))
    pair.carry()
    pair.up.extend(pair.client.finish())
    pair.carry()
    pair.assert_done()


@pytest.mark.parametrize("suite", SUITES.values(), ids=SUITES)
def test_honest_sessions_make_every_transition_and_no_other(suite, monkeypatch, small_chunks):
    seen = record_transitions(monkeypatch)
    small_chunks(256 if suite is TOY_LWE else 48)
    run_both_phases(suite)
    # A window of one stops the upload after every message, so that acknowledgements arrive in every state.
    narrow = Limits(upload_window=1)
    TrainingCase(suites=(suite,), limits=narrow).finished().assert_done()
    InferenceCase(suites=(suite,), limits=narrow).finished().assert_done()
    InferenceCase(policy=LABELS).finished().assert_done()
    assert seen == set().union(*map(transitions, ROLES))


def test_both_parties_of_a_phase_see_the_same_protocol():
    """What one may send in a state, the other may receive in a state of the same name, apart from what crosses."""
    crossing = {m.UploadAck}
    for client, provider in (
        (states.TRAINING_CLIENT, states.TRAINING_PROVIDER),
        (states.INFERENCE_CLIENT, states.INFERENCE_PROVIDER),
    ):
        assert client.keys() == provider.keys()
        for state, events in client.items():
            sent = {(kind, target) for (direction, kind), target in events.items() if direction is Direction.SEND}
            received = {
                (kind, target)
                for (direction, kind), target in provider[state].items()
                if direction is Direction.RECEIVE
            }
            assert sent == received
            taken = {kind for direction, kind in events if direction is Direction.RECEIVE} - crossing
            assert taken == {kind for direction, kind in provider[state] if direction is Direction.SEND} - crossing


@pytest.mark.parametrize("role", ROLES)
def test_final_states_lead_nowhere_and_all_others_do(role):
    table = machine(role, State.START).table
    assert not FINAL & table.keys()
    reached = {State.START}
    for _ in State:
        reached |= {target for state in reached for target in table.get(state, {}).values()}
    assert reached == set(table) | {State.DONE}


@pytest.mark.parametrize("role", ROLES)
def test_a_table_entry_without_a_handler_is_a_fault_of_our_own(role):
    party = machine(role, State.START)
    case, side, examples = ROLES[role]
    own = {"training client": m.Finish, "training provider": m.TrainingAccept}.get(
        role, m.Prepare if side == "client" else m.InferenceAccept
    )
    party.table = {State.START: {(Direction.RECEIVE, own): State.START}}
    message = next(example for example in examples if type(example) is own)
    (reply,) = party.receive(CODECS[case].encode(message))
    assert CODECS[case].decode(reply) == m.Abort(code=ErrorCode.INTERNAL)
    assert isinstance(party.error, LocalProtocolError)


def test_a_session_cannot_be_opened_twice():
    for case in (TrainingCase(), InferenceCase()):
        pair = case.pair()
        pair.start()
        with pytest.raises(LocalProtocolError, match="Cannot send"):
            pair.client.start()
        assert pair.client.state is State.GREETED


def test_success_is_required_and_never_assumed():
    pair = TrainingCase().pair()
    with pytest.raises(LocalProtocolError, match="'start', not done"):
        pair.client.require_success()
    with pytest.raises(LocalProtocolError, match="not done"):
        pair.client.product()
    pair.start()
    pair.to_client(m.Abort(code=ErrorCode.SERVER_BUSY))
    with pytest.raises(PeerAborted, match="maximum number of sessions"):
        pair.client.product()


def test_a_message_after_the_end_is_refused():
    pair = TrainingCase().finished()
    pair.assert_done()
    assert pair.to_provider(m.Confirm(transcript_digest=messages.DIGEST)) == [
        m.Abort(code=ErrorCode.UNEXPECTED_MESSAGE)
    ]
    assert pair.provider.state is State.ABORTED


@pytest.mark.parametrize("case", [TrainingCase(), InferenceCase()], ids=["training", "inference"])
def test_a_session_of_one_phase_cannot_pass_as_the_other(case):
    pair = case.pair()
    other = InferenceCase() if isinstance(case, TrainingCase) else TrainingCase()
    pair.up.extend(other.pair().client.start())
    pair.carry()
    assert pair.provider.state is State.ABORTED
