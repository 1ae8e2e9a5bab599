"""Encrypted queries one at a time: compute of both parties, and the round trip over gRPC on loopback."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from securealign.api import classify_in_process
from securealign.bench.figures import Spread, seconds
from securealign.bench.inputs import synthetic_embeddings, synthetic_head
from securealign.bench.processes import inference_server
from securealign.he.entropy import SystemEntropy
from securealign.he.registry import get_suite
from securealign.keys.certificates import Role, load_bundle
from securealign.matrices import FloatMatrix
from securealign.protocol.inference.client import InferenceClient
from securealign.transport.grpc_client import GrpcLink
from securealign.transport.grpc_server import INFERENCE_METHOD
from securealign.transport.meter import Meter, RunStats
from securealign.transport.sessions import InferenceSession
from securealign.wire import InferenceCodec


@dataclass(frozen=True)
class InferenceFigures:
    """What one suite costs for each query; milliseconds are compute unless they are round trips."""

    suite: str
    online_client_ms: float
    online_provider_ms: float
    offline_client_ms: float
    offline_provider_ms: float
    #: From a query in clear to its logits in clear, over gRPC on loopback to another process.
    round_trip_ms: Spread
    round_trip_ms_p95: float
    key_bytes: int
    online_bytes: float
    offline_bytes: float
    #: Largest error of a logit, relative to the largest logit.
    logit_error: float
    label_agreement: float


@dataclass(frozen=True)
class InferenceReport:
    """One run of the benchmark."""

    features: int
    classes: int
    queries: int
    pool_slots: int
    clear_ms: float
    suites: list[InferenceFigures]


def bench_inference(
    suites: Sequence[str],
    *,
    features: int,
    classes: int,
    queries: int,
    pool_slots: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> InferenceReport:
    """Measure suites on the same queries, in process for compute and over gRPC for round trips."""
    for suite in suites:  # before minutes of measuring are lost to a name that is wrong
        get_suite(suite)
    weight, bias = synthetic_head(features, classes)
    mapped, _ = synthetic_embeddings(queries, features, 1)
    clear = mapped @ weight + bias
    clear_ms = min(seconds(lambda: mapped[:1] @ weight + bias) for _ in range(100)) * 1000
    figures = []
    for position, suite in enumerate(suites):
        run = classify_in_process(weight, bias, mapped, suite=suite, pool_slots=pool_slots, batch=1)
        trips = _round_trips(suite, mapped, classes, pool_slots)
        figures.append(_figures(suite, run.logits, run.stats, clear, trips))
        progress(position + 1, len(suites))
    return InferenceReport(features, classes, queries, pool_slots, clear_ms, figures)


def _round_trips(suite: str, mapped: FloatMatrix, classes: int, pool_slots: int) -> list[float]:
    """Return the milliseconds of every query, one at a time; pools are prepared between them."""
    trips = []
    with inference_server(suite, mapped.shape[1], classes) as (address, folder):
        meter = Meter(counted="client")
        client = InferenceClient(
            InferenceCodec(),
            [get_suite(suite)],
            mapped.shape[1],
            SystemEntropy(),
            slots=pool_slots,
            allow_unencrypted=True,
            observer=meter.observer("client"),
        )
        bundle = load_bundle(folder / "client", Role.CLIENT)
        with GrpcLink(address, bundle, INFERENCE_METHOD, client, meter, deadline_seconds=600) as link:
            session = InferenceSession(link, client, meter)
            for index in range(len(mapped)):
                session.await_slots()
                trips.append(seconds(lambda row=index: session.logits(mapped[row : row + 1])) * 1000)  # type: ignore[misc]
            session.close()
    return trips


def _figures(
    suite: str, logits: FloatMatrix, stats: RunStats, clear: FloatMatrix, trips: list[float]
) -> InferenceFigures:
    online, offline = stats.phases["online"], stats.phases["offline"]
    count = len(clear)
    return InferenceFigures(
        suite=suite,
        online_client_ms=online.client_seconds * 1000 / count,
        online_provider_ms=online.provider_seconds * 1000 / count,
        offline_client_ms=offline.client_seconds * 1000 / count,
        offline_provider_ms=offline.provider_seconds * 1000 / count,
        round_trip_ms=Spread.of(trips),
        round_trip_ms_p95=float(np.quantile(trips, 0.95)),
        key_bytes=stats.phases["keys"].bytes_up,
        online_bytes=(online.bytes_up + online.bytes_down) / count,
        offline_bytes=(offline.bytes_up + offline.bytes_down) / count,
        logit_error=float(np.abs(logits - clear).max() / np.abs(clear).max()),
        label_agreement=float(np.mean(logits.argmax(axis=1) == clear.argmax(axis=1))),
    )
