"""Folding messages into arrows and phases into steps, and time into slices."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.runs import LAN, LWE, Recording, classify, train

from securealign.harness.report.steps import activity, length, outline, shares, steps, union
from securealign.harness.runs.reading import read_run


def sessions(recording, folder):
    return read_run(recording.write(folder / "run.jsonl")).sessions


def test_repeated_messages_become_one_arrow_with_their_sum(tmp_path):
    recording = Recording()
    train(recording)
    (session,) = sessions(recording, tmp_path)
    made = {step.name: step for step in steps(session)}
    assert list(made) == ["solve", "connect", "handshake", "keys", "upload", "result", "confirm"]
    arrows = [(arrow.type, arrow.direction, len(arrow.messages), arrow.bytes) for arrow in made["upload"].arrows]
    assert arrows == [("RowBatch", "up", 8, 7_700_000), ("UploadAck", "down", 8, 48)]
    assert [step.name for step in steps(session)].count("solve") == 2  # before the session, and after it


def test_every_message_and_every_second_is_in_exactly_one_step(tmp_path):
    recording = Recording()
    train(recording)
    classify(recording, queries=200)
    for session in sessions(recording, tmp_path):
        made = steps(session)
        arrows = [arrow for step in made for arrow in step.arrows]
        assert sum(len(arrow.messages) for arrow in arrows) == len(session.messages)
        assert sum(arrow.bytes for arrow in arrows) == session.stats.bytes_up + session.stats.bytes_down
        for party in ("client", "provider"):
            spent = sum(compute.seconds for compute in session.computes if compute.party == party)
            assert sum(step.compute[party] for step in made) == pytest.approx(spent)


@pytest.mark.parametrize(("queries", "turns"), [(64, 1), (65, 2), (1000, 16)])
def test_phases_that_take_turns_are_one_step_with_the_number_of_turns(tmp_path, queries, turns):
    recording = Recording(LAN)
    classify(recording, queries=queries)
    (session,) = sessions(recording, tmp_path)
    names = [step.name for step in steps(session)]
    if turns == 1:
        assert names[-3:] == ["offline", "online", "confirm"]
    else:
        assert names[-2:] == [f"offline, online \N{MULTIPLICATION SIGN}{turns}", "confirm"]


def test_late_acknowledgements_do_not_make_uploads_look_as_if_they_took_turns(tmp_path):
    recording = Recording(LAN)
    recording.begin("training", LWE)
    recording.message("up", "KeyChunk", "keys", 10, at=0.0)
    recording.message("up", "RowBatch", "upload", 10, at=1.0)
    recording.message("down", "UploadAck", "keys", 4, at=2.0)
    recording.message("down", "UploadAck", "upload", 4, at=3.0)
    recording.end()
    (session,) = sessions(recording, tmp_path)
    assert [step.name for step in steps(session)] == ["keys", "upload"]


def test_a_phase_of_acknowledgements_alone_keeps_them(tmp_path):
    recording = Recording(LAN)
    recording.begin("training", LWE)
    recording.message("down", "UploadAck", "upload", 4, at=0.0)
    recording.end("aborted", "CONNECTION_LOST")
    (session,) = sessions(recording, tmp_path)
    assert [(step.name, len(step.arrows)) for step in steps(session)] == [("upload", 1)]


def test_times_that_one_side_cannot_know_are_unknown(tmp_path):
    recording = Recording(None, side="client", clock="measured")
    train(recording)
    (session,) = sessions(recording, tmp_path)
    upload = next(step for step in steps(session) if step.name == "upload")
    assert upload.arrows[0].sent is not None
    assert upload.arrows[0].received is None
    acts = activity(session)
    assert acts.up == acts.down == acts.compute["provider"] == ()


def test_a_session_of_nothing(tmp_path):
    recording = Recording()
    recording.begin("training", LWE)
    recording.end("aborted", "PEER_UNREACHABLE")
    (session,) = sessions(recording, tmp_path)
    assert steps(session) == []
    assert activity(session).start == activity(session).end == 0.0


spans = st.lists(st.tuples(st.floats(0, 10), st.floats(0, 3)).map(lambda pair: (pair[0], pair[0] + pair[1])))


@given(spans)
def test_slices_hold_all_the_time_of_spans(some):
    merged = union(some)
    assert all(a[1] < b[0] for a, b in itertools.pairwise(merged))
    covered = shares(merged, 0.0, 13.0, 26)
    assert all(0 <= share <= 1 for share in covered)
    assert sum(covered) * 0.5 == pytest.approx(length(merged), abs=1e-6)


def test_an_outline_shows_what_is_hardly_busy_and_nothing_where_nothing_is():
    assert outline([0.0, 0.001, 1.0, 1.0]) == "M0,32V32H1V31H2V0H4V32Z"


def test_idle_time_is_what_no_compute_covers(tmp_path):
    recording = Recording()
    train(recording)
    (session,) = sessions(recording, tmp_path)
    acts = activity(session)
    busy = length(union([*acts.compute["client"], *acts.compute["provider"]]))
    assert length(acts.idle) + busy == pytest.approx(acts.end - acts.start)
