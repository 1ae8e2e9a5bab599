"""What the experiments with classification tasks are run on, and the embeddings and heads that their cells share."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import permutations
from typing import Any

import numpy as np
import numpy.typing as npt

from securealign.alignment import AlignmentMap, LinearHead
from securealign.alignment.clear import ClearFit, fit_map
from securealign.alignment.regression import MapKind
from securealign.lab.experiments.corpora import Corpora, Embeddings, Task, Vectors, labels_of

#: How many public texts a labelled text of the task counts for when both fit a map: 4 was best of 1, 2, 4, 16 and 64
#: for soft maps, over 6 pairs of built-in encoders and 4 tasks; 16 is better for ridge maps, which stay a point below.
SHOT_WEIGHT = 4.0
#: Part of the keys of what was fitted: how scale and penalty of a map are chosen.
_FIT = "floored deviations, generalised cross-validation"


@dataclass(frozen=True)
class PairsConfig:
    """Encoders, all pairs of which are measured, tasks, numbers of shots and seeds, and the source of embeddings."""

    encoders: tuple[str, ...]
    tasks: tuple[str, ...]
    corpora: Corpora
    embeddings: Embeddings
    shots: tuple[int, ...] = (32, 64, 128)
    seeds: int = 3
    rank: int = 64
    #: Kind of map where a single one is used: what a client fits unless told otherwise.
    map: MapKind = "soft"
    #: Encoders whose pairs are also given other kinds of map than ridge regression.
    rivals: tuple[str, ...] = ()
    _tasks: dict[str, Task] = field(default_factory=dict, repr=False)
    _heads: dict[tuple[str, str], LinearHead] = field(default_factory=dict, repr=False)

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """All ordered pairs (source, target): a client's and a provider's encoder."""
        return list(permutations(self.encoders, 2))

    def facts(self) -> dict[str, Any]:
        """Return what results say of their settings: dimensions of encoders, sizes of tasks and public texts."""
        tasks = {name: self.task(name) for name in self.tasks}
        return {
            "encoders": {name: self.embeddings.dimension(name) for name in self.encoders},
            "tasks": {
                name: {"classes": len(task.train.class_names), "train": len(task.train), "test": len(task.test)}
                for name, task in tasks.items()
            },
            "public": len(self.corpora.public_texts),
            "public_sets": list(self.corpora.public_sets),
            "map": self.map,
        }

    def task(self, name: str) -> Task:
        """Return a task, read once."""
        if name not in self._tasks:
            self._tasks[name] = self.corpora.task(name)
        return self._tasks[name]

    def prepare(self, *, train: bool = True, others: Sequence[str] = ()) -> None:
        """Embed all texts, and the test texts of `others`, encoder by encoder: one model is in memory at a time."""
        for encoder in self.encoders:
            self.public(encoder)
            for task in self.tasks if train else ():
                self.train(encoder, task)
            for task in dict.fromkeys((*self.tasks, *others)):
                self.test(encoder, task)

    def public(self, encoder: str) -> Vectors:
        """Return the embeddings of the public texts."""
        return self.embeddings.of(encoder, self.corpora.public_texts, "public texts")

    def train(self, encoder: str, task: str) -> Vectors:
        """Return the embeddings of a task's training texts."""
        return self.embeddings.of(encoder, self.task(task).train.texts, f"{task}, training")

    def test(self, encoder: str, task: str) -> Vectors:
        """Return the embeddings of a task's test texts."""
        return self.embeddings.of(encoder, self.task(task).test.texts, f"{task}, test")

    def head(self, encoder: str, task: str) -> LinearHead:
        """Return the head that an encoder's owner fits on all training texts."""
        if (encoder, task) not in self._heads:
            data = self.task(task).train
            self._heads[encoder, task] = fit_head(self.train(encoder, task), labels_of(data), data.class_names)
        return self._heads[encoder, task]

    def public_fit(self, source: str, target: str) -> ClearFit:
        """Return the fit on the public texts of a client's encoder `source` and a provider's `target`."""
        return ClearFit.of(self.public(source), self.public(target))

    def accuracy(self, head: LinearHead, rows: npt.ArrayLike, task: str) -> float:
        """Return the share of test texts whose class a head tells from these embeddings (n, d)."""
        test = self.task(task).test
        expected = [test.class_names[label] for label in labels_of(test)]
        return float(np.mean([found == right for found, right in zip(head.predict(rows), expected, strict=True)]))

    def drawn(self, task: str, seed: int, count: int) -> npt.NDArray[np.int64]:
        """Return rows of the training texts in an order that depends on the seed, the first `count` of them."""
        size = len(self.task(task).train)
        return np.random.default_rng([seed, size]).permutation(size)[:count]

    def public_key(self, *encoders: str) -> dict[str, Any]:
        """Return what a map fitted on public texts depends on."""
        return {
            "encoders": [self.embeddings.fingerprint(encoder) for encoder in encoders],
            "public": self.corpora.public_digest,
            "fit": _FIT,
        }

    def task_key(self, task: str, *encoders: str) -> dict[str, Any]:
        """Return what a result on a task depends on."""
        numbers = {"shots": list(self.shots), "seeds": self.seeds}
        return {**self.public_key(*encoders), "task": self.task(task).digest, **numbers}


def fit_with_shots(public: tuple[Vectors, Vectors], shots: tuple[Vectors, Vectors], kind: MapKind) -> AlignmentMap:
    """Return the map fitted on public texts and a few of a task, each given as the rows of Z_B and of Z_A."""
    weights = np.repeat([1.0, SHOT_WEIGHT], [len(public[0]), len(shots[0])])
    rows_b, rows_a = (np.vstack(rows) for rows in zip(public, shots, strict=True))
    return fit_map(rows_b, rows_a, "auto", kind=kind, weights=weights)


def fit_head(rows: npt.ArrayLike, labels: Sequence[int], class_names: Sequence[str]) -> LinearHead:
    """Return a head over the classes that occur, as `securealign head fit` makes it: its penalty chooses itself."""
    return LinearHead.fit(rows, list(labels), class_names)
