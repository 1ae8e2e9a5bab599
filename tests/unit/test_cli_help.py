"""What all commands have in common: help in sentences, exit codes, and a quiet standard output."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

import securealign
from securealign.cli import app
from securealign.cli.lazy import Command, lazy_group
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
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == ExitCode.INPUT
    assert json.loads(done.stdout)["error"] == "INPUT_INVALID"
    assert done.stderr == ""


def loaded(*arguments):
    """Return the modules that a Python process has loaded at its end."""
    code = f"import atexit, sys; atexit.register(lambda: print(*sys.modules)); {'; '.join(arguments)}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=600)
    return set(done.stdout.splitlines()[-1].split())


def test_no_program_loads_at_its_start_what_few_commands_need():
    models = {"torch", "transformers", "sentence_transformers"}
    slow = models | {"sklearn", "matplotlib", "pyarrow", "scipy.stats", "scipy.optimize"}
    programs = ("securealign.cli", "securealign.provider.__main__", "securealign.client.__main__")
    assert not slow & loaded(*(f"import {program}" for program in programs))


def test_importing_the_package_loads_none_of_it():
    assert {name for name in loaded("import securealign") if name.startswith("securealign.")} == set()
    assert "numpy" not in loaded("import securealign")


@pytest.mark.parametrize(
    ("arguments", "needed"),
    [
        (["--help"], {"securealign.harness.cli", "securealign.lab.cli"}),
        (["--version"], set()),
        (["certs", "show", "--help"], {"securealign.cli.certs"}),
    ],
)
def test_a_command_loads_its_own_module_alone(arguments, needed):
    found = loaded("from securealign.cli import main", f"sys.argv[1:] = {arguments}", "main()")
    programs = {name for name in found if ".cli." in name or name.endswith(".cli")}
    assert programs - {"securealign.cli", "securealign.cli.lazy"} == needed
    assert "numpy" not in found


def test_the_list_of_commands_says_what_the_commands_say():
    group = typer.main.get_command(app)
    for name in group.list_commands(None):
        line, command = group.commands.line(name), group.commands[name]
        assert line.help == command.help.split("\n\n")[0].replace("\n", " ")
        assert (line.name, command.name) == (name, name)


def test_the_version_is_that_of_the_package():
    done = CliRunner().invoke(app, ["--version"])
    assert (done.exit_code, done.stdout) == (ExitCode.OK, f"securealign {securealign.__version__}\n")


def test_an_unknown_command_is_answered_with_the_nearest():
    assert "Did you mean 'bench'?" in CliRunner().invoke(app, ["bnch"]).stderr


def group_of(**commands):
    """Return a program with these lazy commands."""
    program = typer.Typer(cls=lazy_group(commands, dict))
    program.callback()(lambda: None)
    return program


@pytest.mark.parametrize("as_json", [False, True])
def test_a_command_whose_packages_are_missing_names_the_extra(tmp_path, monkeypatch, as_json):
    (tmp_path / "needy.py").write_text("import no_such_package\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "argv", ["program", "work", *["--json"][:as_json]])
    done = CliRunner().invoke(group_of(work=Command("needy:work", "Work.", extra="lab")), sys.argv[1:])
    assert done.exit_code == ExitCode.UNAVAILABLE
    assert "pip install 'securealign[lab]'" in (done.stdout if as_json else done.stderr)
    assert "'securealign work' needs no_such_package, which is not installed." in done.output


def test_a_fault_of_a_command_of_our_own_is_not_taken_for_a_missing_package(tmp_path, monkeypatch):
    (tmp_path / "broken.py").write_text("import securealign.no_such_module\n")
    monkeypatch.syspath_prepend(tmp_path)
    done = CliRunner().invoke(group_of(work=Command("broken:work", "Work.", extra="lab")), ["work"])
    assert isinstance(done.exception, ModuleNotFoundError)


@pytest.mark.parametrize(("words", "completed"), [("securealign ex", "experiment"), ("securealign certs re", "renew")])
def test_the_shell_completes_commands(words, completed):
    done = subprocess.run(
        [sys.executable, "-c", "from securealign.cli import app; app(prog_name='securealign')"],
        env={
            **os.environ,
            "_SECUREALIGN_COMPLETE": "complete_bash",
            "COMP_WORDS": words,
            "COMP_CWORD": str(words.count(" ")),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert completed in done.stdout.split()
