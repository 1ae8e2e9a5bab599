"""Causal language models by name: those pinned in the registry, a local folder, or a hub id."""

from __future__ import annotations

from pathlib import Path

from securealign.lab.assets.files import has_consent
from securealign.lab.assets.lookup import model_folder

_BUILTIN = ("smollm2", "gemma")


def builtin_causal_lms() -> tuple[str, ...]:
    """Return the names of the built-in causal language models."""
    return _BUILTIN


def usable_causal_lms() -> tuple[str, ...]:
    """Return the built-in causal language models that are under no terms of use, or whose terms the user accepted."""
    return tuple(name for name in _BUILTIN if has_consent(name))


def causal_lm_folder(spec: str, *, cache: Path | None = None) -> Path:
    """Return the folder of the model that `spec` names, in float32, for transformers' AutoModelForCausalLM.

    `spec` is a built-in name, a model folder, or a hub id with an optional "@revision". Built-in ones are fetched and
    converted on first use. Raises `InputError` for an unknown name, `AssetError` when fetching or converting fails or
    terms of use are not accepted, `DependencyError` without the extra 'models'.
    """
    return model_folder(spec, what="causal language model", builtin=_BUILTIN, cache=cache)
