"""Secure training: suites against each other and against the same product in clear."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from securealign.alignment.clear import fit_map
from securealign.alignment.coordinates import Space
from securealign.api import align_in_process
from securealign.harness.bench.inputs import made_up, synthetic_embeddings
from securealign.harness.bench.measurements import Environment, Spread, environment, interleave, ratio, seconds
from securealign.harness.bench.rows import CLEAR, RATIO, Comparison, Quantity, Row, Runs, byte_quantities, figure_rows
from securealign.harness.bench.separate import training_memory
from securealign.he.entropy import SystemEntropy
from securealign.he.registry import get_suite
from securealign.matrices import FloatMatrix, Rows
from securealign.transport.stats import PhaseStats, RunStats


@dataclass(frozen=True)
class TrainingRun:
    """One run of a suite, or of the product in clear."""

    phases: dict[str, PhaseStats]
    #: Relative Frobenius error of the weight against the fit in clear.
    weight_error: float

    def each(self, phase: str, figure: str) -> float:
        """Return a figure of a phase."""
        return float(getattr(self.phases.get(phase, PhaseStats()), figure))

    @property
    def stats(self) -> RunStats:
        """The sums over all phases."""
        return RunStats(self.phases)

    @property
    def total_bytes(self) -> int:
        """Payload bytes in both directions."""
        return self.stats.bytes_up + self.stats.bytes_down


#: What one suite costs, by name; seconds are compute, bytes are payloads, and those of phases are of the last run.
FIGURES: Mapping[str, Callable[[Sequence[TrainingRun]], Any]] = {
    "runs": len,
    "client_seconds": lambda runs: Spread.of(run.stats.client_seconds for run in runs),
    "provider_seconds": lambda runs: Spread.of(run.stats.provider_seconds for run in runs),
    "total_seconds": lambda runs: Spread.of(run.stats.total_seconds for run in runs),
    "key_bytes": lambda runs: runs[-1].phases["keys"].bytes_up,
    "bytes_up": lambda runs: runs[-1].stats.bytes_up,
    "bytes_down": lambda runs: runs[-1].stats.bytes_down,
    "weight_error": lambda runs: max(run.weight_error for run in runs),
    "phase_seconds": lambda runs: {name: phase.total_seconds for name, phase in runs[-1].phases.items()},
}


@dataclass(frozen=True)
class TrainingReport:
    """One comparison."""

    samples: int
    dim_a: int
    dim_b: int
    repetitions: int
    budget_seconds: float
    clear_seconds: Spread
    #: What the provider computes once for an encoder and its public texts, before any session.
    space_seconds: Spread
    #: For each suite its name, `FIGURES`, its compute and upload over those in clear, and its memory.
    suites: list[dict[str, Any]]
    environment: Environment
    figures: list[Row]
    #: Every run that counts, by suite and repetition.
    measurements: dict[str, dict[int, TrainingRun]]

    @property
    def title(self) -> str:
        """What was measured."""
        return f"Training: {self.samples:,} rows, {self.dim_b} to {self.dim_a} dimensions"


QUANTITIES: Sequence[Quantity[TrainingRun]] = (
    Quantity("client compute", "s", lambda run: run.stats.client_seconds),
    Quantity("provider compute", "s", lambda run: run.stats.provider_seconds),
    Quantity("compute of both", "s", lambda run: run.stats.total_seconds),
    *byte_quantities(("keys", "upload", "result"), "MB", 1e6),
    Quantity("all bytes", "MB", lambda run: run.total_bytes / 1e6),
    Quantity("error of W", RATIO, lambda run: run.weight_error),
)
COMPARISONS: Sequence[Comparison[TrainingRun]] = (
    Comparison("compute", "faster", lambda run: run.stats.total_seconds),
    Comparison("bytes", "fewer bytes", lambda run: run.total_bytes),
)


@made_up()
def bench_training(
    suites: Sequence[str],
    *,
    samples: int,
    dim_a: int,
    dim_b: int,
    repetitions: int,
    memory: bool,
    budget_seconds: float = 60.0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> TrainingReport:
    """Measure suites and the product in clear in turn, up to `repetitions` times, after one run of each to warm up.

    A suite whose first run takes longer than the budget is measured by that run alone.
    """
    for suite in suites:  # before minutes of measuring are lost to a name that is wrong
        get_suite(suite)
    z_a, z_b = synthetic_embeddings(samples, dim_a, dim_b)
    reference = fit_map(z_b, z_a, "auto").weight
    contenders: dict[str, Callable[[int], TrainingRun]] = {CLEAR: lambda _: _clear(z_a, z_b)}
    contenders |= {suite: partial(_run, suite, z_a, z_b, reference) for suite in suites}
    runs = interleave(contenders, repetitions=repetitions, budget_seconds=budget_seconds, progress=progress)
    peaks = {suite: training_memory(suite, z_a, z_b) if memory else None for suite in suites}
    return TrainingReport(
        samples=samples,
        dim_a=dim_a,
        dim_b=dim_b,
        repetitions=repetitions,
        budget_seconds=budget_seconds,
        clear_seconds=Spread.of(run.stats.total_seconds for run in runs[CLEAR].values()),
        space_seconds=Spread.of(seconds(lambda: Space.of(Rows(z_a), SystemEntropy())) for _ in range(repetitions)),
        suites=[_figures(suite, runs, samples * dim_b * 4) | {"peak_memory": peaks[suite]} for suite in suites],
        environment=environment(),
        figures=figure_rows("training", runs, QUANTITIES, peaks, COMPARISONS),
        measurements=runs,
    )


def _run(suite: str, z_a: FloatMatrix, z_b: FloatMatrix, reference: FloatMatrix, _repetition: int) -> TrainingRun:
    done = align_in_process(z_a, z_b, suite=suite, ridge="auto")
    error = np.linalg.norm(done.alignment.weight - reference) / np.linalg.norm(reference)
    return TrainingRun(dict(done.stats.phases), float(error))


def _clear(z_a: FloatMatrix, z_b: FloatMatrix) -> TrainingRun:
    """Measure the provider's product, and count embeddings and product as float32."""
    # The faster of two: the first may pay for waking the cores.
    product_seconds = min(seconds(lambda: z_a.T @ z_b) for _ in range(2))
    upload = PhaseStats(bytes_up=z_b.size * 4, provider_seconds=product_seconds)
    return TrainingRun({"upload": upload, "result": PhaseStats(bytes_down=z_a.shape[1] * z_b.shape[1] * 4)}, 0.0)


def _figures(suite: str, runs: Runs[TrainingRun], float32_bytes: int) -> dict[str, Any]:
    made: dict[str, Any] = {name: of(list(runs[suite].values())) for name, of in FIGURES.items()}
    # Paired where repetitions are shared.
    own, clear = ({key: run.stats.total_seconds for key, run in runs[name].items()} for name in (suite, CLEAR))
    return {
        "suite": suite,
        **made,
        "times_clear": ratio(own, clear),
        "upload_times_float32": made["bytes_up"] / float32_bytes,
    }
