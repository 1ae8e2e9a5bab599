"""Sessions with each party in a process of its own: for the memory of each, and for round trips over gRPC."""

import multiprocessing
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from securealign.alignment.coordinates import Space
from securealign.alignment.secure import ClientProblem
from securealign.api import UNNAMED_DATASET
from securealign.errors import TransportError
from securealign.harness.bench.inputs import client_context, provider_context, synthetic_linear_head
from securealign.harness.bench.measurements import seconds
from securealign.harness.bench.processes import MemoryWatch, PeakMemory, Worker, answers
from securealign.he.entropy import SystemEntropy
from securealign.limits import ServerSettings
from securealign.matrices import FloatMatrix, Rows
from securealign.pki.certificates import Bundle, Role, create_certificates, load_bundle
from securealign.protocol.context import Observer
from securealign.protocol.inference.client import InferenceClient
from securealign.protocol.inference.provider import InferenceProvider
from securealign.protocol.machine import SessionMachine
from securealign.protocol.offers import OfferedHead, OfferedRows, only_head, only_rows
from securealign.protocol.policy.rules import Output
from securealign.protocol.states import FINAL
from securealign.protocol.training.client import TrainingClient
from securealign.protocol.training.provider import TrainingProvider
from securealign.transport.grpc_client import GrpcLink
from securealign.transport.grpc_server import INFERENCE_METHOD, ProviderServer
from securealign.transport.meter import Meter
from securealign.transport.session_manager import Peer
from securealign.transport.sessions import InferenceSession, train
from securealign.wire import InferenceCodec, TrainingCodec


def training_memory(suite: str, z_a: FloatMatrix, z_b: FloatMatrix) -> PeakMemory:
    """Train once on memory-mapped float32 embeddings."""
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder) / "z_a.npy", Path(folder) / "z_b.npy"
        for file, matrix in zip(files, (z_a, z_b), strict=True):
            np.save(file, matrix.astype(np.float32))
        return _meet(suite, (_train_client, files[1]), (_train_provider, files[0]))


def inference_memory(
    suite: str, queries: FloatMatrix, classes: int, pool_slots: int, output: Output = "logits"
) -> PeakMemory:
    """Classify queries, shape (m, d_A), one at a time under a synthetic head."""
    return _meet(suite, (_ask, queries, pool_slots), (_answer, queries.shape[1], classes, output))


def _meet(suite: str, client: tuple[Any, ...], provider: tuple[Any, ...]) -> PeakMemory:
    """Run both parties, each given as its work and its own arguments, at the ends of one pipe."""
    client_end, provider_end = multiprocessing.get_context("spawn").Pipe()
    with (
        Worker(f"client of {suite}", client[0], suite, client_end, *client[1:]) as client_worker,
        Worker(f"provider of {suite}", provider[0], suite, provider_end, *provider[1:]) as provider_worker,
    ):
        client_end.close()
        provider_end.close()
        return PeakMemory(*answers(client_worker, provider_worker))


def _train_client(suite: str, pipe: Connection, file: Path, channel: Connection) -> None:
    problem = ClientProblem(np.load(file, mmap_mode="r"), "auto")
    client = TrainingClient(client_context(TrainingCodec(), suite), problem.rows, UNNAMED_DATASET)
    watch = MemoryWatch()
    product = train(PipeLink(client, pipe, watch), client, Meter(counted="client"))
    problem.solve(product, client.total_squares)
    channel.send(watch.peak())


def _train_provider(suite: str, pipe: Connection, file: Path, channel: Connection) -> None:
    rows = Rows(np.load(file, mmap_mode="r"))
    space = Space.of(rows, SystemEntropy())
    offered = OfferedRows(
        rows=space.rows(rows),
        dataset_digest=UNNAMED_DATASET,
        space=space.identifier,
        total_squares=space.total_squares,
    )
    provider = TrainingProvider(provider_context(TrainingCodec(), suite), only_rows(offered))
    channel.send(_serve(provider, pipe))


def _ask(suite: str, pipe: Connection, queries: FloatMatrix, pool_slots: int, channel: Connection) -> None:
    client = InferenceClient(client_context(InferenceCodec(), suite), queries.shape[1], slots=pool_slots)
    watch = MemoryWatch()
    session = InferenceSession(PipeLink(client, pipe, watch), client, Meter(counted="client"))
    for index in range(len(queries)):
        session.answers(queries[index : index + 1])
    session.close()
    channel.send(watch.peak())


def _answer(  # noqa: PLR0917 - as the worker passes them
    suite: str, pipe: Connection, features: int, classes: int, output: Output, channel: Connection
) -> None:
    context = provider_context(InferenceCodec(), suite, output)
    offered = OfferedHead(head=synthetic_linear_head(features, classes))
    channel.send(_serve(InferenceProvider(context, only_head(offered)), pipe))


def _serve(provider: SessionMachine, pipe: Connection) -> int:
    """Reply until the session is over; returns the peak memory in bytes."""
    watch = MemoryWatch()
    while provider.state not in FINAL:
        frame = _receive(pipe)
        watch.sample()
        _send(pipe, provider.receive(frame))
    provider.require_success()
    return watch.peak()


class PipeLink:
    """Carries frames between a client and the provider at the other end of a pipe."""

    def __init__(self, client: SessionMachine, pipe: Connection, watch: MemoryWatch) -> None:
        self._client, self._pipe, self._watch = client, pipe, watch

    def drive(self, frames: Iterable[bytes], until: Callable[[], bool]) -> None:
        """Send the client's `frames`, then receive and reply until `until()` holds; raises the session's error."""
        _send(self._pipe, frames)
        while not until():
            frame = _receive(self._pipe)
            self._watch.sample()
            _send(self._pipe, self._client.receive(frame))
            if self._client.error is not None:
                raise self._client.error


def _send(pipe: Connection, frames: Iterable[bytes]) -> None:
    try:
        for frame in frames:
            pipe.send_bytes(frame)
    except OSError as error:
        raise _lost() from error


def _receive(pipe: Connection) -> bytes:
    try:
        return pipe.recv_bytes()
    except (EOFError, OSError) as error:
        raise _lost() from error


def _lost() -> TransportError:
    return TransportError("The other party's process ended before the session was done.")


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
        with Worker(f"provider of {suite}", _host, suite, features, classes, output, Path(folder)) as worker:
            yield Server(suite, f"127.0.0.1:{worker.answer()}", bundle)


def _host(  # noqa: PLR0917 - as the worker passes them
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
