"""One pair of encoders on all tasks, under encryption from the map to the label."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from securealign.alignment import AlignmentMap
from securealign.alignment.clear import fit_map
from securealign.api import align_in_process, classify_in_process
from securealign.commands import Report, counted
from securealign.lab.experiments.corpora import labels_of
from securealign.lab.experiments.embeddings import Vectors
from securealign.lab.experiments.setting import Setting
from securealign.lab.experiments.store import Row, Store


def encrypted_rows(
    setting: Setting, store: Store, source: str, target: str, *, suite: str, report: Report
) -> list[Row]:
    """Return accuracies in clear and under encryption, for maps fitted on each task's texts and on public texts."""
    public = cache(lambda: _learnt(setting, setting.public(source), setting.public(target), suite))
    rows: list[Row] = []
    for task in counted(setting.tasks, report):
        key = {**setting.task_key(task, source, target), "suite": suite, "map": setting.map}

        def compute(task: str = task) -> list[Row]:
            own = _learnt(setting, setting.train(source, task), setting.train(target, task), suite)
            learnt = {"task": own, "public": public()}
            return [
                {"fitted_on": name, "map": setting.map, "suite": suite, "training_bytes": maps.sent}
                | _classify(setting, (source, target), task, maps, suite)
                for name, maps in learnt.items()
                if maps is not None
            ]

        found = store.rows("classification-encrypted", key, compute)
        rows += [{"source": source, "target": target, "data": task, **row} for row in found]
    return rows


@dataclass(frozen=True)
class Maps:
    """One map, fitted in clear and under encryption, and the bytes that took."""

    clear: AlignmentMap
    encrypted: AlignmentMap
    sent: int


def _learnt(setting: Setting, rows_b: Vectors, rows_a: Vectors, suite: str) -> Maps | None:
    """Return the maps of some texts, or None when there are too few of them."""
    # With fewer, the product would give the provider's embeddings away, and the protocol refuses.
    if len(rows_b) <= rows_b.shape[1] + 1:
        return None
    run = align_in_process(rows_a, rows_b, suite=suite, ridge="auto", map=setting.map)
    clear = fit_map(rows_b, rows_a, "auto", kind=setting.map)
    return Maps(clear, run.alignment, run.stats.bytes_up + run.stats.bytes_down)


def _classify(setting: Setting, pair: tuple[str, str], task: str, maps: Maps, suite: str) -> Row:
    """Return the accuracies of the test texts' labels in clear and under encryption."""
    source, target = pair
    head, queries, data = setting.head(target, task), setting.test(source, task), setting.task(task).test
    clear = head.logits(maps.clear.apply(queries)).argmax(axis=1)
    answer = classify_in_process(head.weight, head.bias, maps.encrypted.apply(queries), suite=suite)
    truth = np.array([head.class_names.index(data.class_names[label]) for label in labels_of(data)])
    return {
        "clear": float(np.mean(clear == truth)),
        "encrypted": float(np.mean(answer.labels == truth)),
        "equal_labels": float(np.mean(answer.labels == clear)),
        "query_bytes": (answer.stats.bytes_up + answer.stats.bytes_down) / len(queries),
    }
