"""How a model folder says that its token vectors become one vector: the files of sentence-transformers, or defaults."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from securealign.errors import ConfigurationError, ErrorCode, InputError

POOLINGS = ("mean", "cls", "max", "lasttoken")
_MODES = {"mean_tokens": "mean", "cls_token": "cls", "max_tokens": "max", "lasttoken": "lasttoken"}
_OWN_WAY = "Compute the embeddings with the model's own library and give them as an .npy file."


@dataclass(frozen=True, kw_only=True)
class SentencePlan:
    """Pooling (one of `POOLINGS`), L2 normalisation, lower-casing, the model's own limit of tokens, if any.

    `prompt` stands before every text, and its tokens count like others.
    """

    pooling: str = "mean"
    normalize: bool = False
    lower_case: bool = False
    max_tokens: int | None = None
    prompt: str = ""


def read_sentence_plan(folder: Path, *, pooling: str | None = None) -> SentencePlan:
    """Return the plan of a model folder; `pooling` overrides the folder's.

    Without `modules.json` it is mean pooling, not normalised. Raises `InputError` for modules or poolings that are not
    implemented, since leaving them out would give other embeddings than the model's, and `ConfigurationError` for an
    unknown `pooling`.
    """
    if pooling is not None and pooling not in POOLINGS:
        raise ConfigurationError(f"There is no pooling {pooling!r}.", hint=f"Use one of: {', '.join(POOLINGS)}.")
    limits = _read_json(folder / "sentence_bert_config.json", {})
    prompt = _prompt_of(folder)
    found, normalize = "mean", False
    for module in _read_json(folder / "modules.json", []):
        kind = str(module.get("type", "")).rpartition(".")[2]
        if kind == "Pooling":
            config = folder / str(module["path"]) / "config.json"
            found = _pooling_of(config) if pooling is None else found
            if prompt and _read_json(config, {}).get("include_prompt") is False:
                raise _unsupported(config, "a prompt left out of the pooling")
        elif kind == "Normalize":
            normalize = True
        elif kind not in {"Transformer", "Pooling"}:
            raise _unsupported(folder, f"the module {kind!r}")
    return SentencePlan(
        pooling=pooling or found,
        normalize=normalize,
        lower_case=bool(limits.get("do_lower_case", False)),
        max_tokens=limits.get("max_seq_length"),
        prompt=prompt,
    )


def _prompt_of(folder: Path) -> str:
    path = folder / "config_sentence_transformers.json"
    config = _read_json(path, {})
    name, prompts = config.get("default_prompt_name"), config.get("prompts") or {}
    if name is None:
        return ""
    prompt = prompts.get(name)
    if not isinstance(prompt, str):
        raise InputError(
            f"{path} names the prompt {name!r} and does not hold it.",
            hint="Fetch the model again.",
            code=ErrorCode.FILE_INVALID,
        )
    return prompt


def _pooling_of(path: Path) -> str:
    config = _read_json(path, {})
    modes = {key.removeprefix("pooling_mode_") for key, value in config.items() if value is True}
    modes = {mode for mode in modes if mode != "include_prompt"}
    # Later releases of sentence-transformers write the name of the mode instead of a switch for each.
    if isinstance(config.get("pooling_mode"), str):
        modes = {str(config["pooling_mode"])}
    names: list[str] = [_MODES.get(mode, mode) for mode in sorted(modes)]
    if len(names) != 1 or names[0] not in POOLINGS:
        raise _unsupported(path, f"the pooling {'+'.join(names) or 'none'}")
    return names[0]


def _read_json(path: Path, default: Any) -> Any:  # noqa: ANN401 - what JSON holds is checked where it is used
    if not path.is_file():
        return default
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(
            f"{path} is not valid JSON.", hint="Fetch the model again.", code=ErrorCode.FILE_INVALID
        ) from error
    if not isinstance(content, type(default)):
        raise InputError(
            f"{path} does not hold what it should.", hint="Fetch the model again.", code=ErrorCode.FILE_INVALID
        )
    return content


def _unsupported(path: Path, what: str) -> InputError:
    return InputError(f"{path} asks for {what}, which is not implemented.", hint=_OWN_WAY)
