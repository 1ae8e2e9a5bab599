"""Encrypted queries one at a time: compute of both parties, bytes, and the round trip over gRPC on loopback."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

import numpy as np

from securealign.api import classify_in_process
from securealign.harness.bench.environment import Environment, environment
from securealign.harness.bench.inference_figures import (
    InferenceFigures,
    InferenceRun,
    inference_figures,
    inference_rows,
)
from securealign.harness.bench.inputs import synthetic_embeddings, synthetic_head
from securealign.harness.bench.interleave import affordable, interleave
from securealign.harness.bench.round_trips import Server, serving
from securealign.harness.bench.rows import Row
from securealign.harness.bench.selection import CLEAR
from securealign.harness.bench.separate import inference_memory
from securealign.harness.bench.spread import Spread, seconds
from securealign.he.registry import get_suite
from securealign.matrices import FloatMatrix
from securealign.transport.stats import PhaseStats


@dataclass(frozen=True)
class InferenceReport:
    """One comparison."""

    features: int
    classes: int
    queries: int
    pool_slots: int
    budget_seconds: float
    clear_ms: float
    suites: list[InferenceFigures]
    environment: Environment
    figures: list[Row]
    #: Every run that counts, by suite and repetition.
    measurements: dict[str, dict[int, InferenceRun]]


@dataclass(frozen=True)
class _Problem:
    """The same head and queries for all suites."""

    weight: FloatMatrix
    bias: FloatMatrix
    queries: FloatMatrix
    pool_slots: int
    clear: FloatMatrix = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "clear", self.queries @ self.weight + self.bias)

    def block(self, repetition: int, most: int) -> slice:
        """Return at most `most` queries of a pool of their own; one for the warm-up."""
        first = max(0, repetition - 1) * self.pool_slots
        return slice(first, first + (most if repetition else 1))


class _Contender:
    """The runs of one suite; the warm-up finds how many queries a block may have."""

    def __init__(self, problem: _Problem, server: Server, budget_seconds: float) -> None:
        self._problem = problem
        self._server = server
        self._budget_seconds = budget_seconds
        #: Queries of a run that fit in the budget.
        self.block = 1

    def __call__(self, repetition: int) -> InferenceRun:
        """Measure one block: in process for compute and bytes, then over gRPC for round trips."""
        problem, suite = self._problem, self._server.suite
        block = problem.block(repetition, self.block)
        queries, clear = problem.queries[block], problem.clear[block]
        done = classify_in_process(
            problem.weight, problem.bias, queries, suite=suite, pool_slots=problem.pool_slots, batch=1
        )
        run = InferenceRun(
            queries=len(queries),
            pool_slots=problem.pool_slots,
            phases=dict(done.stats.phases),
            round_trips_ms=self._server.round_trips(queries, problem.pool_slots),
            logit_error=float(np.abs(done.logits - clear).max() / np.abs(problem.clear).max()),
            label_agreement=float(np.mean(done.labels == clear.argmax(axis=1))),
        )
        if repetition == 0:
            seconds_each = (run.compute("online") + run.round_trips_ms[0]) / 1000
            self.block = affordable(self._budget_seconds, seconds_each, problem.pool_slots)
        return run


def bench_inference(
    suites: Sequence[str],
    *,
    features: int,
    classes: int,
    queries: int,
    pool_slots: int,
    memory: bool = True,
    budget_seconds: float = 60.0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> InferenceReport:
    """Measure suites and the head in clear in turn, a block of at most `pool_slots` queries each time.

    A suite whose single query to warm up takes longer than the budget is measured by that query alone; blocks of the
    others are cut to what fits in the budget.
    """
    for suite in suites:  # before minutes of measuring are lost to a name that is wrong
        get_suite(suite)
    mapped, _ = synthetic_embeddings(queries, features, 1)
    problem = _Problem(*synthetic_head(features, classes), mapped, pool_slots)
    everything: dict[str, Callable[[int], InferenceRun]] = {CLEAR: lambda _: _clear(problem)}
    with ExitStack() as servers:
        contenders = {
            suite: _Contender(problem, servers.enter_context(serving(suite, features, classes)), budget_seconds)
            for suite in suites
        }
        runs = interleave(
            everything | contenders,
            repetitions=-(-queries // pool_slots),
            budget_seconds=budget_seconds,
            progress=progress,
        )
    peaks = {
        suite: inference_memory(suite, mapped[: contender.block], classes, pool_slots) if memory else None
        for suite, contender in contenders.items()
    }
    return InferenceReport(
        features=features,
        classes=classes,
        queries=queries,
        pool_slots=pool_slots,
        budget_seconds=budget_seconds,
        clear_ms=Spread.of(run.compute("online") for run in runs[CLEAR].values()).median,
        suites=[inference_figures(suite, list(runs[suite].values()), peaks[suite]) for suite in suites],
        environment=environment(),
        figures=inference_rows(runs, peaks),
        measurements=runs,
    )


def _clear(problem: _Problem) -> InferenceRun:
    """Measure one query, and count it and its logits as float32."""
    query = problem.queries[:1]
    best = min(seconds(lambda: query @ problem.weight + problem.bias) for _ in range(100))
    features, classes = problem.weight.shape
    online = PhaseStats(bytes_up=features * 4, bytes_down=classes * 4, provider_seconds=best)
    return InferenceRun(1, problem.pool_slots, {"online": online}, [], 0.0, 1.0)
