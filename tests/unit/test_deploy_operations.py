"""docs/operations.md names commands, settings, codes, metrics and files that exist."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest
import typer
from typer.main import get_command

import securealign
from securealign.cli import app as securealign_app
from securealign.client.__main__ import app as client
from securealign.client.config import ClientSettings
from securealign.errors import ErrorCode
from securealign.ops.observability import Metrics
from securealign.provider.__main__ import serve
from securealign.provider.config import ProviderSettings

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(securealign.__file__).parents[1]
DOCUMENT = ROOT / "docs" / "operations.md"
if not DOCUMENT.exists():
    pytest.skip("only the repository has the documents", allow_module_level=True)
TEXT = DOCUMENT.read_text(encoding="utf-8")
BLOCKS = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)


def provider_app():
    made = typer.Typer()
    made.command()(serve)
    return made


PROGRAMS = {"securealign": securealign_app, "securealign-client": client, "securealign-provider": provider_app()}


def commands():
    """Return what the document has people type, as words."""
    indented = [
        re.sub(r"^ +((provider|client)\$ +)?", "", line) for line in TEXT.splitlines() if line.startswith("    ")
    ]
    quoted = [code for code in re.findall(r"`([^`\n]+)`", TEXT) if " " in code]
    words = [shlex.split(re.split(r" [|>] ", line)[0], comments=True) for line in (*indented, *quoted)]
    return [line for line in words if line and line[0] in PROGRAMS]


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_exists_with_its_options(words):
    command = get_command(PROGRAMS[words[0]])
    rest = words[1:]
    while hasattr(command, "commands"):
        command = command.commands[rest.pop(0)]
    options = {name for parameter in command.params for name in parameter.opts}
    assert {word for word in rest if word.startswith("-")} <= options


def test_there_are_commands_of_every_program_that_people_call():
    assert {words[0] for words in commands()} >= {"securealign", "securealign-client"}


def test_every_code_exists():
    codes = {code for code in re.findall(r"`([A-Z]+(?:_[A-Z]+)+)`", TEXT) if "SECUREALIGN" not in code}
    assert len(codes) > 20
    assert codes <= {code.name for code in ErrorCode}


def test_every_metric_is_explained():
    explained = TEXT.replace("`, `_", "`, `securealign_")
    families = [family.name for family in Metrics().registry.collect() if family.name.startswith("securealign_")]
    assert len(families) > 10
    short = re.sub(r"securealign_(sessions|queries)_", "securealign_", explained)
    missing = [name for name in families if name not in explained and re.sub("_sessions_", "_", name) not in short]
    assert missing == []


@pytest.mark.parametrize(("block", "kind"), [*zip(BLOCKS, (ProviderSettings, ClientSettings), strict=True)])
def test_the_configurations_are_valid(block, kind):
    kind(**tomllib.loads(block))


def test_what_the_unit_and_the_container_set_are_settings_of_the_provider(monkeypatch):
    unit = (ROOT / "deploy" / "securealign-provider.service").read_text(encoding="utf-8")
    for name, value in re.findall(r"^Environment=(\w+)=(.*)$", unit, re.MULTILINE):
        monkeypatch.setenv(name, value.replace("%d", "/run/credentials"))
    settings = ProviderSettings(**tomllib.loads(BLOCKS[0]))
    assert settings.state.passphrase.source == "file"
    assert settings.state.passphrase.file == Path("/run/credentials/passphrase")


def test_links_lead_somewhere():
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", TEXT) if "://" not in link]
    assert [link for link in links if not (DOCUMENT.parent / link).exists()] == []
