"""The run file of a command, if one was asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType

import structlog

from securealign.errors import SecurealignError
from securealign.protocol.machine import SessionMachine
from securealign.recording.measured import SessionRecorder
from securealign.recording.writing import RunFile
from securealign.transport.activity import Activity
from securealign.transport.meter import Meter

log = structlog.get_logger()


class Recording:
    """Records the sessions of one command; use as a context manager around them, `of` around each, `hear` in its meter.

    A session that fails is recorded too. What is heard before the context begins belongs to the first session. A disk
    that becomes full costs the recording and not the session.
    """

    def __init__(self, path: Path | None, command: str) -> None:
        self._path = path
        self._command = command
        self._file: RunFile | None = None
        self._session: SessionRecorder | None = None
        self._early: list[Activity] = []
        self._failed = False

    def __enter__(self) -> Recording:
        if self._path is not None:
            started = datetime.now(timezone.utc)
            self._file = RunFile(self._path, command=self._command, side="client", started=started)
            early, self._early = self._early, []
            for activity in early:
                self.hear(activity)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._session is not None:
            # It never began, or is over and what followed belongs to no session.
            self._session.discard()
            self._session = None
        if self._file is None:
            return
        if self._failed:
            self._file.discard()
        else:
            with self._unless_full():
                self._file.__exit__(None, None, None)

    def hear(self, activity: Activity) -> None:
        """Take note of what happens; what precedes a session belongs to it."""
        if self._file is None:
            if self._path is not None:
                self._early.append(activity)
            return
        if self._failed:
            return
        if self._session is None:
            self._session = SessionRecorder(self._file, "client")
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
            if self._session is not None:
                session, self._session = self._session, None
                if not self._failed:
                    with self._unless_full():
                        session.end(party, meter.stats(), failure)
                if self._failed:
                    session.discard()

    @contextmanager
    def _unless_full(self) -> Iterator[None]:
        """Give the recording up when a block cannot write."""
        try:
            yield
        except OSError as error:
            self._failed = True
            log.warning("the run cannot be recorded", reason=error.strerror)
