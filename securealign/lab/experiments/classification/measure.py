"""Accuracies of heads on their own and on mapped embeddings."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from itertools import permutations
from typing import get_args

import numpy as np

from securealign.alignment import AlignmentMap
from securealign.alignment.clear import ClearFit, fit_map
from securealign.alignment.regression import MapKind
from securealign.alignment.ridge import AUTO_SHARE
from securealign.lab.experiments.classification.encrypted import encrypted_rows
from securealign.lab.experiments.classification.exceptions import exception_rows
from securealign.lab.experiments.corpora import labels_of
from securealign.lab.experiments.embeddings import AddBar, Vectors, no_bars
from securealign.lab.experiments.result import Result
from securealign.lab.experiments.setting import SHOT_WEIGHT, Setting, fit_head, fit_with_shots
from securealign.lab.experiments.store import Row, Store
from securealign.lab.experiments.threads import one_blas_thread
from securealign.lab.measures.fits import explained, fit_mean_only, fit_procrustes, fit_reduced_rank, fit_whitening

NAME = "classification"
#: Part of a task's training texts that fits a map in one repetition.
_PART = 0.9
_KINDS: tuple[MapKind, ...] = get_args(MapKind)


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
            "map": setting.map, "shot_weight": SHOT_WEIGHT,
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
    def facts(self) -> Row:
        """The penalty chosen, and what the client is told of the fit on public texts."""

        def compute() -> list[Row]:
            facts = self._public.map().metadata
            return [{name: facts[name] for name in ("penalty", "r2_unseen", "relatedness")}]

        key = self._setting.public_key(self._source, self._target)
        return {**self._names, **self._store.rows(f"{NAME}-pair", key, compute)[0]}

    def mapped(self, task: str) -> list[Row]:
        """Return the accuracies of the provider's head on mapped test texts, for all kinds of map."""

        def compute() -> list[Row]:
            return [
                {"fit": fit, "fitted_on": fitted_on, "seed": seed, **self._score(task, fitted)}
                for fit, fitted_on, seed, fitted in self._maps(task)
            ]

        setting = self._setting
        rivals = setting.rank if {self._source, self._target} <= set(setting.rivals) else None
        fits = {"rivals": rivals, "map": setting.map, "shot_weight": SHOT_WEIGHT}
        key = {**setting.task_key(task, self._source, self._target), **fits}
        return [{**self._names, "data": task, **row} for row in self._store.rows(f"{NAME}-mapped", key, compute)]

    def _maps(self, task: str) -> Iterator[tuple[str, str, int, AlignmentMap]]:
        setting = self._setting
        public = setting.public(self._source), setting.public(self._target)
        rows_b, rows_a = setting.train(self._source, task), setting.train(self._target, task)
        for kind, fitted in self._public_maps.items():
            yield kind, "public", 0, fitted
        for seed in range(setting.seeds):
            chosen = setting.drawn(task, seed, int(_PART * len(rows_b)))
            fit = ClearFit.of(rows_b[chosen], rows_a[chosen])
            for kind in _KINDS:
                yield kind, "task", seed, fit.map(kind)
            for shots in setting.shots:
                chosen = setting.drawn(task, seed, shots)
                fitted = fit_with_shots(public, (rows_b[chosen], rows_a[chosen]), setting.map)
                yield setting.map, f"public+{shots}", seed, fitted
        if {self._source, self._target} <= set(setting.rivals):
            for name, fitted in self._rivals.items():
                yield name, "public", 0, fitted
            for name, fitted in self._rivals_on(rows_b, rows_a, ClearFit.of(rows_b, rows_a).penalty).items():
                yield name, "task", 0, fitted

    @cached_property
    def _public(self) -> ClearFit:
        return self._setting.public_fit(self._source, self._target)

    @cached_property
    def _public_maps(self) -> dict[MapKind, AlignmentMap]:
        return {kind: self._public.map(kind) for kind in _KINDS}

    @cached_property
    def _rivals(self) -> dict[str, AlignmentMap]:
        setting = self._setting
        return self._rivals_on(setting.public(self._source), setting.public(self._target), self._public.penalty)

    def _rivals_on(self, rows_b: Vectors, rows_a: Vectors, penalty: float) -> dict[str, AlignmentMap]:
        raw = AUTO_SHARE * len(rows_b) * float(rows_b.var(axis=0, dtype=np.float64).mean())
        return {
            "ridge, not standardised": fit_map(rows_b, rows_a, raw),
            "reduced rank": fit_reduced_rank(rows_b, rows_a, penalty, rank=self._setting.rank),
            "whitening": fit_whitening(rows_b, rows_a, penalty),
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
