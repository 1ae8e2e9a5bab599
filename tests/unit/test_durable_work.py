"""A client's pieces of work: named by what they depend on, done once at a time, begun again when they have to be."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs
from support.durable import FixedRoot
from support.pair import TOY_LWE, TrainingCase
from support.peers import open_cheaply

from securealign.errors import ErrorCode, KeyStoreError, PeerAborted, TransportError
from securealign.he.entropy import SystemEntropy
from securealign.keys.handles import Purpose
from securealign.protocol.resume.snapshot import Snapshot
from securealign.protocol.states import State as Machine
from securealign.storage.journal import SessionJournal
from securealign.storage.session_store import SessionStore
from securealign.storage.work import durable_attempts, work_name

WORK = work_name("work")
CASE = TrainingCase(suites=(TOY_LWE,))


@pytest.fixture
def state(tmp_path):
    state = open_cheaply(tmp_path)
    yield state
    state.close()


def make(root):
    return CASE.pair(SystemEntropy(), root=root).client


def run(state, do, *, work=WORK, purpose=Purpose.TRAINING, keep=1e9, make=make):
    with durable_attempts(state, purpose, work, keep_seconds=keep) as attempts:
        for attempt in attempts:
            with attempt:
                client = make(attempt.root)
                result = do(client, attempt.session(client))
    return result


def interrupt(party, endpoint):
    """Say hello, and lose the connection."""
    if party.state is Machine.START:
        endpoint.send(party.start())
    raise TransportError("lost", code=ErrorCode.CONNECTION_LOST)


def nonce(party, _endpoint):
    return party.nonce, party.state


def interrupted(state, **options):
    seen = []

    def do(party, endpoint):
        seen.append(party.nonce)
        interrupt(party, endpoint)

    with pytest.raises(TransportError):
        run(state, do, **options)
    return seen[0]


def test_interrupted_work_goes_on_where_it_was(state):
    begun = interrupted(state)
    assert state.kept_sessions() == 1
    assert run(state, nonce) == (begun, Machine.GREETED)


def test_finished_work_leaves_nothing_and_is_done_anew(state):
    first, machine = run(state, nonce)
    assert machine is Machine.START
    assert state.kept_sessions() == 0
    with state.folder.database.reading() as connection:
        assert connection.execute("SELECT count(*) FROM session").fetchone() == (0,)
    assert run(state, nonce)[0] != first


def test_another_process_goes_on(tmp_path, state):
    begun = interrupted(state)
    other = open_cheaply(tmp_path)
    assert run(other, nonce) == (begun, Machine.GREETED)
    other.close()


def test_the_same_work_is_not_done_twice_at_a_time(tmp_path, state):
    other = open_cheaply(tmp_path)

    def while_running(party, endpoint):
        with pytest.raises(KeyStoreError) as caught:
            run(other, nonce)
        assert caught.value.code is ErrorCode.STORE_LOCKED
        # Other work is not held up, nor the same texts in the other phase.
        assert run(other, nonce, work=work_name("another"))
        assert run(other, nonce, purpose=Purpose.INFERENCE)
        return True

    assert run(state, while_running)
    assert run(other, nonce)
    other.close()


def test_a_lock_inside_one_process_holds_too(state):
    def again(party, endpoint):
        with pytest.raises(KeyStoreError) as caught:
            run(state, nonce)
        return caught.value.code

    assert run(state, again) is ErrorCode.STORE_LOCKED


@pytest.mark.parametrize("purpose", [Purpose.TRAINING, Purpose.STORAGE])
def test_a_destroyed_key_begins_again_with_a_warning(tmp_path, state, purpose):
    begun = interrupted(state)
    name = state.keys.current(purpose).name
    if purpose is Purpose.STORAGE:
        state.keys.rotate(purpose)
        state.close()
    state.keys.destroy(name)
    again = open_cheaply(tmp_path)
    with capture_logs() as logs:
        found, machine = run(again, nonce)
    again.close()
    assert found != begun
    assert machine is Machine.START
    assert [(log["log_level"], log["event"]) for log in logs] == [
        ("warning", "interrupted session is lost; beginning again")
    ]


@pytest.mark.parametrize("code", [ErrorCode.SESSION_UNKNOWN, ErrorCode.SESSION_ROLLED_BACK])
def test_a_session_that_the_provider_lost_is_begun_again_once(state, code):
    begun = interrupted(state)
    seen = []

    def do(party, endpoint):
        seen.append(party.nonce)
        if len(seen) == 1:
            raise PeerAborted(code)
        return "done"

    with capture_logs() as logs:
        assert run(state, do) == "done"
    assert seen[0] == begun != seen[1]
    assert [log["event"] for log in logs if log["log_level"] == "warning"] == [
        "interrupted session cannot go on; beginning again"
    ]
    assert state.kept_sessions() == 0

    def never(party, endpoint):
        seen.append(party.nonce)
        raise PeerAborted(code)

    del seen[:]
    with pytest.raises(PeerAborted):
        run(state, never)
    assert len(seen) == 2


def test_a_record_that_cannot_be_used_begins_again_with_a_warning(state, monkeypatch):
    begun = interrupted(state)
    monkeypatch.setattr(SessionJournal, "recover", lambda journal: Snapshot({}, {}))
    with capture_logs() as logs:
        found, machine = run(state, nonce)
    assert (found != begun, machine) == (True, Machine.START)
    assert [log["event"] for log in logs] == ["interrupted session is lost; beginning again"]


def test_a_session_that_the_provider_refused_is_not_kept(state):
    def refused(party, endpoint):
        endpoint.send(party.start())
        endpoint.send(party.fail(PeerAborted(ErrorCode.DATASET_MISMATCH)))
        raise party.error

    with pytest.raises(PeerAborted):
        run(state, refused)
    assert state.kept_sessions() == 0
    assert run(state, nonce)[1] is Machine.START


def test_work_that_was_left_alone_too_long_is_forgotten(tmp_path, state):
    now = [1e9]
    object.__setattr__(state.folder, "clock", lambda: now[0])
    begun = interrupted(state)
    now[0] += 99
    SessionStore(state.folder).delete_older(state.folder.clock() - 100)
    assert state.kept_sessions() == 1
    now[0] += 2
    assert run(state, nonce, keep=100)[0] != begun


def test_a_session_is_under_the_key_that_was_current_when_it_began(state):
    interrupted(state)
    first = state.keys.current(Purpose.TRAINING)
    state.keys.rotate(Purpose.TRAINING)
    roots = []

    def remember(root):
        roots.append(root.name)
        return make(root)

    run(state, nonce, make=remember)
    run(state, nonce, make=remember)
    assert roots == [first.name, state.keys.current(Purpose.TRAINING).name]
    assert FixedRoot.name not in roots


def test_a_name_depends_on_each_part_and_on_where_parts_end():
    matrix = np.arange(6.0).reshape(2, 3)
    names = [
        work_name(),
        work_name(""),
        work_name("a", "b"),
        work_name("ab"),
        work_name("b", "a"),
        work_name("a", matrix),
        work_name("a", matrix.T),
        work_name("a", matrix.reshape(3, 2)),
        work_name("a", matrix + 1e-12),
        work_name("a", matrix, ""),
    ]
    assert all(one != other for one, other in itertools.combinations(names, 2))
    assert {len(name) for name in names} == {32}
    assert work_name("a", matrix) == work_name(b"a", np.asfortranarray(matrix))


@given(parts=st.lists(st.binary(max_size=5), max_size=4), others=st.lists(st.binary(max_size=5), max_size=4))
def test_two_lists_of_parts_have_one_name_only_if_they_are_equal(parts, others):
    assert (work_name(*parts) == work_name(*others)) is (parts == others)
