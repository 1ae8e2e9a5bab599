"""One session with each party in a process of its own, so that the memory of each can be measured."""

from __future__ import annotations

import multiprocessing
import tempfile
from collections.abc import Callable, Iterable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from securealign.alignment.coordinates import Space
from securealign.alignment.secure import ClientProblem
from securealign.api import UNNAMED_DATASET
from securealign.errors import TransportError
from securealign.harness.bench.inputs import client_context, provider_context, synthetic_linear_head
from securealign.harness.bench.memory import MemoryWatch, PeakMemory
from securealign.harness.bench.processes import Worker, answers
from securealign.he.entropy import SystemEntropy
from securealign.matrices import FloatMatrix, Rows
from securealign.protocol.inference.client import InferenceClient
from securealign.protocol.inference.provider import InferenceProvider
from securealign.protocol.machine import SessionMachine
from securealign.protocol.offers import OfferedHead, OfferedRows, only_head, only_rows
from securealign.protocol.policy.rules import Output
from securealign.protocol.states import FINAL
from securealign.protocol.training.client import TrainingClient
from securealign.protocol.training.provider import TrainingProvider
from securealign.transport.meter import Meter
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
        self._client = client
        self._pipe = pipe
        self._watch = watch

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
