"""What an attacker finds from mapped and from native embeddings of all tasks' test texts."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property, partial
from typing import Any

from securealign.data import dataset_digest
from securealign.errors import InputError
from securealign.lab.experiments.leakage.inversion import Collection, WordWeights
from securealign.lab.experiments.leakage.sweep import PairSweep
from securealign.lab.experiments.run import Cell
from securealign.lab.experiments.setting import PairsConfig
from securealign.lab.experiments.store import Row

#: Words of a text that are compared.
WORDS = 64


class Attacks:
    """What an attacker holds for every target and task, and what is found with it."""

    def __init__(self, config: PairsConfig) -> None:
        self._config = config
        self._private = {task: _private(config, task) for task in config.tasks}
        self._collections: dict[tuple[str, str], Collection] = {}

    def native(self, target: str) -> Iterator[Cell]:
        """Yield what is found from the target's own embeddings, and by guessing."""

        def compute(task: str) -> list[Row]:
            collection = self._collection(target, task)
            rows = self._config.embeddings.of(target, self._private[task])
            return [{**collection.attack(rows), "overlap_guessed": collection.guess()}]

        for task in self._config.tasks:
            names, key = {"target": target, "data": task}, self._key(task, target)
            yield Cell(table="native", names=names, key=key, compute=partial(compute, task))

    def mapped(self, pair: PairSweep) -> Iterator[Cell]:
        """Yield what is found from the client's mapped test texts; the map is fitted on all public texts."""

        def compute(task: str) -> list[Row]:
            queries = self._config.embeddings.of(pair.source, self._private[task])
            return [self._collection(pair.target, task).attack(pair.public_map.apply(queries))]

        for task in self._config.tasks:
            key = {**self._key(task, pair.source, pair.target), "map": self._config.map}
            yield Cell(table="mapped", names={**pair.names, "data": task}, key=key, compute=partial(compute, task))

    def _key(self, task: str, *encoders: str) -> dict[str, Any]:
        return {**self._config.public_key(*encoders), "private": dataset_digest(self._private[task]).hex()}

    def _collection(self, target: str, task: str) -> Collection:
        if (target, task) not in self._collections:
            config, private = self._config, self._private[task]
            public = config.corpora.public_texts
            rows = config.public(target), config.embeddings.of(target, private)
            self._collections[target, task] = Collection.of(self._words, (public, private), rows)
        return self._collections[target, task]

    @cached_property
    def _words(self) -> WordWeights:
        return WordWeights.of(self._config.corpora.public_texts, WORDS)


def _private(config: PairsConfig, task: str) -> tuple[str, ...]:
    """Return a task's test texts, each once, that are not public."""
    public = set(config.corpora.public_texts)
    found = tuple(text for text in dict.fromkeys(config.task(task).test.texts) if text not in public)
    if not found:
        raise InputError(f"All test texts of {task!r} are public.", hint="Give other data by --data or --public.")
    return found
