"""Find the folder of a model by its name: a pinned asset, converted if needed, a local folder, or a hub model."""

from collections.abc import Iterable
from pathlib import Path

from securealign.lab.assets.conversion.folders import converted_folder, is_converted
from securealign.lab.assets.conversion.recipes import RECIPES
from securealign.lab.assets.files import fetch, has_consent, is_fetched, require_consent
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
        cached = spec in ASSETS and (is_fetched(ASSETS[spec]) or (spec in RECIPES and is_converted(RECIPES[spec])))
        if spec in ASSETS and not cached:
            require_consent(ASSETS[spec])


def model_folder(spec: str, *, what: str, builtin: tuple[str, ...], cache: Path | None = None) -> Path:
    """Return the folder of one of the `builtin` names, a local folder, or a hub model; `what` names the kind.

    Raises `InputError` for anything else, such as a pinned name of another kind.
    """
    if spec in builtin:
        return builtin_folder(spec, cache=cache)
    return encoders.model_folder(spec, what=what, known=builtin, reserved=ASSETS)


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
