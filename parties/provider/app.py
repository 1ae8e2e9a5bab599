"""Composes the provider from its settings."""

from __future__ import annotations

import os
import signal
import threading
from dataclasses import dataclass
from types import FrameType

import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from parties.provider.config import ProviderSettings, PublicSection
from securealign.alignment.head import LinearHead
from securealign.commands import Report
from securealign.data import dataset_digest, load_dataset
from securealign.errors import ConfigurationError, ErrorCode
from securealign.he.entropy import SystemEntropy
from securealign.he.interface import Suite
from securealign.he.registry import get_suite
from securealign.keys.certificates import Bundle, Role, load_bundle
from securealign.matrices import Rows
from securealign.models import open_encoder
from securealign.models.source import encode_cached, load_paired
from securealign.protocol.inference.provider import InferenceProvider
from securealign.protocol.party import Observer
from securealign.protocol.policy import Policy
from securealign.protocol.training.provider import TrainingProvider
from securealign.protocol.training.rank import RankLedger
from securealign.transport.grpc_server import (
    INFERENCE_METHOD,
    TRAINING_METHOD,
    ProviderServer,
    ServerSettings,
    SessionReport,
)
from securealign.transport.hosting import MakeParty, Peer
from securealign.wire import InferenceCodec, TrainingCodec

log = structlog.get_logger()


@dataclass(frozen=True)
class PublicData:
    """The public texts as the provider holds them: their digest, and one embedding for each."""

    digest: bytes
    rows: Rows


class Provider:
    """What the provider owns, and the machines it makes for each session."""

    def __init__(self, settings: ProviderSettings, report: Report | None = None) -> None:
        self._settings = settings
        self._suites: list[Suite] = [get_suite(name) for name in settings.policy.suites]
        self._entropy = SystemEntropy()
        # Sessions run in threads of their own.
        self._ledger = RankLedger(lock=threading.Lock())
        self._public = self._load_public(settings.public, report) if settings.public else None
        self._head = LinearHead.from_pretrained(settings.path(settings.head.folder)) if settings.head else None
        self._check_dimensions()

    def serve(self) -> None:
        """Serve until the process is told to stop."""
        server = self._settings.server
        bundle = load_bundle(self._settings.path(server.certificates), Role.PROVIDER)
        running = ProviderServer(
            server.address,
            bundle,
            self._makers(_collaboration(bundle)),
            settings=ServerSettings(
                max_sessions=server.max_sessions,
                session_seconds=server.session_seconds,
                idle_seconds=server.idle_seconds,
            ),
            report=_report,
        )
        running.start()
        log.info("listening", address=server.address, port=running.port, pid=os.getpid(), **self._summary())
        stop = threading.Event()

        def on_signal(_number: int, _frame: FrameType | None) -> None:
            stop.set()

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, on_signal)
        stop.wait()
        log.info("stopping")
        running.stop()

    def _load_public(self, section: PublicSection, report: Report | None) -> PublicData:
        texts = load_dataset(self._settings.path_or_name(section.texts)).texts
        if section.embeddings is not None:
            embeddings = load_paired(self._settings.path(section.embeddings), texts)
        else:
            encoder = open_encoder(self._settings.path_or_name(section.encoder or ""), max_tokens=section.max_tokens)
            embeddings = encode_cached(encoder, texts, report)
        return PublicData(dataset_digest(texts), Rows(embeddings, name="The provider's public embeddings"))

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

    def _policy(self, peer: Peer) -> Policy:
        section = self._settings.policy
        return Policy(
            min_rows_per_dimension=section.min_rows_per_dimension,
            max_rank_fraction=section.max_rank_fraction,
            max_queries=section.max_queries,
            publish_class_names=section.publish_class_names,
            require_function_private=section.require_function_private,
            allow_unencrypted=peer.loopback,
        )

    def _makers(self, client: str) -> dict[str, MakeParty]:
        makers: dict[str, MakeParty] = {}
        public, head = self._public, self._head
        if public is not None:

            def make_training(peer: Peer, observer: Observer) -> TrainingProvider:
                return TrainingProvider(
                    TrainingCodec(),
                    self._suites,
                    public.rows,
                    public.digest,
                    self._entropy,
                    policy=self._policy(peer),
                    account=self._ledger.account(client, public.digest),
                    observer=observer,
                )

            makers[TRAINING_METHOD] = make_training
        if head is not None:

            def make_inference(peer: Peer, observer: Observer) -> InferenceProvider:
                return InferenceProvider(
                    InferenceCodec(),
                    self._suites,
                    head,
                    self._entropy,
                    policy=self._policy(peer),
                    observer=observer,
                )

            makers[INFERENCE_METHOD] = make_inference
        return makers


def _collaboration(bundle: Bundle) -> str:
    """Return whom TLS lets in as client: an authority serves one collaboration, so its clients share one account.

    An address names nobody, and a certificate that is renewed would begin anew.
    """
    return x509.load_pem_x509_certificate(bundle.authority).fingerprint(hashes.SHA256()).hex()


def _report(session: SessionReport) -> None:
    """Log how a session ended: what a peer did wrong is in words here, and as a code only on the wire."""
    stats = session.stats
    fields = {
        "phase": session.phase,
        "peer": session.peer.address,
        "received_mb": round(stats.bytes_up / 1e6, 3),
        "sent_mb": round(stats.bytes_down / 1e6, 3),
        "seconds": round(stats.provider_seconds, 3),
        "stats": stats.as_dict(),
    }
    if session.error is None:
        log.info("session done", **fields)
        return
    cause = session.error.__cause__
    log.warning(
        "session refused" if session.error.code is not ErrorCode.INTERNAL else "session failed",
        code=session.error.code.name,
        reason=session.error.message,
        cause=f"{type(cause).__name__}: {cause}" if cause is not None else None,
        **fields,
    )
