"""Reading run files: what is right is kept as it is, and what is wrong is called by its line."""

from __future__ import annotations

import json

import pytest
from support.runs import LAN, Recording, classify, small, train

from securealign.errors import ErrorCode, InputError
from securealign.harness.runs import reading
from securealign.harness.runs.reading import read_run


@pytest.fixture
def path(tmp_path):
    return small(tmp_path / "run.jsonl")


def lines(path):
    return path.read_text(encoding="utf-8").splitlines(keepends=True)


def change(path, number, **fields):
    """Change fields of the event on a line, counted from 1; `...` removes a field."""
    kept = lines(path)
    event = {**json.loads(kept[number - 1]), **fields}
    kept[number - 1] = json.dumps({name: value for name, value in event.items() if value is not ...}) + "\n"
    path.write_text("".join(kept), encoding="utf-8")


def find(path, event):
    """Return the number of the first line with an event."""
    return next(n for n, line in enumerate(lines(path), 1) if json.loads(line)["event"] == event)


def refusal(path):
    with pytest.raises(InputError) as caught:
        read_run(path)
    assert caught.value.code is ErrorCode.FILE_INVALID
    assert str(path) in caught.value.message
    assert caught.value.hint.endswith(".")
    return caught.value


def test_a_run_is_read_as_it_was_written(path):
    run = read_run(path)
    assert run.file == "run.jsonl"
    assert [session.about.kind for session in run.sessions] == ["training", "inference"]
    assert run.results["alignment_r2"] == 0.93
    written = [json.loads(line) for line in lines(path)]
    ends = [event for event in written if event["event"] == "end"]
    assert [session.stats.model_dump() for session in run.sessions] == [event["stats"] for event in ends]
    assert sum(len(session.messages) for session in run.sessions) == sum(e["event"] == "message" for e in written)


def test_results_may_be_missing(path):
    path.write_text("".join(lines(path)[:-1]), encoding="utf-8")
    assert read_run(path).results == {}


def test_sessions_may_overlap(tmp_path):
    recording = Recording(LAN)
    train(recording)
    classify(recording, queries=2)
    head, *events = recording.events
    starts = [event for event in events if event["event"] == "session"]
    rest = [event for event in events if event["event"] != "session"]
    recording.events = [head, *starts, *rest]
    assert len(read_run(recording.write(tmp_path / "run.jsonl")).sessions) == 2


def test_a_last_line_without_its_newline_is_whole(path):
    path.write_bytes(path.read_bytes().rstrip(b"\n"))
    assert read_run(path).results


def test_a_file_that_is_cut_within_a_line(path):
    path.write_bytes(path.read_bytes()[:-20])
    error = refusal(path)
    assert f"line {len(lines(path))}, is cut off" in error.message
    assert "let it end" in error.hint


def test_a_file_that_is_cut_within_a_session(path):
    path.write_text("".join(lines(path)[:9]), encoding="utf-8")
    assert "ends at line 9, within session 0" in refusal(path).message


def test_an_empty_file_and_one_without_a_session(path):
    head = lines(path)[0]
    path.write_text("", encoding="utf-8")
    assert "is empty" in refusal(path).message
    path.write_text(head, encoding="utf-8")
    assert "ends at line 1 and holds no session" in refusal(path).message


def test_another_format_names_both_formats_and_what_to_do(path):
    change(path, 1, format=2)
    error = refusal(path)
    assert "line 1, says format 2; this release reads format 1" in error.message
    assert "release" in error.hint


@pytest.mark.parametrize("broken", ["{", "nonsense", "", '{"event": "run"', "\x00"])
def test_broken_json(path, broken):
    kept = lines(path)
    path.write_text("".join([*kept[:4], broken + "\n", *kept[4:]]), encoding="utf-8")
    assert "line 5, is not JSON" in refusal(path).message


def test_bytes_that_are_no_text(path):
    path.write_bytes(path.read_bytes() + b"\xff\xfe\n")
    assert "is not JSON" in refusal(path).message


@pytest.mark.parametrize("strange", ["[]", "1", "null", "{}", '{"event": "dance"}', '{"event": 1}'])
def test_what_is_no_event(path, strange):
    kept = lines(path)
    path.write_text("".join([*kept[:4], strange + "\n", *kept[4:]]), encoding="utf-8")
    assert "line 5, is no event of a run" in refusal(path).message


@pytest.mark.parametrize(
    ("event", "fields", "where"),
    [
        ("run", {"clock": "sundial"}, "clock"),
        ("run", {"side": ...}, "side"),
        ("run", {"started": "yesterday"}, "started"),
        ("run", {"format": "1"}, "format"),
        ("run", {"network": {"name": "wan"}}, "network.round_trip_ms"),
        ("session", {"classical_bits": -1}, "classical_bits"),
        ("session", {"classical_bits": "128"}, "classical_bits"),
        ("session", {"function_private": 1}, "function_private"),
        ("session", {"suite": ""}, "suite"),
        ("session", {"suite": "a" * 65}, "suite"),
        ("session", {"facts": {"rows": None}}, "facts.rows"),
        ("session", {"facts": {f"f{n}": 1 for n in range(65)}}, "facts"),
        ("connect", {"seconds": -0.1}, "seconds"),
        ("compute", {"party": "eve"}, "party"),
        ("compute", {"phase": "lunch"}, "phase"),
        ("compute", {"t": float("nan")}, "t"),
        ("compute", {"t": float("inf")}, "t"),
        ("message", {"direction": "sideways"}, "direction"),
        ("message", {"bytes": 1.5}, "bytes"),
        ("message", {"sha256": "abc"}, "sha256"),
        ("message", {"sent": 2.0, "received": 1.0}, "received before it is sent"),
        ("message", {"extra": 1}, "extra"),
        ("end", {"transcript": "xyz"}, "transcript"),
        ("end", {"stats": {}}, "stats.bytes_up"),
        ("end", {"stats": ...}, "stats"),
        ("result", {"results": {"label_agreement": [1]}}, "results.label_agreement"),
        ("result", {"results": {"label_agreement": True}}, "results.label_agreement"),
    ],
)
def test_a_field_that_is_wrong_is_named_with_its_line(path, event, fields, where):
    number = find(path, event)
    change(path, number, **fields)
    message = refusal(path).message
    assert f"line {number}, is not as it should be: " in message
    assert where in message


@pytest.mark.parametrize("text", ["a\nb", "\x1b[2Kgone", "\u202egnp.exe", "\ud800", "a\u2028b"])
def test_texts_that_cannot_be_printed_are_refused_and_not_repeated(path, text):
    number = find(path, "session")
    change(path, number, suite=text)
    message = refusal(path).message
    assert f"line {number}" in message
    assert text not in message


def test_an_unknown_key_cannot_reach_the_terminal(path):
    change(path, 2, **{"\x1b[2K": 1})
    message = refusal(path).message
    assert "\x1b" not in message
    assert "\\x1b[2K" in message


def test_events_in_a_wrong_order(path):
    whole = lines(path)
    session, result = find(path, "session"), len(whole)
    for changed, number, says in (
        (whole[1:], 1, "comes before the line of the run"),
        ([whole[0], *whole], 2, "starts a second run"),
        ([*whole, whole[-2]], result + 1, "comes after the results"),
        ([whole[0], *whole[session:]], 2, "belongs to session 0, which has not started"),
        ([*whole[:-1], whole[session]], result, "belongs to session 0, which has ended"),
        ([*whole[:-1], whole[session - 1]], result, "starts a session out of turn"),
    ):
        path.write_text("".join(changed), encoding="utf-8")
        assert f"line {number}, {says}" in refusal(path).message


def test_limits(path, monkeypatch):
    monkeypatch.setattr(reading, "MAX_TYPES", 2)
    assert "more type of message" in refusal(path).message
    monkeypatch.setattr(reading, "MAX_LINES", 3)
    assert "line 4, is beyond" in refusal(path).message
    monkeypatch.setattr(reading, "MAX_LINE_BYTES", 10)
    assert "line 1, is beyond" in refusal(path).message


def test_a_missing_file_is_an_operating_system_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_run(tmp_path / "nowhere.jsonl")
