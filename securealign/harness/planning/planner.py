"""Forecasts of costs: the protocol machines run both sessions with a phantom of the suite, over a simulated network."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

import numpy as np

from securealign.alignment.checks import rows_with_checks, slots_with_checks
from securealign.alignment.head import LinearHead
from securealign.api import UNNAMED_DATASET
from securealign.harness.bench.sweep import Sizes
from securealign.harness.planning.phantom import ChargedClock, PhantomSuite
from securealign.harness.planning.speeds import Speeds, problem_work, solution_work
from securealign.harness.simulation.replay import Conditions, replay
from securealign.he.entropy import SystemEntropy
from securealign.he.forecast import CovarianceForecast, HeadForecast
from securealign.he.interface import CovarianceShape, HeadShape, Suite, SuiteInfo
from securealign.matrices import Rows
from securealign.protocol.context import Codec
from securealign.protocol.inference.client import InferenceClient
from securealign.protocol.inference.provider import InferenceProvider
from securealign.protocol.offers import OfferedHead, OfferedRows, only_head, only_rows
from securealign.protocol.policy.rank import rank_allowance, rank_charge, rows_needed, sessions_allowed
from securealign.protocol.policy.rules import Output, Policy, Rules
from securealign.protocol.training.client import TrainingClient
from securealign.protocol.training.provider import TrainingProvider
from securealign.transport.meter import Meter
from securealign.transport.sessions import InferenceSession, train
from securealign.transport.stats import FIGURES, MessageStats, PhaseStats, RunStats
from securealign.transport.steps import CLIENT, InProcessLink, StepLog, in_process_contexts
from securealign.wire import InferenceCodec, TrainingCodec

T = TypeVar("T", PhaseStats, MessageStats)

#: Rows and round trips beyond which figures are extrapolated in a straight line.
_MOST_ROWS, _MOST_ROUNDS = 32_768, 1024
#: Figures that grow with the size.
_PHASE = (*FIGURES[:-1], "elapsed_seconds")
_MESSAGE = ("count", "bytes", "wire_bytes")
#: Share of the variance of Z_A that a map explains, where nothing is known about the encoders: a usual value.
USUAL_R2 = 0.6
#: Bytes of a party's process before a session: interpreter, libraries, buffers of BLAS.
_PROCESS_BYTES = 135 << 20


@dataclass(frozen=True, kw_only=True)
class Workload(Sizes):
    """What a forecast is for: sizes of a run, and slots of a pool."""

    pool_slots: int = 64
    #: Share of the variance of Z_A that the map will explain.
    explained: float = USUAL_R2
    output: Output = "logits"

    @property
    def head_shape(self) -> HeadShape:
        """What the suite is asked for in inference."""
        return Rules(output=self.output).head_shape(self.dim_a, self.classes, self.pool_slots)


@dataclass(frozen=True, kw_only=True)
class SessionForecast:
    """One session: what it costs, the most that each process holds, and the error of what comes out."""

    stats: RunStats
    client_memory: int
    provider_memory: int
    #: Of an entry of the product, relative to the norms of what was multiplied.
    relative_error: float
    #: log2 of operations to read the provider's randomness, whatever key the client sends, and of core-SVP operations;
    #: nothing where that is not estimated or not what protects.
    forged_key: Mapping[str, float]

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON can hold it."""
        own = ("client_memory", "provider_memory", "relative_error")
        figures = {name: getattr(self, name) for name in own}
        return {**self.stats.as_dict(), **figures, "forged_key": dict(self.forged_key)}


@dataclass(frozen=True, kw_only=True)
class CostForecast:
    """Both sessions under one suite over one network."""

    workload: Workload
    suite: SuiteInfo
    network: str
    training: SessionForecast
    inference: SessionForecast
    leak: Mapping[str, float]

    @property
    def map_error(self) -> float:
        """Expected error of what the map makes of the public rows, relative to their spread."""
        return self.training.relative_error * math.sqrt(self.workload.dim_b / self.workload.explained)

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON can hold it."""
        suite, own = self.suite, ("parameter_set", "classical_bits", "quantum_bits", "function_private")
        return {
            "suite": suite.name,
            **{name: getattr(suite, name) for name in own},
            "network": self.network,
            **asdict(self.workload),
            "training": {**self.training.as_dict(), "map_error": self.map_error},
            "inference": self.inference.as_dict(),
            "leak": dict(self.leak),
        }


def plan(suite: Suite, speeds: Speeds, workload: Workload, conditions: Conditions) -> CostForecast:
    """Return what a run would cost; raises `SuiteError` or `RemoteProtocolError` for one that the suite cannot hold."""
    return CostForecast(
        workload=workload,
        suite=suite.info,
        network=conditions.network.name,
        training=_plan_training(suite, speeds, workload, conditions),
        inference=_plan_inference(suite, speeds, workload, conditions),
        leak=expected_leak(suite, workload),
    )


def expected_leak(suite: Suite, workload: Workload) -> dict[str, float]:
    """Return what the client will learn beyond its results, in numbers.

    Its d_B + 1 columns are that many directions among N rows, so this share of the provider's public embeddings follows
    from the product even if the encoders have nothing in common; what the alignment explains follows in any case. What
    a session is charged, and how many are allowed, is for a provider with the default `max_rank_fraction`. The answers
    of check rows follow from the others, and teach nothing. Under `lwe`, "query_bits" holds for any key and any query.
    """
    bits = suite.head_sizes(workload.head_shape).answer_bits
    columns, rows, fraction = workload.dim_b + 1, workload.samples, Rules().max_rank_fraction
    return {
        "rank": min(columns, rows),
        "rank_over_samples": min(1.0, columns / rows),
        "rank_charge": rank_charge(columns, rows),
        "rank_allowance": rank_allowance(rows, fraction),
        "sessions_allowed": sessions_allowed(columns, rows, fraction),
        "samples_needed": rows_needed(columns, fraction),
        "answer_bits": bits * workload.queries,
        "query_bits": bits,
        "queries_over_head": workload.queries / (workload.dim_a + 1),
    }


def _plan_training(suite: Suite, speeds: Speeds, workload: Workload, conditions: Conditions) -> SessionForecast:
    def stats(rows: int) -> RunStats:
        return _training(suite, speeds, replace(workload, samples=rows), conditions)

    shape = CovarianceShape(rows=workload.samples, provider_dim=workload.dim_a, columns=workload.dim_b + 1)
    # First, because it refuses what the suite cannot hold, before anything is simulated.
    forecast = suite.covariance_forecast(shape)
    return _session(_extended(stats, workload.samples, _MOST_ROWS), forecast)


def _plan_inference(suite: Suite, speeds: Speeds, workload: Workload, conditions: Conditions) -> SessionForecast:
    workload = _with_checks(workload)

    def stats(queries: int) -> RunStats:
        return _inference(suite, speeds, replace(workload, queries=queries), conditions)

    # Whole pools and whole round trips, so that both points of the line have no partial ones.
    unit = math.lcm(workload.batch, workload.pool_slots)
    most = max(1, _MOST_ROUNDS * workload.batch // unit) * unit
    return _session(_extended(stats, workload.queries, most), suite.head_forecast(workload.head_shape))


def _with_checks(workload: Workload) -> Workload:
    """Return the workload with the rows among the queries that check the answers."""
    queries, slots = workload.queries, workload.pool_slots
    if rows_with_checks(queries) == queries:
        return workload
    return replace(
        workload,
        queries=rows_with_checks(queries),
        batch=rows_with_checks(workload.batch),
        pool_slots=slots_with_checks(slots, queries),
    )


def _session(stats: RunStats, forecast: CovarianceForecast | HeadForecast) -> SessionForecast:
    estimate = forecast.forged_key() if forecast.forged_key is not None else None
    return SessionForecast(
        stats=stats,
        client_memory=_PROCESS_BYTES + forecast.client_memory,
        provider_memory=_PROCESS_BYTES + forecast.provider_memory,
        relative_error=forecast.relative_error,
        forged_key={name: getattr(estimate, name) for name in ("classical_bits", "core_svp_bits")} if estimate else {},
    )


def _extended(stats: Callable[[int], RunStats], size: int, most: int) -> RunStats:
    """Return the figures for a size; beyond `most` extrapolated from those for half of `most` and for `most`."""
    if size <= most:
        return stats(size)
    half, whole = stats(most // 2), stats(most)
    share = (size - most) / (most - most // 2)

    def on(first: float, second: float) -> float:
        value = second + (second - first) * share
        return round(value) if isinstance(second, int) else value

    def between(first: T, second: T, names: tuple[str, ...]) -> T:
        figures: dict[str, Any] = {name: on(getattr(first, name), getattr(second, name)) for name in names}
        return replace(second, **figures)

    phases = {name: between(half.phases[name], phase, _PHASE) for name, phase in whole.phases.items()}
    messages = tuple(between(first, last, _MESSAGE) for first, last in zip(half.messages, whole.messages, strict=True))
    return RunStats(phases, messages)


class _Session:
    """A session in this process under a phantom, and what its machines work with."""

    def __init__(self, suite: Suite, speeds: Speeds, codec: Codec, policy: Policy) -> None:
        self.clock = ChargedClock()
        self.log = StepLog()
        self.meter = Meter(CLIENT, self.clock, listener=self.log.hear)
        self.meter.count_connection()
        phantom = PhantomSuite(suite, speeds, self.clock)
        self.client, self.provider = in_process_contexts(codec, phantom, SystemEntropy(), self.meter, policy=policy)

    def stats(self, conditions: Conditions) -> RunStats:
        """Return the figures over a network."""
        return replay(self.log, conditions).stats(self.meter.stats())


def _training(suite: Suite, speeds: Speeds, workload: Workload, conditions: Conditions) -> RunStats:
    session = _Session(suite, speeds, TrainingCodec(), Policy())
    meter, rows, columns = session.meter, workload.samples, workload.dim_b

    def solve(call: str, work: Mapping[str, float]) -> None:
        with meter.timed(CLIENT, "solve"):
            session.clock.charge(speeds.seconds("problem", call, work))

    solve("problem", problem_work(rows, columns))
    client = TrainingClient(session.client, _nothing(rows, columns + 1), UNNAMED_DATASET)
    offered = OfferedRows(rows=_nothing(rows, workload.dim_a), dataset_digest=UNNAMED_DATASET)
    provider = TrainingProvider(session.provider, only_rows(offered))
    train(InProcessLink(client, provider, meter), client, meter)
    solve("solution", solution_work(columns, workload.dim_a))
    return session.stats(conditions)


def _inference(suite: Suite, speeds: Speeds, workload: Workload, conditions: Conditions) -> RunStats:
    session = _Session(suite, speeds, InferenceCodec(), Policy(max_queries=workload.queries, output=workload.output))
    meter, features, classes = session.meter, workload.dim_a, workload.classes
    head = LinearHead(np.zeros((features, classes)), np.zeros(classes), tuple(map(str, range(classes))))
    client = InferenceClient(session.client, features, slots=workload.pool_slots)
    provider = InferenceProvider(session.provider, only_head(OfferedHead(head=head)))
    opened = InferenceSession(InProcessLink(client, provider, meter), client, meter)
    for first in range(0, workload.queries, workload.batch):
        count = min(workload.batch, workload.queries - first)
        opened.answers(np.zeros((count, features)), more=workload.queries - first - count)
    opened.close()
    return session.stats(conditions)


def _nothing(rows: int, columns: int) -> Rows:
    """Return rows of zeros that take no memory."""
    return Rows(np.broadcast_to(np.float32(0), (rows, columns)))
