"""Reading a run file: JSON Lines that begin with a run, hold whole sessions, and may end with results.

A file that breaks off, or was altered so that it is not a run any more, is an `InputError` that names its line.
"""

from collections import defaultdict
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from securealign.errors import FileError
from securealign.harness.runs import records as r
from securealign.recording.writing import FORMAT

#: Bytes; a line holds one event.
MAX_LINE_BYTES: Final = 1 << 20
#: Lines; a run of 100,000 queries has half as many.
MAX_LINES: Final = 1_000_000
#: Types of messages in a session; the protocol has fewer than twenty.
MAX_TYPES: Final = 64

_AGAIN = "Record the run again, and keep the file as it is written."
_CUT = "The recording was cut off; record the run again and let it end, also when it fails."
_RELEASE = "Make the report with the release of securealign that recorded the run."


def read_run(path: Path) -> r.Run:
    """Return the run of a file; raises `InputError` with the line that is cut off, broken or of another format."""
    reader = _Reader(path)
    with path.open("rb") as file:
        for line in iter(lambda: file.readline(MAX_LINE_BYTES + 1), b""):
            reader.take(line)
    return reader.run()


class _Reader:
    """Reads the lines of one file; `_number` is the number of the current line."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._number = 0
        self._about: r.RunStarts | None = None
        self._results: r.Results | None = None
        #: Events of sessions that have started and not ended, and the types of their messages.
        self._open: dict[int, list[r.Record]] = {}
        self._types: defaultdict[int, set[str]] = defaultdict(set)
        self._closed: dict[int, r.Session] = {}

    def take(self, line: bytes) -> None:
        """Check one line and keep its record."""
        self._number += 1
        if self._number > MAX_LINES or len(line) > MAX_LINE_BYTES:
            raise self._refused("is beyond what a recording can hold", _AGAIN)
        record = self._record(line)
        if isinstance(record, r.RunStarts):
            self._start(record)
        elif self._about is None:
            raise self._refused("comes before the line of the run, which must be the first", _AGAIN)
        elif self._results is not None:
            raise self._refused("comes after the results, which must be the last line", _AGAIN)
        elif isinstance(record, r.Results):
            self._results = record
        elif isinstance(record, r.SessionStarts):
            if record.session != len(self._open) + len(self._closed):
                raise self._refused("starts a session out of turn", _AGAIN)
            self._open[record.session] = [record]
        else:
            self._add(record)

    def run(self) -> r.Run:
        """Return the run of all lines."""
        if self._about is None:
            raise FileError(f"{self._path} is empty.", hint=_AGAIN)
        if self._open:
            raise FileError(f"{self._path} ends at line {self._number}, within session {min(self._open)}.", hint=_CUT)
        if not self._closed:
            raise FileError(f"{self._path} ends at line {self._number} and holds no session.", hint=_CUT)
        sessions = tuple(self._closed[number] for number in sorted(self._closed))
        name = self._path.name.encode("utf-8", "replace").decode()
        return r.Run(name, self._about, sessions, dict(self._results.results) if self._results else {})

    def _start(self, record: r.RunStarts) -> None:
        if self._about is not None:
            raise self._refused("starts a second run; a file holds one", "Give each run a file of its own.")
        if record.format != FORMAT:
            raise self._refused(f"says format {record.format}; this release reads format {FORMAT}", _RELEASE)
        self._about = record

    def _add(self, record: r.Connect | r.Compute | r.Message | r.SessionEnds) -> None:
        if record.session not in self._open:
            happened = "ended" if record.session in self._closed else "not started"
            raise self._refused(f"belongs to session {record.session}, which has {happened}", _AGAIN)
        if isinstance(record, r.SessionEnds):
            self._closed[record.session] = r.Session.of([*self._open.pop(record.session), record])
            return
        self._open[record.session].append(record)
        if isinstance(record, r.Message):
            self._types[record.session].add(record.type)
            if len(self._types[record.session]) > MAX_TYPES:
                raise self._refused("names one more type of message than any protocol has", _AGAIN)

    def _record(self, line: bytes) -> r.Record:
        try:
            return r.RECORD.validate_json(line)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        # Keys of the file without control characters, which a terminal would obey.
        where = ".".join(part if part.isidentifier() else ascii(part) for part in map(str, first["loc"][1:]))
        if first["type"] == "json_invalid":
            raise self._refused(*(("is not JSON", _AGAIN) if line.endswith(b"\n") else ("is cut off", _CUT)))
        if not where and not first["type"].startswith("value_error"):
            raise self._refused("is no event of a run", _RELEASE)
        what = first["msg"].removeprefix("Value error, ")
        raise self._refused(f"is not as it should be: {where or 'it'}: {what}", f"{_AGAIN} {_RELEASE}")

    def _refused(self, what: str, hint: str) -> FileError:
        return FileError(f"{self._path}, line {self._number}, {what}.", hint=hint)
