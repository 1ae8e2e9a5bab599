"""Queries one at a time over gRPC on loopback, to a provider in another process."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from securealign.harness.bench.inputs import client_context, provider_context, synthetic_linear_head
from securealign.harness.bench.measurements import seconds
from securealign.harness.bench.processes import Worker
from securealign.limits import ServerSettings
from securealign.matrices import FloatMatrix
from securealign.pki.certificates import Bundle, Role, create_certificates, load_bundle
from securealign.protocol.context import Observer
from securealign.protocol.inference.client import InferenceClient
from securealign.protocol.inference.provider import InferenceProvider
from securealign.protocol.offers import OfferedHead, only_head
from securealign.protocol.policy.rules import Output
from securealign.transport.grpc_client import GrpcLink
from securealign.transport.grpc_server import INFERENCE_METHOD, ProviderServer
from securealign.transport.meter import Meter
from securealign.transport.session_manager import Peer
from securealign.transport.sessions import InferenceSession
from securealign.wire import InferenceCodec

#: Timeouts, so long that the slowest suite ends before them.
_DAY_SECONDS = 86400.0


@dataclass(frozen=True)
class Server:
    """A provider that serves a synthetic head under one suite."""

    suite: str
    address: str
    bundle: Bundle

    def round_trips(self, queries: FloatMatrix, pool_slots: int) -> list[float]:
        """Return the milliseconds of each query, (m, d_A), in one new session; pools are prepared between them."""
        meter = Meter(counted="client")
        context = client_context(InferenceCodec(), self.suite, observer=meter.observer("client"))
        client = InferenceClient(context, queries.shape[1], slots=pool_slots)
        trips = []
        with GrpcLink(
            self.address, self.bundle, INFERENCE_METHOD, client, meter, deadline_seconds=_DAY_SECONDS
        ) as link:
            session = InferenceSession(link, client, meter)
            for index in range(len(queries)):
                session.await_slots()
                trips.append(seconds(lambda row=index: session.answers(queries[row : row + 1])) * 1000)  # type: ignore[misc]
            session.close()
        return trips


@contextmanager
def serving(suite: str, features: int, classes: int, output: Output = "logits") -> Iterator[Server]:
    """Serve a synthetic head in another process."""
    with tempfile.TemporaryDirectory() as folder:
        create_certificates(Path(folder), days=1)
        bundle = load_bundle(Path(folder) / "client", Role.CLIENT)
        with Worker(f"provider of {suite}", _serve, suite, features, classes, output, Path(folder)) as worker:
            yield Server(suite, f"127.0.0.1:{worker.answer()}", bundle)


def _serve(  # noqa: PLR0917 - as the worker passes them
    suite: str, features: int, classes: int, output: Output, folder: Path, channel: Connection
) -> None:
    offered = only_head(OfferedHead(head=synthetic_linear_head(features, classes)))

    def make(_peer: Peer, observer: Observer) -> InferenceProvider:
        return InferenceProvider(provider_context(InferenceCodec(), suite, output, observer=observer), offered)

    server = ProviderServer(
        "127.0.0.1:0",
        load_bundle(folder / "provider", Role.PROVIDER),
        {INFERENCE_METHOD: make},
        settings=ServerSettings(session_seconds=_DAY_SECONDS, idle_seconds=_DAY_SECONDS),
    )
    server.start()
    channel.send(server.port)
    # The parent closes its end when it is done, or when it dies.
    try:
        channel.recv()
    except EOFError:
        server.stop(0)
