"""`securealign experiment all`, and what "all" stands for."""

from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from securealign.cli import app
from securealign.errors import AssetError
from securealign.lab.cli.experiment import command
from securealign.lab.cli.experiment.command import names
from securealign.lab.experiments.run import EXPERIMENTS


@pytest.fixture
def commands(monkeypatch):
    """Collect the commands that would be run, and let them end with the code of the list's end."""
    ran, codes = [], dict.fromkeys(EXPERIMENTS, 0)

    def run(command, *, check):
        ran.append(command[command.index("experiment") + 1 :])
        return SimpleNamespace(returncode=codes[ran[-1][0]])

    monkeypatch.setattr(command, "subprocess", SimpleNamespace(run=run))
    return SimpleNamespace(ran=ran, codes=codes)


def test_all_runs_every_experiment_in_its_order(commands, tmp_path):
    assert CliRunner().invoke(app, ["experiment", "all", "-o", str(tmp_path)]).exit_code == 0
    assert [command[0] for command in commands.ran] == list(EXPERIMENTS)
    assert all(command[-2:] == ["--output", str(tmp_path)] for command in commands.ran)


def test_a_choice_of_encoders_goes_to_those_that_take_it(commands, tmp_path):
    CliRunner().invoke(app, ["experiment", "all", "-o", str(tmp_path), "--encoders", "a,b"])
    given = {command[0] for command in commands.ran if "a,b" in command}
    assert given == {"similarity", "classification", "leakage"}


def test_an_experiment_that_fails_ends_all_with_its_code(commands, tmp_path):
    commands.codes["ood"] = 6
    assert CliRunner().invoke(app, ["experiment", "all", "-o", str(tmp_path)]).exit_code == 6
    assert commands.ran[-1][0] == "ood"


@pytest.mark.parametrize(("option", "always"), [("--encoders", "minilm"), ("--models", "smollm2")])
def test_all_leaves_out_what_is_under_terms_that_nobody_accepted(monkeypatch, option, always):
    monkeypatch.delenv("SECUREALIGN_ACCEPT_TERMS", raising=False)
    assert always in names("all", option)
    assert "gemma" not in names("all", option)
    monkeypatch.setenv("SECUREALIGN_ACCEPT_TERMS", "other, gemma")
    assert "gemma" in names("all", option)


@pytest.mark.parametrize("option", ["--encoders", "--models"])
def test_a_model_whose_terms_are_not_accepted_is_refused_before_others_are_fetched(tmp_path, monkeypatch, option):
    monkeypatch.setenv("SECUREALIGN_CACHE", str(tmp_path))
    monkeypatch.delenv("SECUREALIGN_ACCEPT_TERMS", raising=False)
    with pytest.raises(AssetError, match="Gemma Terms of Use"):
        names("smollm2,gemma", option)


def test_a_name_is_taken_once():
    assert names("a, b,a", "--data") == ("a", "b")
