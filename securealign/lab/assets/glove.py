"""Static word vectors of GloVe: a table and its words, no torch."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from securealign.errors import ConfigurationError, ErrorCode, InputError
from securealign.models.encoder import Progress, check_finite, fingerprint_of

VECTORS = "vectors.npy"
WORDS = "words.json"
_BATCH = 256

# Contractions as in the Penn Treebank, by whose rules GloVe's texts were split: "isn't" is "is" and "n't".
_WORD = re.compile(r"n't|'(?:s|re|ve|ll|d|m)\b|\w+?(?=n't)|\w+")


class GloveEncoder:
    """The mean of the vectors of a text's words, in lower case; unknown words count for nothing, none give zero.

    `folder` holds `vectors.npy`, (words, d) in float32, and `words.json`, a list. `max_tokens` counts known words.
    Raises `InputError` for other content.
    """

    def __init__(self, folder: str | Path, *, name: str = "glove", max_tokens: int | None = None) -> None:
        if max_tokens is not None and max_tokens < 1:
            raise ConfigurationError(f"A limit of {max_tokens} words leaves nothing.", hint="Use at least 1.")
        self._folder = Path(folder)
        self.name = name
        self.max_tokens = max_tokens
        self._table, self._rows = self._load()
        self.dimension = int(self._table.shape[1])

    def _load(self) -> tuple[NDArray[np.float32], dict[str, int]]:
        try:
            table: NDArray[np.float32] = np.load(self._folder / VECTORS, mmap_mode="r", allow_pickle=False)
            words = json.loads((self._folder / WORDS).read_text(encoding="utf-8"))
            rows = {word: row for row, word in enumerate(words)}
        except (OSError, ValueError, TypeError) as error:
            raise self._unusable(f"cannot be loaded: {error}") from error
        if table.ndim != 2 or table.dtype != np.float32 or len(words) != len(table):
            raise self._unusable(f"holds {len(words)} words for vectors of shape {table.shape}")
        return table, rows

    def _unusable(self, what: str) -> InputError:
        return InputError(f"{self._folder} {what}.", hint="Delete it.", code=ErrorCode.FILE_INVALID)

    @cached_property
    def fingerprint(self) -> str:
        """Hexadecimal SHA-256 over vectors, words, how texts are split, and the limit."""
        files = {name: self._folder / name for name in (VECTORS, WORDS)}
        return fingerprint_of(files, {"pooling": "mean", "split": _WORD.pattern, "max_tokens": self.max_tokens})

    def encode(self, texts: Sequence[str], *, progress: Progress | None = None) -> NDArray[np.float32]:
        """Return embeddings of shape (n, d)."""
        vectors = np.zeros((len(texts), self.dimension), dtype=np.float32)
        for row, text in enumerate(texts):
            words = _WORD.findall(text.lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'"))
            known = [self._rows[word] for word in words if word in self._rows][: self.max_tokens]
            if known:
                vectors[row] = self._table[known].mean(axis=0)
            if progress is not None and ((row + 1) % _BATCH == 0 or row + 1 == len(texts)):
                progress(row + 1, len(texts))
        check_finite(vectors, 0, f"the embeddings by {self.name}")
        return vectors
