"""Static token embeddings of WordLlama: a table and a tokenizer, no torch."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from securealign.errors import ConfigurationError, ErrorCode, InputError
from securealign.models.encoder import Progress, check_finite, fingerprint_of
from securealign.models.optional import require

_WEIGHTS = Path("weights") / "l2_supercat_256.safetensors"
_TOKENIZER = Path("tokenizers") / "l2_supercat_tokenizer_config.json"
_BATCH = 256


class WordLlamaEncoder:
    """The mean of the token vectors of a text, float32; a text without tokens gives the zero vector.

    `folder` holds `weights/` and `tokenizers/` as WordLlama ships them. Raises `InputError` for other content and
    `DependencyError` without the tokenizers package.
    """

    def __init__(self, folder: str | Path, *, name: str = "wordllama", max_tokens: int | None = None) -> None:
        if max_tokens is not None and max_tokens < 1:
            raise ConfigurationError(f"A limit of {max_tokens} tokens leaves nothing.", hint="Use at least 1.")
        self._folder = Path(folder)
        self.name = name
        self.max_tokens = max_tokens
        self._table = self._load_table()
        self.dimension = int(self._table.shape[1])
        tokenizers = require("tokenizers", "The WordLlama encoder")
        self._tokenizer = tokenizers.Tokenizer.from_file(str(self._folder / _TOKENIZER))
        self._tokenizer.no_padding()
        if max_tokens is None:
            self._tokenizer.no_truncation()
        else:
            self._tokenizer.enable_truncation(max_tokens)

    def _load_table(self) -> NDArray[np.float32]:
        safetensors = require("safetensors.numpy", "The WordLlama encoder")
        missing = next((path for path in (_WEIGHTS, _TOKENIZER) if not (self._folder / path).is_file()), None)
        if missing is not None:
            raise InputError(
                f"{self._folder} holds no {missing}.", hint="Fetch the asset again.", code=ErrorCode.FILE_INVALID
            )
        table: NDArray[np.float32] = safetensors.load_file(self._folder / _WEIGHTS)["embedding.weight"]
        return table.astype(np.float32)

    @cached_property
    def fingerprint(self) -> str:
        """Hexadecimal SHA-256 over table, tokenizer and token limit."""
        files = {"weights": self._folder / _WEIGHTS, "tokenizer": self._folder / _TOKENIZER}
        return fingerprint_of(files, {"pooling": "mean", "max_tokens": self.max_tokens})

    def encode(self, texts: Sequence[str], *, progress: Progress | None = None) -> NDArray[np.float32]:
        """Return embeddings of shape (n, d)."""
        vectors = np.zeros((len(texts), self.dimension), dtype=np.float32)
        for start in range(0, len(texts), _BATCH):
            batch = self._tokenizer.encode_batch(list(texts[start : start + _BATCH]), add_special_tokens=False)
            for row, encoding in enumerate(batch, start):
                if encoding.ids:
                    # As WordLlama does: tokens added after training share the table's last row.
                    ids = np.minimum(encoding.ids, len(self._table) - 1)
                    vectors[row] = self._table[ids].mean(axis=0)
            if progress is not None:
                progress(start + len(batch), len(texts))
        check_finite(vectors, 0, f"the embeddings by {self.name}")
        return vectors
