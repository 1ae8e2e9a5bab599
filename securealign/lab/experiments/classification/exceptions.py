"""Pairs and tasks where the map costs more than the paper's range.

A second head is fitted on the mapped training texts. What it reaches is left in the mapped embeddings; what the
provider's head loses against it, it loses because the map moved the classes.
"""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from securealign.alignment.clear import fit_map
from securealign.lab.experiments.classification.values import MAX_LOSS, losses
from securealign.lab.experiments.corpora import labels_of
from securealign.lab.experiments.result import Result
from securealign.lab.experiments.run import Cell
from securealign.lab.experiments.setting import PairsConfig, fit_head
from securealign.lab.experiments.store import Row


def exceptions(result: Result) -> tuple[list[Row], list[Row]]:
    """Return the pairs and tasks that lose more than the paper's range by a map fitted on the task's texts.

    First those of main pairs, then the others.
    """
    found = losses(result, fit=result.settings["map"]).filter(pl.col("lost") > MAX_LOSS, fitted_on="task")
    columns = ("source", "target", "data", "provider_own", "client_own", "mapped", "r2")
    main, others = (found.filter(kept).select(columns).to_dicts() for kept in (pl.col("main"), ~pl.col("main")))
    return main, others


def exception_cells(config: PairsConfig, row: Row) -> Iterator[Cell]:
    """Yield what a head fitted anew reaches."""
    pair = row["source"], row["target"], row["data"]
    key = {**config.task_key(row["data"], row["source"], row["target"]), "map": config.map}
    yield Cell(table="exceptions", names=row, key=key, compute=lambda: [_refitted(config, *pair)])


def _refitted(config: PairsConfig, source: str, target: str, task: str) -> Row:
    rows_b, rows_a = config.train(source, task), config.train(target, task)
    fitted = fit_map(rows_b, rows_a, "auto", kind=config.map)
    data = config.task(task).train
    head = fit_head(fitted.apply(rows_b), labels_of(data), data.class_names)
    return {"refitted": config.accuracy(head, fitted.apply(config.test(source, task)), task)}
