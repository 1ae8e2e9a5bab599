"""The run file of a command, if one was asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType

from securealign.protocol.party import Party
from securealign.recording.measured import SessionRecorder
from securealign.recording.writing import RunFile
from securealign.transport.activity import Activity
from securealign.transport.meter import Meter


class Recording:
    """Records the sessions of one command; use as a context manager around them, `of` around each, `hear` in its meter.

    A session that fails is recorded too.
    """

    def __init__(self, path: Path | None, command: str) -> None:
        self._file = None
        if path is not None:
            self._file = RunFile(path, command=command, side="client", started=datetime.now(timezone.utc))
        self._session: SessionRecorder | None = None

    def __enter__(self) -> Recording:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.__exit__(None, None, None)

    def hear(self, activity: Activity) -> None:
        """Take note of what happens; what precedes a session belongs to it."""
        if self._file is None:
            return
        if self._session is None:
            self._session = SessionRecorder(self._file, "client")
        self._session.hear(activity)

    @contextmanager
    def of(self, party: Party, meter: Meter) -> Iterator[None]:
        """Record what is heard as a session of this party, until the block ends."""
        try:
            yield
        finally:
            if self._session is not None:
                self._session.end(party, meter.stats())
                self._session = None
