"""Composes the provider from its settings."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection, Iterable
from contextlib import ExitStack

import grpc
import structlog

from securealign.commands import Progress
from securealign.compute import one_blas_thread, use_threads
from securealign.errors import ErrorCode, SecurealignError
from securealign.he.interface import Suite
from securealign.he.registry import get_suite
from securealign.logs import describe
from securealign.ops.audit import AuditLog
from securealign.ops.observability import (
    HealthSwitch,
    Metrics,
    MetricsEndpoint,
    Recorder,
    add_health,
    add_reflection,
    watch_certificates,
)
from securealign.pki.identity import Role
from securealign.protocol.inference.provider import InferenceProvider
from securealign.protocol.machine import SessionMachine
from securealign.protocol.policy.admission import Admission
from securealign.protocol.training.provider import TrainingProvider
from securealign.provider.config import ProviderSettings
from securealign.provider.console import Visits, Watched, open_console
from securealign.provider.loading import read_heads
from securealign.provider.offers import Offers
from securealign.provider.recordings import RunLogs
from securealign.provider.reloading import Reloads, Signals
from securealign.transport.credentials import BundleSource, peer_identity
from securealign.transport.grpc_server import (
    INFERENCE_METHOD,
    LISTING_METHOD,
    TRAINING_METHOD,
    ProviderServer,
    SessionReport,
)
from securealign.transport.meter import nobody
from securealign.transport.session_manager import DurableSessionManager, Peer

log = structlog.get_logger()

#: Changed heads that the audit log names; an entry holds no more.
_SHOWN_HEADS = 32
#: Names of the services, for the health of each.
_SERVICES = {TRAINING_METHOD: "securealign.v1.Training", INFERENCE_METHOD: "securealign.v1.Inference"}


class Provider:
    """What the provider owns, and the server that offers it; `read` reads its settings again."""

    def __init__(
        self,
        settings: ProviderSettings,
        report: Progress | None = None,
        *,
        read: Callable[[], ProviderSettings] | None = None,
    ) -> None:
        self._settings = settings
        self._read = read or (lambda: settings)
        self._report = report
        self._suites: list[Suite] = [get_suite(name) for name in settings.policy.suites]
        self._source = BundleSource(settings.path(settings.server.certificates), Role.PROVIDER)
        self._heads = read_heads(settings)

    def serve(self) -> None:
        """Serve until the process is told to stop."""
        settings = self._settings
        with ExitStack() as closing:
            use_threads(settings.compute_threads)
            closing.enter_context(one_blas_thread())
            signals = closing.enter_context(Signals())
            state = settings.open_state(settings.state)
            closing.callback(state.close)
            closing.enter_context(state.folder.locked("provider"))
            audit_file = settings.audit.file or settings.state.folder / "audit.log"
            audit = closing.enter_context(AuditLog(settings.path(audit_file)))
            metrics = Metrics()
            offers = Offers(settings, state, self._suites, metrics)
            watch_certificates(metrics, self._source)
            metrics.kept_sessions(state.kept_sessions)
            visits = Visits(settings.path(audit_file))
            server, health = self._server(self._source, offers, Recorder(metrics, audit, details=_details), visits)
            if settings.metrics is not None:
                closing.enter_context(MetricsEndpoint(metrics, settings.metrics.address))
            if settings.console is not None:
                address = f"{settings.server.address.rpartition(':')[0]}:{server.port}"
                watched = Watched(address, settings, offers, metrics.registry, visits)
                closing.enter_context(open_console(settings.console, watched))
            server.start()
            closing.callback(server.stop)
            address, port = settings.server.address, server.port
            log.info("starting", address=address, port=port, pid=os.getpid())
            offers.load(self._heads, self._report)
            for method in offers.hosts:
                health.set(_SERVICES[method], serving=True)
            log.info("listening", address=address, port=port, pid=os.getpid(), **offers.summary())
            audit.append("provider started", address=address, port=port)
            reloads = Reloads(settings, settings.path(settings.state.folder), self._read, offers)

            def take_up() -> None:
                audit.append("heads taken up", heads=reloads.reload()[:_SHOWN_HEADS])

            _wait(signals, offers.hosts.values(), metrics, take_up)
            log.info("stopping")
            health.drain()
            server.stop()
            audit.append("provider stopped")

    def _server(
        self, source: BundleSource, offers: Offers, recorder: Recorder, visits: Visits
    ) -> tuple[ProviderServer, HealthSwitch]:
        server, policy = self._settings.server, self._settings.policy
        health: list[HealthSwitch] = []

        def register(plain: grpc.Server) -> None:
            def admit(context: grpc.ServicerContext) -> None:
                peer_identity(context, source)

            # Nothing is served before the public texts are embedded.
            health.append(add_health(plain, [], admit=admit))
            if server.reflection:
                add_reflection(plain)

        record = self._settings.record
        run_logs = RunLogs(self._settings.path(record.folder)) if record is not None else None

        def report(session: SessionReport) -> None:
            _report(session)
            recorder.report(session)
            if run_logs is not None:
                run_logs.report(session)

        def opened(peer: Peer, kind: str, resumed: bool) -> None:
            log.info("session opened", phase=kind, client=peer.identity, peer=peer.address, resumed=resumed)
            recorder.opened(peer, kind, resumed)
            visits.opened(peer.identity)

        def refused(peer: Peer, error: SecurealignError) -> None:
            log.warning(
                "stream refused", client=peer.identity, peer=peer.address, code=error.code.name, reason=error.message
            )
            recorder.refused(peer, error)
            visits.refused(peer.identity)

        running = ProviderServer(
            server.address,
            source,
            offers.hosts,
            settings=server,
            report=report,
            opened=opened,
            refused=refused,
            listen=run_logs.listen if run_logs is not None else lambda peer, party: nobody,
            admission=Admission(
                max_peer_sessions=policy.max_peer_sessions,
                max_memory_bytes=policy.max_memory_bytes,
                lock=threading.Lock(),
            ),
            calls={LISTING_METHOD: offers.list},
            register=register,
        )
        return running, health[0]


def _wait(
    signals: Iterable[bool],
    hosts: Collection[DurableSessionManager],
    metrics: Metrics,
    reload: Callable[[], object],
) -> None:
    """Return when the process is told to stop; until then, take up heads and give up sessions nobody came back to."""
    for told_to_reload in signals:
        if told_to_reload:
            reload()
        for host in hosts:
            _expire(host, metrics)


def _expire(host: DurableSessionManager, metrics: Metrics) -> None:
    """Give up the sessions that nobody came back to; a fault leaves them for the next time."""
    try:
        count = host.expire()
    except Exception as error:
        log.warning("sessions cannot be given up now", phase=host.kind, cause=describe(error))
        return
    for _ in range(count):
        log.info("session expired", phase=host.kind)
        metrics.session_expired(host.kind)


def _details(party: SessionMachine) -> dict[str, object]:
    """Return what the audit log says of a session: what it was given, in numbers."""
    if not isinstance(party, InferenceProvider | TrainingProvider):
        return {}
    given = (
        {"queries": party.queries_answered, "answer_bits": party.bits_answered}
        if isinstance(party, InferenceProvider)
        else {"columns": party.columns_shown}
    )
    return {"session": party.session.hex()[:16], "suite": party.suite_name, **given}


def _report(session: SessionReport) -> None:
    """Log how a session ended: what a peer did wrong is in words here, and as a code only on the wire."""
    stats = session.stats
    fields = {
        "phase": session.kind,
        "client": session.peer.identity,
        "peer": session.peer.address,
        "received_mb": round(stats.bytes_up / 1e6, 3),
        "sent_mb": round(stats.bytes_down / 1e6, 3),
        "seconds": round(stats.provider_seconds, 3),
        "stats": stats.as_dict(),
    }
    if session.error is None:
        log.info("session done", **fields)
        return
    if session.suspended:
        log.info("session waits for its client", reason=session.error.message, **fields)
        return
    if session.error.code is ErrorCode.CANCELLED:
        log.info("session left by its client", **fields)
        return
    cause = session.error.__cause__
    log.warning(
        "session refused" if session.error.code is not ErrorCode.INTERNAL else "session failed",
        code=session.error.code.name,
        reason=session.error.message,
        cause=describe(cause) if cause is not None else None,
        **fields,
    )
