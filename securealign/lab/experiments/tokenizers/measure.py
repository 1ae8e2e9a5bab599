"""Jaccard index, exact matches and verdict of every pair of tokenizers, and the fertility of each."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import permutations
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from securealign.data import dataset_digest
from securealign.errors import FileError, InputError
from securealign.lab.assets.encoders import ENCODERS
from securealign.lab.assets.lookup import CAUSAL_LMS, model_folder
from securealign.lab.experiments.run import Cell, Row, Run
from securealign.lab.measures import tokenizers as measures
from securealign.optional import require

_PURPOSE = "The comparison of tokenizers"


@dataclass(frozen=True)
class NamedTokenizer:
    """A tokenizer of the tokenizers package, the file it is from, and the model's number of weights, if known."""

    name: str
    file: Path
    tokenizer: Any
    parameters: int | None

    @cached_property
    def fingerprint(self) -> str:
        """Hexadecimal SHA-256 of the tokenizer's file."""
        return hashlib.sha256(self.file.read_bytes()).hexdigest()

    @cached_property
    def vocabulary(self) -> frozenset[str]:
        """The texts of all tokens but special ones."""
        added = self.tokenizer.get_added_tokens_decoder().values()
        special = [token.content for token in added if token.special]
        return measures.surfaces(list(self.tokenizer.get_vocab()), special=special)

    @property
    def style(self) -> measures.Style:
        """How the vocabulary writes spaces."""
        return measures.style_of(self.tokenizer.get_vocab())

    def tokenize(self, texts: Sequence[str]) -> list[measures.Tokenized]:
        """Return the tokens of texts, without special ones."""
        style = self.style
        return [
            measures.Tokenized(
                [measures.surface(token, style) for token in encoding.tokens],
                np.array([end for _, end in encoding.offsets], dtype=np.int64),
            )
            for encoding in self.tokenizer.encode_batch(list(texts), add_special_tokens=False)
        ]


def open_tokenizer(spec: str) -> NamedTokenizer:
    """Open the tokenizer of a model (built-in name, folder, hub id) or file; raises `InputError` when there is none."""
    tokenizers = require("tokenizers", _PURPOSE)
    path = Path(spec)
    if path.is_file():
        file, name, folder = path, path.parent.name or path.stem, None
    else:
        names = (*dict.fromkeys((*CAUSAL_LMS, *ENCODERS)),)
        folder = model_folder(spec, what="model with a tokenizer", builtin=names)
        file, name = _file_in(folder, spec), path.resolve().name if path.is_dir() else spec
    try:
        tokenizer = tokenizers.Tokenizer.from_file(str(file))
    except Exception as error:  # the package raises nothing more special
        raise FileError(f"{file} is no tokenizer: {error}.", hint="Give a tokenizer.json.") from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return NamedTokenizer(name, file, tokenizer, None if folder is None else count_weights(folder))


def _file_in(folder: Path, spec: str) -> Path:
    for candidate in ("tokenizer.json", "tokenizers/*.json"):
        found = sorted(folder.glob(candidate))
        if found:
            return found[0]
    raise FileError(f"{spec} has no tokenizer.json.", hint="Give a model with a fast tokenizer.")


def count_weights(folder: Path) -> int | None:
    """Return the number of weights in a folder's safetensors files, by their headers; None without such files."""
    files = sorted(folder.glob("*.safetensors"))
    return sum(map(_weights_in, files)) if files else None


def _weights_in(file: Path) -> int:
    try:
        with safe_open(file, "numpy") as content:
            return sum(prod(content.get_slice(name).get_shape()) for name in content.keys())  # noqa: SIM118
    except SafetensorError as error:
        raise FileError(f"{file} is no safetensors file.", hint="Fetch the model again.") from error


def measure(
    run: Run,
    names: Sequence[str],
    texts: Sequence[str],
    *,
    data: str,
    opener: Callable[[str], NamedTokenizer] = open_tokenizer,
) -> dict[str, Any]:
    """Return the likeness of all ordered pairs of tokenizers on texts; raises `InputError` when two share a name."""
    opened = [opener(name) for name in names]
    if len({one.name for one in opened}) < len(opened):
        raise InputError(
            "Two tokenizers have the same name.", hint="Name each once; put files into folders of their own."
        )
    digest = dataset_digest(texts).hex()
    run.measure("tokenizers", [partial(_own, one, texts, digest) for one in opened])
    run.measure("pairs of tokenizers", [partial(_pair, *pair, texts, digest) for pair in permutations(opened, 2)])
    by_name = {one.name: one for one in opened}
    for row in run.tables["pairs"]:
        weights = (by_name[row[side]].parameters for side in ("source", "target"))
        judged = measures.verdict(row["exact"], min((size for size in weights if size is not None), default=None))
        row |= {"outlook": judged.outlook.value, "reason": judged.reason}
    for row in run.tables["tokenizers"]:
        row["weights"] = by_name[row["tokenizer"]].parameters
    return {"tokenizers": list(by_name), "data": data, "texts": len(texts)}


def _own(one: NamedTokenizer, texts: Sequence[str], digest: str) -> Iterator[Cell]:
    def compute() -> list[Row]:
        found = measures.fertility(texts, one.tokenize(texts))
        return [{"tokens": one.tokenizer.get_vocab_size(), "style": one.style.value, **found._asdict()}]

    key = {"tokenizer": one.fingerprint, "texts": digest}
    yield Cell(table="tokenizers", names={"tokenizer": one.name}, key=key, compute=compute, kept="")


def _pair(source: NamedTokenizer, target: NamedTokenizer, texts: Sequence[str], digest: str) -> Iterator[Cell]:
    def compute() -> list[Row]:
        found = measures.match_tokens(target.tokenize(texts), source.tokenize(texts))
        return [
            {
                "jaccard": measures.jaccard(source.vocabulary, target.vocabulary),
                "exact": found.exact_rate,
                "aligned": found.aligned_rate,
                "boundaries": found.boundary_rate,
                "positions": found.positions,
            }
        ]

    key = {"source": source.fingerprint, "target": target.fingerprint, "texts": digest}
    names = {"source": source.name, "target": target.name}
    yield Cell(table="pairs", names=names, key=key, compute=compute, kept="")
