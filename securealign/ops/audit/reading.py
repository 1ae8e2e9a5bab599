"""Reading an audit log from its first byte, and proving that nobody has touched it.

An entry that a crash cut off stays in the file: `TORN_MARK` and a newline end it, and the next entry, an event `TORN`,
holds the number and the SHA-256 of all bytes that lie between it and the entry before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from securealign.ops.audit.entries import GENESIS, MAX_LINE_BYTES, TORN, AuditError, Entry, Head, parse

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
