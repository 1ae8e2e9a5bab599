"""Texts of the experiments and their embeddings.

Texts are classification tasks with a training and a test part, and a mixture of public texts. Models are opened by
name, one at a time, and what they gave is kept.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, partial
from itertools import chain, zip_longest
from pathlib import Path

import numpy as np
import numpy.typing as npt

from securealign.cache import cache_root
from securealign.commands import Progress
from securealign.data import TextDataset, dataset_digest, load_dataset
from securealign.errors import InputError
from securealign.models import EmbeddingCache, Encoder, open_encoder

#: Built-in tasks: the data sets of their training and test parts.
TASKS: Mapping[str, tuple[str, str]] = {
    name.partition("/")[0]: (f"{name}/train", f"{name}/test")
    for name in ("20ng", "r8", "r52", "movie", "wordnet/nouns", "spam")
}
#: Public texts from sources that no task shares.
PUBLIC = ("brown", "nyt", "tweets", "wordnet/verbs-adjectives")

Loader = Callable[[str], TextDataset]


@dataclass(frozen=True)
class Task:
    """A classification task: texts with labels to train on, and others to test on, with the same class names."""

    name: str
    train: TextDataset
    test: TextDataset

    @property
    def digest(self) -> str:
        """Hexadecimal SHA-256 of texts and labels."""
        content = hashlib.sha256()
        for part in (self.train, self.test):
            content.update(dataset_digest(part.texts))
            content.update(",".join(map(str, labels_of(part))).encode())
        return content.hexdigest()


@dataclass(frozen=True)
class Corpora:
    """Tasks and public texts, cut to sizes: `train` and `test` texts of each task, `public` public ones.

    Texts are drawn by a hash of seed and text, so that data sets which share texts, as R8 and R52 do, share what they
    draw, and with it their embeddings. A task is a name of `TASKS`, or "TRAIN:TEST" with two files or data sets.
    """

    train: int = 1000
    test: int = 500
    public: int = 2500
    public_sets: tuple[str, ...] = PUBLIC
    seed: int = 0
    load: Loader = field(default=load_dataset, repr=False, compare=False)

    def task(self, name: str) -> Task:
        """Return a task; raises `InputError` for a name that is none, or parts without the same classes."""
        parts = TASKS.get(name) or tuple(name.split(":"))
        if len(parts) != 2:
            raise InputError(
                f"{name!r} is no task.", hint=f"Use one of {', '.join(TASKS)}, or TRAIN.jsonl:TEST.jsonl with labels."
            )
        train, test = self.draw(self.load(parts[0]), self.train), self.draw(self.load(parts[1]), self.test)
        return _with_common_classes(name, train, test)

    @cached_property
    def public_texts(self) -> tuple[str, ...]:
        """The public texts, as many of each source, in turn."""
        share = -(-self.public // len(self.public_sets))
        parts = [self.draw(self.load(name), share).texts for name in self.public_sets]
        mixed = [text for text in chain.from_iterable(zip_longest(*parts)) if text is not None]
        return tuple(dict.fromkeys(mixed))[: self.public]

    @cached_property
    def public_digest(self) -> str:
        """Hexadecimal digest of the public texts."""
        return dataset_digest(self.public_texts).hex()

    def draw(self, dataset: TextDataset, count: int) -> TextDataset:
        """Return up to `count` rows, chosen and ordered by a hash of seed and text."""

        def rank(row: int) -> bytes:
            # The name is part of every draw: another one would draw other texts, wherever this module is.
            return hashlib.sha256(f"securealign/experiments/{self.seed}/{dataset.texts[row]}".encode()).digest()

        return dataset.subset(sorted(range(len(dataset)), key=rank)[:count])


def labels_of(dataset: TextDataset) -> tuple[int, ...]:
    """Return the class numbers of a data set; raises `InputError` when it has none."""
    if dataset.labels is None:
        raise InputError(f"{dataset.name!r} has no labels.", hint="Give a data set with the field label.")
    return dataset.labels


def _with_common_classes(name: str, train: TextDataset, test: TextDataset) -> Task:
    """Return a task whose parts number the same classes alike; test texts of a class never trained on are left out."""
    names = tuple(sorted({train.class_names[label] for label in labels_of(train)}))
    number = {label: index for index, label in enumerate(names)}
    parts = []
    for part in (train, test):
        kept = [row for row, label in enumerate(labels_of(part)) if part.class_names[label] in number]
        if not kept:
            raise InputError(f"The two parts of {name!r} share no class.", hint="Give parts with the same labels.")
        labels = tuple(number[part.class_names[labels_of(part)[row]]] for row in kept)
        parts.append(replace(part.subset(kept), labels=labels, class_names=names))
    return Task(name, *parts)


Vectors = npt.NDArray[np.float32]
#: Adds a bar to the display of progress.
AddBar = Callable[[str], Progress]


def no_bars(_description: str) -> Progress:
    """Show no progress."""
    return lambda done, total: None


@dataclass(frozen=True)
class _Closed:
    """An encoder whose model is opened only when it has texts to encode."""

    name: str
    fingerprint: str
    dimension: int
    open: Callable[[], Encoder]

    def encode(self, texts: Sequence[str], *, progress: Progress | None = None) -> Vectors:
        return self.open().encode(texts, progress=progress)


class Embeddings:
    """Embeddings of texts under encoders that are named as for `open_encoder`, cut to `max_tokens` tokens."""

    def __init__(
        self,
        *,
        max_tokens: int = 64,
        folder: Path | None = None,
        add_bar: AddBar = no_bars,
        opener: Callable[[str], Encoder] | None = None,
    ) -> None:
        self._cache = EmbeddingCache(folder if folder is not None else cache_root() / "vectors")
        self._add_bar = add_bar
        self._opener = opener or partial(open_encoder, max_tokens=max_tokens)
        self._encoders: dict[str, _Closed] = {}
        self._known: dict[tuple[str, bytes], Vectors] = {}
        self._opened: tuple[str, Encoder] | None = None

    def of(self, encoder: str, texts: Sequence[str], what: str = "texts") -> Vectors:
        """Return the embeddings (n, d) of texts, encoding what is missing; raises what `open_encoder` raises."""
        key = (encoder, dataset_digest(texts))
        if key not in self._known:
            bar = cache(self._add_bar)

            def report(done: int, total: int) -> None:
                # Only called for texts that are missing, so that others get no bar.
                bar(f"{encoder}: {what}")(done, total)

            self._known[key] = np.asarray(self._cache.encode(self._closed(encoder), texts, progress=report))
        return self._known[key]

    def fingerprint(self, encoder: str) -> str:
        """Return the encoder's fingerprint, which says what its embeddings depend on."""
        return self._closed(encoder).fingerprint

    def dimension(self, encoder: str) -> int:
        """Return the encoder's dimension d."""
        return self._closed(encoder).dimension

    def _closed(self, name: str) -> _Closed:
        if name not in self._encoders:
            opened = self._open_once(name)
            self._encoders[name] = _Closed(name, opened.fingerprint, opened.dimension, lambda: self._open_once(name))
        return self._encoders[name]

    def _open_once(self, encoder: str) -> Encoder:
        if self._opened is None or self._opened[0] != encoder:
            self._opened = None  # before the next one takes as much memory again
            self._opened = (encoder, self._opener(encoder))
        return self._opened[1]
