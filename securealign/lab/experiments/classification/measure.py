"""Accuracies of heads on their own and on mapped embeddings; of one pair also under encryption."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property, partial
from typing import Any, get_args

import numpy as np
import polars as pl

from securealign.alignment import AlignmentMap
from securealign.alignment.clear import ClearFit, fit_map
from securealign.alignment.regression import MapKind
from securealign.alignment.ridge import AUTO_SHARE
from securealign.api import align_in_process, classify_in_process
from securealign.lab.experiments.classification.values import MAX_LOSS, losses
from securealign.lab.experiments.corpora import Vectors, labels_of
from securealign.lab.experiments.run import Cell, Result, Row, Run, one_blas_thread
from securealign.lab.experiments.setting import SHOT_WEIGHT, PairsConfig, fit_head, fit_with_shots
from securealign.lab.measures.fits import explained, fit_mean_only, fit_procrustes, fit_reduced_rank, fit_whitening


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


#: Part of a task's training texts that fits a map in one repetition.
_PART = 0.9
_KINDS: tuple[MapKind, ...] = get_args(MapKind)


@one_blas_thread()
def measure(
    run: Run, config: PairsConfig, *, encrypted_pair: tuple[str, str] | None = None, suite: str = "lwe"
) -> dict[str, Any]:
    """Return accuracies of all pairs on all tasks; `encrypted_pair` (source, target) also runs under encryption."""
    config.prepare()
    groups = [partial(_own, config, encoder) for encoder in config.encoders]
    run.measure("own heads and pairs", [*groups, *(_PairWork(config, *pair).cells for pair in config.pairs)])
    rivals = [name for name in config.rivals if name in config.encoders]
    settings = {
        **config.facts(),
        "shots": list(config.shots),
        "seeds": config.seeds,
        "rank": config.rank,
        "part": _PART,
        "shot_weight": SHOT_WEIGHT,
        "rivals": rivals if len(rivals) > 1 else [],
    }
    so_far = Result(experiment="classification", settings=settings, tables=run.tables)
    main, others = _exceptions(so_far) if run.tables["mapped"] else ([], [])
    run.measure("pairs that lose much", [partial(_refitted, config, row) for row in main])
    run.tables["exceptions"] += [{**row, "refitted": None} for row in others]
    if encrypted_pair is not None:
        run.measure("under encryption", [partial(encrypted_cells, config, *encrypted_pair, suite)])
    return settings


def _own(config: PairsConfig, encoder: str) -> Iterator[Cell]:
    """Yield what an encoder reaches with heads of its own: from all training texts, and from a few."""

    def compute(task: str) -> Iterator[Row]:
        data, rows, test = config.task(task).train, config.train(encoder, task), config.test(encoder, task)
        yield {"shots": None, "seed": 0, "accuracy": config.accuracy(config.head(encoder, task), test, task)}
        labels = np.asarray(labels_of(data))
        for shots in config.shots:
            for seed in range(config.seeds):
                chosen = config.drawn(task, seed, shots)
                head = fit_head(rows[chosen], labels[chosen].tolist(), data.class_names)
                yield {"shots": shots, "seed": seed, "accuracy": config.accuracy(head, test, task)}

    for task in config.tasks:
        names, key = {"encoder": encoder, "data": task}, config.task_key(task, encoder)
        yield Cell(table="own", names=names, key=key, compute=partial(compute, task))


class _PairWork:
    """The cells of one pair, with the maps that its tasks share."""

    def __init__(self, config: PairsConfig, source: str, target: str) -> None:
        self._config, self._source, self._target = config, source, target

    def cells(self) -> Iterator[Cell]:
        """Yield the facts of the pair, and for each task the accuracies of the provider's head on mapped test texts."""
        config, names = self._config, {"source": self._source, "target": self._target}
        key = config.public_key(self._source, self._target)
        yield Cell(table="pairs", names=names, key=key, compute=self._facts, kept="pair")
        rivals = config.rank if {self._source, self._target} <= set(config.rivals) else None
        fits = {"rivals": rivals, "map": config.map, "shot_weight": SHOT_WEIGHT}
        for task in config.tasks:
            key = {**config.task_key(task, self._source, self._target), **fits}
            yield Cell(table="mapped", names={**names, "data": task}, key=key, compute=partial(self._mapped, task))

    def _facts(self) -> list[Row]:
        """Return the penalty chosen, and what the client is told of the fit on public texts."""
        facts = self._public.map().metadata
        return [{name: facts[name] for name in ("penalty", "r2_unseen", "relatedness")}]

    def _mapped(self, task: str) -> Iterator[Row]:
        config = self._config
        queries, truth = config.test(self._source, task), config.test(self._target, task)
        for fit, fitted_on, seed, fitted in self._maps(task):
            mapped = fitted.apply(queries)
            accuracy = config.accuracy(config.head(self._target, task), mapped, task)
            r2 = explained(truth, mapped)
            yield {"fit": fit, "fitted_on": fitted_on, "seed": seed, "accuracy": accuracy, "r2": r2}

    def _maps(self, task: str) -> Iterator[tuple[str, str, int, AlignmentMap]]:
        config = self._config
        public = config.public(self._source), config.public(self._target)
        rows_b, rows_a = config.train(self._source, task), config.train(self._target, task)
        for kind, fitted in self._public_maps.items():
            yield kind, "public", 0, fitted
        for seed in range(config.seeds):
            chosen = config.drawn(task, seed, int(_PART * len(rows_b)))
            fit = ClearFit.of(rows_b[chosen], rows_a[chosen])
            for kind in _KINDS:
                yield kind, "task", seed, fit.map(kind)
            for shots in config.shots:
                chosen = config.drawn(task, seed, shots)
                fitted = fit_with_shots(public, (rows_b[chosen], rows_a[chosen]), config.map)
                yield config.map, f"public+{shots}", seed, fitted
        if {self._source, self._target} <= set(config.rivals):
            for name, fitted in self._rivals.items():
                yield name, "public", 0, fitted
            for name, fitted in self._rivals_on(rows_b, rows_a, ClearFit.of(rows_b, rows_a).penalty).items():
                yield name, "task", 0, fitted

    @cached_property
    def _public(self) -> ClearFit:
        return self._config.public_fit(self._source, self._target)

    @cached_property
    def _public_maps(self) -> dict[MapKind, AlignmentMap]:
        return {kind: self._public.map(kind) for kind in _KINDS}

    @cached_property
    def _rivals(self) -> dict[str, AlignmentMap]:
        config = self._config
        return self._rivals_on(config.public(self._source), config.public(self._target), self._public.penalty)

    def _rivals_on(self, rows_b: Vectors, rows_a: Vectors, penalty: float) -> dict[str, AlignmentMap]:
        raw = AUTO_SHARE * len(rows_b) * float(rows_b.var(axis=0, dtype=np.float64).mean())
        return {
            "ridge, not standardised": fit_map(rows_b, rows_a, raw),
            "reduced rank": fit_reduced_rank(rows_b, rows_a, penalty, rank=self._config.rank),
            "whitening": fit_whitening(rows_b, rows_a, penalty),
            "Procrustes": fit_procrustes(rows_b, rows_a),
            "mean only": fit_mean_only(rows_b, rows_a),
        }


def _exceptions(result: Result) -> tuple[list[Row], list[Row]]:
    """Return the main pairs, and the others, that lose more than the paper's range by a map fitted on the task."""
    found = losses(result, fit=result.settings["map"]).filter(pl.col("lost") > MAX_LOSS, fitted_on="task")
    columns = ("source", "target", "data", "provider_own", "client_own", "mapped", "r2")
    main, others = (found.filter(kept).select(columns).to_dicts() for kept in (pl.col("main"), ~pl.col("main")))
    return main, others


def _refitted(config: PairsConfig, row: Row) -> Iterator[Cell]:
    """Yield what a head fitted anew on the mapped training texts reaches.

    That much is left in the mapped embeddings; what the provider's head loses against it, it loses because the map
    moved the classes.
    """
    source, target, task = row["source"], row["target"], row["data"]

    def compute() -> list[Row]:
        rows_b, data = config.train(source, task), config.task(task).train
        fitted = fit_map(rows_b, config.train(target, task), "auto", kind=config.map)
        head = fit_head(fitted.apply(rows_b), labels_of(data), data.class_names)
        return [{"refitted": config.accuracy(head, fitted.apply(config.test(source, task)), task)}]

    key = {**config.task_key(task, source, target), "map": config.map}
    yield Cell(table="exceptions", names=row, key=key, compute=compute)
