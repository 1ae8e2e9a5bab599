"""Texts of the experiments: classification tasks with a training and a test part, and a mixture of public texts."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain, zip_longest

from securealign.data import TextDataset, dataset_digest, load_dataset
from securealign.errors import InputError

#: Built-in tasks: the data sets of their training and test parts.
TASKS: Mapping[str, tuple[str, str]] = {
    "20ng": ("20ng/train", "20ng/test"),
    "r8": ("r8/train", "r8/test"),
    "r52": ("r52/train", "r52/test"),
    "movie": ("movie/train", "movie/test"),
    "wordnet": ("wordnet/nouns/train", "wordnet/nouns/test"),
    "spam": ("spam/train", "spam/test"),
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
        order = sorted(range(len(dataset)), key=lambda row: _rank(dataset.texts[row], self.seed))
        return dataset.subset(order[:count])


def _rank(text: str, seed: int) -> bytes:
    # The name is part of every draw: another one would draw other texts, wherever this module is.
    return hashlib.sha256("/".join(("securealign", "experiments", str(seed), text)).encode()).digest()


def labels_of(dataset: TextDataset) -> tuple[int, ...]:
    """Return the class numbers of a data set; raises `InputError` when it has none."""
    if dataset.labels is None:
        raise InputError(f"{dataset.name!r} has no labels.", hint="Give a data set with the field label.")
    return dataset.labels


def _with_common_classes(name: str, train: TextDataset, test: TextDataset) -> Task:
    """Return a task whose parts number the same classes alike; test texts of a class never trained on are left out."""
    trained = {train.class_names[label] for label in labels_of(train)}
    names = tuple(sorted(trained))
    number = {label: index for index, label in enumerate(names)}
    parts = []
    for part in (train, test):
        kept = [row for row, label in enumerate(labels_of(part)) if part.class_names[label] in number]
        if not kept:
            raise InputError(f"The two parts of {name!r} share no class.", hint="Give parts with the same labels.")
        parts.append(
            TextDataset(
                name=part.name,
                texts=tuple(part.texts[row] for row in kept),
                labels=tuple(number[part.class_names[labels_of(part)[row]]] for row in kept),
                class_names=names,
            )
        )
    return Task(name, *parts)
