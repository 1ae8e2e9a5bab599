"""Encoders and texts for tests of experiments: words with meanings, and encoders that see them differently."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from securealign.data import TextDataset
from securealign.errors import InputError
from securealign.lab.cli.experiment import command
from securealign.lab.experiments.corpora import Corpora, Embeddings
from securealign.lab.experiments.run import Result, Store, run_experiment
from securealign.lab.experiments.setting import PairsConfig

MEANINGS = 12
CLASSES = ("red", "green", "blue", "grey")
PUBLIC = ("one", "two")
TASK = "colours/train:colours/test"


def meaning_of(text: str) -> np.ndarray:
    """Return a vector that a text means; texts of a class, its first word, lie together."""
    own = np.random.default_rng(list(hashlib.sha256(text.encode()).digest())).normal(size=MEANINGS)
    word = text.split(maxsplit=1)[0]
    centre = np.random.default_rng(list(word.encode())).normal(size=MEANINGS) if word in CLASSES else np.zeros(MEANINGS)
    return 3 * centre + own


@dataclass
class FakeEncoder:
    """A random linear view of meanings, with some noise; counts the texts that it encodes."""

    name: str
    dimension: int = 16
    noise: float = 0.05
    encoded: int = 0
    fails_after: int | None = None
    unrelated: bool = False
    fingerprint: str = field(init=False)

    def __post_init__(self) -> None:
        self.fingerprint = hashlib.sha256(f"{self.name}/{self.dimension}/{self.noise}".encode()).hexdigest()
        self._view = np.random.default_rng(list(self.name.encode())).normal(size=(MEANINGS, self.dimension))

    def encode(self, texts: Sequence[str], *, progress: Callable[[int, int], None] | None = None) -> np.ndarray:
        """Return embeddings (n, d), or fail once `fails_after` texts are encoded."""
        if self.fails_after is not None and self.encoded + len(texts) > self.fails_after:
            raise KeyboardInterrupt
        self.encoded += len(texts)
        rows = []
        for text in texts:
            random = np.random.default_rng(list(hashlib.sha256((self.name + text).encode()).digest()))
            noise = random.normal(size=self.dimension)
            rows.append(noise if self.unrelated else meaning_of(text) @ self._view + self.noise * noise)
        if progress is not None:
            progress(len(texts), len(texts))
        return np.asarray(rows, dtype=np.float32)


class FakeModels:
    """Opens fake encoders by name, and keeps them."""

    def __init__(self, *encoders: FakeEncoder) -> None:
        self.encoders = {encoder.name: encoder for encoder in encoders}

    def open(self, name: str) -> FakeEncoder:
        """Return the encoder of this name."""
        return self.encoders[name]

    @property
    def encoded(self) -> int:
        """How many texts were encoded in all."""
        return sum(encoder.encoded for encoder in self.encoders.values())


def load(name: str) -> TextDataset:
    """Return one of the fake data sets: public texts, or a labelled part such as "colours/train"."""
    if name in PUBLIC:
        return TextDataset(name=name, texts=tuple(f"{name} plain {row}" for row in range(80)))
    base, _, part = name.partition("/")
    if part not in {"train", "test"}:
        raise InputError(f"{name!r} is no data set.", hint="Use another.")
    rows = [(f"{CLASSES[row % 4]} {base} {part} {row}", row % 4) for row in range(96)]
    return TextDataset(
        name=name, texts=tuple(text for text, _ in rows), labels=tuple(label for _, label in rows), class_names=CLASSES
    )


def fake_corpora(**sizes: int) -> Corpora:
    """Return small corpora; a task is "NAME/train:NAME/test"."""
    return Corpora(**{"train": 80, "test": 40, "public": 100, **sizes}, public_sets=PUBLIC, load=load)


def fake_embeddings(folder: object, *encoders: FakeEncoder) -> Embeddings:
    """Return embeddings by fake encoders, kept in a folder."""
    return Embeddings(folder=folder, opener=FakeModels(*encoders).open)


def fake_config(
    folder: Path,
    *encoders: FakeEncoder,
    tasks: tuple[str, ...] = (TASK,),
    corpora: Corpora | None = None,
    **options: object,
) -> PairsConfig:
    """Return a config of fake encoders and texts, whose embeddings are kept in a folder."""
    embeddings = fake_embeddings(folder / "vectors", *encoders)
    names = tuple(encoder.name for encoder in encoders)
    return PairsConfig(names, tasks, corpora or fake_corpora(), embeddings, **options)


def measure(experiment: str, folder: Path, config: PairsConfig, *more: object, **options: object) -> Result:
    """Run an experiment whose cells are kept in a folder."""
    return run_experiment(experiment, config, Store(folder / "cells"), *more, **options)


def one_that_sees_nothing() -> tuple[FakeEncoder, ...]:
    """Return two encoders that see the same, and "odd", which shares nothing with them."""
    return FakeEncoder("a"), FakeEncoder("b", dimension=20), FakeEncoder("odd", unrelated=True)


def let_commands_use_fakes(monkeypatch: pytest.MonkeyPatch, folder: Path, corpora: Corpora) -> None:
    """Let commands with tasks see two fake encoders, "a" and "b", and fake texts, and keep what they do in a folder."""
    monkeypatch.setenv("SECUREALIGN_CACHE", str(folder / "cache"))
    models = FakeModels(FakeEncoder("a"), FakeEncoder("b"))
    monkeypatch.setattr(command, "Embeddings", lambda **_: Embeddings(folder=folder / "vectors", opener=models.open))
    monkeypatch.setattr(command, "Corpora", lambda **_: corpora)
