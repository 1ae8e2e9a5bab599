"""securealign-client serve says what it cannot do before it listens."""

from __future__ import annotations

import json
import logging
import re
import socket
from pathlib import Path

import pytest
import structlog
from typer.testing import CliRunner

import securealign
from securealign import optional
from securealign.client.__main__ import app
from securealign.errors import ExitCode
from securealign.logs import _Relay
from securealign.pki.certificates import create_certificates

CONFIG = """
[provider]
certificates = "certs"
[encoder]
name = "glove"
"""


@pytest.fixture(autouse=True)
def logs():
    """Leave no log of a test to the next one."""
    yield
    structlog.reset_defaults()
    logging.root.handlers[:] = [each for each in logging.root.handlers if not isinstance(each, _Relay)]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificates") / "certs"
    create_certificates(folder, days=1)
    return folder / "client"


@pytest.fixture
def config(certificates, tmp_path):
    (tmp_path / "certs").symlink_to(certificates)
    file = tmp_path / "client.toml"
    file.write_text(CONFIG, encoding="utf-8")
    return file


def serve(config, *arguments):
    """Return exit code and error of a command that does not begin to serve."""
    done = CliRunner().invoke(app, ["serve", "--config", str(config), "--json", *arguments])
    return done.exit_code, json.loads(done.stdout.splitlines()[-1])


def test_a_taken_port_may_be_free_later(config):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, error = serve(config, "--address", f"127.0.0.1:{taken.getsockname()[1]}")
    assert (code, error["error"]) == (75, "ADDRESS_TAKEN")


def test_other_machines_are_served_with_a_token_alone(config):
    code, error = serve(config, "--address", "0.0.0.0:0")
    assert (code, error["error"]) == (ExitCode.USAGE, "CONFIGURATION_INVALID")
    assert "--token-file" in error["hint"]


def test_certificates_are_read_before_anything_is_served(config):
    (config.parent / "certs").unlink()
    assert serve(config)[0] == ExitCode.INPUT


def test_texts_need_an_encoder(config):
    embedded = '[provider]\ncertificates = "certs"\n[public]\ntexts = "p.jsonl"\nembeddings = "p.npy"\n'
    config.write_text(embedded, encoding="utf-8")
    code, error = serve(config)
    assert (code, error["hint"]) == (ExitCode.USAGE, "Add [encoder].")


def test_without_the_extra_the_command_names_it(config, monkeypatch):
    def missing(name):
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(optional.importlib, "import_module", missing)
    code, error = serve(config)
    assert (code, error["error"]) == (ExitCode.UNAVAILABLE, "DEPENDENCY_MISSING")
    assert "securealign[service]" in error["hint"]


def test_no_other_module_needs_the_extra():
    package = Path(securealign.__file__).parent
    own = re.compile(r"^\s*(?:from|import) (?:fastapi|starlette|uvicorn)\b", re.MULTILINE)
    at_once = re.compile(r"^from securealign\.client(?:\.service| import service)", re.MULTILINE)
    others = {"client/service", "console"}
    for path in package.rglob("*.py"):
        if not any(path.is_relative_to(package / other) for other in others):
            text = path.read_text(encoding="utf-8")
            assert not own.search(text), path
            assert not at_once.search(text), path
    assert own.search((package / "client" / "service" / "app.py").read_text(encoding="utf-8"))
