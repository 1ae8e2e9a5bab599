"""One pair of encoders on all tasks, under encryption from the map to the label."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, partial

import numpy as np

from securealign.alignment import AlignmentMap
from securealign.alignment.clear import fit_map
from securealign.api import align_in_process, classify_in_process
from securealign.lab.experiments.corpora import labels_of
from securealign.lab.experiments.embeddings import Vectors
from securealign.lab.experiments.run import Cell
from securealign.lab.experiments.setting import PairsConfig
from securealign.lab.experiments.store import Row


@dataclass(frozen=True)
class Maps:
    """One map, fitted in clear and under encryption, and the bytes that took."""

    clear: AlignmentMap
    encrypted: AlignmentMap
    sent: int


def encrypted_cells(config: PairsConfig, source: str, target: str, suite: str) -> Iterator[Cell]:
    """Yield accuracies in clear and under encryption, for maps fitted on each task's texts and on public ones."""
    public = cache(lambda: _learnt(config, config.public(source), config.public(target), suite))

    def compute(task: str) -> Iterator[Row]:
        own = _learnt(config, config.train(source, task), config.train(target, task), suite)
        for name, maps in {"task": own, "public": public()}.items():
            if maps is not None:
                learnt = {"fitted_on": name, "map": config.map, "suite": suite, "training_bytes": maps.sent}
                yield learnt | _classify(config, (source, target), task, maps, suite)

    for task in config.tasks:
        names = {"source": source, "target": target, "data": task}
        key = {**config.task_key(task, source, target), "suite": suite, "map": config.map}
        yield Cell(table="encrypted", names=names, key=key, compute=partial(compute, task))


def _learnt(config: PairsConfig, rows_b: Vectors, rows_a: Vectors, suite: str) -> Maps | None:
    """Return the maps of some texts, or None when there are too few of them."""
    # With fewer, the product would give the provider's embeddings away, and the protocol refuses.
    if len(rows_b) <= rows_b.shape[1] + 1:
        return None
    run = align_in_process(rows_a, rows_b, suite=suite, ridge="auto", map=config.map)
    clear = fit_map(rows_b, rows_a, "auto", kind=config.map)
    return Maps(clear, run.alignment, run.stats.bytes_up + run.stats.bytes_down)


def _classify(config: PairsConfig, pair: tuple[str, str], task: str, maps: Maps, suite: str) -> Row:
    """Return the accuracies of the test texts' labels in clear and under encryption."""
    source, target = pair
    head, queries, data = config.head(target, task), config.test(source, task), config.task(task).test
    clear = head.logits(maps.clear.apply(queries)).argmax(axis=1)
    answer = classify_in_process(head.weight, head.bias, maps.encrypted.apply(queries), suite=suite)
    truth = np.array([head.class_names.index(data.class_names[label]) for label in labels_of(data)])
    return {
        "clear": float(np.mean(clear == truth)),
        "encrypted": float(np.mean(answer.labels == truth)),
        "equal_labels": float(np.mean(answer.labels == clear)),
        "query_bytes": (answer.stats.bytes_up + answer.stats.bytes_down) / len(queries),
    }
