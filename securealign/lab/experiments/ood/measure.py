"""AUROC and FPR@95 of all pairs of encoders, tasks and data sets out of distribution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import permutations
from typing import Any

import numpy as np
import numpy.typing as npt

from securealign.alignment import AlignmentMap
from securealign.alignment.clear import fit_map
from securealign.data import dataset_digest
from securealign.errors import ConfigurationError
from securealign.lab.experiments.corpora import labels_of
from securealign.lab.experiments.embeddings import AddBar, no_bars
from securealign.lab.experiments.result import Result
from securealign.lab.experiments.setting import Setting
from securealign.lab.experiments.store import Row, Store
from securealign.lab.experiments.threads import one_blas_thread
from securealign.lab.measures.ood import auroc, energy_score, fpr_at, msp_score
from securealign.matrices import FloatMatrix

NAME = "ood"
SCORES = {"energy": energy_score, "softmax": msp_score}
#: A data set that shares more of its texts with a task is not out of its distribution.
_MOST_SHARED = 0.5

#: Texts of every data set that is out of distribution, by its name.
Outside = Mapping[str, tuple[str, ...]]


@one_blas_thread()
def measure(
    setting: Setting, store: Store, outside: Sequence[str], *, add_bar: AddBar = no_bars, command: str = ""
) -> Result:
    """Return scores of all pairs on the setting's tasks, each against the test texts of the tasks in `outside`.

    Raises `ConfigurationError` when a task has nothing out of distribution.
    """
    chosen = {task: _outside(setting, task, outside) for task in setting.tasks}
    setting.prepare(others=outside)
    tables: dict[str, list[Row]] = {"own": [], "mapped": [], "length": []}
    pairs = list(permutations(setting.encoders, 2))
    report, total = add_bar("pairs of encoders"), len(setting.encoders) + len(pairs)
    for task, others in chosen.items():
        tables["length"] += _lengths(setting, task, others)
    for done, encoder in enumerate(setting.encoders):
        report(done, total)
        for task, others in chosen.items():
            tables["own"] += _own(setting, store, encoder, task, others)
    for done, (source, target) in enumerate(pairs, start=len(setting.encoders)):
        report(done, total)
        work = _PairWork(setting, store, source, target)
        for task, others in chosen.items():
            tables["mapped"] += work.mapped(task, others)
    report(total, total)
    settings = {
        "encoders": {name: setting.embeddings.dimension(name) for name in setting.encoders},
        "tasks": {
            name: {"classes": len(setting.task(name).train.class_names), "train": len(setting.task(name).train),
                   "test": len(setting.task(name).test)}
            for name in setting.tasks
        },
        "public": len(setting.corpora.public_texts), "public_sets": list(setting.corpora.public_sets),
        "map": setting.map,
    }  # fmt: skip
    return Result(experiment=NAME, settings=settings, tables=tables, command=command)


def _outside(setting: Setting, task: str, names: Sequence[str]) -> Outside:
    """Return the texts of other data sets that are not texts of the task, without those that are much the same."""
    own = {*setting.task(task).train.texts, *setting.task(task).test.texts}
    found = {}
    for name in names:
        texts = setting.task(name).test.texts
        kept = tuple(text for text in texts if text not in own)
        if name != task and len(kept) > _MOST_SHARED * len(texts):
            found[name] = kept
    if not found:
        raise ConfigurationError(
            f"Nothing is out of the distribution of {task!r}.", hint="Name another data set by --ood."
        )
    return found


def _lengths(setting: Setting, task: str, outside: Outside) -> list[Row]:
    """Return how well the number of words alone tells data sets apart, whichever has the longer texts."""
    inside = _words(setting.task(task).test.texts)
    rows: list[Row] = []
    for name, texts in outside.items():
        area = auroc(inside, _words(texts))
        rows.append(
            {"data": task, "ood": name, "inside": len(inside), "texts": len(texts), "auroc": max(area, 1 - area)}
        )
    return rows


def _words(texts: Sequence[str]) -> npt.NDArray[np.float64]:
    return np.array([len(text.split()) for text in texts], dtype=np.float64)


def _key(setting: Setting, task: str, outside: Outside, *encoders: str) -> dict[str, Any]:
    digests = {name: dataset_digest(texts).hex() for name, texts in outside.items()}
    return {**setting.public_key(*encoders), "task": setting.task(task).digest, "outside": digests}


def _own(setting: Setting, store: Store, encoder: str, task: str, outside: Outside) -> list[Row]:
    def compute() -> list[Row]:
        others = {name: setting.embeddings.of(encoder, texts) for name, texts in outside.items()}
        head, inside = setting.head(encoder, task), setting.test(encoder, task)
        return judge(
            head.logits(inside), {name: head.logits(rows) for name, rows in others.items()}, _truth(setting, task)
        )

    key = _key(setting, task, outside, encoder)
    return [{"target": encoder, "data": task, **row} for row in store.rows(f"{NAME}-own", key, compute)]


class _PairWork:
    """The cells of one pair, with the public map that its tasks share."""

    def __init__(self, setting: Setting, store: Store, source: str, target: str) -> None:
        self._setting, self._store = setting, store
        self._source, self._target = source, target

    @cached_property
    def _public_map(self) -> AlignmentMap:
        return self._setting.public_fit(self._source, self._target).map(self._setting.map)

    def mapped(self, task: str, outside: Outside) -> list[Row]:
        """Return how the provider's head judges the client's mapped texts, for both maps."""
        setting = self._setting

        def compute() -> list[Row]:
            head, inside = setting.head(self._target, task), setting.test(self._source, task)
            others = {name: setting.embeddings.of(self._source, texts) for name, texts in outside.items()}
            rows: list[Row] = []
            rows_b, rows_a = setting.train(self._source, task), setting.train(self._target, task)
            own = fit_map(rows_b, rows_a, "auto", kind=setting.map)
            for fitted_on, fitted in {"task": own, "public": self._public_map}.items():
                logits = {name: head.logits(fitted.apply(found)) for name, found in others.items()}
                judged = judge(head.logits(fitted.apply(inside)), logits, _truth(setting, task))
                rows += [{"fitted_on": fitted_on, **row} for row in judged]
            return rows

        key = {**_key(setting, task, outside, self._source, self._target), "map": setting.map}
        found = self._store.rows(f"{NAME}-mapped", key, compute)
        return [{"source": self._source, "target": self._target, "data": task, **row} for row in found]


def _truth(setting: Setting, task: str) -> npt.NDArray[np.int64]:
    return np.asarray(labels_of(setting.task(task).test))


def judge(inside: FloatMatrix, outside: Mapping[str, FloatMatrix], truth: npt.NDArray[np.int64]) -> list[Row]:
    """Return AUROC and FPR@95 of each data set's logits (m, K) by score, and the accuracy on `inside` (n, K)."""
    accuracy = float(np.mean(inside.argmax(axis=1) == truth))
    rows: list[Row] = []
    for name, logits in outside.items():
        for score, function in SCORES.items():
            a, b = function(inside), function(logits)
            rows.append(
                {"ood": name, "score": score, "auroc": auroc(a, b), "fpr95": fpr_at(a, b), "accuracy": accuracy}
            )
    return rows
