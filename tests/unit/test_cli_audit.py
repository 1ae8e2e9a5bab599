"""securealign audit, as an operator runs it."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from securealign.cli import app
from securealign.errors import ExitCode
from securealign.ops.audit import AuditLog


def run(*arguments):
    return CliRunner().invoke(app, ["audit", *map(str, arguments)])


@pytest.fixture
def path(tmp_path):
    made = tmp_path / "audit.log"
    with AuditLog(made) as log:
        log.append("session done", identity="acme", columns=8)
        log.append("session refused", identity="evil\x1b[2K\ncolumns=99", rule="RATE_LIMITED")
    return made


def test_an_intact_log_is_said_to_be_intact(path):
    done = run("verify", path)
    assert done.exit_code == ExitCode.OK
    assert "intact: 3 entries" in done.stdout
    assert "only with --head" in done.stdout


def test_a_head_kept_earlier_proves_that_nothing_is_missing(path):
    head = run("head", path).stdout.strip()
    with AuditLog(path) as log:
        log.append("session done")
    done = run("verify", path, "--head", head)
    assert done.exit_code == ExitCode.OK
    assert "only with --head" not in done.stdout
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:2]))
    assert run("verify", path).exit_code == ExitCode.OK
    refused = run("verify", path, "--head", head)
    assert refused.exit_code == ExitCode.INPUT
    assert "AUDIT_BROKEN" in refused.stderr
    assert refused.stdout == ""


def test_json_for_machines(path):
    head = json.loads(run("head", path, "--json").stdout)
    assert head["entries"] == 3
    assert json.loads(run("verify", path, "--head", head["head"], "--json").stdout) == {**head, "extends_head": True}
    assert json.loads(run("verify", path, "--json").stdout) == {**head, "extends_head": False}


@pytest.mark.parametrize("command", ["verify", "head", "show"])
def test_a_broken_log_ends_every_command(path, command):
    path.write_bytes(path.read_bytes().replace(b"acme", b"evil"))
    done = run(command, path, "--json")
    assert done.exit_code == ExitCode.INPUT
    error = json.loads(done.stdout.splitlines()[-1])
    assert error["error"] == "AUDIT_BROKEN"
    assert "evidence" in error["hint"]


def test_what_a_crash_left_is_mentioned(path):
    path.write_bytes(path.read_bytes() + b'{"sequence"')
    done = run("verify", path)
    assert done.exit_code == ExitCode.OK
    assert "11 bytes are an unfinished entry" in done.stdout


def test_entries_are_shown_one_on_each_line(path):
    lines = run("show", path).stdout.splitlines()
    assert len(lines) == 3
    assert lines[1].endswith('session done  columns=8 identity="acme"')
    assert "\x1b" not in lines[2]


def test_entries_are_chosen_by_place_and_event(path):
    assert [
        line["sequence"] for line in map(json.loads, run("show", path, "--last", 2, "--json").stdout.splitlines())
    ] == [2, 3]
    assert "RATE_LIMITED" in run("show", path, "--event", "session refused").stdout
    assert run("show", path, "--event", "nothing").stdout == ""


def test_a_file_that_is_missing_is_named(tmp_path):
    done = run("verify", tmp_path / "none.log", "--json")
    assert done.exit_code == ExitCode.INPUT
    assert "none.log" in json.loads(done.stdout)["message"]


def test_what_is_no_head_is_refused(path):
    done = run("verify", path, "--head", "5")
    assert done.exit_code == ExitCode.INPUT
    assert "INPUT_INVALID" in done.stderr
