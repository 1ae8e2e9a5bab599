"""Logs hold plain values under harmless names, whatever a caller hands them."""

from __future__ import annotations

import json
import logging
import sys

import numpy as np
import pytest
import structlog

from securealign.errors import ErrorCode
from securealign.logs import configure_logs, redact

SECRET = "canary-7310585786"


class Unknown:
    def __repr__(self):
        return SECRET


@pytest.fixture(autouse=True)
def restore_structlog():
    yield
    structlog.reset_defaults()


def log(*, as_json=True, quiet=False):
    configure_logs(as_json=as_json, quiet=quiet)
    return structlog.get_logger()


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (SECRET.encode(), "<bytes>"),
        (bytearray(SECRET.encode()), "<bytearray>"),
        (memoryview(SECRET.encode()), "<memoryview>"),
        (np.full(3, 7.310585786), "<ndarray>"),
        (np.float32(7.310585786), "<float32>"),
        (Unknown(), "<Unknown>"),
        (ValueError(SECRET), "<ValueError>"),
        ({SECRET}, "<set>"),
        (ErrorCode.INTERNAL, "<ErrorCode>"),
        (lambda: SECRET, "<function>"),
    ],
)
def test_values_that_are_not_plain_are_replaced_by_their_type(value, shown):
    nested = {"outer": value, "list": [value, (value,)], "map": {"inner": {"deep": [value]}}}
    assert redact(None, "info", nested) == {
        "outer": shown,
        "list": [shown, [shown]],
        "map": {"inner": {"deep": [shown]}},
    }


@pytest.mark.parametrize("value", ["words", 5, 2.5, True, None])
def test_plain_values_stay(value):
    assert redact(None, "info", {"a": value, "b": [value], "c": {"d": value}}) == {
        "a": value,
        "b": [value],
        "c": {"d": value},
    }


@pytest.mark.parametrize(
    "name", ["key", "secret", "passphrase", "private_key", "weight", "bias", "text", "texts", "embedding"]
)
@pytest.mark.parametrize("value", [SECRET, [SECRET], {"a": SECRET}, 7.310585786])
def test_plain_values_under_a_secret_name_are_redacted_at_any_depth(name, value):
    assert redact(None, "info", {name: value, "a": {"b": [{name: value}]}}) == {
        name: "<redacted>",
        "a": {"b": [{name: "<redacted>"}]},
    }


@pytest.mark.parametrize("key", [SECRET.encode(), Unknown(), (SECRET.encode(),)])
def test_a_name_that_is_no_text_is_replaced_by_its_type(key):
    assert SECRET not in str(redact(None, "info", {"a": {key: 1}}))


def test_numbers_as_names_stay():
    assert redact(None, "info", {"a": {5: 1}}) == {"a": {"5": 1}}


def test_machines_read_json_lines_on_standard_output(capsys):
    log(as_json=True).info("session done", rounds=3, weight=np.ones(2), stats={"bytes_up": 5})
    out, err = capsys.readouterr()
    line = json.loads(out)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "session done",
        "level": "info",
        "rounds": 3,
        "weight": "<redacted>",
        "stats": {"bytes_up": 5},
    }
    assert out.count("\n") == 1
    assert err == ""


def test_people_read_lines_on_standard_error(capsys):
    log(as_json=False).info("session done", rounds=3, secret=SECRET)
    out, err = capsys.readouterr()
    assert out == ""
    assert "session done" in err
    assert "rounds=3" in err
    assert SECRET not in err


@pytest.mark.parametrize("as_json", [True, False])
def test_quiet_keeps_warnings_and_errors(capsys, as_json):
    logger = log(as_json=as_json, quiet=True)
    logger.info("chatter")
    logger.warning("trouble")
    logger.error("failure")
    written = capsys.readouterr()[0 if as_json else 1]
    assert "chatter" not in written
    assert "trouble" in written
    assert "failure" in written


@pytest.mark.parametrize("as_json", [True, False])
def test_an_exception_is_logged_by_its_type_alone(capsys, as_json):
    logger = log(as_json=as_json)
    try:
        private = SECRET  # noqa: F841 - a local variable that a rich traceback would print
        raise ValueError(SECRET)
    except ValueError as error:
        logger.exception("from the handler")
        logger.error("by hand", exc_info=error)
        logger.error("as a triple", exc_info=(type(error), error, error.__traceback__))
    logger.error("without one", exc_info=False)
    written = capsys.readouterr()[0 if as_json else 1]
    assert SECRET not in written
    assert written.count("ValueError") == 3
    assert "without one" in written


def test_the_renderer_alone_would_print_the_exception(capsys):
    structlog.configure(
        processors=[structlog.dev.ConsoleRenderer(colors=False)],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    try:
        raise ValueError(SECRET)
    except ValueError:
        structlog.get_logger().exception("unprotected")
    assert SECRET in capsys.readouterr().err
