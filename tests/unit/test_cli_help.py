"""What all commands have in common: help in sentences, exit codes, and a quiet standard output."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from securealign.cli import app
from securealign.client.__main__ import app as client_app
from securealign.errors import ExitCode
from securealign.provider.__main__ import serve


def provider_app():
    """Return the provider's program as a group of one command would be: its main function makes it when it runs."""
    program = typer.Typer(add_completion=False)
    program.command()(serve)
    return program


def commands():
    """Return (arguments, command) of every program, group and command."""

    def walk(program, path, command):
        yield program, path, command
        for name, child in getattr(command, "commands", {}).items():
            yield from walk(program, (*path, name), child)

    for program in (app, client_app, provider_app()):
        yield from walk(program, (), typer.main.get_command(program))


COMMANDS = [pytest.param(*entry, id=" ".join((entry[2].name or "root", *entry[1]))) for entry in commands()]


def test_the_commands_of_the_interface_are_there():
    paths = {" ".join(path) for program, path, _ in commands() if program is app}
    assert {"suites", "simulate", "bench training", "bench inference", "certs init", "head fit"} <= paths
    assert {"data list", "data digest", "data export"} <= paths
    experiments = ("similarity", "classification", "ood", "tokenizers", "generation", "membership", "leakage")
    assert {"compat", "chat", *(f"experiment {name}" for name in experiments)} <= paths


@pytest.mark.parametrize(("program", "path", "command"), COMMANDS)
def test_help_works_and_is_complete_sentences(program, path, command):
    done = CliRunner().invoke(program, [*path, "--help"])
    assert done.exit_code == ExitCode.OK
    assert done.stderr == ""
    assert "Usage:" in done.stdout
    texts = {"itself": command.help} | {
        parameter.name: getattr(parameter, "help", "-.") for parameter in command.params
    }
    for name, text in texts.items():
        assert text, name
        assert text.rstrip().endswith("."), f"{name}: {text}"
        assert text[0] == "-" or text[0].isupper(), f"{name}: {text}"


@pytest.mark.parametrize(("program", "path", "command"), COMMANDS)
def test_an_unknown_option_is_a_usage_error_on_standard_error(program, path, command):
    done = CliRunner().invoke(program, [*path, "--no-such-option"])
    assert done.exit_code == ExitCode.USAGE
    assert "--no-such-option" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    "arguments", [["frobnicate"], ["data", "frobnicate"], ["certs", "init"], ["simulate", "extra"]]
)
def test_a_wrong_command_line_is_a_usage_error_on_standard_error(arguments):
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == ExitCode.USAGE
    assert done.stdout == ""


def test_commands_that_run_print_one_json_value(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n', encoding="utf-8")
    for arguments in (
        ["suites"],
        ["data", "list"],
        ["data", "digest", str(tmp_path / "a.jsonl")],
        ["certs", "init", str(tmp_path / "certs")],
    ):
        done = CliRunner().invoke(app, [*arguments, "--json"])
        assert done.exit_code == ExitCode.OK
        assert done.stderr == ""
        assert done.stdout.count("\n") == 1
        json.loads(done.stdout)


def test_the_program_as_a_process():
    command = [sys.executable, "-c", "from securealign.cli import main; main()", "data", "digest", "nowhere", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == ExitCode.INPUT
    assert json.loads(done.stdout)["error"] == "INPUT_INVALID"
    assert done.stderr == ""


def test_no_program_loads_at_its_start_what_few_commands_need():
    slow = {"torch", "transformers", "sklearn", "matplotlib", "pyarrow", "scipy.stats", "scipy.optimize"}
    programs = "securealign.cli, securealign.provider.__main__, securealign.client.__main__"
    code = f"import sys; import {programs}; print(*sorted({slow} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == []
