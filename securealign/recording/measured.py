"""Run files of one side of sessions over a real network, from the activities that a meter reports."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import IO

import structlog

from securealign.errors import SecurealignError
from securealign.logs import describe
from securealign.protocol.machine import SessionMachine
from securealign.protocol.states import Direction
from securealign.recording import writing
from securealign.transport.meter import Activity, Connected, Meter, Passed, Spent
from securealign.transport.stats import RunStats

log = structlog.get_logger()

#: Bytes of a session's lines that are kept in memory before they go to a temporary file.
_MEMORY_BYTES = 1 << 20


class SessionRecorder:
    """Collects what one side, "client" or "provider", does in a session; give `hear` to its meter."""

    def __init__(self, file: writing.RunFile, side: str) -> None:
        self._file, self._side = file, side
        self._number = file.begin()
        # The first line of a session says its suite, which is known only later.
        self._lines: IO[str] = tempfile.SpooledTemporaryFile(  # noqa: SIM115 - `end` closes it
            max_size=_MEMORY_BYTES, mode="w+", encoding="utf-8"
        )
        #: Reading of the clock at the first activity, and seconds from then to the latest one.
        self._origin: float | None = None
        self._last = 0.0

    def hear(self, activity: Activity) -> None:
        """Record an activity."""
        line = self._line(activity)
        if line is not None:
            self._lines.write(json.dumps(line) + "\n")

    def end(self, party: SessionMachine, stats: RunStats, error: SecurealignError | None = None) -> None:
        """Write the session to its file, unless it ended before the parties agreed on anything.

        `error` is what ended it outside the machine, such as a lost connection.
        """
        with self._lines:
            if party.suite is None:
                self._file.forget(self._number)
                return
            self._file.write(writing.session_line(self._number, kind=party.kind, suite=party.suite, facts=party.facts))
            self._lines.seek(0)
            self._file.copy(self._lines)
        reason = party.error or error
        self._file.write(
            writing.end_line(
                self._number,
                self._last,
                state=party.state.value,
                error=reason.code.name if reason is not None else None,
                transcript=party.transcript_digest if reason is None else None,
                stats=stats,
            )
        )

    def discard(self) -> None:
        """Remove the session from the file."""
        self._lines.close()
        self._file.forget(self._number)

    def _line(self, activity: Activity) -> writing.Line | None:
        at = self._since(activity.began if isinstance(activity, Spent) else activity.at)
        match activity:
            case Spent(side=side, phase=phase, seconds=seconds):
                self._last = max(self._last, at + seconds)
                return writing.compute_line(self._number, side, phase, at, seconds) if side == self._side else None
            case Passed(event=event):
                self._last = max(self._last, at)
                sending = event.direction is Direction.SEND
                up = sending == (self._side == "client")
                times = (at, None) if sending else (None, at)
                return writing.message_line(self._number, event, up=up, sent=times[0], received=times[1])
            case Connected(seconds=seconds):
                return writing.connect_line(self._number, at, seconds)
            case _:
                return None

    def _since(self, at: float) -> float:
        if self._origin is None:
            self._origin = at
        return max(0.0, at - self._origin)


class RunLog:
    """The run file of one side's sessions, one after the other; a context manager, and the listener of their meters.

    Activities before the context begins belong to the first session. A session that fails is recorded too. A full disk
    ends the file and no session. Without a path nothing is recorded.
    """

    def __init__(self, path: Path | None, *, command: str, side: str) -> None:
        self._path, self._command, self._side = path, command, side
        self._file: writing.RunFile | None = None
        self._session: SessionRecorder | None = None
        self._early: list[Activity] = []
        self._failed = False

    def open(self) -> RunLog:
        """Open the file; raises `OSError` when that is impossible."""
        if self._path is not None:
            started = datetime.now(timezone.utc)
            self._file = writing.RunFile(self._path, command=self._command, side=self._side, started=started)
            for activity in self._early:
                self(activity)
        return self

    def __enter__(self) -> RunLog:
        return self.open()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Put the file under its name, unless it could not be written or holds no session."""
        if self._session is not None:
            # Activities without a session: it never began, or they came after its end.
            self._session.discard()
            self._session = None
        if self._file is not None and self._failed:
            self._file.discard()
        elif self._file is not None:
            with self._unless_full():
                self._file.__exit__(None, None, None)

    def __call__(self, activity: Activity) -> None:
        """Record an activity."""
        if self._path is None or self._failed:
            return
        if self._file is None:
            self._early.append(activity)
            return
        if self._session is None:
            self._session = SessionRecorder(self._file, self._side)
        with self._unless_full():
            self._session.hear(activity)

    @contextmanager
    def of(self, party: SessionMachine, meter: Meter) -> Iterator[None]:
        """Record what is heard as a session of this party, until the block ends."""
        failure = None
        try:
            yield
        except SecurealignError as error:
            failure = error
            raise
        finally:
            self.end(party, meter.stats(), failure)

    def end(self, party: SessionMachine, stats: RunStats, error: SecurealignError | None) -> None:
        """Close the session of a party."""
        session, self._session = self._session, None
        if session is not None and not self._failed:
            with self._unless_full():
                session.end(party, stats, error)
        if session is not None and self._failed:
            session.discard()

    @contextmanager
    def _unless_full(self) -> Iterator[None]:
        """Stop recording when a block raises `OSError`."""
        try:
            yield
        except OSError as error:
            self._failed = True
            log.warning("a run file cannot be written", cause=describe(error), reason=error.strerror)
