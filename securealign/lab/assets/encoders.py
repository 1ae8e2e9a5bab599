"""Encoders by name: those pinned in the registry, a local folder, or a hub id."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from securealign.errors import ConfigurationError
from securealign.lab.assets.files import has_consent
from securealign.lab.assets.glove import GloveEncoder
from securealign.lab.assets.lookup import builtin_folder, model_folder
from securealign.lab.assets.wordllama import WordLlamaEncoder
from securealign.models.encoder import Encoder
from securealign.models.transformer import TransformerEncoder

_TRANSFORMERS = ("minilm", "mpnet", "e5", "paraphrase", "smollm2", "gemma")
_STATIC: dict[str, Callable[..., Encoder]] = {"wordllama": WordLlamaEncoder, "glove": GloveEncoder}
_BUILTIN = (*_TRANSFORMERS, *_STATIC)


def builtin_encoders() -> tuple[str, ...]:
    """Return the names of the built-in encoders, each the name of a pinned asset."""
    return _BUILTIN


def usable_encoders() -> tuple[str, ...]:
    """Return the names of the built-in encoders that are under no terms of use, or whose terms the user accepted."""
    return tuple(name for name in _BUILTIN if has_consent(name))


def open_encoder(
    spec: str,
    *,
    max_tokens: int | None = None,
    pooling: str | None = None,
    batch_size: int = 32,
    cache: Path | None = None,
) -> Encoder:
    """Return the encoder that `spec` names: a built-in name, a model folder, or a hub id with an optional "@revision".

    Built-in ones are fetched and converted on first use into `cache`. Raises `InputError` for an unknown name or
    unusable folder, `AssetError` when fetching or converting fails or terms of use are not accepted,
    `ConfigurationError` for settings the encoder cannot meet, `DependencyError` without the extra 'models'.
    """
    if spec in _STATIC:
        if pooling not in {None, "mean"}:
            raise ConfigurationError(f"{spec} has no {pooling!r} pooling.", hint="Leave pooling out.")
        return _STATIC[spec](builtin_folder(spec, cache=cache), max_tokens=max_tokens)
    return TransformerEncoder(
        model_folder(spec, what="encoder", builtin=_BUILTIN, cache=cache),
        name=spec,
        max_tokens=max_tokens,
        pooling=pooling,
        batch_size=batch_size,
    )
