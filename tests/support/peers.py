"""A real gRPC server and real certificates on loopback, with the suites that are fast in tests."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from securealign.alignment.head import LinearHead
from securealign.alignment.maps import AlignmentMap
from securealign.alignment.secure import ClientProblem
from securealign.he.entropy import SystemEntropy
from securealign.he.interface import Suite
from securealign.keys.certificates import Bundle
from securealign.matrices import FloatMatrix, Rows
from securealign.protocol.inference.client import InferenceClient
from securealign.protocol.inference.provider import InferenceProvider
from securealign.protocol.party import Observer
from securealign.protocol.policy import Policy
from securealign.protocol.training.client import TrainingClient
from securealign.protocol.training.provider import TrainingProvider
from securealign.transport.grpc_client import GrpcLink
from securealign.transport.grpc_server import (
    INFERENCE_METHOD,
    TRAINING_METHOD,
    Peer,
    ProviderServer,
    ServerSettings,
    SessionReport,
)
from securealign.transport.meter import Meter
from securealign.transport.sessions import InferenceSession, train
from securealign.wire import InferenceCodec, TrainingCodec

DIGEST = bytes(range(32))


@dataclass
class Provider:
    """What a test provider owns, and what it reported of its sessions."""

    rows: FloatMatrix
    head: LinearHead
    suites: list[Suite]
    policy: Policy = field(default_factory=lambda: Policy(allow_unencrypted=True))
    reports: list[SessionReport] = field(default_factory=list)
    reported: threading.Event = field(default_factory=threading.Event)
    #: Called with every event of every session, before it is handled.
    on_event: Callable[[object], None] = lambda event: None

    def _observer(self, observer: Observer) -> Observer:
        def observe(event):
            observer(event)
            self.on_event(event)

        return observe

    def make_training(self, _peer: Peer, observer: Observer) -> TrainingProvider:
        return TrainingProvider(
            TrainingCodec(),
            self.suites,
            Rows(self.rows),
            DIGEST,
            SystemEntropy(),
            policy=self.policy,
            observer=self._observer(observer),
        )

    def make_inference(self, _peer: Peer, observer: Observer) -> InferenceProvider:
        return InferenceProvider(
            InferenceCodec(),
            self.suites,
            self.head,
            SystemEntropy(),
            policy=self.policy,
            observer=self._observer(observer),
        )

    def report(self, report: SessionReport) -> None:
        self.reports.append(report)
        self.reported.set()

    def next_report(self) -> SessionReport:
        assert self.reported.wait(30)
        self.reported.clear()
        return self.reports[-1]


@contextmanager
def serving(
    provider: Provider, bundle: Bundle, settings: ServerSettings | None = None
) -> Iterator[tuple[str, ProviderServer]]:
    """Serve on a free port of loopback; yields the address."""
    methods = {TRAINING_METHOD: provider.make_training, INFERENCE_METHOD: provider.make_inference}
    server = ProviderServer("127.0.0.1:0", bundle, methods, settings=settings, report=provider.report)
    server.start()
    try:
        yield f"127.0.0.1:{server.port}", server
    finally:
        server.stop(0)


def align(
    address: str,
    bundle: Bundle,
    embeddings: FloatMatrix,
    suites: list[Suite],
    *,
    digest: bytes = DIGEST,
    deadline: float = 60,
) -> AlignmentMap:
    """Train over gRPC and return the map."""
    meter = Meter(counted="client")
    problem = ClientProblem(embeddings, "auto")
    client = TrainingClient(
        TrainingCodec(),
        suites,
        problem.rows,
        digest,
        SystemEntropy(),
        allow_unencrypted=True,
        observer=meter.observer("client"),
    )
    with GrpcLink(address, bundle, TRAINING_METHOD, client, meter, deadline_seconds=deadline) as link:
        return problem.solve(train(link, client, meter))


@contextmanager
def inference(
    address: str, bundle: Bundle, features: int, suites: list[Suite], *, slots: int = 4
) -> Iterator[InferenceSession]:
    """Open an inference session over gRPC."""
    meter = Meter(counted="client")
    client = InferenceClient(
        InferenceCodec(),
        suites,
        features,
        SystemEntropy(),
        slots=slots,
        allow_unencrypted=True,
        observer=meter.observer("client"),
    )
    with GrpcLink(address, bundle, INFERENCE_METHOD, client, meter, deadline_seconds=60) as link:
        yield InferenceSession(link, client, meter)


def bundles(folder: Path) -> tuple[Bundle, Bundle]:
    """Make certificates and return the bundles of provider and client."""
    from securealign.keys.certificates import Role, create_certificates, load_bundle

    create_certificates(folder, days=1)
    return load_bundle(folder / "provider", Role.PROVIDER), load_bundle(folder / "client", Role.CLIENT)


def embeddings(rows: int, columns: int, seed: int = 0) -> FloatMatrix:
    """Return random embeddings."""
    return np.random.default_rng(seed).normal(size=(rows, columns))
