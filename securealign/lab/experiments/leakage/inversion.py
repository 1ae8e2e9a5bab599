"""The simplest inversion of an embedding: the text of an own collection whose embedding is nearest."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import log

import numpy as np
import numpy.typing as npt
from sklearn.preprocessing import normalize

from securealign.lab.experiments.store import Row

Directions = npt.NDArray[np.float32]

_WORD = re.compile(r"[a-z0-9]+")
#: Closer than this, similarities are the same up to rounding.
_TIE = 1e-6


@dataclass(frozen=True)
class WordWeights:
    """Weights of words: the rarer in public texts, the more a word tells. WordWeights that they lack weigh the most."""

    weights: dict[str, float]
    rarest: float
    #: WordWeights of a text that count: encoders do not read further either.
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
        nearest = public.argmax(axis=1)
        overlap = [
            self.words.overlap(text, self.public_texts[found])
            for text, found in zip(self.private_texts, nearest, strict=True)
        ]
        all_of_them = np.hstack([public, private])
        true = private.diagonal()[:, None]
        before = (all_of_them > true + _TIE).sum(axis=1)
        tied = (np.abs(all_of_them - true) <= _TIE).sum(axis=1) - 1
        rank = before + tied / 2
        return {
            "texts": len(seen), "candidates": all_of_them.shape[1],
            "top1": float((rank < 1).mean()), "top10": float((rank < 10).mean()),
            "overlap": float(np.mean(overlap)),
        }  # fmt: skip

    def guess(self, seed: int = 0) -> float:
        """Return the overlap of public texts drawn by chance: what knowing nothing gives."""
        drawn = np.random.default_rng(seed).integers(len(self.public_texts), size=len(self.private_texts))
        found = [
            self.words.overlap(text, self.public_texts[row])
            for text, row in zip(self.private_texts, drawn, strict=True)
        ]
        return float(np.mean(found))


def directions(rows: npt.ArrayLike, mean: npt.NDArray[np.float64]) -> Directions:
    """Return embeddings (n, d) about a mean, each of length 1, or 0 where it is the mean itself."""
    return np.asarray(normalize(np.asarray(rows, dtype=np.float64) - mean), dtype=np.float32)
