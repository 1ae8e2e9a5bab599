"""Run files of a provider: one for each stream that carried a session, in a folder."""

from __future__ import annotations

import secrets
from datetime import datetime, timezone
from pathlib import Path

import structlog

from securealign.logs import describe
from securealign.protocol.machine import SessionMachine
from securealign.recording.measured import RunLog
from securealign.transport.grpc_server import SessionReport
from securealign.transport.meter import Listener, nobody
from securealign.transport.session_manager import Peer

log = structlog.get_logger()


class RunLogs:
    """Makes a run file for every stream; a full disk ends run files and no session."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def listen(self, _peer: Peer, _party: SessionMachine) -> Listener:
        """Return what records a stream."""
        name = f"{datetime.now(timezone.utc):%Y%m%dT%H%M%S.%fZ}-{secrets.token_hex(4)}.jsonl"
        try:
            return RunLog(self._folder / name, command="serve", side="provider").open()
        except OSError as error:
            log.warning("a run file cannot be written", cause=describe(error), reason=error.strerror)
            return nobody

    def report(self, report: SessionReport) -> None:
        """Finish the file of a stream."""
        if isinstance(report.listener, RunLog):
            report.listener.end(report.party, report.stats, report.error)
            report.listener.close()
