"""Classification as a stream: a line for each input, whatever ends the process, and no query charged twice."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
import threading
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from support.pair import TOY_LWE
from support.streams import DIM_B, Killed, StreamSite, read_lines, write_jsonl

from securealign.alignment.checks import rows_with_checks
from securealign.client import classifying
from securealign.client.answering import Answering
from securealign.client.results import FileResults, Results, require_other_file
from securealign.errors import ErrorCode, InputError, KeyStoreError, RemoteProtocolError, SecurealignError
from securealign.he import plaintext
from securealign.protocol.messages import OutputMode
from securealign.protocol.policy.rules import Policy

COUNT = 150
#: Queries with the rows that check them.
CHARGED = rows_with_checks(COUNT)
UNCHECKED = ("inference.verify_answers=false",)


@pytest.fixture
def site(tmp_path):
    return StreamSite(tmp_path)


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "private.jsonl"
    write_jsonl(path, COUNT)
    return path


def texts(source):
    return [json.loads(line)["text"] for line in source.read_text().splitlines()]


def assert_whole(site, source, output, count=COUNT):
    """Every input has one line, in order, and nothing but the result is left."""
    lines = read_lines(output)
    assert [line["index"] for line in lines] == list(range(count))
    assert [line["label"] for line in lines] == site.labels(texts(source))[:count]
    assert not list(output.parent.glob("*.partial*"))


def refused(code, run, *arguments, **options):
    with pytest.raises(SecurealignError) as caught:
        run(*arguments, **options)
    assert caught.value.code is code, caught.value
    return caught.value


def test_each_input_has_a_line_with_its_index_and_what_is_kept(site, source, tmp_path):
    output = tmp_path / "labels.jsonl"
    figures = site.run(source, output, as_json=True, columns=("id",), batch=32)
    assert_whole(site, source, output)
    assert [line["id"] for line in read_lines(output)] == [f"n{index}" for index in range(COUNT)]
    assert stat.S_IMODE(output.stat().st_mode) == 0o600
    assert (figures["queries"], figures["checks"], site.queries_charged) == (COUNT, CHARGED - COUNT, CHARGED)
    assert site.lines_of_progress == [(done, COUNT) for done in (32, 64, 96, 128, 150)]
    # Texts that occur again are encoded and answered again, and all of them once.
    assert len(site.encoder.encoded) == COUNT


def test_lines_between_tabs_escape_what_would_break_them(site, tmp_path):
    source, output = tmp_path / "a.jsonl", tmp_path / "labels.tsv"
    rows = [
        {"text": "a", "note": "two\tcells\nand \\ more"},
        {"text": "", "note": None},
        {"text": "c", "note": [1, 2.5]},
    ]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    site.run(source, output, columns=("note",))
    cells = [line.split("\t") for line in output.read_text().splitlines()]
    assert [row[0] for row in cells] == ["0", "1", "2"]
    assert [row[1] for row in cells] == site.labels(["a", "", "c"])
    assert [row[3] for row in cells] == ["two\\tcells\\nand \\\\ more", "", "[1, 2.5]"]


@pytest.fixture
def killed_at(monkeypatch):
    """Return a function that runs a command and ends it in place of one call, counted from 0, of a method."""

    def run_until(point, run, *arguments, **options):
        kind, name, number, act = point
        original, calls = getattr(kind, name), []

        def instead(this, *given, **named):
            calls.append(None)
            if len(calls) == number + 1:
                act(this, *given)
                raise Killed
            return original(this, *given, **named)

        with monkeypatch.context() as patch:
            patch.setattr(kind, name, instead)
            with pytest.raises(Killed):
                run(*arguments, **options)

    return run_until


def nothing(*_arguments):
    """Do nothing."""


def half(results, lines):
    """Write whole lines and a torn one, and nothing behind them."""
    os.write(results._descriptor, "".join(f"{line}\n" for line in lines).encode()[:1000])


POINTS = {
    "before queries are recorded": (Results, "note", 2, nothing),
    "after they are recorded": (Answering, "ask", 2, nothing),
    "when answers are here": (FileResults, "write", 3, nothing),
    "at the first answers": (FileResults, "write", 0, nothing),
    "within a line": (FileResults, "write", 3, half),
    "before the answers are given up": (Answering, "used", 3, nothing),
    "before the session is closed": (classifying.Classifying, "ended", 0, nothing),
    "before the result has its name": (FileResults, "finish", 0, nothing),
}


@pytest.mark.parametrize("answers", ["logits", "label"])
@pytest.mark.parametrize("point", POINTS)
def test_the_same_command_goes_on_after_the_process_was_killed(site, source, killed_at, answers, point):
    site.policy = Policy(allow_unencrypted=True, output=answers)
    output = source.with_name("labels.jsonl")
    killed_at(POINTS[point], site.run, source, output, as_json=True, batch=32)
    assert not output.exists()
    site.run(source, output, as_json=True, batch=32)
    assert_whole(site, source, output)
    assert site.queries_charged == CHARGED


def test_a_kill_between_any_two_frames_loses_and_repeats_nothing(tmp_path):
    for between in (3, 5, 8):
        folder = tmp_path / str(between)
        folder.mkdir()
        site, source, output = StreamSite(folder), folder / "private.jsonl", folder / "labels.jsonl"
        write_jsonl(source, COUNT)
        # A process that ends before its first query leaves nothing to go on with, so each lives longer than the last.
        for lives in range(1, 20):
            left = [between + lives]

            def kill(left=left):
                left[0] -= 1
                if not left[0]:
                    raise Killed

            site.on_frame = kill
            try:
                site.run(source, output, as_json=True, batch=32)
            except Killed:
                continue
            break
        assert lives > 1
        assert_whole(site, source, output)
        assert site.queries_charged == CHARGED, between


@pytest.fixture
def stopped(killed_at):
    """Return a function that ends a command behind 96 lines, and returns the partial file."""

    def stop(site, source, output, **options):
        killed_at((FileResults, "write", 3, nothing), site.run, source, output, as_json=True, batch=32, **options)
        return output.with_name(f"{output.name}.partial")

    return stop


def test_a_changed_input_is_refused(site, source, tmp_path, stopped):
    output, before = tmp_path / "labels.jsonl", source.read_text()
    partial = stopped(site, source, output)
    kept = partial.read_bytes()
    lines = before.splitlines(True)
    for changed in (lines[1:], [*lines[:120], *lines[121:]], lines[:90]):
        source.write_text("".join(changed))
        error = refused(ErrorCode.INPUT_INVALID, site.run, source, output, as_json=True)
        assert "not those that were classified before" in error.message
        assert partial.read_bytes() == kept
    # What was never asked may change, and more may follow.
    source.write_text("".join([*lines[:130], *lines[:40]]))
    site.run(source, output, as_json=True)
    assert_whole(site, source, output, 170)


def test_a_changed_head_is_refused(site, source, tmp_path, stopped):
    output = tmp_path / "labels.jsonl"
    partial = stopped(site, source, output)
    kept, charged = partial.read_bytes(), site.queries_charged
    site.head_digest = bytes(range(32))
    error = refused(ErrorCode.HEAD_CHANGED, site.run, source, output, as_json=True)
    assert "the provider has changed it" in error.message
    # The session of the old head is over: a new one is refused by the digest that lies beside the lines.
    site.sessions.clear()
    error = refused(ErrorCode.HEAD_CHANGED, site.run, source, output, as_json=True)
    assert "000102030405 answers now" in error.message
    assert (partial.read_bytes(), site.queries_charged) == (kept, charged)
    # Another file holds the labels of the new head alone.
    site.run(source, tmp_path / "others.jsonl", as_json=True)
    assert {line["head"] for line in read_lines(tmp_path / "others.jsonl")} == {bytes(range(32)).hex()}


def test_a_head_that_changed_before_the_first_line_is_the_only_one(site, source, tmp_path, killed_at):
    output = tmp_path / "labels.jsonl"
    killed_at((FileResults, "write", 0, nothing), site.run, source, output, as_json=True, batch=32)
    site.head_digest = bytes(range(32))
    site.run(source, output, as_json=True, batch=32)
    assert_whole(site, source, output)
    assert {line["head"] for line in read_lines(output)} == {site.head_digest.hex()}


def test_many_inputs_have_the_slots_that_suit_the_head(site, source, tmp_path, monkeypatch):
    assert site.run(source, tmp_path / "few.jsonl")["pool_slots"] == 68
    site.offer = {"classes": 150, "max_slots": 1024}
    assert site.run(source, tmp_path / "many.jsonl")["pool_slots"] == rows_with_checks(COUNT)
    site.offer |= {"output": OutputMode.LABEL, "abstains": False}
    assert site.run(source, tmp_path / "labels.jsonl")["pool_slots"] == 80


def test_a_short_stream_has_no_more_slots_than_inputs(site, source, tmp_path, piped):
    # Five inputs and 150: the second is a stream whose end is out of sight.
    lines = source.read_text().splitlines(True)
    for count, slots in ((5, 5), (COUNT, 68)):
        few = tmp_path / f"{count}.jsonl"
        few.write_text("".join(lines[:count]))
        output = tmp_path / f"{count}.labels"
        figures = site.run(piped(few), output, as_json=True)
        assert (figures["pool_slots"], figures["queries"]) == (slots, count)
        assert_whole(site, few, output, count)
        # Of 150, those of the second block are the last, and no pool is asked for behind it.
        (journal,) = site.sessions.values()
        assert journal.recover().fields["pools"] == -(-rows_with_checks(count) // slots)
        site.sessions.clear()


def test_other_options_are_refused_or_begin_again(site, source, tmp_path, stopped):
    output = tmp_path / "labels.jsonl"
    partial = stopped(site, source, output)
    assert "other options" not in refused(ErrorCode.FILE_INVALID, site.run, source, output).hint
    assert partial.stat().st_size
    site.run(source, output, as_json=True, columns=("id",), overwrite=True)
    assert_whole(site, source, output)


def test_lines_that_were_cut_or_changed_are_refused(site, source, tmp_path, stopped):
    output = tmp_path / "labels.jsonl"
    partial = stopped(site, source, output)
    whole = partial.read_bytes().splitlines(True)
    for content, said in (
        (whole[:10], "were written"),
        ([*whole, whole[0]], "last line"),
        ([*whole, b"\0" * 8 + b"\n"], "last line"),
    ):
        partial.write_bytes(b"".join(content))
        assert said in refused(ErrorCode.FILE_INVALID, site.run, source, output, as_json=True).message
    partial.write_bytes(b"".join(whole) + b'{"index": 96, "lab')
    site.run(source, output, as_json=True)
    assert_whole(site, source, output)


def test_an_existing_result_is_replaced_on_request_alone(site, source, tmp_path):
    output = tmp_path / "labels.jsonl"
    output.write_text("precious\n")
    assert "--overwrite" in refused(ErrorCode.FILE_INVALID, site.run, source, output).hint
    assert output.read_text() == "precious\n"
    assert not site.sessions
    site.run(source, output, as_json=True, overwrite=True)
    assert_whole(site, source, output)


def test_what_cannot_be_written_is_said_before_the_first_query(site, source, tmp_path):
    assert "does not exist" in refused(ErrorCode.FILE_INVALID, site.run, source, tmp_path / "no" / "labels").message
    assert "is a folder" in refused(ErrorCode.FILE_INVALID, site.run, source, tmp_path).message
    assert not site.sessions


def test_a_link_keeps_its_place(site, source, tmp_path):
    (tmp_path / "results").mkdir()
    link = tmp_path / "labels.jsonl"
    link.symlink_to(tmp_path / "results" / "real.jsonl")
    site.run(source, link, as_json=True)
    assert link.is_symlink()
    assert_whole(site, source, tmp_path / "results" / "real.jsonl")


def test_two_processes_do_not_write_one_result(tmp_path):
    output = tmp_path / "labels.jsonl"
    settings = "settings"
    with FileResults(output, settings, overwrite=False):
        with pytest.raises(KeyStoreError) as caught:
            FileResults(output, settings, overwrite=False)
        assert caught.value.code is ErrorCode.STORE_LOCKED
    FileResults(output, settings, overwrite=False).close()
    assert not list(tmp_path.glob("labels*"))


def test_a_pipe_is_written_through_and_stays(site, source, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read = []
    reader = threading.Thread(target=lambda: read.extend(pipe.read_text().splitlines()))
    reader.start()
    site.run(source, pipe)
    reader.join(600)
    assert [line.split("\t")[1] for line in read] == site.labels(texts(source))
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert not list(tmp_path.glob("pipe.*"))


class GoneReader:
    """A pipe whose reader goes away after some bytes."""

    def __init__(self, left):
        self.left, self.taken = left, b""

    def write(self, data):
        if len(self.taken) >= self.left:
            raise BrokenPipeError
        self.taken += data

    def flush(self):
        pass

    def close(self):
        raise BrokenPipeError


def test_a_reader_that_goes_away_is_an_error_and_costs_no_query_twice(site, source, tmp_path, monkeypatch):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    readers = [GoneReader(1), GoneReader(1 << 20)]
    original = Path.open
    monkeypatch.setattr(
        Path, "open", lambda self, *mode, **named: readers.pop(0) if self == pipe else original(self, *mode, **named)
    )
    whole = readers[1]
    error = refused(ErrorCode.FILE_INVALID, site.run, source, pipe, as_json=True, batch=32)
    assert "reader of the output has gone; 32 lines" in error.message
    assert site.queries_charged == 68
    site.run(source, pipe, as_json=True, batch=32)
    assert [json.loads(line)["label"] for line in whole.taken.splitlines()] == site.labels(texts(source))
    assert site.queries_charged == CHARGED


def test_results_do_not_take_the_place_of_their_inputs(source, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(source)
    for output in (source, link):
        with pytest.raises(InputError, match="holds the inputs"):
            require_other_file(str(source), output)
    for given, output in ((str(source), tmp_path / "labels"), ("-", Path("-")), (None, source), (str(source), None)):
        require_other_file(given, output)


def printed(capfdbinary):
    return [json.loads(line) for line in capfdbinary.readouterr().out.splitlines() if line.startswith(b"{")]


def test_standard_output_goes_on_from_the_first_line_without_another_charge(site, source, killed_at, capfdbinary):
    killed_at((Results, "write", 3, nothing), site.run, source, as_json=True, batch=32)
    assert len(printed(capfdbinary)) == 96
    site.run(source, as_json=True, batch=32)
    assert [line["label"] for line in printed(capfdbinary)] == site.labels(texts(source))
    assert site.queries_charged == CHARGED


def test_standard_output_of_a_changed_input_is_asked_again(site, source, killed_at, capfdbinary):
    killed_at((Results, "write", 3, nothing), site.run, source, as_json=True, batch=32)
    capfdbinary.readouterr()
    source.write_text(source.read_text().replace("text 7", "other 7"))
    site.run(source, as_json=True, batch=32)
    assert [line["label"] for line in printed(capfdbinary)] == site.labels(texts(source))
    assert site.queries_charged == CHARGED + rows_with_checks(128)


def test_a_budget_that_is_too_small_is_said_before_the_first_query(site, source, tmp_path):
    output = tmp_path / "labels.jsonl"
    site.policy = Policy(allow_unencrypted=True, max_queries=100)
    error = refused(ErrorCode.QUERY_BUDGET_EXHAUSTED, site.run, source, output, as_json=True)
    assert "150 inputs need 160 queries" in error.message
    assert "holds 100" in error.message
    assert "--limit 94" in error.hint
    assert (site.queries_charged, output.exists()) == (0, False)
    assert not list(tmp_path.glob("*.partial*"))
    site.run(source, output, as_json=True, limit=94)
    assert_whole(site, source, output, 94)
    assert site.queries_charged == 100
    assert "--limit" not in refused(ErrorCode.QUERY_BUDGET_EXHAUSTED, site.run, source, tmp_path / "more", limit=9).hint


def sessions_kept(site):
    """Return how many sessions are in the client's state folder, those among them that are over."""
    with closing(sqlite3.connect(site.folder / "client-state" / "sessions.db")) as connection:
        return connection.execute("SELECT count(*) FROM session").fetchone()[0]


REFUSALS = {
    "a budget that is too small": (Policy(allow_unencrypted=True, max_queries=100), ErrorCode.QUERY_BUDGET_EXHAUSTED),
    "a policy": (Policy(allow_unencrypted=False), ErrorCode.SUITE_REFUSED),
}


@pytest.mark.parametrize("why", REFUSALS)
def test_a_session_that_is_refused_leaves_nothing_in_the_state_folder(site, source, tmp_path, why):
    site.policy, code = REFUSALS[why]
    for output in (tmp_path / "labels.jsonl", None):
        refused(code, site.run, source, output, as_json=True)
        assert sessions_kept(site) == 0


def test_a_session_that_ends_before_its_first_query_leaves_nothing(site, source, tmp_path):
    output = tmp_path / "labels.jsonl"

    def interrupt():
        raise KeyboardInterrupt

    site.on_frame = interrupt
    with pytest.raises(KeyboardInterrupt):
        site.run(source, output, as_json=True)
    assert (sessions_kept(site), list(tmp_path.glob("labels*"))) == (0, [])


def test_a_session_that_is_interrupted_behind_its_first_query_is_kept(site, source, tmp_path, stopped, piped):
    output = tmp_path / "labels.jsonl"
    stopped(site, source, output)
    assert sessions_kept(site) == 1
    site.run(source, output, as_json=True, batch=32)
    assert sessions_kept(site) == 0
    # One that has used the budget up is over.
    site.policy = Policy(allow_unencrypted=True, max_queries=CHARGED + 50)
    refused(ErrorCode.QUERY_BUDGET_EXHAUSTED, site.run, piped(source), tmp_path / "more", as_json=True, batch=32)
    assert len(read_lines(tmp_path / "more.partial")) == 46
    assert sessions_kept(site) == 0


def test_without_checks_the_budget_is_as_many_lines(site, source, tmp_path):
    output = tmp_path / "labels.jsonl"
    site.policy = Policy(allow_unencrypted=True, max_queries=100)
    error = refused(ErrorCode.QUERY_BUDGET_EXHAUSTED, site.run, source, output, as_json=True, overrides=UNCHECKED)
    assert "--limit 100" in error.hint
    site.run(source, output, as_json=True, limit=100, overrides=UNCHECKED)
    assert_whole(site, source, output, 100)
    assert site.queries_charged == 100


@pytest.fixture
def piped(monkeypatch):
    """Return a function that makes a file standard input."""

    class Stdin:
        def __init__(self, path):
            self.buffer = path.open("rb")

    opened = []

    def pipe(path):
        opened.append(Stdin(path))
        monkeypatch.setattr("sys.stdin", opened[-1])
        return "-"

    yield pipe
    for stdin in opened:
        stdin.buffer.close()


def test_a_budget_that_ends_in_the_middle_of_a_pipe_leaves_no_charge_without_a_line(site, source, tmp_path, piped):
    output = tmp_path / "labels.jsonl"
    site.policy = Policy(allow_unencrypted=True, max_queries=100)
    error = refused(ErrorCode.QUERY_BUDGET_EXHAUSTED, site.run, piped(source), output, as_json=True, batch=32)
    assert "after 94 inputs" in error.message
    partial = tmp_path / "labels.jsonl.partial"
    assert (len(read_lines(partial)), site.queries_charged) == (94, 100)
    # Twice in vain: nothing is asked, and nothing is lost.
    error = refused(ErrorCode.QUERY_BUDGET_EXHAUSTED, site.run, piped(source), output, as_json=True, batch=32)
    assert (len(read_lines(partial)), site.queries_charged) == (94, 100)
    site.policy = Policy(allow_unencrypted=True, max_queries=1000)
    site.run(piped(source), output, as_json=True, batch=32)
    assert_whole(site, source, output)


def test_a_full_disk_loses_nothing(site, source, tmp_path, monkeypatch):
    output, write = tmp_path / "labels.jsonl", os.write

    def full(descriptor, data):
        if len(data) > 100 and (tmp_path / "labels.jsonl.partial").stat().st_size > 10_000:
            write(descriptor, data[:50])
            raise OSError(28, "No space left on device")
        return write(descriptor, data)

    with monkeypatch.context() as patch:
        patch.setattr("securealign.client.results.os.write", full)
        with pytest.raises(OSError, match="No space"):
            site.run(source, output, as_json=True, batch=32)
    site.run(source, output, as_json=True, batch=32)
    assert_whole(site, source, output)
    assert site.queries_charged == CHARGED


def test_a_long_work_takes_several_sessions(site, source, tmp_path, monkeypatch):
    monkeypatch.setattr(classifying, "_SESSION_POOLS", 4)
    output = tmp_path / "labels.jsonl"
    site.run(source, output, as_json=True, batch=32, overrides=("inference.pool_slots=10",))
    assert_whole(site, source, output)
    assert len(site.sessions) == 3
    # A session ends before its deadline does.
    site.sessions.clear()
    site.run(source, output, as_json=True, batch=32, overwrite=True, overrides=("provider.deadline_seconds=1e-9",))
    assert_whole(site, source, output)
    assert len(site.sessions) == 5


def test_a_session_that_the_provider_forgot_is_begun_again_behind_the_lines(site, source, tmp_path, stopped):
    output = tmp_path / "labels.jsonl"
    stopped(site, source, output)
    site.sessions.clear()
    site.run(source, output, as_json=True, batch=32)
    assert_whole(site, source, output)
    # The block whose lines were not written is charged again.
    assert site.queries_charged == rows_with_checks(128) + rows_with_checks(COUNT - 96)


def lying(evaluate, after):
    """Return a provider's evaluation that moves a logit from the query number `after` on."""
    asked = [0]

    def evaluate_otherwise(self, pool, first_slot, count, query):
        answer = np.frombuffer(evaluate(self, pool, first_slot, count, query), dtype="<f8").copy()
        asked[0] += count
        if asked[0] > after:
            answer[-1] += 1
        return answer.tobytes()

    return evaluate_otherwise


def test_a_block_whose_answers_contradict_each_other_is_not_written_and_the_session_ends_as_always(
    site, source, tmp_path, monkeypatch
):
    output, partial = tmp_path / "labels.jsonl", tmp_path / "labels.jsonl.partial"
    honest = plaintext._HeadProvider.evaluate
    monkeypatch.setattr(plaintext._HeadProvider, "evaluate", lying(honest, 100))
    with pytest.raises(RemoteProtocolError) as caught:
        site.run(source, output, as_json=True, batch=32)
    assert caught.value.code is ErrorCode.ANSWERS_INCONSISTENT
    assert len(read_lines(partial)) == 64
    (journal,) = site.sessions.values()
    assert journal.recover().fields["state"] == "DONE"
    # The control: without check rows the wrong answers are written.
    monkeypatch.setattr(plaintext._HeadProvider, "evaluate", lying(honest, 100))
    site.run(source, tmp_path / "unchecked.jsonl", as_json=True, batch=32, overrides=UNCHECKED)
    wrong = [line["logits"] for line in read_lines(tmp_path / "unchecked.jsonl")]
    clear = site.head.logits(site.map.apply(site.encoder.encode(texts(source))))
    assert np.abs(wrong - clear).max() == pytest.approx(1)


def test_another_head_from_one_block_on_is_caught(site, source, tmp_path, monkeypatch):
    def shifted(evaluate):
        asked = [0]

        def evaluate_otherwise(self, pool, first_slot, count, query):
            answer = np.frombuffer(evaluate(self, pool, first_slot, count, query), dtype="<f8").copy()
            asked[0] += count
            # All queries of later blocks, by the same other head.
            return (answer + (0.5 if asked[0] > 34 else 0.0) * np.tile([1, 0, 0], count)).tobytes()

        return evaluate_otherwise

    monkeypatch.setattr(plaintext._HeadProvider, "evaluate", shifted(plaintext._HeadProvider.evaluate))
    error = refused(ErrorCode.ANSWERS_INCONSISTENT, site.run, source, tmp_path / "labels", batch=32)
    assert "contradict" in error.message
    # The control: a later block by itself agrees with itself.
    monkeypatch.setattr("securealign.alignment.checks._FROM_LAST", 0)
    monkeypatch.setattr("securealign.alignment.checks._FROM_EARLIER", 0)
    monkeypatch.setattr(plaintext._HeadProvider, "evaluate", shifted(plaintext._HeadProvider.evaluate))
    site.run(source, tmp_path / "others", batch=32)


def test_few_inputs_are_not_checked(site, tmp_path):
    source, output = tmp_path / "few.jsonl", tmp_path / "labels.jsonl"
    write_jsonl(source, 5)
    figures = site.run(source, output, as_json=True)
    assert (figures["checks"], figures["pool_slots"], site.queries_charged) == (0, 5, 5)
    assert_whole(site, source, output, 5)


def test_embeddings_are_read_from_the_file_of_a_matrix(site, tmp_path):
    embeddings = np.random.default_rng(1).normal(size=(90, DIM_B)).astype(np.float32)
    np.save(tmp_path / "private.npy", embeddings)
    output = tmp_path / "labels.jsonl"
    site.run(tmp_path / "private.npy", output, as_json=True, limit=70)
    assert [line["label"] for line in read_lines(output)] == site.labels_of(embeddings[:70].astype(float))
    error = refused(ErrorCode.INPUT_INVALID, site.run, tmp_path / "private.npy", tmp_path / "x", columns=("id",))
    assert "no column" in error.message
    embeddings[80, 1] = np.nan
    np.save(tmp_path / "bad.npy", embeddings)
    refused(ErrorCode.NON_FINITE_INPUT, site.run, tmp_path / "bad.npy", tmp_path / "x")
    assert not list(tmp_path.glob("x*"))


def test_the_same_answers_come_under_encryption(tmp_path, stopped):
    site, source, output = StreamSite(tmp_path, suite=TOY_LWE), tmp_path / "private.jsonl", tmp_path / "labels.jsonl"
    write_jsonl(source, COUNT)
    stopped(site, source, output, overrides=("inference.pool_slots=48",))
    site.run(source, output, as_json=True, batch=32)
    assert_whole(site, source, output)
    assert site.queries_charged == CHARGED


def test_nothing_to_classify_is_said(site, tmp_path, piped):
    empty, output = tmp_path / "empty.jsonl", tmp_path / "labels"
    empty.write_text("\n  \n")
    for source in (empty, piped(empty)):
        with pytest.raises(InputError, match="holds no texts"):
            site.run(source, output)
    assert not list(tmp_path.glob("labels*"))
    assert not site.sessions
