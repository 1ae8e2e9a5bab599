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
from securealign.settings import EncoderChoice, load_settings

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


#: The section and the name of the encoder that runs here.
NAMES = {"provider": ("public", "encoder"), "client": ("encoder", "name")}
OF_ENDPOINTS = ("endpoint", "model", "dimensions", "api_key_env", "allow_plain_http", "timeout_seconds", "revision")


@pytest.mark.parametrize("party", SETTINGS)
def test_the_lines_for_an_endpoint_take_the_place_of_those_for_an_encoder(party, tmp_path):
    run(party, tmp_path)
    file, (section, name) = tmp_path / f"{party}.toml", NAMES[party]
    text = file.read_text(encoding="utf-8")
    for line in ("prompt", *OF_ENDPOINTS):
        assert f"\n# {line} = " in text, line
        text = text.replace(f"\n# {line} = ", f"\n{line} = ")
    for line in (f'{name} = "', 'device = "'):
        assert f"\n{line}" in text
        text = text.replace(f"\n{line}", f"\n# {line}")
    file.write_text(text, encoding="utf-8")
    choice = getattr(load_settings(SETTINGS[party], file, []), section)
    assert (choice.at.host, choice.at.dimensions, choice.prompt) == ("api.example.com", 256, "query: ")


@pytest.mark.skipif(not (ROOT / "parties").exists(), reason="only the repository has the examples")
def test_every_setting_of_an_encoder_is_in_both_files():
    for party in SETTINGS:
        text = (ROOT / "parties" / party / "example.toml").read_text(encoding="utf-8")
        assert [name for name in EncoderChoice.model_fields if f"{name} = " not in text] == []


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
