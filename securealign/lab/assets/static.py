"""Static encoders: the embedding of a text is the mean of table rows, and no torch is needed."""

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from securealign.errors import ConfigurationError, FileError, InputError
from securealign.models.encoder import Progress, check_finite, fingerprint_of
from securealign.optional import require

VECTORS, WORDS = "vectors.npy", "words.json"
_BATCH = 256

# Contractions as in the Penn Treebank, by whose rules GloVe's texts were split: "isn't" is "is" and "n't".
_WORD = re.compile(r"n't|'(?:s|re|ve|ll|d|m)\b|\w+?(?=n't)|\w+")


class StaticEncoder(ABC):
    """The mean of the table rows of a text's units (words or tokens), of the first `max_tokens` of them if given.

    A text without known units gives the zero vector. Raises `InputError` for a folder with other content.
    """

    _name: ClassVar[str]
    _units: ClassVar[str]
    #: What the embeddings depend on: files by name, below the folder, and how texts are split.
    _files: ClassVar[Mapping[str, Path]]
    _settings: ClassVar[Mapping[str, str]] = {}
    _table: NDArray[np.float32]

    def __init__(self, folder: str | Path, *, name: str | None = None, max_tokens: int | None = None) -> None:
        if max_tokens is not None and max_tokens < 1:
            raise ConfigurationError(f"A limit of {max_tokens} {self._units} leaves nothing.", hint="Use at least 1.")
        self._folder, self.name, self.max_tokens = Path(folder), name or self._name, max_tokens
        self._load()
        self.dimension = int(self._table.shape[1])

    @abstractmethod
    def _load(self) -> None:
        """Set the table (units, d) and what `_rows` needs."""

    @abstractmethod
    def _rows(self, texts: Sequence[str]) -> Iterator[Sequence[int]]:
        """Yield the table rows of each text, not yet limited."""

    @cached_property
    def fingerprint(self) -> str:
        """Hexadecimal SHA-256 over table, units, how texts are split, and the limit."""
        files = {name: self._folder / path for name, path in self._files.items()}
        return fingerprint_of(files, {"pooling": "mean", **self._settings, "max_tokens": self.max_tokens})

    def encode(self, texts: Sequence[str], *, progress: Progress | None = None) -> NDArray[np.float32]:
        """Return embeddings of shape (n, d)."""
        vectors = np.zeros((len(texts), self.dimension), dtype=np.float32)
        for start in range(0, len(texts), _BATCH):
            batch = texts[start : start + _BATCH]
            for row, found in enumerate(self._rows(batch), start):
                rows = found[: self.max_tokens]
                if rows:
                    vectors[row] = self._table[rows].mean(axis=0)
            if progress is not None:
                progress(start + len(batch), len(texts))
        check_finite(vectors, 0, f"the embeddings by {self.name}")
        return vectors

    def _unusable(self, what: str, hint: str) -> InputError:
        return FileError(f"{self._folder} {what}.", hint=hint)


class GloveEncoder(StaticEncoder):
    """Word vectors of GloVe, `vectors.npy` (words, d) and `words.json`, lower case; `max_tokens` counts known words."""

    _name, _units = "glove", "words"
    _files: ClassVar = {name: Path(name) for name in (VECTORS, WORDS)}
    _settings: ClassVar = {"split": _WORD.pattern}

    def _load(self) -> None:
        try:
            self._table = np.load(self._folder / VECTORS, mmap_mode="r", allow_pickle=False)
            words = json.loads((self._folder / WORDS).read_text(encoding="utf-8"))
            self._numbers = {word: row for row, word in enumerate(words)}
        except (OSError, ValueError, TypeError) as error:
            raise self._unusable(f"cannot be loaded: {error}", "Delete it.") from error
        table = self._table
        if table.ndim != 2 or table.dtype != np.float32 or len(words) != len(table):
            raise self._unusable(f"holds {len(words)} words for vectors of shape {table.shape}", "Delete it.")

    def _rows(self, texts: Sequence[str]) -> Iterator[Sequence[int]]:
        for text in texts:
            words = _WORD.findall(text.lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'"))
            yield [self._numbers[word] for word in words if word in self._numbers]


class WordLlamaEncoder(StaticEncoder):
    """Token vectors of WordLlama, in `weights/` and `tokenizers/` as it ships them; needs the package tokenizers."""

    _name, _units = "wordllama", "tokens"
    _files: ClassVar = {
        "weights": Path("weights") / "l2_supercat_256.safetensors",
        "tokenizer": Path("tokenizers") / "l2_supercat_tokenizer_config.json",
    }

    def _load(self) -> None:
        safetensors = require("safetensors.numpy", "The WordLlama encoder")
        missing = next((path for path in self._files.values() if not (self._folder / path).is_file()), None)
        if missing is not None:
            raise self._unusable(f"holds no {missing}", "Fetch the asset again.")
        weights = safetensors.load_file(self._folder / self._files["weights"])
        self._table = weights["embedding.weight"].astype(np.float32)
        tokenizers = require("tokenizers", "The WordLlama encoder")
        self._tokenizer = tokenizers.Tokenizer.from_file(str(self._folder / self._files["tokenizer"]))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()

    def _rows(self, texts: Sequence[str]) -> Iterator[Sequence[int]]:
        # As WordLlama does: tokens that were added after training share the table's last row.
        last = len(self._table) - 1
        for encoding in self._tokenizer.encode_batch(list(texts), add_special_tokens=False):
            yield [min(number, last) for number in encoding.ids]
