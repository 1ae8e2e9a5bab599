"""Tells metrics and audit log of what a server reports, and metrics of accounts and of when certificates expire.

`opened`, `report` and `refused` of the `Recorder` fit `ProviderServer`.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509

from securealign.errors import SecurealignError
from securealign.ops.audit import AuditLog
from securealign.ops.observability.metrics import Metrics, outcome_of
from securealign.pki.bundles import Bundle
from securealign.pki.revocation import parse_lists
from securealign.protocol.machine import SessionMachine
from securealign.protocol.policy.budget import QueryAccount, QueryLimits
from securealign.protocol.policy.rank import RankAccount
from securealign.transport.credentials import Source
from securealign.transport.grpc_server import SessionReport
from securealign.transport.session_manager import Peer

#: Returns what the audit log shall say of a session beside who, which phase and how it ended: plain values only.
Details = Callable[[SessionMachine], Mapping[str, object]]


class Recorder:
    """Records streams of sessions; a session is in the audit log before it is served.

    An `OSError` or `AuditError` of the audit log passes through, so that what cannot be recorded is not served.
    """

    def __init__(self, metrics: Metrics, audit: AuditLog | None = None, *, details: Details = lambda party: {}) -> None:
        self._metrics, self._audit, self._details = metrics, audit, details

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


def watched_queries(account: QueryAccount, identity: str, head: str, metrics: Metrics) -> QueryAccount:
    """Return the account, which shows queries and bits of a head left to an identity from now on."""
    return _Queries(account.store, account.name, account.lock, identity, head, metrics)


def watched_rank(account: RankAccount, identity: str, metrics: Metrics) -> RankAccount:
    """Return the account, which shows what an identity may still be charged from now on."""
    return _Rank(account.store, account.name, account.lock, identity, metrics, related=account.related)


@dataclass(frozen=True)
class _Queries(QueryAccount):
    identity: str
    head: str
    metrics: Metrics

    def left(self, answer_bits: int, limits: QueryLimits) -> int:
        self._show(limits)
        return super().left(answer_bits, limits)

    def charge(self, queries: int, answer_bits: int, limits: QueryLimits) -> None:
        super().charge(queries, answer_bits, limits)
        self.metrics.queries_debited(queries)
        self._show(limits)

    def _show(self, limits: QueryLimits) -> None:
        bits = None if limits.bits is None else limits.bits - self.bits
        self.metrics.show_left(self.identity, self.head, queries=limits.queries - self.queries, bits=bits)


@dataclass(frozen=True)
class _Rank(RankAccount):
    identity: str
    metrics: Metrics

    def charge(self, columns: int, rows: int, fraction: float) -> int:
        left = super().charge(columns, rows, fraction)
        self.metrics.show_left(self.identity, rank=left)
        return left


def watch_certificates(metrics: Metrics, source: Source) -> None:
    """Show the expiry of the bundle that `source` holds whenever the metrics are read.

    "own" is the party's certificate, "authority" and "revocation list" the first of its files to expire; infinite
    without one.
    """

    def show(name: str, ends: Callable[[Bundle], Iterable[datetime | None]]) -> None:
        def first() -> float:
            known = (end.timestamp() for end in ends(source.current()) if end is not None)
            return min(known, default=math.inf)

        metrics.certificate_expires(name, first)

    load = x509.load_pem_x509_certificates
    show("own", lambda bundle: [load(bundle.certificate)[0].not_valid_after_utc])
    show("authority", lambda bundle: (found.not_valid_after_utc for found in load(bundle.authority)))
    show("revocation list", lambda bundle: (found.next_update_utc for found in parse_lists(bundle.revocations)))
