"""One pair of encoders on all tasks, under encryption from the map to the label."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from securealign.alignment import AlignmentMap
from securealign.alignment.fits import fit_ridge
from securealign.api import align_in_process, classify_in_process
from securealign.commands import Report, counted
from securealign.experiments.corpora import labels_of
from securealign.experiments.embeddings import Vectors
from securealign.experiments.setting import Pair, Setting
from securealign.experiments.store import Row, Store


def encrypted_rows(
    setting: Setting, store: Store, source: str, target: str, *, suite: str, report: Report
) -> list[Row]:
    """Return accuracies in clear and under encryption, for maps fitted on each task's texts and on public texts."""
    public = cache(lambda: _learnt(setting.pair(source, target), setting.public(source), setting.public(target), suite))
    rows: list[Row] = []
    for task in counted(setting.tasks, report):
        key = {**setting.task_key(task, source, target), "suite": suite}

        def compute(task: str = task) -> list[Row]:
            pair = setting.pair(source, target)
            own = _learnt(pair, setting.train(source, task), setting.train(target, task), suite)
            learnt = {"task": own, "public": public()}
            return [
                {"fitted_on": name, "suite": suite, "training_bytes": maps.sent}
                | _classify(setting, pair, task, suite, maps)
                for name, maps in learnt.items()
                if maps is not None
            ]

        found = store.rows("classification-encrypted", key, compute)
        rows += [{"source": source, "target": target, "data": task, **row} for row in found]
    return rows


@dataclass(frozen=True)
class Maps:
    """One map, fitted in clear on raw embeddings and under encryption on scaled ones, and the bytes that took."""

    clear: AlignmentMap
    encrypted: AlignmentMap
    sent: int


def _learnt(pair: Pair, rows_b: Vectors, rows_a: Vectors, suite: str) -> Maps | None:
    """Return the maps of some texts, or None when there are too few of them."""
    # With fewer, the product would give the provider's embeddings away, and the protocol refuses.
    if len(rows_b) <= rows_b.shape[1] + 1:
        return None
    scaled = rows_b / pair.scale
    penalty = pair.share * float(scaled.var(axis=0, dtype=np.float64).mean()) * len(scaled)
    run = align_in_process(rows_a, scaled, suite=suite, ridge=penalty)
    clear = fit_ridge(rows_b, rows_a, pair.share, pair.scale)
    return Maps(clear, run.alignment, run.stats.bytes_up + run.stats.bytes_down)


def _classify(setting: Setting, pair: Pair, task: str, suite: str, maps: Maps) -> Row:
    """Return the accuracies of the test texts' labels in clear and under encryption."""
    head, queries, data = setting.head(pair.target, task), setting.test(pair.source, task), setting.task(task).test
    clear = head.logits(maps.clear.apply(queries)).argmax(axis=1)
    answer = classify_in_process(head.weight, head.bias, maps.encrypted.apply(queries / pair.scale), suite=suite)
    truth = np.array([head.class_names.index(data.class_names[label]) for label in labels_of(data)])
    return {
        "clear": float(np.mean(clear == truth)),
        "encrypted": float(np.mean(answer.labels == truth)),
        "equal_labels": float(np.mean(answer.labels == clear)),
        "query_bytes": (answer.stats.bytes_up + answer.stats.bytes_down) / len(queries),
    }
