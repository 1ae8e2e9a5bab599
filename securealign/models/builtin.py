"""Encoders by name: those pinned in the registry, a local folder, or a hub id."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from securealign.data.assets import Progress, fetch
from securealign.errors import ConfigurationError, InputError
from securealign.models.encoder import Encoder
from securealign.models.hub import hub_folder, is_hub_id
from securealign.models.transformer import TransformerEncoder
from securealign.models.wordllama import WordLlamaEncoder

_TRANSFORMERS = ("minilm", "mpnet")
_WORDLLAMA = "wordllama"


def builtin_encoders() -> tuple[str, ...]:
    """Return the names of the built-in encoders, each the name of a pinned asset."""
    return (*_TRANSFORMERS, _WORDLLAMA)


def open_encoder(
    spec: str,
    *,
    max_tokens: int | None = None,
    pooling: str | None = None,
    batch_size: int = 32,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> Encoder:
    """Return the encoder that `spec` names: a built-in name, a model folder, or a hub id with an optional "@revision".

    Built-in ones are fetched on first use into `cache`, with a line of text a step to `progress`. Raises `InputError`
    for an unknown name or unusable folder, `AssetError` when fetching fails, `ConfigurationError` for settings the
    encoder cannot meet, `DependencyError` without the extra 'models'.
    """
    if spec == _WORDLLAMA:
        if pooling not in {None, "mean"}:
            raise ConfigurationError(f"{spec} has no {pooling!r} pooling.", hint="Leave pooling out.")
        return WordLlamaEncoder(fetch(spec, cache=cache, progress=progress), max_tokens=max_tokens)
    return TransformerEncoder(
        _folder_of(spec, lambda name: fetch(name, cache=cache, progress=progress)),
        name=spec,
        max_tokens=max_tokens,
        pooling=pooling,
        batch_size=batch_size,
    )


def _folder_of(spec: str, fetch_asset: Callable[[str], Path]) -> Path:
    if spec in _TRANSFORMERS:
        return fetch_asset(spec)
    if spec and Path(spec).is_dir():
        return Path(spec)
    if is_hub_id(spec):
        return hub_folder(spec)
    raise InputError(
        f"{spec!r} is no encoder: neither a built-in name, nor a folder that exists, nor a hub id.",
        hint=f"Use one of {', '.join(builtin_encoders())}, a model folder, or an id such as organisation/model.",
    )
