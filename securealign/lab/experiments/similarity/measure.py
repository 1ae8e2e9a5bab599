"""CKA and SVCCA of all pairs of encoders on all corpora."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np

from securealign.alignment.scaling import deviations
from securealign.data import dataset_digest
from securealign.errors import InputError
from securealign.lab.experiments.run import Cell, Row, Run, one_blas_thread
from securealign.lab.experiments.setting import PairsConfig
from securealign.lab.experiments.similarity.values import PUBLIC
from securealign.lab.measures.similarity import CentredRows, KeptComponents, svcca_row

#: The paper's 5,000 training and 2,000 test texts, as a share.
_HELD_OUT = 2 / 7
_FEWEST_TEXTS = 16


@one_blas_thread()
def measure(
    run: Run, config: PairsConfig, *, components: Sequence[int] = (64, 128), subsamples: int = 3
) -> dict[str, Any]:
    """Return the similarities of all pairs on public and tasks' texts; raises `InputError` for fewer than 16 texts."""
    corpora = _corpora(config)
    for encoder in config.encoders:  # one after the other, so that one model is in memory at a time
        for name, texts in corpora.items():
            config.embeddings.of(encoder, texts, name)
    for name, texts in corpora.items():
        corpus = _Corpus(config, name, texts, tuple(components), subsamples)
        pairs = combinations(config.encoders, 2)
        run.measure(f"pairs of encoders on {name}", [partial(corpus.cells, *pair) for pair in pairs])
    return {
        "encoders": config.facts()["encoders"],
        "corpora": {name: len(texts) for name, texts in corpora.items()},
        "public_sets": list(config.corpora.public_sets),
        "components": list(components),
        "subsamples": subsamples,
    }


def _corpora(config: PairsConfig) -> Mapping[str, tuple[str, ...]]:
    """Return the texts of every corpus, each once: a text on both sides of a split would not be held out."""
    found = {PUBLIC: config.corpora.public_texts}
    for name in config.tasks:
        task = config.task(name)
        found[name] = tuple(dict.fromkeys((*task.train.texts, *task.test.texts)))
    for name, texts in found.items():
        if len(texts) < _FEWEST_TEXTS:
            raise InputError(
                f"{len(texts)} texts of {name!r} are too few to compare encoders by.",
                hint=f"Give {_FEWEST_TEXTS} or more.",
            )
    return found


@dataclass(frozen=True)
class _Side:
    """What one encoder makes of one subsample."""

    plain: CentredRows
    standardised: CentredRows
    kept: KeptComponents


class _Corpus:
    """The cells of one corpus; what an encoder makes of a subsample is worked out once for all pairs."""

    def __init__(
        self, config: PairsConfig, name: str, texts: tuple[str, ...], components: tuple[int, ...], subsamples: int
    ) -> None:
        self._embeddings = config.embeddings
        self._name, self._texts = name, texts
        self._components, self._subsamples = components, subsamples
        self._sides: dict[tuple[str, int], _Side] = {}

    def cells(self, encoder: str, other: str) -> Iterator[Cell]:
        """Yield the similarity of a pair on all subsamples."""
        key = {
            "encoders": [self._embeddings.fingerprint(name) for name in (encoder, other)],
            "texts": dataset_digest(self._texts).hex(),
            "components": list(self._components),
            "subsamples": self._subsamples,
        }
        names = {"corpus": self._name, "encoder": encoder, "other": other}
        compute = lambda: [self.compare(encoder, other, subsample) for subsample in range(self._subsamples)]  # noqa: E731
        yield Cell(table="pairs", names=names, key=key, compute=compute, kept="")

    def compare(self, encoder: str, other: str, subsample: int) -> Row:
        """Return all measures of a pair on one subsample."""
        x, y = self._side(encoder, subsample), self._side(other, subsample)
        train, test = len(x.kept.train), len(x.kept.test)
        random = np.random.default_rng([1, subsample])
        return {
            "subsample": subsample, "train": train, "test": test,
            "cka": x.plain.cka(y.plain),
            "cka_debiased": x.plain.debiased_cka(y.plain),
            "cka_standardised": x.standardised.cka(y.standardised),
            "cka_shuffled": x.plain.cka(y.plain.in_order(random.permutation(test))),
            **svcca_row(x.kept, y.kept, self._components, random.permutation(train)),
        }  # fmt: skip

    def _side(self, encoder: str, subsample: int) -> _Side:
        if (encoder, subsample) not in self._sides:
            rows = self._embeddings.of(encoder, self._texts)
            order = np.random.default_rng([0, subsample]).permutation(len(rows))
            held = int(_HELD_OUT * len(rows))
            test, train = rows[order[:held]], rows[order[held:]]
            self._sides[encoder, subsample] = _Side(
                CentredRows.of(test),
                CentredRows.of(test / deviations(train)),
                KeptComponents.of(train, test, max(self._components)),
            )
        return self._sides[encoder, subsample]
