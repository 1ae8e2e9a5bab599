"""Find the folder of a model by its name: a pinned asset, converted if needed, a local folder, or a hub model."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from securealign.lab.assets.conversion.folders import converted_folder, is_converted
from securealign.lab.assets.conversion.recipes import RECIPES
from securealign.lab.assets.files import fetch, is_fetched, require_consent
from securealign.lab.assets.registry import ASSETS
from securealign.models import encoders


def builtin_folder(name: str, *, cache: Path | None = None) -> Path:
    """Return the folder of a pinned model, fetched and converted on first use."""
    if name in RECIPES:
        return converted_folder(RECIPES[name], cache=cache)
    return fetch(name, cache=cache)


def require_terms(specs: Iterable[str]) -> None:
    """Raise `AssetError` for a pinned model that would be refused for its terms, before another is fetched for it."""
    for spec in specs:
        if spec in ASSETS and not _is_cached(spec):
            require_consent(ASSETS[spec])


def _is_cached(name: str) -> bool:
    return is_fetched(ASSETS[name]) or (name in RECIPES and is_converted(RECIPES[name]))


def model_folder(spec: str, *, what: str, builtin: tuple[str, ...], cache: Path | None = None) -> Path:
    """Return the folder of one of the `builtin` names, a local folder, or a hub model; `what` names the kind.

    Raises `InputError` for anything else, such as a pinned name of another kind.
    """
    if spec in builtin:
        return builtin_folder(spec, cache=cache)
    return encoders.model_folder(spec, what=what, known=builtin, reserved=ASSETS)
