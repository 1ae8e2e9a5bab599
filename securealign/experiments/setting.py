"""What the experiments with classification tasks are about, and the embeddings, heads and maps that its cells share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from securealign.alignment import LinearHead
from securealign.alignment.fits import Vector, choose_share, scale_of
from securealign.experiments.corpora import Corpora, Task, labels_of
from securealign.experiments.embeddings import Embeddings, Vectors


@dataclass(frozen=True)
class Setting:
    """Encoders, tasks, numbers of shots and seeds, and where texts and embeddings come from."""

    encoders: tuple[str, ...]
    tasks: tuple[str, ...]
    corpora: Corpora
    embeddings: Embeddings
    shots: tuple[int, ...] = (32, 64, 128)
    seeds: int = 3
    rank: int = 64
    #: Encoders whose pairs are also given other kinds of map than ridge regression.
    rivals: tuple[str, ...] = ()
    _tasks: dict[str, Task] = field(default_factory=dict, repr=False)
    _heads: dict[tuple[str, str], LinearHead] = field(default_factory=dict, repr=False)
    _pairs: dict[tuple[str, str], Pair] = field(default_factory=dict, repr=False)

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

    def pair(self, source: str, target: str) -> Pair:
        """Return a pair with the scale and penalty that are chosen on the public texts alone."""
        if (source, target) not in self._pairs:
            rows_b, rows_a = self.public(source), self.public(target)
            scale = scale_of(rows_b)
            self._pairs[source, target] = Pair(source, target, scale, choose_share(rows_b, rows_a, scale))
        return self._pairs[source, target]

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
        }

    def task_key(self, task: str, *encoders: str) -> dict[str, Any]:
        """Return what a result on a task depends on."""
        numbers = {"shots": list(self.shots), "seeds": self.seeds}
        return {**self.public_key(*encoders), "task": self.task(task).digest, **numbers}


@dataclass(frozen=True)
class Pair:
    """A client's encoder and a provider's, with what both take from the public texts: scale and penalty."""

    source: str
    target: str
    scale: Vector = field(repr=False)
    share: float


def fit_head(rows: npt.ArrayLike, labels: Sequence[int], class_names: Sequence[str]) -> LinearHead:
    """Return a head over the classes that occur, as `securealign head fit` makes it: its penalty chooses itself."""
    return LinearHead.fit(rows, list(labels), class_names)
