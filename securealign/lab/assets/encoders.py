"""The catalogue of built-in encoders, each the name of a pinned asset."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from securealign.errors import ConfigurationError
from securealign.lab.assets.files import has_consent
from securealign.lab.assets.lookup import builtin_folder
from securealign.lab.assets.static import GloveEncoder, StaticEncoder, WordLlamaEncoder
from securealign.models.encoder import Encoder
from securealign.models.transformer import TransformerEncoder

_STATIC: dict[str, type[StaticEncoder]] = {"wordllama": WordLlamaEncoder, "glove": GloveEncoder}


def _open_transformer(name: str, *, cache: Path | None = None, **options: Any) -> Encoder:  # noqa: ANN401 - as given
    return TransformerEncoder(builtin_folder(name, cache=cache), name=name, **options)


def _open_static(
    name: str,
    *,
    cache: Path | None = None,
    max_tokens: int | None = None,
    pooling: str | None = None,
    prompt: str | None = None,
    truncate_dim: int | None = None,
    device: str = "cpu",
    **_: object,
) -> Encoder:
    unmet = {
        "pooling": None if pooling == "mean" else pooling,
        "prompt": prompt or None,
        "truncate_dim": truncate_dim,
        "device": None if device == "cpu" else device,
    }
    for setting, value in unmet.items():
        if value is not None:
            raise ConfigurationError(f"{name} has no {value!r} {setting}.", hint=f"Leave {setting} out.")
    return _STATIC[name](builtin_folder(name, cache=cache), max_tokens=max_tokens)


#: What the entry point of the group `securealign.encoders` refers to: a name to a function that opens it.
ENCODERS: Mapping[str, Callable[..., Encoder]] = {
    **dict.fromkeys(("minilm", "mpnet", "e5", "paraphrase", "smollm2", "gemma"), _open_transformer),
    **dict.fromkeys(_STATIC, _open_static),
}


def usable_encoders() -> tuple[str, ...]:
    """Return the names of the built-in encoders that are under no terms of use, or whose terms the user accepted."""
    return tuple(name for name in ENCODERS if has_consent(name))
