"""Secure training against the same product in clear."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from securealign.alignment.aligner import LinearAligner
from securealign.api import AlignmentRun, align_in_process
from securealign.bench.figures import Spread, seconds
from securealign.bench.inputs import synthetic_embeddings
from securealign.bench.processes import PeakMemory, training_memory
from securealign.he.registry import get_suite
from securealign.matrices import FloatMatrix


@dataclass(frozen=True)
class TrainingFigures:
    """What one suite costs; seconds are compute, bytes are payloads."""

    suite: str
    client_seconds: Spread
    provider_seconds: Spread
    total_seconds: Spread
    #: Compute of both parties over that of Z_A^T Z_B in float64, paired within each repetition.
    times_clear: Spread
    key_bytes: int
    bytes_up: int
    bytes_down: int
    #: Upload, key included, over the embeddings in float32.
    upload_times_float32: float
    #: Relative Frobenius error of the weight against the fit in clear.
    weight_error: float
    #: Seconds of both parties in each phase, of the last repetition.
    phase_seconds: dict[str, float]
    peak_memory: PeakMemory | None


@dataclass(frozen=True)
class TrainingReport:
    """One run of the benchmark."""

    samples: int
    dim_a: int
    dim_b: int
    repetitions: int
    clear_seconds: Spread
    suites: list[TrainingFigures]


def bench_training(
    suites: Sequence[str],
    *,
    samples: int,
    dim_a: int,
    dim_b: int,
    repetitions: int,
    memory: bool,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> TrainingReport:
    """Measure suites and the clear product in turn, `repetitions` times, after one run of each to warm up."""
    for suite in suites:  # before minutes of measuring are lost to a name that is wrong
        get_suite(suite)
    z_a, z_b = synthetic_embeddings(samples, dim_a, dim_b)
    reference = LinearAligner(ridge="auto").fit(z_b, z_a).map_.weight
    clear: list[float] = []
    runs: dict[str, list[AlignmentRun]] = {suite: [] for suite in suites}
    ratios: dict[str, list[float]] = {suite: [] for suite in suites}
    for repetition in range(repetitions + 1):
        for position, suite in enumerate(suites):
            base = _clear_seconds(z_a, z_b)
            run = align_in_process(z_a, z_b, suite=suite, ridge="auto")
            progress(repetition * len(suites) + position + 1, (repetitions + 1) * len(suites))
            if repetition:
                clear.append(base)
                runs[suite].append(run)
                ratios[suite].append(run.stats.total_seconds / base)
    peaks = {suite: training_memory(suite, z_a, z_b) if memory else None for suite in suites}
    figures = [
        TrainingFigures(
            suite=suite,
            client_seconds=Spread.of([run.stats.client_seconds for run in done]),
            provider_seconds=Spread.of([run.stats.provider_seconds for run in done]),
            total_seconds=Spread.of([run.stats.total_seconds for run in done]),
            times_clear=Spread.of(ratios[suite]),
            key_bytes=done[-1].stats.phases["keys"].bytes_up,
            bytes_up=done[-1].stats.bytes_up,
            bytes_down=done[-1].stats.bytes_down,
            upload_times_float32=done[-1].stats.bytes_up / (samples * dim_b * 4),
            weight_error=_relative_error(done[-1].alignment.weight, reference),
            phase_seconds={name: phase.total_seconds for name, phase in done[-1].stats.phases.items()},
            peak_memory=peaks[suite],
        )
        for suite, done in runs.items()
    ]
    return TrainingReport(samples, dim_a, dim_b, repetitions, Spread.of(clear), figures)


def _clear_seconds(z_a: FloatMatrix, z_b: FloatMatrix) -> float:
    """Return the faster of two products: the first may pay for waking the cores."""
    return min(seconds(lambda: z_a.T @ z_b) for _ in range(2))


def _relative_error(matrix: FloatMatrix, reference: FloatMatrix) -> float:
    return float(np.linalg.norm(matrix - reference) / np.linalg.norm(reference))
