"""What runs of encrypted queries say about a suite, for each query."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from securealign.harness.bench.memory import PeakMemory
from securealign.harness.bench.rows import (
    COUNT,
    RATIO,
    Comparison,
    Quantity,
    Row,
    Runs,
    memory_rows,
    quantity_rows,
    ratio_rows,
)
from securealign.harness.bench.spread import Spread
from securealign.transport.stats import PhaseStats

PHASE = "inference"
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

    def _each(self, phase: str, figure: str) -> float:
        """Return a figure of a phase for each query; the pool is shared by all its slots, used or not."""
        share = {"online": self.queries, "offline": self.pool_slots}.get(phase, 1)
        # The acknowledgements of a key, and with them what the provider did to it, are metered as those of any upload.
        parts = ("keys", "upload") if phase == "keys" else (phase,)
        return float(sum(getattr(self.phases.get(part, PhaseStats()), figure) for part in parts)) / share

    def milliseconds(self, phase: str, side: str) -> float:
        """Compute of a side for each query, or once for keys."""
        return self._each(phase, f"{side}_seconds") * 1000

    def compute(self, *phases: str) -> float:
        """Milliseconds of both sides in some phases for each query."""
        return sum(self.milliseconds(phase, side) for phase in phases for side in _SIDES)

    def bytes_up(self, phase: str) -> float:
        """Payload bytes to the provider for each query, or once for keys."""
        return self._each(phase, "bytes_up")

    def bytes_down(self, phase: str) -> float:
        """Payload bytes to the client for each query, or once for keys."""
        return self._each(phase, "bytes_down")

    def traffic(self, *phases: str) -> float:
        """Payload bytes in both directions in some phases for each query."""
        return sum(self.bytes_up(phase) + self.bytes_down(phase) for phase in phases)


@dataclass(frozen=True)
class InferenceFigures:
    """What one suite costs for each query; milliseconds are compute unless they are round trips."""

    suite: str
    runs: int
    queries: int
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
    peak_memory: PeakMemory | None


def _compute_of(phase: str, label: str) -> list[Quantity[InferenceRun]]:
    return [
        Quantity(f"{side} {label}", "ms", lambda run, side=side: run.milliseconds(phase, side))  # type: ignore[misc]
        for side in _SIDES
    ]


def _bytes_of(phase: str) -> list[Quantity[InferenceRun]]:
    return [
        Quantity(f"{phase} to provider", "KB", lambda run: run.bytes_up(phase) / 1e3),
        Quantity(f"{phase} to client", "KB", lambda run: run.bytes_down(phase) / 1e3),
    ]


QUANTITIES: Sequence[Quantity[InferenceRun]] = (
    *_compute_of("online", "online"),
    *_compute_of("offline", "offline"),
    *_compute_of("keys", "keys"),
    *_bytes_of("keys"),
    *_bytes_of("offline"),
    *_bytes_of("online"),
    Quantity("error of logits", RATIO, lambda run: run.logit_error),
    Quantity("equal labels", "%", lambda run: run.label_agreement * 100),
)
COMPARISONS: Sequence[Comparison[InferenceRun]] = (
    Comparison("online compute", "faster online", lambda run: run.compute("online")),
    Comparison("compute", "faster", lambda run: run.compute("online", "offline")),
    Comparison("bytes", "fewer bytes", lambda run: run.traffic("online", "offline")),
)


def inference_rows(runs: Runs[InferenceRun], peaks: Mapping[str, PeakMemory | None]) -> list[Row]:
    """Return all figures of all suites and of the head in clear."""
    return [
        *(row for suite, done in runs.items() for row in _trip_rows(suite, list(done.values()))),
        *quantity_rows(PHASE, runs, QUANTITIES),
        *memory_rows(PHASE, peaks),
        *ratio_rows(PHASE, runs, COMPARISONS),
    ]


def inference_figures(suite: str, runs: Sequence[InferenceRun], peak_memory: PeakMemory | None) -> InferenceFigures:
    """Summarise the runs of one suite."""

    def median(figure: Callable[[InferenceRun], float]) -> float:
        return Spread.of(map(figure, runs)).median

    return InferenceFigures(
        suite=suite,
        runs=len(runs),
        queries=sum(run.queries for run in runs),
        online_client_ms=median(lambda run: run.milliseconds("online", "client")),
        online_provider_ms=median(lambda run: run.milliseconds("online", "provider")),
        offline_client_ms=median(lambda run: run.milliseconds("offline", "client")),
        offline_provider_ms=median(lambda run: run.milliseconds("offline", "provider")),
        round_trip_ms=Spread.of(_trips(runs)),
        round_trip_ms_p95=float(np.quantile(_trips(runs), 0.95)),
        key_bytes=runs[-1].phases["keys"].bytes_up,
        online_bytes=median(lambda run: run.traffic("online")),
        offline_bytes=median(lambda run: run.traffic("offline")),
        logit_error=max(run.logit_error for run in runs),
        label_agreement=float(np.average([run.label_agreement for run in runs], weights=[run.queries for run in runs])),
        peak_memory=peak_memory,
    )


def _trips(runs: Sequence[InferenceRun]) -> list[float]:
    return [trip for run in runs for trip in run.round_trips_ms]


def _trip_rows(suite: str, runs: Sequence[InferenceRun]) -> list[Row]:
    trips = _trips(runs)
    if not trips:  # in clear
        return []
    late = float(np.quantile(trips, 0.95))
    return [
        Row(PHASE, suite, "queries", COUNT, Spread.of([len(trips)]), len(runs)),
        Row(PHASE, suite, "round trip over gRPC", "ms", Spread.of(trips), len(trips)),
        Row(PHASE, suite, "its 95th percentile", "ms", Spread.of([late]), len(trips)),
    ]
