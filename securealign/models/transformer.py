"""Encoders that transformers can load: safetensors weights only, no code from the model, float32 on the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from securealign.errors import ConfigurationError, ErrorCode, InputError
from securealign.models.encoder import Progress, check_finite, fingerprint_of
from securealign.models.optional import require
from securealign.models.pooling import pool
from securealign.models.pretrained import UnreadableModelError, load_pretrained
from securealign.models.sentence import SentencePlan, read_sentence_plan

_DEFAULT_MAX_TOKENS = 512  # memory grows with the square of the length, and few encoders were trained beyond
_MIN_TOKENS = 4  # begin, end and something between
_WINDOW = 4096  # texts that are tokenised and sorted together
_FINGERPRINTED = ("*.safetensors", "*.json", "*.txt", "*.model")
_PURPOSE = "A transformer encoder"


class TransformerEncoder:
    """An encoder from a folder in the layout of transformers, with or without the files of sentence-transformers.

    `max_tokens` defaults to the model's own limit, at most 512. Raises `InputError` for a folder that cannot be loaded,
    `ConfigurationError` for settings the model cannot meet, `DependencyError` without torch and transformers.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        name: str | None = None,
        max_tokens: int | None = None,
        pooling: str | None = None,
        batch_size: int = 32,
    ) -> None:
        self._folder = Path(folder)
        if batch_size < 1:
            raise ConfigurationError(f"The batch size is {batch_size}.", hint="Use at least 1.")
        self.name = name or self._folder.name
        self._batch_size = batch_size
        self._plan: SentencePlan = read_sentence_plan(self._folder, pooling=pooling)
        self._tokenizer, self._model = _load(self._folder)
        self.dimension = int(self._model.config.hidden_size)
        self.max_tokens = self._choose_max_tokens(max_tokens)

    def _choose_max_tokens(self, wanted: int | None) -> int:
        # Tokenizers without a limit of their own say so with a huge number; RoBERTa and MPNet hold two positions more
        # than they can use, which their tokenizers know.
        positions = getattr(self._model.config, "max_position_embeddings", None) or int(1e9)
        most = min(int(self._tokenizer.model_max_length), int(positions))
        chosen = wanted if wanted is not None else min(self._plan.max_tokens or most, most, _DEFAULT_MAX_TOKENS)
        if not _MIN_TOKENS <= chosen <= most:
            raise ConfigurationError(
                f"{self.name} cannot read {chosen} tokens.", hint=f"Use {_MIN_TOKENS} to {most} for max_tokens."
            )
        return chosen

    @cached_property
    def fingerprint(self) -> str:
        """Hexadecimal SHA-256 over the folder's weights, configuration and tokenizer, and the settings."""
        files = {path.name: path for glob in _FINGERPRINTED for path in sorted(self._folder.glob(glob))}
        settings: dict[str, str | int | bool | None] = {
            "pooling": self._plan.pooling,
            "normalize": self._plan.normalize,
            "lower_case": self._plan.lower_case,
            "max_tokens": self.max_tokens,
        }
        # Only where there is one, so that without one an encoder keeps the fingerprint under which others know it.
        if self._plan.prompt:
            settings["prompt"] = self._plan.prompt
        return fingerprint_of(files, settings)

    def encode(self, texts: Sequence[str], *, progress: Progress | None = None) -> NDArray[np.float32]:
        """Return embeddings of shape (n, d); raises `InputError` if one is not finite."""
        vectors = np.empty((len(texts), self.dimension), dtype=np.float32)
        for start in range(0, len(texts), _WINDOW):
            tokens = self._tokenize(texts[start : start + _WINDOW])
            # Texts of like length share a batch, so that little of it is padding.
            order = sorted(range(len(tokens)), key=lambda row: len(tokens[row]), reverse=True)
            done = start
            for _, group in groupby(enumerate(order), key=lambda pair: pair[0] // self._batch_size):
                rows = [row for _, row in group]
                vectors[[start + row for row in rows]] = self._encode_batch([tokens[row] for row in rows])
                done += len(rows)
                if progress is not None:
                    progress(done, len(texts))
        check_finite(vectors, 0, f"the embeddings by {self.name}")
        return vectors

    def _tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        prepared = [self._plan.prompt + text for text in texts]
        if self._plan.lower_case:
            prepared = [text.lower() for text in prepared]
        tokens: list[list[int]] = self._tokenizer(prepared, truncation=True, max_length=self.max_tokens)["input_ids"]
        # A decoder's tokenizer gives nothing for an empty text; one padding token gives it a vector all the same.
        return [ids or [self._padding] for ids in tokens]

    @property
    def _padding(self) -> int:
        token = self._tokenizer.pad_token_id
        return int(token if token is not None else self._tokenizer.eos_token_id or 0)

    def _encode_batch(self, tokens: list[list[int]]) -> NDArray[np.float32]:
        torch = require("torch", _PURPOSE)
        width = max(map(len, tokens))
        ids = torch.full((len(tokens), width), self._padding, dtype=torch.long)
        mask = torch.zeros((len(tokens), width), dtype=torch.long)
        for row, token_ids in enumerate(tokens):
            ids[row, : len(token_ids)] = torch.tensor(token_ids, dtype=torch.long)
            mask[row, : len(token_ids)] = 1
        with torch.inference_mode():
            hidden = self._model(input_ids=ids, attention_mask=mask).last_hidden_state
            pooled = pool(hidden, mask, self._plan.pooling, normalize=self._plan.normalize)
        vectors: NDArray[np.float32] = pooled.to(torch.float32).numpy()
        return vectors


def _load(folder: Path) -> tuple[Any, Any]:
    try:
        tokenizer, model, missing = load_pretrained(folder, "AutoModel", _PURPOSE)
    except UnreadableModelError as error:
        raise InputError(f"{folder} {error.reason}.", hint=error.hint, code=ErrorCode.FILE_INVALID) from error
    # transformers fills weights that are missing with random numbers. Only the pooler's are never used here.
    _check_loaded(folder, model, [key for key in missing if not key.startswith("pooler.")])
    model.config.use_cache = False
    return tokenizer, model


def _check_loaded(folder: Path, model: Any, missing: Sequence[str]) -> None:  # noqa: ANN401 - transformers is optional
    if getattr(model.config, "is_encoder_decoder", False):
        raise InputError(
            f"{folder} holds an encoder-decoder model, which gives no single vector a token.",
            hint="Use an encoder or a decoder model.",
        )
    if missing:
        raise InputError(
            f"{folder} lacks {len(missing)} weights, the first of which is {missing[0]}.",
            hint="Check that the weights belong to this config.json.",
            code=ErrorCode.FILE_INVALID,
        )
