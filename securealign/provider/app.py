"""Composes the provider from its settings."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import ExitStack
from dataclasses import replace
from types import FrameType

import grpc
import structlog

from securealign.alignment.coordinates import Space
from securealign.alignment.head import LinearHead
from securealign.alignment.margins import expected_uncertain_share, precision_warning
from securealign.commands import Progress
from securealign.data import load_public
from securealign.errors import ConfigurationError, ErrorCode, SecurealignError
from securealign.he.entropy import SystemEntropy
from securealign.he.interface import Suite
from securealign.he.registry import get_suite
from securealign.logs import describe
from securealign.matrices import Rows
from securealign.models import Encoder, open_encoder
from securealign.models.source import encode_cached, fingerprint_of, load_public_embeddings
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
from securealign.protocol.context import Observer
from securealign.protocol.inference.provider import InferenceProvider
from securealign.protocol.machine import SessionMachine
from securealign.protocol.policy.admission import Admission
from securealign.protocol.policy.rank import charged_datasets
from securealign.protocol.policy.sharing import sharing_warning
from securealign.protocol.training.provider import TrainingProvider
from securealign.provider.config import ProviderSettings, PublicSection
from securealign.provider.machines import LEDGERS, Machines, PublicData
from securealign.provider.recordings import RunLogs
from securealign.provider.spaces import space_folder
from securealign.storage.counters import Ledger
from securealign.storage.opening import State
from securealign.storage.public_rows import PublicRows, row_identities
from securealign.storage.sessions import ProviderSessions
from securealign.storage.spaces import Origin
from securealign.transport.credentials import BundleSource, peer_identity
from securealign.transport.grpc_server import (
    INFERENCE_METHOD,
    TRAINING_METHOD,
    ProviderServer,
    SessionReport,
)
from securealign.transport.session_manager import Counters, DurableSessionManager, Peer
from securealign.wire import InferenceCodec, TrainingCodec

log = structlog.get_logger()

_DAY_SECONDS = 86_400.0
#: Seconds between searches for sessions whose clients did not return.
_EXPIRY_SECONDS = 600.0
#: Names of the services, for the health of each.
_SERVICES = {TRAINING_METHOD: "securealign.v1.Training", INFERENCE_METHOD: "securealign.v1.Inference"}

#: Public texts whose margins are measured at the start, and slots of a pool, on which the error hardly depends.
_MARGIN_TEXTS, _MARGIN_SLOTS = 1000, 64

Hosts = dict[str, DurableSessionManager]


class Provider:
    """What the provider owns, and the server that offers it."""

    def __init__(self, settings: ProviderSettings, report: Progress | None = None) -> None:
        self._settings = settings
        self._suites: list[Suite] = [get_suite(name) for name in settings.policy.suites]
        self._source = BundleSource(settings.path(settings.server.certificates), Role.PROVIDER)
        self._head = LinearHead.from_pretrained(settings.path(settings.head.folder)) if settings.head else None
        self._public = self._load_public(settings.public, report) if settings.public else None
        self._check_dimensions()

    def serve(self) -> None:
        """Serve until the process is told to stop."""
        settings = self._settings
        with ExitStack() as closing:
            source = self._source
            state = settings.open_state(settings.state)
            closing.callback(state.close)
            closing.enter_context(state.folder.locked("provider"))
            audit_file = settings.audit.file or settings.state.folder / "audit.log"
            audit = closing.enter_context(AuditLog(settings.path(audit_file)))
            metrics = Metrics()
            space = self._space(state)
            hosts = self._hosts(state, metrics, space)
            watch_certificates(metrics, source)
            metrics.kept_sessions(state.kept_sessions)
            server, health = self._server(source, hosts, Recorder(metrics, audit, details=_details))
            if settings.metrics is not None:
                closing.enter_context(MetricsEndpoint(metrics, settings.metrics.address))
            server.start()
            address, port = settings.server.address, server.port
            name = space.identifier.hex()
            log.info("listening", address=address, port=port, pid=os.getpid(), space=name, **self._summary())
            audit.append("provider started", address=address, port=port)
            _wait(hosts, metrics)
            log.info("stopping")
            health.drain()
            server.stop()
            audit.append("provider stopped")

    def _server(self, source: BundleSource, hosts: Hosts, recorder: Recorder) -> tuple[ProviderServer, HealthSwitch]:
        server, policy = self._settings.server, self._settings.policy
        health: list[HealthSwitch] = []

        def register(plain: grpc.Server) -> None:
            def admit(context: grpc.ServicerContext) -> None:
                peer_identity(context, source)

            health.append(add_health(plain, [_SERVICES[method] for method in hosts], admit=admit))
            if server.reflection:
                add_reflection(plain)

        record = self._settings.record
        run_logs = RunLogs(self._settings.path(record.folder)) if record is not None else None

        def report(session: SessionReport) -> None:
            _report(session)
            recorder.report(session)
            if run_logs is not None:
                run_logs.report(session)

        def refused(peer: Peer, error: SecurealignError) -> None:
            log.warning("stream refused", peer=peer.address, code=error.code.name, reason=error.message)
            recorder.refused(peer, error)

        running = ProviderServer(
            server.address,
            source,
            hosts,
            settings=server,
            report=report,
            opened=recorder.opened,
            refused=refused,
            **({"listen": run_logs.listen} if run_logs is not None else {}),
            admission=Admission(
                max_peer_sessions=policy.max_peer_sessions,
                max_memory_bytes=policy.max_memory_bytes,
                lock=threading.Lock(),
            ),
            register=register,
        )
        return running, health[0]

    def _space(self, state: State) -> Space:
        """Return the private coordinates: those kept for this encoder and these texts, or new ones, made once."""
        public, kept = self._public, space_folder(self._settings, state)
        if public is None:
            return kept.current()
        private = self._settings.privacy is not None
        origin = Origin(public.encoder, public.digest.hex(), private)
        space = kept.find(origin)
        if space is None:
            entropy = SystemEntropy()
            space = Space.fixed(public.rows.shape[1], entropy) if private else Space.of(public.rows, entropy)
            kept.keep(space, origin)
            log.info("space made", space=space.identifier.hex())
        kept.use(origin)
        return space

    def _hosts(self, state: State, metrics: Metrics, space: Space) -> Hosts:
        settings, public = self._settings, self._public
        head, digest = None, b""
        if self._head is not None:
            head = space.fold(self._head)
            self._check_precision(head, space)
            digest = self._head.digest(space_folder(settings, state).salt(SystemEntropy()))
            self._check_sharing(head)
        ledgers = {kind: Ledger(state.folder.database, kind) for kind in LEDGERS}
        if public is not None:
            earlier = PublicRows(settings.path(settings.state.folder) / "rows")
            charged = charged_datasets(ledgers["rank"].values)
            public = replace(public, related=earlier.serve(public.digest, self._identities, charged))
        machines = Machines(self._suites, SystemEntropy(), settings.policy, ledgers, metrics, privacy=settings.privacy)
        sessions = ProviderSessions(
            state.folder,
            ledgers,
            keep_seconds=settings.state.keep_days * _DAY_SECONDS,
            max_per_hour=settings.policy.max_sessions_per_hour,
        )
        hosts: Hosts = {}
        if public is not None:

            def make_training(peer: Peer, observer: Observer, counters: Counters) -> TrainingProvider:
                return machines.training(public, space, peer, observer, counters)

            hosts[TRAINING_METHOD] = DurableSessionManager("training", TrainingCodec(), make_training, sessions)
        if head is not None:

            def make_inference(peer: Peer, observer: Observer, counters: Counters) -> InferenceProvider:
                return machines.inference(head, space, peer, observer, counters, digest=digest)

            hosts[INFERENCE_METHOD] = DurableSessionManager("inference", InferenceCodec(), make_inference, sessions)
        return hosts

    def _load_public(self, section: PublicSection, report: Progress | None) -> PublicData:
        public = load_public(self._settings.path_or_name(section.texts))
        if section.embeddings is not None:
            embeddings = load_public_embeddings(self._settings.path(section.embeddings), public)
            made_by = fingerprint_of(embeddings)
        else:
            name = self._settings.path_or_name(section.encoder or "")
            encoder = open_encoder(name, max_tokens=section.max_tokens, prompt=section.prompt, device=section.device)
            self._check_encoder(encoder)
            embeddings = encode_cached(encoder, public.texts, report)
            made_by = encoder.fingerprint
        self._identities = row_identities(public.texts)
        return PublicData(public.digest, Rows(embeddings, name="The provider's public embeddings"), made_by)

    def _check_encoder(self, encoder: Encoder) -> None:
        """Raise `ConfigurationError` for a head of another encoder, which may have as many dimensions.

        Where texts are cut at another length for the head, that may be all that differs, and is only warned of.
        """
        made_with = self._head.metadata.get("encoder_fingerprint") if self._head is not None else None
        if self._head is None or made_with in {None, encoder.fingerprint}:
            return
        tokens, public_tokens = self._head.metadata.get("max_tokens"), getattr(encoder, "max_tokens", None)
        if tokens == public_tokens:
            raise ConfigurationError(
                "The head was fitted on another encoder than the one of the public texts.",
                hint="Use the encoder that the head was fitted on, or fit the head again.",
            )
        log.warning(
            "the head was fitted on texts of another length, or on another encoder",
            head_max_tokens=tokens,
            public_max_tokens=public_tokens,
        )

    def _check_precision(self, head: LinearHead, space: Space) -> None:
        """Warn for each suite under which labels near a boundary would be lost in the error of encryption."""
        policy = self._settings.policy
        if self._public is not None and self._settings.privacy is None:
            embeddings = space.rows(self._public.rows).block(0, _MARGIN_TEXTS)
        elif space.count:
            embeddings = space.typical(_MARGIN_TEXTS)
        else:
            return
        features, classes = head.weight.shape
        shape = policy.head_shape(features, classes, _MARGIN_SLOTS)
        for suite in self._suites:
            error = suite.head_forecast(shape).relative_error
            share = expected_uncertain_share(head, embeddings, error)
            warning = precision_warning(share)
            if warning is not None:
                log.warning("precision is short", suite=suite.info.parameter_set, share=round(share, 4), reason=warning)

    def _check_sharing(self, head: LinearHead) -> None:
        """Warn when the answers allowed to one client determine the head."""
        features, classes = head.weight.shape
        shared = sharing_warning(self._settings.policy, features, classes, self._suites)
        if shared is not None:
            log.warning("the head is shared", reason=shared)

    def _check_dimensions(self) -> None:
        if self._public is None or self._head is None:
            return
        dimension, features = self._public.rows.shape[1], len(self._head.weight)
        if dimension != features:
            raise ConfigurationError(
                f"The public embeddings have {dimension} dimensions and the head takes {features}.",
                hint="Use the encoder that the head was fitted on.",
                code=ErrorCode.SHAPE_MISMATCH,
            )

    def _summary(self) -> dict[str, object]:
        summary: dict[str, object] = {"suites": list(self._settings.policy.suites)}
        if self._public is not None:
            summary |= {"public_rows": self._public.rows.shape[0], "dimension": self._public.rows.shape[1]}
        if self._head is not None:
            summary |= {"classes": len(self._head.class_names)}
        return summary


def _wait(hosts: Hosts, metrics: Metrics) -> None:
    """Return when the process is told to stop; until then, give up sessions that nobody came back to."""
    stop = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    while not stop.is_set():
        for host in hosts.values():
            _expire(host, metrics)
        stop.wait(_EXPIRY_SECONDS)


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
