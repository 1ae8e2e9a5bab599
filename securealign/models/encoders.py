"""Encoders by name, by model folder, or by hub id.

Names come from the catalogues of the entry-point group `securealign.encoders`: mappings from a name to a function that
takes this name and the options of `open_encoder` and returns an `Encoder`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from securealign.data.sources import builtin_names
from securealign.errors import InputError, did_you_mean
from securealign.extensions import catalogue
from securealign.models.encoder import Encoder
from securealign.models.hub import hub_folder, is_hub_id
from securealign.models.transformer import TransformerEncoder

GROUP = "securealign.encoders"

Opener = Callable[..., Encoder]


def builtin_encoders() -> tuple[str, ...]:
    """Return the names of the encoders that installed packages provide."""
    return tuple(catalogue(GROUP))


def open_encoder(
    spec: str,
    *,
    max_tokens: int | None = None,
    pooling: str | None = None,
    prompt: str | None = None,
    truncate_dim: int | None = None,
    device: str = "cpu",
    batch_size: int = 32,
    cache: Path | None = None,
    trust_remote_code: bool = False,
) -> Encoder:
    """Return the encoder that `spec` names: a built-in name, a model folder, or a hub id with an optional "@revision".

    Built-in ones are fetched and converted on first use into `cache`. `prompt` stands before every text, such as
    "query: " for e5, and replaces the model's default one; "" leaves that out. `truncate_dim` keeps that many leading
    dimensions. `trust_remote_code` runs Python files that come with a model: read them first. Raises `InputError` for
    an unknown name or unusable folder, `AssetError` when fetching or converting fails or terms of use are not accepted,
    `ConfigurationError` for settings the encoder cannot meet, `DependencyError` for a package that is not installed.
    """
    options: dict[str, Any] = {
        "max_tokens": max_tokens,
        "pooling": pooling,
        "prompt": prompt,
        "truncate_dim": truncate_dim,
        "device": device,
        "batch_size": batch_size,
        "trust_remote_code": trust_remote_code,
    }
    named: dict[str, Opener] = catalogue(GROUP)
    if spec in named:
        return named[spec](spec, cache=cache, **options)
    # A mistaken argument must not send the name of a data set to the hub.
    folder = model_folder(spec, what="encoder", known=tuple(named), reserved=builtin_names(), code=trust_remote_code)
    return TransformerEncoder(folder, name=spec, **options)


def model_folder(
    spec: str, *, what: str, known: Collection[str], reserved: Collection[str] = (), code: bool = False
) -> Path:
    """Return a model folder as it is, or the folder of a hub id, fetched; with its Python files if `code` is true.

    Raises `InputError`, which lists the names `known` of this kind of model (`what`), for anything else and for a
    `reserved` name, which is never sent to the hub.
    """
    if spec and Path(spec).is_dir():
        return Path(spec)
    if is_hub_id(spec) and spec not in reserved:
        return hub_folder(spec, code=code)
    raise InputError(
        f"{spec!r} is no {what}: neither a built-in name, nor a folder that exists, nor a hub id.",
        hint=f"{did_you_mean(spec, known)}Use one of {', '.join(known)}, a model folder, or an id such as "
        "organisation/model.",
    )
