"""Tells metrics and audit log of what a server reports: `opened`, `report` and `refused` fit `ProviderServer`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from securealign.errors import SecurealignError
from securealign.ops.audit import AuditLog
from securealign.ops.observability.metrics import Metrics, outcome_of
from securealign.protocol.machine import SessionMachine
from securealign.transport.grpc_server import SessionReport
from securealign.transport.session_manager import Peer

#: Returns what the audit log shall say of a session beside who, which phase and how it ended: plain values only.
Details = Callable[[SessionMachine], Mapping[str, object]]


class Recorder:
    """Records streams of sessions; a session is in the audit log before it is served.

    An `OSError` or `AuditError` of the audit log passes through, so that what cannot be recorded is not served.
    """

    def __init__(self, metrics: Metrics, audit: AuditLog | None = None, *, details: Details = lambda party: {}) -> None:
        self._metrics = metrics
        self._audit = audit
        self._details = details

    def opened(self, peer: Peer, phase: str, resumed: bool) -> None:
        """Record that a stream has got a session, a new one or one that goes on."""
        self._write("session resumed" if resumed else "session opened", peer, {"phase": phase})
        self._metrics.session_opened(phase, resumed=resumed)

    def report(self, report: SessionReport) -> None:
        """Record what a stream did for a session, and how the session stands after it."""
        outcome = "suspended" if report.suspended else outcome_of(report.error)
        fields: dict[str, object] = {
            "phase": report.kind,
            "outcome": outcome,
            "rule": report.error.code.name if report.error is not None else None,
            "received_bytes": report.stats.bytes_up,
            "sent_bytes": report.stats.bytes_down,
            **self._details(report.party),
        }
        self._metrics.session_ended(report)
        self._write("session suspended" if report.suspended else "session ended", report.peer, fields)

    def refused(self, peer: Peer, error: SecurealignError) -> None:
        """Record a stream that was turned away before it had a session."""
        self._metrics.refused(error.code)
        self._write("stream refused", peer, {"rule": error.code.name})

    def _write(self, event: str, peer: Peer, fields: Mapping[str, object]) -> None:
        if self._audit is not None:
            self._audit.append(event, identity=peer.identity, address=peer.address, **fields)
