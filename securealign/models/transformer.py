"""Encoders that sentence-transformers can load: safetensors weights, float32, no code from the model unless asked."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from securealign.errors import ConfigurationError
from securealign.models.encoder import Progress, TextError, check_finite, fingerprint_of
from securealign.models.pretrained import check_device, first_line
from securealign.models.quiet import quiet
from securealign.models.sentence import load_sentence_model, poolings_of, positions_of, transformers_in

_DEFAULT_MAX_TOKENS = 512  # memory grows with the square of the length, and few encoders were trained beyond
_MIN_TOKENS = 4  # begin, end and something between
_FINGERPRINTED = ("*.safetensors", "*.json", "*.txt", "*.model", "*.gguf")


class TransformerEncoder:
    """An encoder from a folder of sentence-transformers, or of transformers alone, whose token vectors are averaged.

    `max_tokens` defaults to the model's own limit, at most 512; `pooling` and `prompt`, which stands before every text,
    default to the folder's. `truncate_dim` keeps that many leading dimensions. Raises `InputError` for a folder that
    cannot be loaded, `ConfigurationError` for settings the model cannot meet, `DependencyError` for a package that is
    not installed.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        name: str | None = None,
        max_tokens: int | None = None,
        pooling: str | None = None,
        prompt: str | None = None,
        truncate_dim: int | None = None,
        device: str = "cpu",
        batch_size: int = 32,
        trust_remote_code: bool = False,
    ) -> None:
        self._folder = Path(folder)
        if batch_size < 1:
            raise ConfigurationError(f"The batch size is {batch_size}.", hint="Use at least 1.")
        check_device(device)
        self.name = name or self._folder.name
        self._batch_size = batch_size
        self._globs = (*_FINGERPRINTED, "*.py") if trust_remote_code else _FINGERPRINTED
        self._model, width = load_sentence_model(self._folder, pooling=pooling, trust_remote_code=trust_remote_code)
        self._transformers = transformers_in(self._model)
        self.max_tokens = self._choose_max_tokens(max_tokens)
        default = self._model.prompts.get(self._model.default_prompt_name) or ""
        self.prompt: str = default if prompt is None else prompt
        if truncate_dim is not None and not 1 <= truncate_dim <= width:
            raise ConfigurationError(
                f"{self.name} gives {width} dimensions, not {truncate_dim}.", hint="Use fewer for truncate_dim."
            )
        self._truncate_dim = truncate_dim
        self.dimension = truncate_dim or width
        self._model.to(device)

    def _choose_max_tokens(self, wanted: int | None) -> int | None:
        if not self._transformers:
            return self._limit_words(wanted)
        bounds = [count for count in map(positions_of, self._transformers) if count is not None]
        own = [int(transformer.max_seq_length) for transformer in self._transformers]
        chosen = wanted if wanted is not None else min(*own, *bounds, _DEFAULT_MAX_TOKENS)
        if chosen < _MIN_TOKENS or chosen > min(bounds, default=chosen):
            limits = f"{_MIN_TOKENS} to {min(bounds)}" if bounds else f"at least {_MIN_TOKENS}"
            raise ConfigurationError(f"{self.name} cannot read {chosen} tokens.", hint=f"Use {limits} for max_tokens.")
        for transformer in self._transformers:
            transformer.max_seq_length = chosen
        return chosen

    def _limit_words(self, wanted: int | None) -> int | None:
        """Limit the tokens of a text for a table of word vectors, which has no limit of its own."""
        if wanted is None:
            return None
        try:
            self._model[0].tokenizer.enable_truncation(wanted)
        except AttributeError:
            raise ConfigurationError(
                f"{self.name} has no limit of tokens to set.", hint="Leave max_tokens out."
            ) from None
        return wanted

    @cached_property
    def fingerprint(self) -> str:
        """Hexadecimal SHA-256 over the folder's weights, configuration and tokenizer, and the settings."""
        poolings = poolings_of(self._model)
        found = {path.relative_to(self._folder): path for glob in self._globs for path in self._folder.rglob(glob)}
        files = {place.as_posix(): path for place, path in sorted(found.items()) if not _is_apart(place)}
        modes = [pooling.pooling_mode for pooling in poolings]
        settings: dict[str, str | int | bool | None] = {
            "pooling": "+".join(mode if isinstance(mode, str) else "+".join(mode) for mode in modes),
            "normalize": any(type(module).__name__ == "Normalize" for module in self._model.modules()),
            "lower_case": any(transformer.do_lower_case for transformer in self._transformers),
            "max_tokens": self.max_tokens,
        }
        # Only what differs from the default, so that an encoder keeps the fingerprint under which others know it.
        if self.prompt:
            settings["prompt"] = self.prompt
            if not all(pooling.include_prompt for pooling in poolings):
                settings["include_prompt"] = False
        if any(place.name == "adapter_config.json" for place in found):  # whose base lies elsewhere
            settings["weights"] = _digest_of(self._model)
        if self._truncate_dim is not None:
            settings["truncate_dim"] = self._truncate_dim
        return fingerprint_of(files, settings)

    def encode(self, texts: Sequence[str], *, progress: Progress | None = None) -> NDArray[np.float32]:
        """Return embeddings of shape (n, d); raises `InputError` for a text that yields none or a value not finite."""
        vectors = np.empty((len(texts), self.dimension), dtype=np.float32)
        prepared = self._prepare(texts)
        # Texts of like length share a batch, so that little of it is padding.
        order = sorted(range(len(texts)), key=lambda row: len(prepared[row]), reverse=True)
        for start in range(0, len(order), self._batch_size):
            rows = order[start : start + self._batch_size]
            vectors[rows] = self._encode_rows(prepared, rows)
            if progress is not None:
                progress(start + len(rows), len(texts))
        check_finite(vectors, 0, f"the embeddings by {self.name}")
        return vectors

    def _prepare(self, texts: Sequence[str]) -> Sequence[str]:
        """Replace texts that a decoder's tokenizer gives no tokens for by its padding, which has a vector."""
        if self.prompt or not self._transformers:
            return texts
        tokenizer = self._transformers[0].tokenizer
        if tokenizer("")["input_ids"]:
            return texts
        return [text if text and tokenizer(text)["input_ids"] else tokenizer.pad_token for text in texts]

    def _encode_rows(self, texts: Sequence[str], rows: Sequence[int]) -> NDArray[np.float32]:
        try:
            with quiet():
                vectors = self._model.encode(
                    [texts[row] for row in rows],
                    prompt=self.prompt,
                    batch_size=len(rows),
                    show_progress_bar=False,
                    truncate_dim=self._truncate_dim,
                )
        except (IndexError, RuntimeError, ValueError) as error:
            if len(rows) > 1:
                return np.concatenate([self._encode_rows(texts, [row]) for row in rows])
            raise TextError(
                rows[0],
                f"cannot be encoded by {self.name}: {first_line(error)}.",
                hint="Check that tokenizer and weights belong together: each token needs a vector.",
            ) from error
        return np.asarray(vectors, dtype=np.float32)


def _is_apart(place: Path) -> bool:
    """Return whether a file says nothing of the embeddings that the settings do not say: a pooling, another format."""
    return place.parent.name.endswith("_Pooling") or place.parts[0] in {"onnx", "openvino"}


def _digest_of(model: Any) -> str:  # noqa: ANN401 - sentence-transformers is optional
    digest = hashlib.sha256()
    for name, weight in sorted(model.state_dict().items()):
        digest.update(name.encode() + weight.cpu().numpy().tobytes())
    return digest.hexdigest()
