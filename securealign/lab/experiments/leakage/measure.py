"""Leaked shares of embeddings by N / d_B, and texts found from mapped embeddings, for all pairs of encoders.

Texts are found by the simplest inversion of an embedding, that by the nearest one of an own collection. An attacker
tries it on mapped and on native embeddings of all tasks' test texts.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from math import log
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.preprocessing import normalize

from securealign.data import dataset_digest
from securealign.errors import ConfigurationError, InputError
from securealign.lab.experiments.leakage.sweep import HELD_OUT, PENALTIES, PairSweep, Sweep
from securealign.lab.experiments.run import Cell, Row, Run, one_blas_thread
from securealign.lab.experiments.setting import PairsConfig

Directions = npt.NDArray[np.float32]

_WORD = re.compile(r"[a-z0-9]+")
#: Closer than this, similarities are the same up to rounding.
_TIE = 1e-6


@dataclass(frozen=True)
class WordWeights:
    """Weights of words: the rarer in public texts, the more a word tells; those they lack weigh the most."""

    weights: dict[str, float]
    rarest: float
    #: Words of a text that count, as encoders do not read further either.
    length: int

    @classmethod
    def of(cls, texts: Sequence[str], length: int) -> WordWeights:
        """Weigh words by the logarithm of how many times fewer texts than all hold them."""
        held = Counter(word for text in texts for word in set(_WORD.findall(text.lower())[:length]))
        return cls({word: log(len(texts) / count) for word, count in held.items()}, log(len(texts) + 1), length)

    def overlap(self, text: str, other: str) -> float:
        """Return F1 of the two texts' sets of words, each by its weight: 0 for nothing in common, 1 for all."""
        first, second = (set(_WORD.findall(each.lower())[: self.length]) for each in (text, other))
        weight = self._weight(first) + self._weight(second)
        return 2 * self._weight(first & second) / weight if weight else 0.0

    def _weight(self, words: set[str]) -> float:
        return sum(self.weights.get(word, self.rarest) for word in words)


@dataclass(frozen=True, repr=False, eq=False)
class Collection:
    """What an attacker holds: public texts, and for a stronger attack the private ones among others, in directions."""

    public_texts: Sequence[str]
    private_texts: Sequence[str]
    words: WordWeights
    mean: npt.NDArray[np.float64]
    public: Directions
    private: Directions

    @classmethod
    def of(
        cls, words: WordWeights, texts: tuple[Sequence[str], Sequence[str]], rows: tuple[npt.ArrayLike, npt.ArrayLike]
    ) -> Collection:
        """Collect public and private texts with the target encoder's embeddings of both, (P, d) and (n, d)."""
        mean = np.asarray(rows[0], dtype=np.float64).mean(axis=0)
        return cls(*texts, words, mean, directions(rows[0], mean), directions(rows[1], mean))

    def attack(self, rows: npt.ArrayLike) -> Row:
        """Look up embeddings (n, d) that stand for the private texts, by cosine about the public mean.

        `overlap` is that of the nearest public text with the true one; `top1` and `top10` are shares of texts found
        among public and private ones, where a tie counts as half of a candidate before.
        """
        seen = directions(rows, self.mean)
        public, private = seen @ self.public.T, seen @ self.private.T
        all_of_them = np.hstack([public, private])
        true = private.diagonal()[:, None]
        before = (all_of_them > true + _TIE).sum(axis=1)
        tied = (np.abs(all_of_them - true) <= _TIE).sum(axis=1) - 1
        rank = before + tied / 2
        return {
            "texts": len(seen), "candidates": all_of_them.shape[1],
            "top1": float((rank < 1).mean()), "top10": float((rank < 10).mean()),
            "overlap": self._overlap(public.argmax(axis=1)),
        }  # fmt: skip

    def guess(self) -> float:
        """Return the overlap of public texts drawn by chance: what knowing nothing gives."""
        drawn = np.random.default_rng(0).integers(len(self.public_texts), size=len(self.private_texts))
        return self._overlap(drawn)

    def _overlap(self, found: npt.NDArray[np.integer]) -> float:
        """Return the mean overlap of the private texts with the public ones that were found for them."""
        pairs = zip(self.private_texts, found, strict=True)
        return float(np.mean([self.words.overlap(text, self.public_texts[row]) for text, row in pairs]))


def directions(rows: npt.ArrayLike, mean: npt.NDArray[np.float64]) -> Directions:
    """Return embeddings (n, d) about a mean, each of length 1, or 0 where it is the mean itself."""
    return np.asarray(normalize(np.asarray(rows, dtype=np.float64) - mean), dtype=np.float32)


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


_FEWEST_ROWS = 8


@one_blas_thread()
def measure(run: Run, config: PairsConfig, *, sizes: Sequence[int] = (250, 500, 1000, 2000)) -> dict[str, Any]:
    """Return what maps fitted on `sizes` public rows leak, and what mapped test texts of the config's tasks do.

    Sizes beyond four fifths of the public texts are cut to that. Raises `ConfigurationError` for sizes below 8.
    """
    if not sizes or min(sizes) < _FEWEST_ROWS:
        raise ConfigurationError(
            f"Maps cannot be fitted on {min(sizes, default=0)} rows.", hint=f"Give numbers from {_FEWEST_ROWS} on."
        )
    texts = len(config.corpora.public_texts)
    sizes = tuple(sorted({min(size, texts - int(HELD_OUT * texts)) for size in sizes}))
    attacks = Attacks(config)
    config.prepare(train=False)
    run.measure(
        "pairs of encoders", [partial(_of_client, config, attacks, source, sizes) for source in config.encoders]
    )
    return {
        **config.facts(),
        "sizes": list(sizes),
        "seeds": config.seeds,
        "penalties": list(PENALTIES),
        "words": WORDS,
    }


def _of_client(config: PairsConfig, attacks: Attacks, source: str, sizes: tuple[int, ...]) -> Iterator[Cell]:
    """Yield the cells of one client's encoder: its own embeddings as a target, and all pairs with it as the source."""
    yield from attacks.native(source)
    sweep = Sweep(config, source, sizes)
    for target in config.encoders:
        if target != source:
            pair = PairSweep(config, sweep, target)
            yield from pair.cells()
            yield from attacks.mapped(pair)
