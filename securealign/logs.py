"""Structured logs and events that cannot carry secrets.

Values that are bytes, arrays or unknown objects are replaced by their type, whatever their key; so are values under
keys that name secrets, and exceptions, whose tracebacks may print any variable. What is logged is numbers, short texts
and error codes.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any

import structlog

_SECRET_KEYS = frozenset({"key", "secret", "passphrase", "private_key", "weight", "bias", "text", "texts", "embedding"})
_PLAIN = (str, int, float, bool, type(None))


def redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:  # noqa: ANN401
    """Replace everything in an event that is not a plain value by its type."""
    exception = event.pop("exc_info", None)
    if exception:
        event["exception"] = _exception(exception)
    return {_name(name): _plain(name, value) for name, value in event.items()}


def _exception(value: Any) -> Any:  # noqa: ANN401 - an exception, its triple, or a request for the current one
    if isinstance(value, tuple):
        return value[1]
    return value if isinstance(value, BaseException) else sys.exc_info()[1]


def _name(key: Any) -> str:  # noqa: ANN401 - any key may be logged
    return str(key) if isinstance(key, _PLAIN) else f"<{type(key).__name__}>"


def _plain(name: str, value: Any) -> Any:  # noqa: ANN401 - any value may be logged
    if name in _SECRET_KEYS:
        return "<redacted>"
    if isinstance(value, Mapping):
        return {_name(key): _plain(_name(key), item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(name, item) for item in value]
    return value if isinstance(value, _PLAIN) else f"<{type(value).__name__}>"


def _brief(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:  # noqa: ANN401
    """Leave tables of figures to machines: a person reads the fields beside them."""
    return {name: value for name, value in event.items() if not isinstance(value, Mapping) and value is not None}


def configure_logs(*, as_json: bool, quiet: bool) -> None:
    """Send events as JSON lines to standard output, or as readable lines to standard error; `quiet` keeps warnings."""
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
