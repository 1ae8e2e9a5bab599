"""Figures as rows, one for each figure of each suite: what tables, files and drawings are made of."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from securealign.harness.bench.memory import PeakMemory
from securealign.harness.bench.selection import BASELINE, CLEAR
from securealign.harness.bench.spread import Spread, ratio

R = TypeVar("R")

#: Units of what has none.
RATIO, COUNT = "ratio", "count"


@dataclass(frozen=True)
class Row:
    """One figure of one suite, or of the computation in clear; `runs` is the number of measurements behind it."""

    phase: str
    suite: str
    figure: str
    unit: str
    value: Spread
    runs: int


@dataclass(frozen=True)
class Quantity(Generic[R]):
    """What one run of a suite says about a figure."""

    figure: str
    unit: str
    of: Callable[[R], float]


@dataclass(frozen=True)
class Comparison(Generic[R]):
    """A quantity of which less is better, and what a suite that needs less of the baseline's is called."""

    figure: str
    less: str
    of: Callable[[R], float]


#: Runs by suite and repetition.
Runs = Mapping[str, Mapping[int, R]]


def quantity_rows(phase: str, runs: Runs[R], quantities: Sequence[Quantity[R]]) -> list[Row]:
    """Return a row for every quantity of every suite."""
    return [
        Row(phase, suite, quantity.figure, quantity.unit, Spread.of(map(quantity.of, done.values())), len(done))
        for quantity in quantities
        for suite, done in runs.items()
    ]


def memory_rows(phase: str, peaks: Mapping[str, PeakMemory | None]) -> list[Row]:
    """Return the peak memory of both sides for every suite of which it was measured."""
    return [
        Row(phase, suite, f"{side} peak memory", "MiB", Spread.of([getattr(peak, side) / 2**20]), 1)
        for side in ("client", "provider")
        for suite, peak in peaks.items()
        if peak is not None
    ]


def ratio_rows(phase: str, runs: Runs[R], comparisons: Sequence[Comparison[R]]) -> list[Row]:
    """Return the ratio of every suite to the computation in clear, and of a measured baseline to every suite."""
    rows = []
    for comparison in comparisons:
        values = {name: {key: comparison.of(run) for key, run in done.items()} for name, done in runs.items()}
        suites = [name for name in values if name != CLEAR]
        for suite in suites:
            value = ratio(values[suite], values[CLEAR])
            rows.append(Row(phase, suite, f"{comparison.figure} / {CLEAR}", RATIO, value, len(values[suite])))
        for suite in suites:
            if BASELINE in values and suite != BASELINE:
                value = ratio(values[BASELINE], values[suite])
                figure = f"times {comparison.less} than {BASELINE}"
                rows.append(Row(phase, suite, figure, RATIO, value, len(values[suite])))
    return rows


def as_csv(rows: Sequence[Row]) -> bytes:
    """Return the rows in long format under a header."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["phase", "suite", "figure", "unit", "value", "min", "max", "runs"])
    for row in rows:
        value = row.value
        writer.writerow(
            [row.phase, row.suite, row.figure, row.unit, value.median, value.minimum, value.maximum, row.runs]
        )
    return text.getvalue().encode()
