"""What pictures and text of the experiment count up from its tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean

from securealign.lab.experiments.result import Result
from securealign.lab.experiments.store import Row

#: What a head is applied to, as titles of columns.
MAPS = {"own": "provider's own", "task": "task map", "public": "public map"}


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of the paper's Table 7: AUROC, FPR@95 and accuracy by what the head is applied to, a key of `MAPS`."""

    data: str
    ood: str
    source: str
    target: str
    auroc: dict[str, float]
    fpr95: dict[str, float]
    accuracy: dict[str, float]


def layout(result: Result, score: str = "energy") -> list[Line]:
    """Return all lines under a score, in the order of tasks, data sets out of distribution and pairs."""
    own = {(row["data"], row["ood"], row["target"]): row for row in result.table("own") if row["score"] == score}
    mapped: dict[tuple[str, str, str, str], dict[str, Row]] = {}
    for row in result.table("mapped"):
        if row["score"] == score:
            line = row["data"], row["ood"], row["source"], row["target"]
            mapped.setdefault(line, {"own": own[row["data"], row["ood"], row["target"]]})[row["fitted_on"]] = row
    order = cases(result)
    lines = [
        Line(
            data=data, ood=ood, source=source, target=target,
            auroc=_column(cells, "auroc"), fpr95=_column(cells, "fpr95"), accuracy=_column(cells, "accuracy"),
        )
        for (data, ood, source, target), cells in mapped.items()
    ]  # fmt: skip
    return sorted(lines, key=lambda line: order.index((line.data, line.ood)))


def _column(cells: Mapping[str, Row], name: str) -> dict[str, float]:
    return {fitted_on: cells[fitted_on][name] for fitted_on in MAPS}


def cases(result: Result) -> list[tuple[str, str]]:
    """Return the pairs of a task and what is out of its distribution."""
    return [(row["data"], row["ood"]) for row in result.table("length")]


def length_alone(result: Result) -> dict[tuple[str, str], float]:
    """Return by case the AUROC of the number of words."""
    return {(row["data"], row["ood"]): row["auroc"] for row in result.table("length")}


def changes(lines: list[Line], fitted_on: str) -> list[float]:
    """Return for every line how a map changes the AUROC of the provider's own embeddings."""
    return [line.auroc[fitted_on] - line.auroc["own"] for line in lines]


def mean_auroc(lines: list[Line], name: str) -> float:
    """Return the mean AUROC over lines for a key of `MAPS`."""
    return fmean(line.auroc[name] for line in lines)
