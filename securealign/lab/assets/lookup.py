"""Find the folder of a model by its name: a pinned asset, converted if needed, a local folder, or a hub model."""

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
        cached = spec in ASSETS and (is_fetched(ASSETS[spec]) or (spec in RECIPES and is_converted(RECIPES[spec])))
        if spec in ASSETS and not cached:
            require_consent(ASSETS[spec])


def model_folder(spec: str, *, what: str, builtin: tuple[str, ...]) -> Path:
    """Return the folder of a `builtin` name, a local folder, or a hub model; raises `InputError` for anything else."""
    if spec in builtin:
        return builtin_folder(spec)
    return encoders.model_folder(spec, what=what, known=builtin, reserved=ASSETS)


#: The built-in causal language models.
CAUSAL_LMS = ("smollm2", "gemma")


def causal_lm_folder(spec: str) -> Path:
    """Return the folder of the model that `spec` names, in float32, for transformers' AutoModelForCausalLM.

    `spec` is a built-in name, a model folder, or a hub id with an optional "@revision". Built-in ones are fetched and
    converted on first use. Raises `InputError` for an unknown name, `AssetError` when fetching or converting fails or
    terms of use are not accepted, `DependencyError` without the extra 'models'.
    """
    return model_folder(spec, what="causal language model", builtin=CAUSAL_LMS)
