"""What pictures and text of the experiment count up from its tables."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from statistics import fmean

from securealign.lab.experiments.classification.losses import losses, main_pairs_in, own_accuracies, pairs_in
from securealign.lab.experiments.result import Result
from securealign.lab.experiments.store import Row

#: Kinds of map, as tables name them.
FITS = ("soft", "ridge", "ridge, not standardised", "reduced rank", "whitening", "Procrustes", "mean only")


def main_pairs(result: Result) -> list[tuple[str, str]]:
    """Return the ordered pairs (source, target) of two transformers, or all pairs where there is none."""
    return main_pairs_in(result.tables)


def is_main(result: Result, row: Row) -> bool:
    """Return whether a row is about one of the main pairs."""
    return (row["source"], row["target"]) in main_pairs(result)


def pairs_of(result: Result) -> list[tuple[str, str]]:
    """Return the ordered pairs (source, target)."""
    return pairs_in(result.tables)


def own_accuracy(result: Result) -> dict[tuple[str, str], float]:
    """Return by (encoder, task) what a head fitted on all training texts reaches."""
    return own_accuracies(result.tables)


def all_losses(result: Result) -> list[Row]:
    """Return every pair and task with the provider's own, the client's own and the mapped accuracy."""
    return losses(result.tables, result.settings["map"])


def shot_accuracies(result: Result, encoder: str, task: str, shots: int) -> list[float]:
    """Return for each seed what a head of one's own reaches from a few texts."""
    wanted = (encoder, task, shots)
    return [row["accuracy"] for row in result.table("own") if (row["encoder"], row["data"], row["shots"]) == wanted]


def mapped_accuracies(
    result: Result,
    fitted_on: str,
    tasks: Collection[str],
    pairs: Collection[tuple[str, str]],
    fit: str | None = None,
) -> list[float]:
    """Return the accuracies of one kind of map, the setting's unless named, for all seeds of tasks and pairs."""
    fit = fit or result.settings["map"]
    return [
        row["accuracy"]
        for row in result.table("mapped")
        if (row["fit"], row["fitted_on"]) == (fit, fitted_on)
        and row["data"] in tasks
        and (row["source"], row["target"]) in pairs
    ]


def rival_losses(result: Result, fit: str, fitted_on: str) -> list[float]:
    """Return for every pair of rivals and task what the provider's head loses by a kind of map."""
    own, rivals = own_accuracy(result), set(result.settings["rivals"])
    return [
        own[pair[1], task] - fmean(mapped_accuracies(result, fitted_on, [task], [pair], fit))
        for pair in pairs_of(result)
        if set(pair) <= rivals
        for task in result.settings["tasks"]
    ]


def columns(result: Result) -> Sequence[str]:
    """Return what maps were fitted on, from public texts alone to the task's own."""
    return ["public", *(f"public+{shots}" for shots in result.settings["shots"]), "task"]
