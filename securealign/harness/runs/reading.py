"""Reading a run file: JSON Lines that begin with a run, hold whole sessions, and may end with results.

A file that breaks off, or was altered so that it is not a run any more, is an `InputError` that names its line.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pydantic import ValidationError

from securealign.errors import ErrorCode, InputError
from securealign.harness.runs.records import (
    FORMAT,
    RECORD,
    Compute,
    Connect,
    Message,
    Record,
    Results,
    Run,
    RunStarts,
    Session,
    SessionEnds,
    SessionStarts,
)

#: Bytes; a line holds one event.
MAX_LINE_BYTES: Final = 1 << 20
#: Lines; a run of 100,000 queries has half as many.
MAX_LINES: Final = 1_000_000
#: Kinds of messages in a session; the protocol has less than twenty.
MAX_TYPES: Final = 64

_AGAIN = "Record the run again, and keep the file as it is written."
_CUT = "The recording was cut off; record the run again and let it end, also when it fails."
_RELEASE = "Make the report with the release of securealign that recorded the run."


def read_run(path: Path) -> Run:
    """Return the run that a file holds.

    Raises `InputError` with the line when it is cut off, broken or of another format, `OSError` when it cannot be read.
    """
    reader = _Reader(path)
    with path.open("rb") as file:
        for line in iter(lambda: file.readline(MAX_LINE_BYTES + 1), b""):
            reader.take(line)
    return reader.run()


class _Reader:
    """Follows the lines of one file; `_number` is the line it has come to."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._number = 0
        self._about: RunStarts | None = None
        self._results: Results | None = None
        self._open: dict[int, _Parts] = {}
        self._closed: dict[int, Session] = {}

    def take(self, line: bytes) -> None:
        """Follow one line."""
        self._number += 1
        if self._number > MAX_LINES or len(line) > MAX_LINE_BYTES:
            raise self._refused("is beyond what a recording can hold", _AGAIN)
        record = self._record(line)
        if isinstance(record, RunStarts):
            self._start(record)
        elif self._about is None:
            raise self._refused("comes before the line of the run, which must be the first", _AGAIN)
        elif self._results is not None:
            raise self._refused("comes after the results, which must be the last line", _AGAIN)
        elif isinstance(record, Results):
            self._results = record
        elif isinstance(record, SessionStarts):
            if record.session != len(self._open) + len(self._closed):
                raise self._refused("starts a session out of turn", _AGAIN)
            self._open[record.session] = _Parts(record)
        else:
            self._add(record)

    def run(self) -> Run:
        """Return what all lines add up to."""
        if self._about is None:
            raise _invalid(f"{self._path} is empty.", _AGAIN)
        if self._open:
            raise _invalid(f"{self._path} ends at line {self._number}, within session {min(self._open)}.", _CUT)
        if not self._closed:
            raise _invalid(f"{self._path} ends at line {self._number} and holds no session.", _CUT)
        sessions = tuple(self._closed[number] for number in sorted(self._closed))
        name = self._path.name.encode("utf-8", "replace").decode()
        return Run(name, self._about, sessions, dict(self._results.results) if self._results else {})

    def _start(self, record: RunStarts) -> None:
        if self._about is not None:
            raise self._refused("starts a second run; a file holds one", "Give each run a file of its own.")
        if record.format != FORMAT:
            raise self._refused(f"says format {record.format}; this release reads format {FORMAT}", _RELEASE)
        self._about = record

    def _add(self, record: Connect | Compute | Message | SessionEnds) -> None:
        parts = self._open.get(record.session)
        if parts is None:
            happened = "ended" if record.session in self._closed else "not started"
            raise self._refused(f"belongs to session {record.session}, which has {happened}", _AGAIN)
        if isinstance(record, SessionEnds):
            self._closed[record.session] = self._open.pop(record.session).session(record)
            return
        parts.add(record)
        if len(parts.types) > MAX_TYPES:
            raise self._refused("names one more type of message than any protocol has", _AGAIN)

    def _record(self, line: bytes) -> Record:
        try:
            return RECORD.validate_json(line)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(_plain(part) for part in first["loc"][1:])
        if first["type"] == "json_invalid":
            raise self._refused(*(("is not JSON", _AGAIN) if line.endswith(b"\n") else ("is cut off", _CUT)))
        if not where and not first["type"].startswith("value_error"):
            raise self._refused("is no event of a run", _RELEASE)
        what = first["msg"].removeprefix("Value error, ")
        raise self._refused(f"is not as it should be: {where or 'it'}: {what}", f"{_AGAIN} {_RELEASE}")

    def _refused(self, what: str, hint: str) -> InputError:
        return _invalid(f"{self._path}, line {self._number}, {what}.", hint)


class _Parts:
    """A session that has started and not ended."""

    def __init__(self, about: SessionStarts) -> None:
        self._about = about
        self._connects: list[Connect] = []
        self._computes: list[Compute] = []
        self._messages: list[Message] = []
        self.types: set[str] = set()

    def add(self, record: Connect | Compute | Message) -> None:
        """Keep one event of the session."""
        if isinstance(record, Connect):
            self._connects.append(record)
        elif isinstance(record, Compute):
            self._computes.append(record)
        else:
            self._messages.append(record)
            self.types.add(record.type)

    def session(self, end: SessionEnds) -> Session:
        """Return the session that `end` completes."""
        return Session(self._about, tuple(self._connects), tuple(self._computes), tuple(self._messages), end)


def _invalid(message: str, hint: str) -> InputError:
    return InputError(message, hint=hint, code=ErrorCode.FILE_INVALID)


def _plain(part: int | str) -> str:
    """Return a key of the file so that a terminal cannot take it for a command."""
    return str(part) if str(part).isidentifier() else ascii(part)
