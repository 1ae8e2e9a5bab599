"""Run files of a provider: one for each stream that carried a session, in a folder."""

from __future__ import annotations

import secrets
from datetime import datetime, timezone
from pathlib import Path

import structlog

from securealign.logs import describe
from securealign.protocol.machine import SessionMachine
from securealign.recording.measured import SessionRecorder
from securealign.recording.writing import RunFile
from securealign.transport.activity import Activity
from securealign.transport.grpc_server import SessionReport
from securealign.transport.meter import Listener, nobody
from securealign.transport.session_manager import Peer

log = structlog.get_logger()


class StreamRecording:
    """The run file of one stream."""

    def __init__(self, folder: Path) -> None:
        started = datetime.now(timezone.utc)
        name = f"{started:%Y%m%dT%H%M%S.%fZ}-{secrets.token_hex(4)}.jsonl"
        self._file = RunFile(folder / name, command="serve", side="provider", started=started)
        self._session = SessionRecorder(self._file, "provider")
        self._failure: OSError | None = None

    def __call__(self, activity: Activity) -> None:
        """Take note of what happens; a failure is kept for the end, so that the session goes on."""
        if self._failure is None:
            try:
                self._session.hear(activity)
            except OSError as error:
                self._failure = error

    def end(self, report: SessionReport) -> None:
        """Put the file under its name; raises `OSError` when it cannot be written, and leaves nothing."""
        with self._file:
            if self._failure is not None:
                self._session.discard()
                raise self._failure
            self._session.end(report.party, report.stats, report.error)


class Recordings:
    """Makes a run file for every stream; a disk that is full costs recordings and no session."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def listen(self, _peer: Peer, _party: SessionMachine) -> Listener:
        """Return what records a stream."""
        try:
            return StreamRecording(self._folder)
        except OSError as error:
            _warn(error)
            return nobody

    def report(self, report: SessionReport) -> None:
        """Finish the file of a stream."""
        if not isinstance(report.listener, StreamRecording):
            return
        try:
            report.listener.end(report)
        except OSError as error:
            _warn(error)


def _warn(error: OSError) -> None:
    log.warning("a run file cannot be written", cause=describe(error), reason=error.strerror)
