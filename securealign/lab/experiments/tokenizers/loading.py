"""Tokenizers by the name of their model, from its folder, or from a tokenizer.json."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from securealign.errors import ErrorCode, InputError
from securealign.lab.assets.causal import builtin_causal_lms
from securealign.lab.assets.encoders import ENCODERS
from securealign.lab.assets.lookup import model_folder
from securealign.lab.measures.tokenizers import Style, Tokenized, style_of, surface, surfaces
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
        return surfaces(list(self.tokenizer.get_vocab()), special=self._special)

    @property
    def style(self) -> Style:
        """How the vocabulary writes spaces."""
        return style_of(self.tokenizer.get_vocab())

    @property
    def _special(self) -> list[str]:
        return [token.content for token in self.tokenizer.get_added_tokens_decoder().values() if token.special]

    def tokenize(self, texts: Sequence[str]) -> list[Tokenized]:
        """Return the tokens of texts, without special ones."""
        style = self.style
        return [
            Tokenized(
                [surface(token, style) for token in encoding.tokens],
                np.array([end for _, end in encoding.offsets], dtype=np.int64),
            )
            for encoding in self.tokenizer.encode_batch(list(texts), add_special_tokens=False)
        ]


def open_tokenizer(spec: str) -> NamedTokenizer:
    """Open the tokenizer of a model (built-in name, folder or hub id), or of a tokenizer.json.

    Raises `InputError` when there is none, what fetching raises, and `DependencyError` without the tokenizers package.
    """
    tokenizers = require("tokenizers", _PURPOSE)
    path = Path(spec)
    if path.is_file():
        file, name, folder = path, path.parent.name or path.stem, None
    else:
        names = (*dict.fromkeys((*builtin_causal_lms(), *ENCODERS)),)
        folder = model_folder(spec, what="model with a tokenizer", builtin=names)
        file, name = _file_in(folder, spec), path.resolve().name if path.is_dir() else spec
    try:
        tokenizer = tokenizers.Tokenizer.from_file(str(file))
    except Exception as error:  # the package raises nothing more special
        raise InputError(
            f"{file} is no tokenizer: {error}.", hint="Give a tokenizer.json.", code=ErrorCode.FILE_INVALID
        ) from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return NamedTokenizer(name, file, tokenizer, None if folder is None else count_weights(folder))


def _file_in(folder: Path, spec: str) -> Path:
    for candidate in ("tokenizer.json", "tokenizers/*.json"):
        found = sorted(folder.glob(candidate))
        if found:
            return found[0]
    raise InputError(
        f"{spec} has no tokenizer.json.", hint="Give a model with a fast tokenizer.", code=ErrorCode.FILE_INVALID
    )


def count_weights(folder: Path) -> int | None:
    """Return the number of weights in a folder's safetensors files, by their headers; None without such files."""
    files = sorted(folder.glob("*.safetensors"))
    return sum(map(_weights_in, files)) if files else None


def _weights_in(file: Path) -> int:
    try:
        with safe_open(file, "numpy") as content:
            return sum(prod(content.get_slice(name).get_shape()) for name in content.keys())  # noqa: SIM118
    except SafetensorError as error:
        raise InputError(
            f"{file} is no safetensors file.", hint="Fetch the model again.", code=ErrorCode.FILE_INVALID
        ) from error
