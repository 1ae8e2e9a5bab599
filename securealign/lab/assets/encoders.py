"""The catalogue of built-in encoders, each the name of a pinned asset."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from securealign.errors import ConfigurationError
from securealign.lab.assets.lookup import builtin_folder
from securealign.lab.assets.static import GloveEncoder, StaticEncoder, WordLlamaEncoder
from securealign.models.encoder import Encoder
from securealign.models.transformer import TransformerEncoder

_STATIC: dict[str, type[StaticEncoder]] = {"wordllama": WordLlamaEncoder, "glove": GloveEncoder}


def _open_transformer(name: str, *, cache: Path | None = None, **options: Any) -> Encoder:  # noqa: ANN401 - as given
    return TransformerEncoder(builtin_folder(name, cache=cache), name=name, **options)


#: Settings that static encoders lack, with the values that they meet all the same.
_MET: Mapping[str, tuple[str | None, ...]] = {
    "pooling": (None, "mean"), "prompt": (None, ""), "truncate_dim": (None,), "device": (None, "cpu"),
}  # fmt: skip


def _open_static(name: str, *, cache: Path | None = None, max_tokens: int | None = None, **options: object) -> Encoder:
    for setting, met in _MET.items():
        if (value := options.get(setting)) not in met:
            raise ConfigurationError(f"{name} has no {value!r} {setting}.", hint=f"Leave {setting} out.")
    return _STATIC[name](builtin_folder(name, cache=cache), max_tokens=max_tokens)


#: What the entry point of the group `securealign.encoders` refers to: a name to a function that opens it.
ENCODERS: Mapping[str, Callable[..., Encoder]] = {
    **dict.fromkeys(("minilm", "mpnet", "e5", "paraphrase", "smollm2", "gemma"), _open_transformer),
    **dict.fromkeys(_STATIC, _open_static),
}
