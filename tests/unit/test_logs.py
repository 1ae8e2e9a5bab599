"""Logs hold plain values under harmless names, whatever a caller hands them."""

from __future__ import annotations

import json
import logging
import sys

import numpy as np
import pytest
import structlog

from securealign.errors import ErrorCode
from securealign.logs import configure_logs, describe, redact

SECRET = "canary-7310585786"


class Unknown:
    def __repr__(self):
        return SECRET


@pytest.fixture(autouse=True)
def restore_logging():
    handlers = logging.root.handlers[:]
    yield
    structlog.reset_defaults()
    logging.root.handlers[:] = handlers


def log(*, as_json=True, quiet=False):
    logging.root.handlers[:] = []  # those of pytest would format records themselves
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
        (np.float64(7.310585786), "<float64>"),
        (type("Text", (str,), {})(SECRET), "<Text>"),
        ([7.310585786] * 17, "<list>"),
        ((7.310585786,) * 17, "<tuple>"),
        ({str(number): 7.310585786 for number in range(65)}, "<dict>"),
        (f"-----BEGIN PRIVATE KEY-----\n{SECRET}", "<redacted>"),
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


@pytest.mark.parametrize("value", [SECRET, [SECRET], {"a": SECRET}, 7.310585786])
def test_plain_values_under_a_secret_name_are_redacted_at_any_depth(value):
    for name in (
        *("key", "secret", "passphrase", "private_key", "weight", "bias", "text", "texts", "embedding"),
        *("client_key", "KEY", "key.pem", "head-weights", "private text", "password1", "a_token"),
    ):
        assert redact(None, "info", {name: value, "a": {"b": [{name: value}]}}) == {
            name: "<redacted>",
            "a": {"b": [{name: "<redacted>"}]},
        }


@pytest.mark.parametrize("key", [SECRET.encode(), Unknown(), (SECRET.encode(),)])
def test_a_name_that_is_no_text_is_replaced_by_its_type(key):
    assert SECRET not in str(redact(None, "info", {"a": {key: 1}}))


@pytest.mark.parametrize("name", ["keys", "monkey", "tokens", "public_rows", "context"])
def test_names_that_only_resemble_secret_ones_stay(name):
    assert redact(None, "info", {name: 5}) == {name: 5}


def test_what_contains_itself_ends():
    endless = []
    endless.append(endless)
    assert "<list>" in str(redact(None, "info", {"a": endless}))


HOSTILE = ["a\nb", "a\r\nb", "\x1b[2K\x1b[1A", "\x9b31m", "\u2028", "\u202e", "\x00", "\x7f", "\ud800", "\t", "\x08"]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("as_json", [True, False])
def test_a_text_of_a_peer_forges_no_line_and_no_escape_sequence(capsys, text, as_json):
    log(as_json=as_json).info(f"session {text}", **{f"na{text}me": 1, "peer": text, "more": {"a": [text]}})
    written = capsys.readouterr()[0 if as_json else 1]
    assert written.count("\n") == 1
    assert written.rstrip("\n").isprintable()


@pytest.mark.parametrize("as_json", [True, False])
def test_a_text_of_a_peer_forges_no_field(capsys, as_json):
    log(as_json=as_json).info("session done", peer='x level=error "rounds": 9', rounds=3)
    written = capsys.readouterr()[0 if as_json else 1]
    if as_json:
        assert json.loads(written)["peer"] == 'x level=error "rounds": 9'
    else:
        assert "peer='x level=error \"rounds\": 9'" in written


def test_the_renderer_alone_would_pass_escape_sequences_on(capsys):
    structlog.configure(
        processors=[structlog.dev.ConsoleRenderer(colors=False)],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    structlog.get_logger().info("session\n\x1b[2K")
    assert "\n\x1b[2K" in capsys.readouterr().err


def test_long_texts_are_cut_and_say_so():
    shown = redact(None, "info", {"peer": "x" * 100_000})["peer"]
    assert shown.endswith("... (100000 characters)")
    assert len(shown) < 1100


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
        processors=[structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    try:
        raise ValueError(SECRET)
    except ValueError:
        structlog.get_logger().exception("unprotected")
    assert SECRET in capsys.readouterr().err


def raised(error):
    try:
        raise error
    except type(error) as caught:
        return caught


def test_an_exception_is_described_by_type_and_place():
    error = raised(ValueError(SECRET))
    assert describe(error) == f"ValueError at {__name__}:{error.__traceback__.tb_lineno}"
    assert describe(ValueError(SECRET)) == "ValueError"


@pytest.mark.parametrize("as_json", [True, False])
def test_records_of_other_packages_become_events(capsys, as_json):
    log(as_json=as_json)
    logging.getLogger("another.package").warning("took %d of %s, %.1f", 5, "seven", 2.25)
    logging.getLogger("another.package").info("chatter")
    written = capsys.readouterr()[0 if as_json else 1]
    assert "took 5 of seven, 2.2" in written
    assert "another.package" in written
    assert "warning" in written
    assert written.count("\n") == 1


def test_steps_of_the_own_packages_become_events_too(capsys):
    log(as_json=True)
    logging.getLogger("securealign.lab.assets.files").info("unpacking %s", "minilm")
    written = json.loads(capsys.readouterr().out)
    assert (written["message"], written["level"]) == ("unpacking minilm", "info")


def test_configuring_twice_does_not_write_twice(capsys):
    log()
    log()
    logging.getLogger("another.package").warning("once")
    assert capsys.readouterr().out.count("once") == 1


def test_a_record_that_cannot_be_formatted_is_its_template(capsys):
    log()
    logging.getLogger("another.package").warning("%d rows", SECRET.encode())
    logging.getLogger("another.package").warning("%(a)d rows", {"b": 1})
    logging.getLogger("another.package").warning(Unknown())
    out, err = capsys.readouterr()
    assert [json.loads(line)["message"] for line in out.splitlines()] == ["%d rows", "%(a)d rows", "<Unknown>"]
    assert err == ""


def test_a_log_that_cannot_be_written_prints_nothing_else(capsys, monkeypatch):
    class Closed:
        def write(self, text):
            raise OSError(text)

    monkeypatch.setattr(sys, "stdout", Closed())
    log()
    monkeypatch.undo()
    logging.getLogger("another.package").warning(SECRET)
    assert capsys.readouterr() == ("", "")
