"""Structured logs and events that cannot carry secrets.

Values that are bytes, arrays or unknown objects are replaced by their type, under any key; so are values under names of
secrets, long lists of numbers, and exceptions, whose messages and tracebacks may quote variables. What remains are
numbers, short texts and error codes, on one line each: a text chosen by a peer cannot begin another line.

A secret inside a harmless text cannot be recognised, except for a private key in PEM. So events are literals, and
values stand in fields.
"""

import logging
import os
import re
import sys
import threading
import traceback
import warnings
from collections.abc import Mapping, MutableMapping
from typing import Any, TextIO

import structlog

#: A name is secret when one of its words is.
_SECRET_WORDS = frozenset(
    {
        *("key", "secret", "passphrase", "password", "private", "token", "pem"),
        *("weight", "weights", "bias", "text", "texts", "embedding", "embeddings"),
    }
)
_PLAIN = (str, int, float, bool, type(None))
_MAX_TEXT = 1000
#: Longer lists are data, not figures.
_MAX_ITEMS = 16
_MAX_NAMES = 64
_MAX_DEPTH = 8

#: Set to any text to see tracebacks, which may show secrets.
DEBUG_VARIABLE = "SECUREALIGN_DEBUG"


def redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:  # noqa: ANN401
    """Replace everything in an event that is not a plain value by its type."""
    exception = _exception(event.pop("exc_info", None))
    redacted = {_name(name): _plain(name, value) for name, value in event.items()}
    return {**redacted, "raised": describe(exception)} if exception is not None else redacted


def describe(error: BaseException) -> str:
    """Return the type of an exception and the place that raised it, without its message."""
    frames = list(traceback.walk_tb(error.__traceback__))
    if not frames:
        return type(error).__name__
    frame, line = frames[-1]
    return f"{type(error).__name__} at {frame.f_globals.get('__name__', '?')}:{line}"


def _exception(value: Any) -> BaseException | None:  # noqa: ANN401 - an exception, its triple, or a request for the current one
    if isinstance(value, tuple):
        return _exception(value[1])
    if isinstance(value, BaseException):
        return value
    return sys.exc_info()[1] if value else None


def _name(key: Any) -> str:  # noqa: ANN401 - any key may be logged
    return _line(str(key)) if type(key) in _PLAIN else f"<{type(key).__name__}>"


def _plain(name: Any, value: Any, depth: int = 0) -> Any:  # noqa: ANN401 - any value may be logged
    if _SECRET_WORDS.intersection(re.split(r"[^a-z]+", str(name).lower())):
        return "<redacted>"
    if isinstance(value, Mapping) and depth < _MAX_DEPTH and len(value) <= _MAX_NAMES:
        return {_name(key): _plain(_name(key), item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple) and depth < _MAX_DEPTH and len(value) <= _MAX_ITEMS:
        return [_plain(name, item, depth + 1) for item in value]
    # Exact types: a subclass may print anything.
    if type(value) is str:
        return _line(value)
    return value if type(value) in _PLAIN else f"<{type(value).__name__}>"


def _line(text: str) -> str:
    """Return a text on one line, without characters that control a terminal."""
    if "PRIVATE KEY" in text:
        return "<redacted>"
    if len(text) > _MAX_TEXT:
        text = f"{text[:_MAX_TEXT]}... ({len(text)} characters)"
    # Line breaks, escape sequences, and marks that reverse the direction of writing are not printable.
    return text if text.isprintable() else "".join(map(_printable, text))


def _printable(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode("ascii")


def _brief(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:  # noqa: ANN401
    """Leave out tables of figures: a person reads the fields beside them, a machine reads JSON."""
    return {name: value for name, value in event.items() if not isinstance(value, Mapping) and value is not None}


def configure_logs(*, as_json: bool, quiet: bool) -> None:
    """Send events as JSON lines to standard output, or as readable lines to standard error; `quiet` keeps warnings.

    Records of the standard library's `logging`, which other packages write, go the same way.
    """
    readable: list[structlog.typing.Processor] = [
        _brief,
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=0, sort_keys=False),
    ]
    machine: list[structlog.typing.Processor] = [structlog.processors.JSONRenderer()]
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="%Y-%m-%dT%H:%M:%SZ", utc=True),
            redact,
            *(machine if as_json else readable),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING if quiet else logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stdout if as_json else sys.stderr),
        cache_logger_on_first_use=False,
    )
    others = [handler for handler in logging.root.handlers if not isinstance(handler, _Relay)]
    logging.root.handlers[:] = [*others, _Relay()]
    # Of our own packages also the steps, such as downloads; of others, warnings.
    logging.getLogger("securealign").setLevel(logging.INFO)


def redact_python_output() -> None:
    """Log what Python itself would print, by type and place: uncaught exceptions of any thread, and warnings.

    Not with `SECUREALIGN_DEBUG` in the environment, for developers who want to see tracebacks.
    """
    if os.environ.get(DEBUG_VARIABLE):
        return
    sys.excepthook = lambda _kind, error, _trace: _unexpected(error)
    threading.excepthook = lambda unexpected: _unexpected(unexpected.exc_value)
    sys.unraisablehook = lambda unexpected: _unexpected(unexpected.exc_value)
    warnings.showwarning = _warn


def _unexpected(error: BaseException | None) -> None:
    if isinstance(error, SystemExit):
        return
    structlog.get_logger().error("unexpected fault", exc_info=error, hint=f"Set {DEBUG_VARIABLE}=1 to see more.")


def _warn(  # noqa: PLR0917 - the signature of what it takes the place of
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Take the place of `warnings.showwarning`; the message may quote data."""
    structlog.get_logger().warning("warning of Python", category=category.__name__, place=f"{filename}:{lineno}")


class _Relay(logging.Handler):
    """Passes records of the standard library on as events, without the messages of exceptions."""

    def emit(self, record: logging.LogRecord) -> None:
        error = _exception(record.exc_info)
        fields = {"logger": record.name, **({"exc_info": error} if error is not None else {})}
        try:
            structlog.get_logger().log(record.levelno, "library", message=_message(record, error), **fields)
        except Exception:
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - overridden
        """Print nothing: the default prints the arguments of the record."""


def _message(record: logging.LogRecord, error: BaseException | None) -> str:
    """Return the message of a record, its arguments redacted."""
    template = record.msg if type(record.msg) is str else f"<{type(record.msg).__name__}>"
    arguments = record.args or ()
    # A single mapping fills names in the template, or one place that takes it whole.
    redacted = (
        _plain("", arguments) if isinstance(arguments, Mapping) else tuple(_plain("", each) for each in arguments)
    )
    try:
        message = template % redacted if arguments else template
    except (TypeError, ValueError, KeyError):
        message = template
    # Some libraries put the message of the exception into their own.
    return message.replace(str(error), f"<{type(error).__name__}>") if error is not None and str(error) else message
