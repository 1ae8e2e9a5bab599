"""What pictures and text of the experiment count up from its tables."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from securealign.lab.experiments.result import Result
from securealign.lab.experiments.store import Row


def alignment_means(result: Result) -> list[Row]:
    """Return for every client's encoder and size the means over providers and seeds."""
    cells: dict[tuple[str, int], list[Row]] = {}
    for row in result.table("alignment"):
        cells.setdefault((row["source"], row["rows"]), []).append(row)
    columns = (
        "ratio", "leaked", "leaked_shuffled", "expected_shuffled", "used", "held_out", "held_out_least_squares"
    )  # fmt: skip
    return [
        {"source": source, "rows": size, **{column: mean(rows, column) for column in columns}}
        for (source, size), rows in cells.items()
    ]


def penalty_means(result: Result) -> list[Row]:
    """Return for every penalty the means over pairs."""
    found = []
    for share in result.settings["penalties"]:
        rows = [row for row in result.table("penalty") if row["share"] == share]
        found.append({"share": share, **{column: mean(rows, column) for column in ("leaked", "used", "held_out")}})
    return found


def found_by_pair(result: Result, column: str = "top1") -> dict[tuple[str, str], float]:
    """Return by (source, target) the mean over tasks of what mapped embeddings tell."""
    cells: dict[tuple[str, str], list[float]] = {}
    for row in result.table("mapped"):
        cells.setdefault((row["source"], row["target"]), []).append(row[column])
    return {pair: fmean(values) for pair, values in cells.items()}


def rows_of(result: Result, table: str, task: str) -> list[Row]:
    """Return a table's rows of a task."""
    return [row for row in result.table(table) if row["data"] == task]


def mean(rows: Sequence[Row], column: str) -> float:
    """Return the mean of a column."""
    return fmean(row[column] for row in rows)
