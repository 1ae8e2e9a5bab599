"""Rows of a result by what they are about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from securealign.lab.experiments.membership.setting import Sweep
from securealign.lab.experiments.result import Result
from securealign.lab.experiments.store import Row

#: For each sweep, the column that it varies, and what that is in words.
LABELS: Mapping[Sweep, tuple[str, str]] = {
    "rows": ("rows", "public rows N"),
    "shots": ("shots", "shots"),
    "penalty": ("penalty", "ridge penalty, as a share"),
    "epsilon by text": ("epsilon", "epsilon, text added"),
    "epsilon by row": ("epsilon", "epsilon, row of Z_A added"),
}


class Case(NamedTuple):
    """A task and a pair of encoders."""

    data: str
    source: str
    target: str


def cases(result: Result) -> list[Case]:
    """Return tasks and pairs, in the order in which they were measured."""
    return list(dict.fromkeys(Case(row["data"], row["source"], row["target"]) for row in result.table("sweeps")))


def points(result: Result, case: Case, sweep: Sweep, attack: str) -> list[Row]:
    """Return the rows of an attack along a sweep."""
    return [row for row in _of(result, "sweeps", case, attack) if row["sweep"] == sweep]


def control(result: Result, case: Case, name: str, attack: str) -> Row:
    """Return the row of an attack under a control."""
    return next(row for row in _of(result, "controls", case, attack) if row["control"] == name)


def base(result: Result, case: Case, attack: str) -> Row:
    """Return the row of an attack in the setting that sweeps share."""
    return next(row for row in points(result, case, "epsilon by text", attack) if row["epsilon"] is None)


def above(rows: list[Row], chance: float) -> int:
    """Return how many accuracies have an interval above chance."""
    return sum(row["accuracy low"] > chance for row in rows)


def shown(value: float | None) -> str:
    """Return a quantity in short; no epsilon is no noise."""
    return "none" if value is None else f"{value:,.6g}"


def ends(rows: Sequence[Row]) -> tuple[float, float]:
    """Return the least and the largest accuracy."""
    values = [row["accuracy"] for row in rows]
    return min(values), max(values)


def interval(row: Row, name: str) -> str:
    """Return a value of a row with the ends of its interval, or nothing if the row has none of it."""
    if name not in row:
        return ""
    return f"{row[name]:.3f} ({row[f'{name} low']:.3f} to {row[f'{name} high']:.3f})"


def named(case: Case) -> str:
    """Return a case in words."""
    return f"{case.data}, {case.target} <- {case.source}"


def _of(result: Result, table: str, case: Case, attack: str) -> list[Row]:
    return [
        row
        for row in result.table(table)
        if (row["data"], row["source"], row["target"]) == case and row["attack"] == attack
    ]
