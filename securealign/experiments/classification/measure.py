"""Accuracies of heads on their own and on mapped embeddings."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from itertools import permutations

import numpy as np

from securealign.alignment import AlignmentMap, CrossMoments
from securealign.alignment.fits import (
    explained,
    fit_mean_only,
    fit_procrustes,
    fit_reduced_rank,
    fit_ridge,
    fit_whitening,
    moments_of,
    ridge_from,
    with_rows,
)
from securealign.experiments.classification.encrypted import encrypted_rows
from securealign.experiments.classification.exceptions import exception_rows
from securealign.experiments.corpora import labels_of
from securealign.experiments.embeddings import AddBar, Vectors, no_bars
from securealign.experiments.result import Result
from securealign.experiments.setting import Pair, Setting, fit_head
from securealign.experiments.store import Row, Store
from securealign.experiments.threads import one_blas_thread

NAME = "classification"
#: Part of a task's training texts that fits a map in one repetition.
_PART = 0.9


@one_blas_thread()
def measure(
    setting: Setting,
    store: Store,
    *,
    encrypted_pair: tuple[str, str] | None = None,
    suite: str = "lwe",
    add_bar: AddBar = no_bars,
    command: str = "",
) -> Result:
    """Return accuracies of all pairs on all tasks; `encrypted_pair` (source, target) also runs under encryption."""
    setting.prepare()
    tables: dict[str, list[Row]] = {"own": [], "pairs": [], "mapped": []}
    pairs = list(permutations(setting.encoders, 2))
    report = add_bar("own heads and pairs")
    total = len(setting.encoders) + len(pairs)
    for done, encoder in enumerate(setting.encoders):
        report(done, total)
        for task in setting.tasks:
            tables["own"] += _own(setting, store, encoder, task)
    for done, (source, target) in enumerate(pairs, start=len(setting.encoders)):
        report(done, total)
        work = _PairWork(setting, store, source, target)
        tables["pairs"].append(work.facts)
        for task in setting.tasks:
            tables["mapped"] += work.mapped(task)
    tables["exceptions"] = exception_rows(setting, store, tables)
    if encrypted_pair is not None:
        report = add_bar("under encryption")
        tables["encrypted"] = encrypted_rows(setting, store, *encrypted_pair, suite=suite, report=report)
    report(total, total)
    corpora = setting.corpora
    rivals = [name for name in setting.rivals if name in setting.encoders]
    return Result(
        experiment=NAME,
        settings={
            "encoders": {name: setting.embeddings.dimension(name) for name in setting.encoders},
            "tasks": {
                name: {"classes": len(setting.task(name).train.class_names), "train": len(setting.task(name).train),
                       "test": len(setting.task(name).test)}
                for name in setting.tasks
            },
            "public": len(corpora.public_texts), "public_sets": list(corpora.public_sets),
            "shots": list(setting.shots), "seeds": setting.seeds, "rank": setting.rank, "part": _PART,
            "rivals": rivals if len(rivals) > 1 else [],
        },
        tables=tables,
        command=command,
    )  # fmt: skip


def _own(setting: Setting, store: Store, encoder: str, task: str) -> list[Row]:
    """Return what an encoder reaches with heads of its own: from all training texts, and from a few."""

    def compute() -> Iterator[Row]:
        data, rows, test = setting.task(task).train, setting.train(encoder, task), setting.test(encoder, task)
        yield {"shots": None, "seed": 0, "accuracy": setting.accuracy(setting.head(encoder, task), test, task)}
        labels = np.asarray(labels_of(data))
        for shots in setting.shots:
            for seed in range(setting.seeds):
                chosen = setting.drawn(task, seed, shots)
                head = fit_head(rows[chosen], labels[chosen].tolist(), data.class_names)
                yield {"shots": shots, "seed": seed, "accuracy": setting.accuracy(head, test, task)}

    rows = store.rows(f"{NAME}-own", setting.task_key(task, encoder), lambda: list(compute()))
    return [{"encoder": encoder, "data": task, **row} for row in rows]


class _PairWork:
    """The cells of one pair, with the maps that its tasks share."""

    def __init__(self, setting: Setting, store: Store, source: str, target: str) -> None:
        self._setting, self._store = setting, store
        self._names = {"source": source, "target": target}
        self._source, self._target = source, target

    @property
    def _pair(self) -> Pair:
        return self._setting.pair(self._source, self._target)

    @property
    def facts(self) -> Row:
        """The penalty chosen, and how much of unseen public texts the map explains."""

        def compute() -> list[Row]:
            rows_b, rows_a = self._setting.public(self._source), self._setting.public(self._target)
            held = np.arange(len(rows_b)) % 5 == 1
            fitted = fit_ridge(rows_b[~held], rows_a[~held], self._pair.share, self._pair.scale)
            return [{"share": self._pair.share, "public_r2": explained(rows_a[held], fitted.apply(rows_b[held]))}]

        key = self._setting.public_key(self._source, self._target)
        return {**self._names, **self._store.rows(f"{NAME}-pair", key, compute)[0]}

    def mapped(self, task: str) -> list[Row]:
        """Return the accuracies of the provider's head on mapped test texts, for all kinds of map."""

        def compute() -> list[Row]:
            return [
                {"fit": fit, "fitted_on": fitted_on, "seed": seed, **self._score(task, fitted)}
                for fit, fitted_on, seed, fitted in self._maps(task)
            ]

        rivals = self._setting.rank if {self._source, self._target} <= set(self._setting.rivals) else None
        key = {**self._setting.task_key(task, self._source, self._target), "rivals": rivals}
        return [{**self._names, "data": task, **row} for row in self._store.rows(f"{NAME}-mapped", key, compute)]

    def _maps(self, task: str) -> Iterator[tuple[str, str, int, AlignmentMap]]:
        setting, share, scale = self._setting, self._pair.share, self._pair.scale
        rows_b, rows_a = setting.train(self._source, task), setting.train(self._target, task)
        yield "ridge", "public", 0, ridge_from(self._public, share, scale)
        for seed in range(setting.seeds):
            chosen = setting.drawn(task, seed, int(_PART * len(rows_b)))
            yield "ridge", "task", seed, fit_ridge(rows_b[chosen], rows_a[chosen], share, scale)
            for shots in setting.shots:
                chosen = setting.drawn(task, seed, shots)
                moments = with_rows(self._public, rows_b[chosen], rows_a[chosen], scale)
                yield "ridge", f"public+{shots}", seed, ridge_from(moments, share, scale)
        if {self._source, self._target} <= set(setting.rivals):
            for fit, fitted in self._rivals.items():
                yield fit, "public", 0, fitted
            for fit, fitted in self._rivals_on(rows_b, rows_a).items():
                yield fit, "task", 0, fitted

    @cached_property
    def _public(self) -> CrossMoments:
        rows_b, rows_a = self._setting.public(self._source), self._setting.public(self._target)
        return moments_of(rows_b, rows_a, self._pair.scale)

    @cached_property
    def _rivals(self) -> dict[str, AlignmentMap]:
        return self._rivals_on(self._setting.public(self._source), self._setting.public(self._target))

    def _rivals_on(self, rows_b: Vectors, rows_a: Vectors) -> dict[str, AlignmentMap]:
        share, scale = self._pair.share, self._pair.scale
        return {
            "ridge, not standardised": fit_ridge(rows_b, rows_a, share),
            "reduced rank": fit_reduced_rank(rows_b, rows_a, share, scale, rank=self._setting.rank),
            "whitening": fit_whitening(rows_b, rows_a, share, scale),
            "Procrustes": fit_procrustes(rows_b, rows_a),
            "mean only": fit_mean_only(rows_b, rows_a),
        }

    def _score(self, task: str, fitted: AlignmentMap) -> Row:
        setting = self._setting
        mapped = fitted.apply(setting.test(self._source, task))
        return {
            "accuracy": setting.accuracy(setting.head(self._target, task), mapped, task),
            "r2": explained(setting.test(self._target, task), mapped),
        }
