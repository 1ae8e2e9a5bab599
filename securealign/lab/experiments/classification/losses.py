"""What a map costs: the provider's own accuracy against the mapped one, with the client's own beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from securealign.alignment.regression import MapKind
from securealign.lab.experiments.store import Row

#: Encoders that add up vectors of words; all others read a text as a whole.
STATIC = frozenset({"wordllama", "glove"})

Tables = Mapping[str, Sequence[Row]]


def pairs_in(tables: Tables) -> list[tuple[str, str]]:
    """Return the ordered pairs (source, target)."""
    return [(row["source"], row["target"]) for row in tables["pairs"]]


def main_pairs_in(tables: Tables) -> list[tuple[str, str]]:
    """Return the ordered pairs (source, target) of two transformers, or all pairs where there is none."""
    pairs = pairs_in(tables)
    return [pair for pair in pairs if not STATIC & set(pair)] or pairs


def own_accuracies(tables: Tables) -> dict[tuple[str, str], float]:
    """Return by (encoder, task) what a head fitted on all training texts reaches."""
    return {(row["encoder"], row["data"]): row["accuracy"] for row in tables["own"] if row["shots"] is None}


def losses(tables: Tables, kind: MapKind) -> list[Row]:
    """Return accuracies and R^2 of every pair and task, means over seeds, for maps fitted on the task's texts."""
    own = own_accuracies(tables)
    cells: dict[tuple[str, str, str], list[Row]] = {}
    for row in tables["mapped"]:
        if (row["fit"], row["fitted_on"]) == (kind, "task"):
            cells.setdefault((row["source"], row["target"], row["data"]), []).append(row)
    return [
        {
            "source": source,
            "target": target,
            "data": data,
            "provider_own": own[target, data],
            "client_own": own[source, data],
            "mapped": fmean(row["accuracy"] for row in rows),
            "r2": fmean(row["r2"] for row in rows),
        }
        for (source, target, data), rows in cells.items()
    ]
