"""securealign init writes a configuration that is valid, and never replaces a file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import securealign
from securealign.cli import app
from securealign.cli.init import write_files
from securealign.client.config import ClientSettings
from securealign.errors import ExitCode, InputError
from securealign.provider.config import ProviderSettings
from securealign.settings import load_settings

ROOT = Path(securealign.__file__).parents[1]
SETTINGS = {"provider": ProviderSettings, "client": ClientSettings}


def run(*arguments):
    return CliRunner().invoke(app, ["init", *map(str, arguments)])


def files_in(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("party", SETTINGS)
def test_the_configuration_is_valid_and_commented(party, tmp_path):
    done = run(party, tmp_path / "new" / "site")
    assert done.exit_code == ExitCode.OK
    file = tmp_path / "new" / "site" / f"{party}.toml"
    assert load_settings(SETTINGS[party], file, []).public.texts == "public.jsonl"
    assert file.read_text(encoding="utf-8").startswith("# Settings of the ")
    assert str(file) in done.stdout


def test_a_client_gets_its_configuration_alone(tmp_path):
    assert run("client", tmp_path).exit_code == ExitCode.OK
    assert files_in(tmp_path) == {"client.toml"}


@pytest.mark.skipif(not (ROOT / "deploy").exists(), reason="only the repository has the files for deployment")
def test_a_provider_gets_every_file_for_deployment_as_the_repository_has_it(tmp_path):
    assert run("provider", tmp_path).exit_code == ExitCode.OK
    deployment = {str(path.relative_to(ROOT)) for path in (ROOT / "deploy").iterdir()}
    assert files_in(tmp_path) == {"provider.toml", "constraints.txt", *deployment}
    for name in deployment:
        assert (tmp_path / name).read_bytes() == (ROOT / name).read_bytes()


def test_json_names_the_files(tmp_path):
    done = run("client", tmp_path, "--json")
    assert json.loads(done.stdout) == {"party": "client", "files": [str(tmp_path / "client.toml")]}


@pytest.mark.parametrize("existing", ["provider.toml", "deploy/alerts.yaml"])
def test_an_existing_file_is_named_and_nothing_is_written(existing, tmp_path):
    (tmp_path / existing).parent.mkdir(exist_ok=True)
    (tmp_path / existing).write_text("mine", encoding="utf-8")
    done = run("provider", tmp_path, "--json")
    assert done.exit_code == ExitCode.INPUT
    error = json.loads(done.stdout)
    assert error["error"] == "FILE_INVALID"
    assert str(tmp_path / existing) in error["message"]
    assert (tmp_path / existing).read_text(encoding="utf-8") == "mine"
    assert files_in(tmp_path) == {existing}


def test_a_link_that_leads_nowhere_is_not_followed(tmp_path):
    (tmp_path / "client.toml").symlink_to(tmp_path / "elsewhere")
    assert run("client", tmp_path).exit_code == ExitCode.INPUT
    assert not (tmp_path / "elsewhere").exists()


def test_a_file_that_appears_meanwhile_is_not_replaced(tmp_path, monkeypatch):
    (tmp_path / "client.toml").write_text("mine", encoding="utf-8")
    monkeypatch.setattr(Path, "exists", lambda _self: False)
    with pytest.raises(InputError, match=r"client\.toml already exists"):
        write_files("client", tmp_path)
    assert (tmp_path / "client.toml").read_text(encoding="utf-8") == "mine"


def test_another_party_is_a_usage_error(tmp_path):
    assert run("referee", tmp_path).exit_code == ExitCode.USAGE
    assert files_in(tmp_path) == set()
