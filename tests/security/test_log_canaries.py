"""Secrets of every kind go through every way of logging, and none comes out.

Each test has its negative control: without the processor, or the hooks, the search finds what it looks for.
"""

from __future__ import annotations

import ast
import base64
import json
import logging
import os
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
import structlog
from pydantic import SecretStr

import parties
import securealign
from securealign.errors import InputError, PeerAborted
from securealign.logs import configure_logs, redact_python_output
from securealign.pki.certificates import Role, create_certificates, load_bundle
from securealign.protocol.messages import Abort
from securealign.settings import Section
from securealign.wire.v1 import training_pb2

CANARY = "canary-3141592653"
OCTETS = b"\x93canary\xff\x00\x81" * 4
NUMBER = 0.31415926535


class Private(Section):
    passphrase: str
    rows: tuple[float, ...]


class Holder:
    """Something with a repr that shows too much."""

    def __repr__(self):
        return CANARY

    __str__ = __repr__


def nested(value):
    return {"a": [{"b": (value, [value])}], "c": {"d": {"e": value}}}


def caused():
    try:
        try:
            raise ValueError(CANARY)
        except ValueError as error:
            raise InputError(f"It broke: {CANARY}") from error
    except InputError as error:
        return error


@pytest.fixture(scope="module")
def pem(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificates") / "certs"
    create_certificates(folder, days=1)
    return folder


VALUES = {
    "key bytes": OCTETS,
    "a view of them": memoryview(OCTETS),
    "an embedding": np.full(4, NUMBER),
    "an embedding of one element": np.float64(NUMBER),
    "an embedding as a list": [NUMBER] * 384,
    "an embedding as rows": [(NUMBER,) * 384] * 3,
    "an embedding by dimension": {f"d{index}": NUMBER for index in range(384)},
    "an object": Holder(),
    "a type of text": type("Secret", (str,), {})(CANARY),
    "a set of texts": {CANARY},
    "an iterator": iter([CANARY]),
    "an exception": ValueError(CANARY),
    "an exception with a cause": caused(),
    "a pb2 message": training_pb2.RowBatch(data=OCTETS),
    "a message": Abort,
    "settings": Private(passphrase=CANARY, rows=(NUMBER,)),
    "a secret of pydantic": SecretStr(CANARY),
    "a function": lambda: CANARY,
}
NAMED = ("passphrase", "client_key", "private_key_pem", "text", "texts", "embedding", "head_weights", "bias")


def forms():
    """What a canary looks like wherever it may be printed."""
    yield CANARY
    yield str(NUMBER)[:8]
    for octets in (OCTETS[:11], bytes(OCTETS)):
        yield from (octets.hex(), repr(octets)[2:-1], base64.b64encode(octets).decode()[:12])
        yield octets.decode("latin-1")


def found(written):
    return [form for form in forms() if form in written]


@pytest.fixture(autouse=True)
def restore(monkeypatch):
    handlers = logging.root.handlers[:]
    # Programs that earlier tests ran in this process may have left theirs.
    logging.root.handlers[:] = [handler for handler in handlers if type(handler).__name__ != "_Relay"]
    for owner, name in ((sys, "excepthook"), (sys, "unraisablehook"), (threading, "excepthook")):
        monkeypatch.setattr(owner, name, getattr(owner, name))
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    monkeypatch.delenv("SECUREALIGN_DEBUG", raising=False)
    yield
    structlog.reset_defaults()
    logging.root.handlers[:] = handlers


def protected(as_json):
    configure_logs(as_json=as_json, quiet=False)
    return structlog.get_logger()


def unprotected(as_json):
    """The same without the processor that redacts."""
    configure_logs(as_json=as_json, quiet=False)
    processors = [one for one in structlog.get_config()["processors"] if getattr(one, "__name__", "") != "redact"]
    if not as_json:
        processors = [one for one in processors if getattr(one, "__name__", "") != "_brief"]
    structlog.configure(processors=processors)
    return structlog.get_logger()


def say(logger, value):
    """Log a value in every way that fields can be given."""
    logger.info("plain", value=value)
    logger.warning("nested", **nested(value))
    logger.bind(value=value).error("bound")
    logger.info("in a list", values=[value], pair=(value, 1))
    if isinstance(value, BaseException):
        logger.error("explicit", exc_info=value)
    try:
        raise RuntimeError(value)
    except RuntimeError:
        logger.exception("caught", value=value)


@pytest.mark.parametrize("as_json", [True, False])
@pytest.mark.parametrize("kind", VALUES)
def test_no_value_of_a_secret_kind_is_printed(capsys, kind, as_json):
    say(protected(as_json), VALUES[kind])
    written = "".join(capsys.readouterr())
    assert written.count("\n") >= 5
    assert found(written) == []


@pytest.mark.parametrize(
    "kind", ["key bytes", "an embedding", "an object", "an exception", "settings", "a set of texts"]
)
def test_without_redaction_it_would_be(capsys, kind):
    say(unprotected(as_json=False), VALUES[kind])
    assert found("".join(capsys.readouterr()))


@pytest.mark.parametrize("as_json", [True, False])
@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("value", [CANARY, NUMBER, [CANARY], nested(CANARY)])
def test_no_plain_value_under_the_name_of_a_secret_is_printed(capsys, name, value, as_json):
    logger = protected(as_json)
    logger.info("plain", **{name: value, "outer": {name: value, "list": [{name: value}]}})
    assert found("".join(capsys.readouterr())) == []


def test_without_redaction_names_protect_nothing(capsys):
    unprotected(as_json=False).info("plain", passphrase=CANARY)
    assert found(capsys.readouterr().err)


@pytest.mark.parametrize("as_json", [True, False])
def test_no_private_key_is_printed_whatever_it_stands_in(capsys, pem, as_json):
    logger = protected(as_json)
    texts = [(pem / "ca" / "ca.key").read_text(), *((pem / role.label / "key.pem").read_text() for role in Role)]
    for text in texts:
        logger.info(text, value=text, path=f"before {text}", a={text: 1})
        logging.getLogger("another").error("key %s", text)
        logging.getLogger("another").error(text)
    for role in Role:
        logger.info("bundle", bundle=load_bundle(pem / role.label, role))
    written = "".join(capsys.readouterr())
    lines = [line for text in texts for line in text.splitlines() if line and "-----" not in line]
    assert lines
    assert not [line for line in lines if line in written]
    unprotected(as_json).info("unprotected", value=texts[0])
    assert lines[0] in "".join(capsys.readouterr())


def library(value):
    """Log as libraries do, with the standard library."""
    ours = [handler for handler in logging.root.handlers if type(handler).__module__ == "securealign.logs"]
    logging.root.handlers[:] = ours  # and none of pytest
    log = logging.getLogger("some.library")
    log.warning("value %s", value)
    log.warning("values %(a)s", {"a": value})
    log.error(value)
    try:
        raise RuntimeError(CANARY)
    except RuntimeError as error:
        log.exception("caught")
        log.exception(f"Exception calling application: {error}")  # as grpc does
        log.error("by hand %s", error, exc_info=error)
    log.error("stack", stack_info=True)


@pytest.mark.parametrize("as_json", [True, False])
@pytest.mark.parametrize("kind", VALUES)
def test_no_library_prints_a_secret(capsys, kind, as_json):
    protected(as_json)
    library(VALUES[kind])
    written = "".join(capsys.readouterr())
    assert written.count("some.library") == 7
    assert "RuntimeError" in written
    assert found(written) == []


def test_without_the_relay_libraries_would(capsys):
    library(Holder())
    assert found(capsys.readouterr().err)


UNEXPECTED = f"""
import sys, threading, warnings
from securealign.logs import configure_logs, redact_python_output

class Broken:
    def __del__(self):
        raise ValueError({CANARY!r})

def fail(text):
    raise ValueError(text)

configure_logs(as_json=False, quiet=False)
HOOKS
broken = Broken()
del broken
thread = threading.Thread(target=fail, args=({CANARY!r},))
thread.start()
thread.join()
warnings.warn({CANARY!r})
fail({CANARY!r})
"""


def run(code, **environment):
    command = [sys.executable, "-W", "always", "-c", code]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "SECUREALIGN_DEBUG": "", **environment}
    )
    assert done.returncode == 1
    return done.stdout + done.stderr


def test_what_python_prints_of_a_fault_names_no_value():
    written = run(UNEXPECTED.replace("HOOKS", "redact_python_output()"))
    assert found(written) == []
    assert written.count("ValueError at __main__:7") == 1
    assert written.count("ValueError at __main__:10") == 2
    assert "UserWarning" in written
    assert "SECUREALIGN_DEBUG" in written


def test_without_the_hooks_python_prints_the_value_each_time():
    assert run(UNEXPECTED.replace("HOOKS", "")).count(CANARY) >= 4


def test_a_developer_can_ask_for_everything():
    assert found(run(UNEXPECTED.replace("HOOKS", "redact_python_output()"), SECUREALIGN_DEBUG="1"))


def test_the_end_of_a_thread_is_no_fault(capsys):
    protected(as_json=True)
    redact_python_output()
    thread = threading.Thread(target=sys.exit)
    thread.start()
    thread.join()
    assert capsys.readouterr() == ("", "")


def test_what_a_peer_says_is_one_of_the_fixed_sentences(capsys):
    from securealign.errors import ErrorCode

    error = PeerAborted(ErrorCode.CANCELLED)
    protected(as_json=True).warning("session refused", code=error.code.name, reason=error.message)
    assert json.loads(capsys.readouterr().out)["reason"] == "The peer ended the session: The session was cancelled."


LEVELS = {"debug", "info", "warning", "error", "critical", "exception", "msg"}


def log_calls():
    """Yield (place, call, whether it is of the standard library's logging) for every event that is logged."""
    for package in (securealign, parties):
        for path in Path(package.__file__).parent.rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LEVELS:
                    base = ast.unparse(node.func.value)
                    if base in {"log", "logger", "_log"} or "get_logger" in base:
                        yield f"{path.name}:{node.lineno}", node, base == "logger"


def is_literal(node):
    if isinstance(node, ast.IfExp):
        return is_literal(node.body) and is_literal(node.orelse)
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def test_every_event_of_this_program_is_a_literal():
    """A value inside an event's own text could not be told from the text, so there is none.

    What the standard library puts into a text later is redacted one by one before it does.
    """
    calls = list(log_calls())
    assert len(calls) >= 4
    assert [place for place, call, _ in calls if not is_literal(call.args[0])] == []
    assert [place for place, call, later in calls if len(call.args) != 1 and not later] == []
