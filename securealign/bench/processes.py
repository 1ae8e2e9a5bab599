"""Each party in a process of its own, so that its memory can be measured and no interpreter lock is shared."""

from __future__ import annotations

import multiprocessing
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from securealign.alignment.head import LinearHead
from securealign.alignment.secure import ClientProblem
from securealign.api import UNNAMED_DATASET
from securealign.bench.figures import peak_memory
from securealign.bench.inputs import synthetic_head
from securealign.he.entropy import SystemEntropy
from securealign.he.registry import get_suite
from securealign.keys.certificates import Role, create_certificates, load_bundle
from securealign.matrices import FloatMatrix, Rows
from securealign.protocol.inference.provider import InferenceProvider
from securealign.protocol.party import Observer, Party
from securealign.protocol.policy import Policy
from securealign.protocol.states import State
from securealign.protocol.training.client import TrainingClient
from securealign.protocol.training.provider import TrainingProvider
from securealign.transport.grpc_server import INFERENCE_METHOD, Peer, ProviderServer
from securealign.wire import InferenceCodec, TrainingCodec


@dataclass(frozen=True)
class PeakMemory:
    """Largest resident size of both parties' processes in bytes, interpreter and libraries included."""

    client: int
    provider: int


def training_memory(suite: str, z_a: FloatMatrix, z_b: FloatMatrix) -> PeakMemory:
    """Train once with the parties in two processes that read memory-mapped float32 embeddings."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder) / "z_a.npy", Path(folder) / "z_b.npy"
        for file, matrix in zip(files, (z_a, z_b), strict=True):
            np.save(file, matrix.astype(np.float32))
        client_end, provider_end = context.Pipe()
        client_peak, client_report = context.Pipe(duplex=False)
        provider_peak, provider_report = context.Pipe(duplex=False)
        processes = [
            context.Process(target=_train_client, args=(suite, files[1], client_end, client_report)),
            context.Process(target=_train_provider, args=(suite, files[0], provider_end, provider_report)),
        ]
        for process in processes:
            process.start()
        # Only the children may hold these ends: a reader sees the end of a pipe when its last writer is gone.
        for end in (client_end, provider_end, client_report, provider_report):
            end.close()
        peaks = PeakMemory(client_peak.recv(), provider_peak.recv())
        for process in processes:
            process.join()
        return peaks


def _train_client(suite: str, file: Path, link: Connection, report: Connection) -> None:
    problem = ClientProblem(np.load(file, mmap_mode="r"), "auto")
    suites = [get_suite(suite)]
    client = TrainingClient(
        TrainingCodec(), suites, problem.rows, UNNAMED_DATASET, SystemEntropy(), allow_unencrypted=True
    )
    _converse(client, link, client.start())
    problem.solve(client.product())
    report.send(peak_memory())


def _train_provider(suite: str, file: Path, link: Connection, report: Connection) -> None:
    rows = Rows(np.load(file, mmap_mode="r"))
    policy = Policy(allow_unencrypted=True)
    provider = TrainingProvider(
        TrainingCodec(), [get_suite(suite)], rows, UNNAMED_DATASET, SystemEntropy(), policy=policy
    )
    _converse(provider, link, [])
    provider.require_success()
    report.send(peak_memory())


def _converse(party: Party, link: Connection, frames: list[bytes]) -> None:
    """Exchange frames over a pipe until the session is over."""
    while True:
        for frame in frames:
            link.send_bytes(frame)
        if party.state in {State.DONE, State.ABORTED}:
            return
        frames = party.receive(link.recv_bytes())


@contextmanager
def inference_server(suite: str, features: int, classes: int) -> Iterator[tuple[str, Path]]:
    """Serve a synthetic head over gRPC on loopback in another process; yields its address and the certificates."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "certificates"
        create_certificates(folder, days=1)
        parent, child = context.Pipe()
        process = context.Process(target=_serve_head, args=(suite, features, classes, folder, child), daemon=True)
        process.start()
        child.close()
        try:
            yield f"127.0.0.1:{parent.recv()}", folder
        finally:
            parent.close()
            process.join()


def _serve_head(suite: str, features: int, classes: int, folder: Path, control: Connection) -> None:
    weight, bias = synthetic_head(features, classes)
    head = LinearHead(weight, bias, tuple(str(index) for index in range(classes)))
    suites, policy = [get_suite(suite)], Policy(allow_unencrypted=True)

    def make(_peer: Peer, observer: Observer) -> InferenceProvider:
        return InferenceProvider(InferenceCodec(), suites, head, SystemEntropy(), policy=policy, observer=observer)

    server = ProviderServer("127.0.0.1:0", load_bundle(folder / "provider", Role.PROVIDER), {INFERENCE_METHOD: make})
    server.start()
    control.send(server.port)
    # The parent closes its end when it is done, or when it dies.
    try:
        control.recv()
    except EOFError:
        server.stop(0)
