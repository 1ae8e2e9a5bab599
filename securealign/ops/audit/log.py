"""Appending to an audit log: durable before the call returns, by many threads of one process at a time."""

from __future__ import annotations

import io
import os
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path

from securealign.errors import ErrorCode, KeyStoreError
from securealign.files import sync_folder
from securealign.locks import try_lock
from securealign.ops.audit.entries import (
    BEGUN,
    GENESIS,
    MAX_LINE_BYTES,
    TORN,
    TORN_MARK,
    AuditError,
    Chain,
    Entry,
    Head,
    broken,
    lines,
    parse,
    plain,
    torn_fields,
)

#: Of the end of a file, what is read on opening it: the last two entries and what crashes left after them.
_TAIL_BYTES = 16 * MAX_LINE_BYTES

Clock = Callable[[], datetime]


class AuditLog:
    """An open log; `append` returns when the entry is on disk.

    Opening checks that the end of the file is intact (`AuditError` otherwise; the whole file is the work of `verify`)
    and that no other process writes it (`KeyStoreError`). The file is only ever appended to, so it may carry the
    append-only attribute of the file system.
    """

    def __init__(self, path: Path, *, clock: Clock = lambda: datetime.now(timezone.utc)) -> None:
        self._path, self._clock = path, clock
        self._lock = threading.Lock()
        self._last: Entry | None = None
        self._size = 0
        #: Whether a write failed, so that nobody knows what is in the file.
        self._unsure = False
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            self._claim()
            self._resume()
        except BaseException:
            os.close(self._file)
            raise

    @property
    def head(self) -> Head:
        """The latest chain value; kept elsewhere, it proves later that the log up to here is whole."""
        with self._lock:
            if self._last is None:
                raise AuditError("The audit log could not be written.", code=ErrorCode.INTERNAL)
            return self._last.head

    def append(self, event: str, /, **fields: object) -> Entry:
        """Add an event with plain fields and return its entry once it is durable.

        Raises `AuditError` for fields that hold contents or when the end of the file was altered, `OSError` when the
        disk fails; what the party was about to do should then not happen.
        """
        if event in {BEGUN, TORN}:
            raise AuditError(f"The event {event!r} is the log's own.", code=ErrorCode.INTERNAL)
        with self._lock:
            self._check()
            return self._write_entry(event, fields)

    def close(self) -> None:
        """Give the file to other processes."""
        with self._lock:
            if self._file >= 0:
                os.close(self._file)
                self._file = -1

    def __enter__(self) -> AuditLog:
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()

    def _claim(self) -> None:
        if not try_lock(self._file):
            raise KeyStoreError(
                f"Another process writes the audit log {self._path}.",
                hint="Stop it, or give each party an audit log of its own.",
                code=ErrorCode.STORE_LOCKED,
            )

    def _resume(self) -> None:
        """Find the last entry; record what a crash left unfinished, and begin the log if there is none."""
        tail = self._tail()
        self._size = os.fstat(self._file).st_size
        self._last, empty = tail.last, tail.last is None
        if tail.torn:
            mark = b"" if tail.torn.endswith(b"\n") else TORN_MARK + b"\n"
            self._write(mark)
            self._write_entry(TORN, torn_fields(tail.torn + mark))
        if empty:
            self._write_entry(BEGUN, {"log": secrets.token_hex(16)})
            sync_folder(self._path.parent)

    def _tail(self) -> Chain:
        size = os.fstat(self._file).st_size
        start = max(0, size - _TAIL_BYTES)
        found = lines(io.BytesIO(os.pread(self._file, size - start, start)))
        if start:
            next(found)  # the end of some line
        chain = Chain(_first_entry(found) if start else None)
        for line in found:
            chain.take(line)
        return chain

    def _check(self) -> None:
        if self._file < 0:
            raise AuditError("The audit log is closed.", code=ErrorCode.INTERNAL)
        if self._unsure:
            self._resume()
            self._unsure = False
        here, named = os.fstat(self._file), self._path.stat() if self._path.exists() else None
        if named is None or (named.st_ino, named.st_dev) != (here.st_ino, here.st_dev):
            raise broken(f"The audit log {self._path} was moved or replaced while it was open.")
        if here.st_size != self._size:
            raise broken(f"The audit log {self._path} was changed by somebody else while it was open.")

    def _write_entry(self, event: str, fields: Mapping[str, object]) -> Entry:
        entry = Entry(
            sequence=self._last.sequence + 1 if self._last else 1,
            time=self._clock().astimezone(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            event=str(plain({"event": event})["event"]),
            fields=plain(fields),
            previous=self._last.chain if self._last else GENESIS,
        )
        line = entry.line()
        if len(line) + len(TORN_MARK) > MAX_LINE_BYTES:
            raise AuditError("An audit entry is too long.", code=ErrorCode.INTERNAL)
        self._write(line)
        self._last = entry
        return entry

    def _write(self, data: bytes) -> None:
        self._unsure = True
        done = 0
        while done < len(data):
            done += os.write(self._file, data[done:])
        os.fsync(self._file)
        self._size += len(data)
        self._unsure = False


def _first_entry(found: Iterator[bytes]) -> Entry:
    """Return the first entry in the end of a file: it is believed, and has to lead to those after it."""
    for line in found:
        if not line.endswith(TORN_MARK + b"\n"):
            try:
                return parse(line)
            except ValueError:
                break
    raise broken("The end of the audit log was altered.")
