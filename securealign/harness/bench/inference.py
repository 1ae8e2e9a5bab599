"""Encrypted queries one at a time: compute of both parties, bytes, and the round trip over gRPC on loopback."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from securealign.api import classify_in_process
from securealign.harness.bench.inputs import synthetic_embeddings, synthetic_head
from securealign.harness.bench.measurements import (
    Environment,
    Spread,
    affordable,
    environment,
    interleave,
    ratio,
    seconds,
)
from securealign.harness.bench.rows import CLEAR, COUNT, RATIO, Comparison, Quantity, Row, byte_quantities, figure_rows
from securealign.harness.bench.separate import Server, inference_memory, serving
from securealign.he.registry import get_suite
from securealign.matrices import FloatMatrix
from securealign.protocol.policy.rules import Output
from securealign.transport.stats import PhaseStats

KIND = "inference"
_SIDES = ("client", "provider")


@dataclass(frozen=True)
class InferenceRun:
    """One session of a suite, or one query in clear: a block of queries that fits in one pool."""

    queries: int
    pool_slots: int
    phases: dict[str, PhaseStats]
    round_trips_ms: list[float]
    #: Largest error of a logit, relative to the largest logit.
    logit_error: float
    label_agreement: float

    def each(self, phase: str, figure: str) -> float:
        """Return a figure of a phase for each query, or once for keys; all slots of a pool share it, used or not."""
        share = {"online": self.queries, "offline": self.pool_slots}.get(phase, 1)
        # The acknowledgements of a key, and with them what the provider did to it, are metered as those of any upload.
        parts = ("keys", "upload") if phase == "keys" else (phase,)
        return float(sum(getattr(self.phases.get(part, PhaseStats()), figure) for part in parts)) / share

    def milliseconds(self, phase: str, side: str) -> float:
        """Compute of a side for each query, or once for keys."""
        return self.each(phase, f"{side}_seconds") * 1000

    def compute(self, *phases: str) -> float:
        """Milliseconds of both sides in some phases for each query."""
        return sum(self.milliseconds(phase, side) for phase in phases for side in _SIDES)

    def traffic(self, *phases: str) -> float:
        """Payload bytes in both directions in some phases for each query."""
        return sum(self.each(phase, figure) for phase in phases for figure in ("bytes_up", "bytes_down"))


def _median(of: Callable[[InferenceRun], float]) -> Callable[[Sequence[InferenceRun]], float]:
    return lambda runs: Spread.of(map(of, runs)).median


#: What one suite costs for each query, by name; milliseconds are compute unless they are round trips. A round trip is
#: from a query in clear to its logits in clear, over gRPC on loopback to another process. The error of a logit is the
#: largest, relative to the largest logit.
FIGURES: Mapping[str, Callable[[Sequence[InferenceRun]], Any]] = {
    "runs": len,
    "queries": lambda runs: sum(run.queries for run in runs),
    "online_client_ms": _median(lambda run: run.milliseconds("online", "client")),
    "online_provider_ms": _median(lambda run: run.milliseconds("online", "provider")),
    "offline_client_ms": _median(lambda run: run.milliseconds("offline", "client")),
    "offline_provider_ms": _median(lambda run: run.milliseconds("offline", "provider")),
    "round_trip_ms": lambda runs: Spread.of(_trips(runs)),
    "round_trip_ms_p95": lambda runs: float(np.quantile(_trips(runs), 0.95)),
    "key_bytes": lambda runs: runs[-1].phases["keys"].bytes_up,
    "online_bytes": _median(lambda run: run.traffic("online")),
    "offline_bytes": _median(lambda run: run.traffic("offline")),
    "logit_error": lambda runs: max(run.logit_error for run in runs),
    "label_agreement": lambda runs: float(
        np.average([run.label_agreement for run in runs], weights=[run.queries for run in runs])
    ),
}


@dataclass(frozen=True)
class InferenceReport:
    """One comparison."""

    features: int
    classes: int
    queries: int
    pool_slots: int
    outputs: tuple[Output, ...]
    budget_seconds: float
    clear_ms: float
    #: For each suite and output their names, `FIGURES` and the peak memory.
    suites: list[dict[str, Any]]
    environment: Environment
    figures: list[Row]
    #: Every run that counts, by suite and output, as `named`, and by repetition.
    measurements: dict[str, dict[int, InferenceRun]]

    @property
    def title(self) -> str:
        """What was measured."""
        sizes = f"{self.features} dimensions, {self.classes} classes, pools of {self.pool_slots}"
        answers = ", answers in labels alone" if self.outputs == ("label",) else ""
        return f"Inference: {sizes}{answers}; figures for each query"


def named(suite: str, output: Output) -> str:
    """Return the name of a suite with one kind of answers."""
    return suite if output == "logits" else f"{suite} {output}"


def _compute(phase: str, side: str) -> Quantity[InferenceRun]:
    return Quantity(f"{side} {phase}", "ms", lambda run: run.milliseconds(phase, side))


QUANTITIES: Sequence[Quantity[InferenceRun]] = (
    *(_compute(phase, side) for phase in ("online", "offline", "keys") for side in _SIDES),
    *byte_quantities(("keys", "offline", "online"), "KB", 1e3),
    Quantity("error of logits", RATIO, lambda run: run.logit_error),
    Quantity("equal labels", "%", lambda run: run.label_agreement * 100),
)
COMPARISONS: Sequence[Comparison[InferenceRun]] = (
    Comparison("online compute", "faster online", lambda run: run.compute("online")),
    Comparison("compute", "faster", lambda run: run.compute("online", "offline")),
    Comparison("bytes", "fewer bytes", lambda run: run.traffic("online", "offline")),
)


@dataclass(frozen=True)
class _Problem:
    """The same head and queries for all suites."""

    weight: FloatMatrix
    bias: FloatMatrix
    queries: FloatMatrix
    pool_slots: int

    @cached_property
    def clear(self) -> FloatMatrix:
        return self.queries @ self.weight + self.bias

    def block(self, repetition: int, most: int) -> slice:
        """Return at most `most` queries of a pool of their own; one for the warm-up."""
        first = max(0, repetition - 1) * self.pool_slots
        return slice(first, first + (most if repetition else 1))


class _Contender:
    """The runs of one suite and output; the warm-up finds how many queries a block may have."""

    def __init__(self, problem: _Problem, server: Server, output: Output, budget_seconds: float) -> None:
        self._problem, self._server, self._budget_seconds = problem, server, budget_seconds
        self.suite, self.output = server.suite, output
        #: Queries of a run that fit in the budget.
        self.block = 1

    def __call__(self, repetition: int) -> InferenceRun:
        """Measure one block: in process for compute and bytes, then over gRPC for round trips."""
        problem = self._problem
        block = problem.block(repetition, self.block)
        queries, clear = problem.queries[block], problem.clear[block]
        # Figures are those of one query, so nothing is asked to check answers.
        alone: dict[str, Any] = {"pool_slots": problem.pool_slots, "batch": 1, "verify_answers": False}
        done = classify_in_process(problem.weight, problem.bias, queries, suite=self.suite, output=self.output, **alone)
        errors = None if done.logits is None else np.abs(done.logits - clear)
        run = InferenceRun(
            queries=len(queries),
            pool_slots=problem.pool_slots,
            phases=dict(done.stats.phases),
            round_trips_ms=self._server.round_trips(queries, problem.pool_slots),
            logit_error=0.0 if errors is None else float(errors.max() / np.abs(problem.clear).max()),
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
    outputs: Sequence[Output] = ("logits",),
    memory: bool = True,
    budget_seconds: float = 60.0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> InferenceReport:
    """Measure suites and the head in clear in turn, a block of at most `pool_slots` queries each time.

    Of two outputs, "logits" and "label", the second is also compared with the first, run by run. A suite whose single
    query to warm up takes longer than the budget is measured by that query alone; blocks of the others are cut to what
    fits in the budget.
    """
    for suite in suites:  # before minutes of measuring are lost to a name that is wrong
        get_suite(suite)
    mapped, _ = synthetic_embeddings(queries, features, 1)
    problem = _Problem(*synthetic_head(features, classes), mapped, pool_slots)
    everything: dict[str, Callable[[int], InferenceRun]] = {CLEAR: lambda _: _clear(problem)}
    with ExitStack() as servers:
        contenders = {
            named(suite, output): _Contender(
                problem, servers.enter_context(serving(suite, features, classes, output)), output, budget_seconds
            )
            for suite in suites
            for output in outputs
        }
        runs = interleave(
            everything | contenders,
            repetitions=-(-queries // pool_slots),
            budget_seconds=budget_seconds,
            progress=progress,
        )
    peaks = {
        name: inference_memory(each.suite, mapped[: each.block], classes, pool_slots, each.output) if memory else None
        for name, each in contenders.items()
    }
    return InferenceReport(
        features=features,
        classes=classes,
        queries=queries,
        pool_slots=pool_slots,
        outputs=tuple(outputs),
        budget_seconds=budget_seconds,
        clear_ms=Spread.of(run.compute("online") for run in runs[CLEAR].values()).median,
        suites=[
            {"suite": each.suite, "output": each.output}
            | {figure: of(list(runs[name].values())) for figure, of in FIGURES.items()}
            | {"peak_memory": peaks[name]}
            for name, each in contenders.items()
        ],
        environment=environment(),
        figures=[
            *_trip_rows(runs),
            *figure_rows(KIND, runs, QUANTITIES, peaks, COMPARISONS),
            *(row for suite in suites for row in _output_rows(suite, runs)),
        ],
        measurements=runs,
    )


def _output_rows(suite: str, runs: Mapping[str, Mapping[int, InferenceRun]]) -> list[Row]:
    """Return what labels cost over logits, where both were measured."""
    label, logits = runs.get(named(suite, "label")), runs.get(named(suite, "logits"))
    if label is None or logits is None:
        return []
    rows = []
    for comparison in COMPARISONS:
        values, base = ({number: comparison.of(run) for number, run in done.items()} for done in (label, logits))
        figure = f"{comparison.figure} / logits"
        rows.append(Row(KIND, named(suite, "label"), figure, RATIO, ratio(values, base), len(values)))
    return rows


def _clear(problem: _Problem) -> InferenceRun:
    """Measure one query, and count it and its logits as float32."""
    query = problem.queries[:1]
    best = min(seconds(lambda: query @ problem.weight + problem.bias) for _ in range(100))
    features, classes = problem.weight.shape
    online = PhaseStats(bytes_up=features * 4, bytes_down=classes * 4, provider_seconds=best)
    return InferenceRun(1, problem.pool_slots, {"online": online}, [], 0.0, 1.0)


def _trips(runs: Sequence[InferenceRun]) -> list[float]:
    return [trip for run in runs for trip in run.round_trips_ms]


def _trip_rows(runs: Mapping[str, Mapping[int, InferenceRun]]) -> list[Row]:
    rows = []
    for suite, done in runs.items():
        if trips := _trips(list(done.values())):  # none in clear
            late, number = float(np.quantile(trips, 0.95)), len(trips)
            rows.append(Row(KIND, suite, "queries", COUNT, Spread.of([number]), len(done)))
            rows.append(Row(KIND, suite, "round trip over gRPC", "ms", Spread.of(trips), number))
            rows.append(Row(KIND, suite, "its 95th percentile", "ms", Spread.of([late]), number))
    return rows
