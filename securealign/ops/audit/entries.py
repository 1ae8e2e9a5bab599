"""One entry of an audit log, and its one form as bytes.

A line is the JSON object of `sequence`, `time`, `event`, `fields` (sorted by name) and `previous` (the chain value
before it) without spaces and in ASCII, to which `chain` is added last: SHA-256 over `DOMAIN` and the object without it.
A line that differs from the form of what it says, in a space for instance, is no entry.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from securealign.errors import ErrorCode, SecurealignError

DOMAIN = b"securealign audit log 1\0"
#: The chain value before the first entry.
GENESIS = "0" * 64
#: First event of every log; it carries a random name, so that no two logs share a chain value.
BEGUN = "log begun"
#: Event that stands for bytes of an entry that was not written to its end.
TORN = "unfinished entry"

#: Names, counts and digests are short; what is longer is a mistake of the caller, or a peer's.
MAX_TEXT = 256
MAX_ITEMS = 32
#: Longest line, including its end.
MAX_LINE_BYTES = 1 << 16

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_HEAD = re.compile(r"(?:(?P<sequence>[0-9]{1,18}):)?(?P<chain>[0-9a-f]{64})")

Scalar: TypeAlias = "str | int | float | bool | None"
Value: TypeAlias = "Scalar | list[Scalar]"


class AuditError(SecurealignError):
    """An audit log that was altered, or an entry that does not belong in one."""

    default_code = ErrorCode.AUDIT_BROKEN


@dataclass(frozen=True)
class Head:
    """The latest entry of a log: how many there are, and the chain value that stands for all of them."""

    sequence: int
    chain: str

    def __str__(self) -> str:
        return f"{self.sequence}:{self.chain}"

    @classmethod
    def parse(cls, text: str) -> Head:
        """Return the head written as `sequence:chain`, or as the chain value alone with sequence 0.

        Raises `AuditError` for anything else.
        """
        match = _HEAD.fullmatch(text.strip().lower())
        if match is None:
            raise AuditError(
                "This is no head of an audit log.",
                hint="Give what 'securealign audit head' printed: a number, a colon and 64 hexadecimal digits.",
                code=ErrorCode.INPUT_INVALID,
            )
        return cls(int(match["sequence"] or 0), match["chain"])


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One event: its number from 1, UTC time, name, plain fields, and the chain value of the entry before it."""

    sequence: int
    time: str
    event: str
    fields: Mapping[str, Value]
    previous: str

    @property
    def chain(self) -> str:
        """SHA-256 of this entry and, through `previous`, of all before it; hexadecimal."""
        return hashlib.sha256(DOMAIN + self._body()).hexdigest()

    @property
    def head(self) -> Head:
        """The head of a log that ends here."""
        return Head(self.sequence, self.chain)

    def line(self) -> bytes:
        """Return the entry as its line, with the newline."""
        return self._body()[:-1] + f',"chain":"{self.chain}"}}\n'.encode("ascii")

    def as_dict(self) -> dict[str, Any]:
        """Return the entry as its line says it, for JSON."""
        return {**self._parts(), "chain": self.chain}

    def _parts(self) -> dict[str, Any]:
        return {
            "sequence": self.sequence,
            "time": self.time,
            "event": self.event,
            "fields": {name: self.fields[name] for name in sorted(self.fields)},
            "previous": self.previous,
        }

    def _body(self) -> bytes:
        return json.dumps(self._parts(), separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode("ascii")


def parse(line: bytes) -> Entry:
    """Return the entry in a line with its newline; raises `ValueError` unless the line is exactly that of an entry."""
    try:
        parts = json.loads(line)
        entry = Entry(**{name: parts[name] for name in ("sequence", "time", "event", "fields", "previous")})
        same = entry.line() == line
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError("no entry") from error
    if not same:
        raise ValueError("altered entry")
    return entry


def plain(fields: Mapping[str, object]) -> dict[str, Value]:
    """Return fields as an entry holds them: texts are cut at `MAX_TEXT`, since a peer may have chosen them.

    Raises `AuditError` for what is not a name or not a plain value, such as bytes or an array: contents are not logged.
    """
    if len(fields) > MAX_ITEMS or not all(_NAME.fullmatch(name) for name in fields):
        raise AuditError("Fields of an audit entry have few, short, lower-case names.", code=ErrorCode.INTERNAL)
    return {name: _value(name, value) for name, value in fields.items()}


def _value(name: str, value: object) -> Value:
    if isinstance(value, list | tuple) and len(value) <= MAX_ITEMS:
        return [_scalar(name, item) for item in value]
    return _scalar(name, value)


def _scalar(name: str, value: object) -> Scalar:
    # Exact types: a subclass, such as a number of numpy, may have another form in JSON.
    if isinstance(value, bool | None):
        return value
    if type(value) is int and abs(value) < 1 << 63:
        return value
    if type(value) is float and abs(value) < float("inf"):
        return value
    if type(value) is str:
        return value if len(value) <= MAX_TEXT else f"{value[:MAX_TEXT]}... ({len(value)} characters)"
    raise AuditError(
        f"The field {name!r} of an audit entry is not plain: {type(value).__name__}.", code=ErrorCode.INTERNAL
    )
