"""Figures as rows, one for each figure of each suite: what tables, files and drawings are made of."""

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any, Generic, TypeVar

from securealign.harness.bench.measurements import Spread, ratio
from securealign.harness.bench.processes import PeakMemory

R = TypeVar("R")

#: The computation without any protection, a column beside the suites.
CLEAR = "clear"
#: The stack of the paper; the others show their ratio to it where it is measured.
BASELINE = "tenseal-ckks"
#: What stands for the unit of a figure without one.
RATIO, COUNT = "ratio", "count"


@dataclass(frozen=True)
class Row:
    """One figure of one suite, or of the computation in clear; `runs` is the number of measurements behind it."""

    #: "training" or "inference"; written as "phase" in JSON and CSV.
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
    """A quantity of which less is better, and the words for a suite that needs less of it than the baseline."""

    figure: str
    less: str
    of: Callable[[R], float]


#: Runs by suite and repetition.
Runs = Mapping[str, Mapping[int, R]]


def byte_quantities(phases: Sequence[str], unit: str, per: float) -> list[Quantity[Any]]:
    """Return the bytes of phases in both directions, in units of `per` bytes."""

    def quantity(phase: str, receiver: str, figure: str) -> Quantity[Any]:
        return Quantity(f"{phase} to {receiver}", unit, lambda run: run.each(phase, figure) / per)

    ways = (("provider", "bytes_up"), ("client", "bytes_down"))
    return [quantity(phase, *way) for phase in phases for way in ways]


def figure_rows(
    kind: str,
    runs: Runs[R],
    quantities: Sequence[Quantity[R]],
    peaks: Mapping[str, PeakMemory | None],
    comparisons: Sequence[Comparison[R]],
) -> list[Row]:
    """Return all figures of a report: quantities, peak memory, and ratios."""
    return [*quantity_rows(kind, runs, quantities), *memory_rows(kind, peaks), *ratio_rows(kind, runs, comparisons)]


def quantity_rows(kind: str, runs: Runs[R], quantities: Sequence[Quantity[R]]) -> list[Row]:
    """Return a row for every quantity of every suite."""
    return [
        Row(kind, suite, quantity.figure, quantity.unit, Spread.of(map(quantity.of, done.values())), len(done))
        for quantity in quantities
        for suite, done in runs.items()
    ]


def memory_rows(kind: str, peaks: Mapping[str, PeakMemory | None]) -> list[Row]:
    """Return the peak memory of both sides for every suite of which it was measured."""
    return [
        Row(kind, suite, f"{side} peak memory", "MiB", Spread.of([getattr(peak, side) / 2**20]), 1)
        for side in ("client", "provider")
        for suite, peak in peaks.items()
        if peak is not None
    ]


def ratio_rows(kind: str, runs: Runs[R], comparisons: Sequence[Comparison[R]]) -> list[Row]:
    """Return the ratio of every suite to the computation in clear, and of a measured baseline to every suite."""
    rows = []
    for comparison in comparisons:
        values = {name: {key: comparison.of(run) for key, run in done.items()} for name, done in runs.items()}
        suites = [name for name in values if name != CLEAR]
        for suite in suites:
            value = ratio(values[suite], values[CLEAR])
            rows.append(Row(kind, suite, f"{comparison.figure} / {CLEAR}", RATIO, value, len(values[suite])))
        for suite in suites:
            if BASELINE in values and suite != BASELINE:
                value = ratio(values[BASELINE], values[suite])
                figure = f"times {comparison.less} than {BASELINE}"
                rows.append(Row(kind, suite, figure, RATIO, value, len(values[suite])))
    return rows


def as_csv(rows: Sequence[Row]) -> bytes:
    """Return the rows in long format under a header."""
    lines = ((row.phase, row.suite, row.figure, row.unit, *astuple(row.value), row.runs) for row in rows)
    return csv_of(["phase", "suite", "figure", "unit", "value", "min", "max", "runs"], lines)


def csv_of(header: Sequence[str], lines: Iterable[Sequence[object]]) -> bytes:
    """Return a table as CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *lines])
    return text.getvalue().encode()
