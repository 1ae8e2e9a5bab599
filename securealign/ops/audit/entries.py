"""One entry of an audit log, and its one form as bytes.

A line is the JSON object of `sequence`, `time`, `event`, `fields` (sorted by name) and `previous` (the chain value
before it) without spaces and in ASCII, to which `chain` is added last: SHA-256 over `DOMAIN` and the object without it.
A line that differs from the form of what it says, in a space for instance, is no entry.

An entry that a crash cut off stays in the file: `TORN_MARK` and a newline end it, and the next entry, an event `TORN`,
holds the number and the SHA-256 of all bytes that lie between it and the entry before. Reading from the first byte
proves that nobody has touched a log.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

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
    return {
        name: [_scalar(name, item) for item in value]
        if isinstance(value, list | tuple) and len(value) <= MAX_ITEMS
        else _scalar(name, value)
        for name, value in fields.items()
    }


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


#: Ends what a crash left of a line. Entries end in a brace, so no part of one ends like this.
TORN_MARK = b"#unfinished"


@dataclass(frozen=True)
class Verified:
    """What an intact log holds: entries, head, time of the first and the last, and unfinished bytes after that."""

    entries: int
    head: Head
    first: str
    last: str
    unfinished_bytes: int


class Chain:
    """Follows lines of a log and raises `AuditError` at the first one that does not continue it.

    `last` is the entry to continue from, None at the beginning of a file.
    """

    def __init__(self, last: Entry | None = None) -> None:
        self.last = last
        #: Bytes since the last entry that are none: what crashes left.
        self.torn = b""

    def take(self, line: bytes) -> Entry | None:
        """Follow one line, which may lack its newline at the end of the file; return its entry if it holds one."""
        unfinished = not line.endswith(b"\n") and len(line) < MAX_LINE_BYTES
        if unfinished or line.endswith(TORN_MARK + b"\n"):
            self.torn += line
            return None
        entry = self._continued(line)
        self.torn = b""
        self.last = entry
        return entry

    def _continued(self, line: bytes) -> Entry:
        number = self.last.sequence + 1 if self.last else 1
        try:
            entry = parse(line)
        except ValueError:
            raise broken(f"The line where entry {number} belongs was altered.") from None
        expected = self.last.chain if self.last else GENESIS
        if entry.sequence != number or entry.previous != expected:
            raise broken(
                f"Entry {entry.sequence} stands where entry {number} belongs, or what is before it was altered."
            )
        if (entry.event == TORN or self.torn) and dict(entry.fields) != torn_fields(self.torn):
            raise broken(f"What stands before entry {number} is not what a crash left there.")
        return entry


def torn_fields(torn: bytes) -> dict[str, object]:
    """Return the fields of the entry that stands for unfinished bytes."""
    return {"bytes": len(torn), "sha256": hashlib.sha256(torn).hexdigest()}


def broken(what: str) -> AuditError:
    """Return the error for a log that was altered."""
    hint = "Keep the file as evidence, and compare it with a backup and with heads kept elsewhere."
    return AuditError(what, hint=hint)


def lines(file: BinaryIO) -> Iterator[bytes]:
    """Yield the lines of a log, none longer than an entry may be."""
    return iter(lambda: file.readline(MAX_LINE_BYTES), b"")


def entries(path: Path) -> Iterator[Entry]:
    """Yield the entries of a log; raises `AuditError` where it is broken."""
    chain = Chain()
    with path.open("rb") as file:
        for line in lines(file):
            entry = chain.take(line)
            if entry is not None:
                yield entry


def verify(path: Path, *, head: Head | None = None) -> Verified:
    """Check every entry of a log, and that it extends `head`, a value kept from earlier.

    Raises `AuditError` when it was altered, reordered, or cut before `head`; an unfinished last line is no damage.
    """
    chain, first, seen = Chain(), "", head is None
    with path.open("rb") as file:
        for line in lines(file):
            entry = chain.take(line)
            if entry is None:
                continue
            first = first or entry.time
            seen = seen or (head is not None and head.chain == entry.chain and head.sequence in {0, entry.sequence})
    if chain.last is None:
        raise broken("The log holds no entry.")
    if not seen:
        raise broken("The log does not extend that head: it was cut before it, or written anew.")
    return Verified(chain.last.sequence, chain.last.head, first, chain.last.time, len(chain.torn))
