"""What is found from mapped and from native embeddings of all tasks' test texts."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from securealign.data import dataset_digest
from securealign.errors import InputError
from securealign.lab.experiments.leakage.inversion import Collection, Words
from securealign.lab.experiments.leakage.sweep import PairSweep
from securealign.lab.experiments.setting import Setting
from securealign.lab.experiments.store import Row, Store

#: Words of a text that are compared.
WORDS = 64


class Attacks:
    """What an attacker holds for every target and task, and what is found with it."""

    def __init__(self, setting: Setting, store: Store) -> None:
        self._setting, self._store = setting, store
        self._private = {task: _private(setting, task) for task in setting.tasks}
        self._collections: dict[tuple[str, str], Collection] = {}

    def native(self, target: str, task: str) -> list[Row]:
        """Return what is found from the target's own embeddings, and by guessing."""

        def compute() -> list[Row]:
            collection = self._collection(target, task)
            rows = self._setting.embeddings.of(target, self._private[task])
            return [{**collection.attack(rows), "overlap_guessed": collection.guess()}]

        return self._store.rows("leakage-native", self._key(task, target), compute)

    def mapped(self, pair: PairSweep, task: str) -> list[Row]:
        """Return what is found from the client's mapped test texts; the map is fitted on all public texts."""

        def compute() -> list[Row]:
            queries = self._setting.embeddings.of(pair.source, self._private[task])
            return [self._collection(pair.target, task).attack(pair.public_map.apply(queries))]

        key = {**self._key(task, pair.source, pair.target), "map": self._setting.map}
        return self._store.rows("leakage-mapped", key, compute)

    def _key(self, task: str, *encoders: str) -> dict[str, Any]:
        return {**self._setting.public_key(*encoders), "private": dataset_digest(self._private[task]).hex()}

    def _collection(self, target: str, task: str) -> Collection:
        if (target, task) not in self._collections:
            setting, private = self._setting, self._private[task]
            public = setting.corpora.public_texts
            rows = setting.public(target), setting.embeddings.of(target, private)
            self._collections[target, task] = Collection.of(self._words, (public, private), rows)
        return self._collections[target, task]

    @cached_property
    def _words(self) -> Words:
        return Words.of(self._setting.corpora.public_texts, WORDS)


def _private(setting: Setting, task: str) -> tuple[str, ...]:
    """Return a task's test texts, each once, that are not public."""
    public = set(setting.corpora.public_texts)
    found = tuple(text for text in dict.fromkeys(setting.task(task).test.texts) if text not in public)
    if not found:
        raise InputError(f"All test texts of {task!r} are public.", hint="Give other data by --data or --public.")
    return found
