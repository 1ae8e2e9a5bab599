"""How every command ends: errors in words or as JSON, exit codes, and progress on terminals only."""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import sys
from pathlib import Path

import pytest
import typer

from securealign.commands import counted, failures, progress, show_steps
from securealign.errors import ErrorCode, ExitCode, InputError, SecurealignError


def end_of(action, *, as_json):
    """Run an action under `failures` and return the exit code."""
    with pytest.raises(typer.Exit) as caught, failures(as_json=as_json):
        action()
    return caught.value.exit_code


def fail(error):
    def action():
        raise error

    return action


def test_an_error_is_one_line_of_json_on_standard_output(capsys):
    for code in ErrorCode:
        assert end_of(fail(SecurealignError("It broke.", hint="Mend it.", code=code)), as_json=True) == code.exit_code
        out, err = capsys.readouterr()
        assert json.loads(out) == {"error": code.name, "message": "It broke.", "hint": "Mend it."}
        assert out.count("\n") == 1
        assert err == ""


def test_an_error_is_words_on_standard_error(capsys):
    for code in ErrorCode:
        assert end_of(fail(SecurealignError("It broke.", hint="Mend it.", code=code)), as_json=False) == code.exit_code
        out, err = capsys.readouterr()
        assert out == ""
        assert f"error {code.name} It broke." in err
        assert "Mend it." in err


def test_an_error_without_a_hint_has_no_line_for_it(capsys):
    end_of(fail(InputError("It broke.")), as_json=False)
    assert capsys.readouterr().err.count("\n") == 1


def test_no_line_is_broken_and_no_text_is_markup_or_emoji(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    message = f"[bold]{'/folder' * 20}[/] and C:smile:D"
    end_of(fail(InputError(message)), as_json=False)
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("code", [ExitCode.INPUT, 0, 7])
def test_an_exit_passes_through(code):
    assert end_of(fail(typer.Exit(code)), as_json=True) == code


def test_an_interrupt_ends_with_the_shells_code_and_no_words(capsys):
    assert end_of(fail(KeyboardInterrupt()), as_json=True) == 130
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("as_json", [True, False])
def test_a_file_that_cannot_be_written_is_named(capsys, tmp_path, as_json):
    file = tmp_path / "file"
    file.touch()
    assert end_of((file / "below").mkdir, as_json=as_json) == ExitCode.INPUT
    out, err = capsys.readouterr()
    assert str(file) in (out if as_json else err)
    assert (err if as_json else out) == ""
    assert not as_json or json.loads(out)["error"] == "FILE_INVALID"


def test_a_fault_of_the_system_without_a_file_is_named(capsys):
    end_of(fail(OSError("odd")), as_json=True)
    assert "A file cannot be used: odd" in json.loads(capsys.readouterr().out)["message"]
    # What SQLite says of a full disk.
    assert end_of(fail(sqlite3.OperationalError("database or disk is full")), as_json=True) == ExitCode.INPUT
    assert "database or disk is full" in json.loads(capsys.readouterr().out)["message"]


def test_a_reader_who_has_seen_enough_is_no_error(monkeypatch, tmp_path):
    with (tmp_path / "out").open("w", encoding="utf-8") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        assert end_of(fail(BrokenPipeError()), as_json=False) == ExitCode.OK
        assert os.path.samestat(os.fstat(stream.fileno()), Path(os.devnull).stat())


def test_other_exceptions_are_not_hidden():
    with pytest.raises(ZeroDivisionError), failures(as_json=True):
        raise ZeroDivisionError


def test_the_cause_of_an_internal_fault_shows_for_those_who_ask(monkeypatch):
    fault = SecurealignError("It broke.")
    fault.__cause__ = ValueError("because")
    assert end_of(fail(fault), as_json=True) == ExitCode.INTERNAL
    monkeypatch.setenv("SECUREALIGN_DEBUG", "1")
    with pytest.raises(SecurealignError, match="It broke"), failures(as_json=True):
        raise fault


@pytest.mark.parametrize("enabled", [True, False])
def test_no_bar_shows_where_there_is_no_terminal(capsys, enabled):
    with progress(enabled=enabled) as bar:
        bar("embedding")(1, 2)
    assert capsys.readouterr() == ("", "")


def test_long_tasks_print_a_line_from_time_to_time_where_there_is_no_terminal(capsys):
    now = [0.0]
    with progress(enabled=True, clock=lambda: now[0]) as bar:
        known, unknown = bar("classifying"), bar("reading")
        for done in range(0, 1001, 10):
            known(done, 1000)
            now[0] += 2
        # 200 seconds: a line for each tenth.
        assert capsys.readouterr().err.splitlines()[:2] == [
            "classifying: 100 of 1,000 (10%), about 180 s left",
            "classifying: 200 of 1,000 (20%), about 160 s left",
        ]
        known(1005, 10**6)
        now[0] += 61
        known(1006, 10**6)
        assert "classifying: 1,006 of 1,000,000 (0%)" in capsys.readouterr().err
        late = bar("embedding")
        now[0] += 100
        late(32, 1000)
        now[0] += 11
        late(132, 1000)
        # Time before the first report, which loads a model, does not count.
        assert capsys.readouterr().err.splitlines() == [
            "embedding: 32 of 1,000 (3%)",
            "embedding: 132 of 1,000 (13%), about 95 s left",
        ]
        unknown(5, 0)
        assert capsys.readouterr().err == "reading: 5\n"


@pytest.mark.parametrize("enabled", [True, False])
def test_a_bar_shows_on_a_terminal_unless_it_is_switched_off(capsys, monkeypatch, enabled):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    with progress(enabled=enabled) as bar:
        bar("embedding")(1, 2)
    out, err = capsys.readouterr()
    assert out == ""
    assert ("embedding" in err) is enabled


@pytest.fixture
def steps(monkeypatch):
    """Shows the library's steps as a program of its own would, whose other loggers nobody has set up."""
    logger = logging.getLogger("securealign")
    monkeypatch.setattr(logging.root, "handlers", [])
    monkeypatch.setattr(logger, "handlers", [])
    level = logger.level
    show_steps()
    show_steps()
    yield
    logger.setLevel(level)


def test_steps_of_the_library_are_said_once_on_standard_error(steps, capsys):
    logging.getLogger("securealign.lab.assets.files").info("downloading %s (%.0f MB)", "minilm", 90.4)
    logging.getLogger("securealign.lab.assets.files").debug("a detail")
    logging.getLogger("another.package").info("chatter")
    assert capsys.readouterr() == ("", "downloading minilm (90 MB)\n")


def test_steps_are_said_above_a_bar(steps, capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    with progress(enabled=True) as bar:
        bar("embedding")(1, 2)
        logging.getLogger("securealign.models").info("converting minilm")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.index("converting minilm\n") < err.rindex("embedding")


def test_items_are_counted_before_each_and_at_the_end():
    seen = []
    items = counted("ab", lambda done, total: seen.append((done, total)))
    assert next(items) == "a"
    assert seen == [(0, 2)]
    assert list(items) == ["b"]
    assert seen == [(0, 2), (1, 2), (2, 2)]
