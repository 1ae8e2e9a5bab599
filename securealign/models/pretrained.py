"""Tokenizer and model of a folder by transformers: safetensors weights only, no code from the model, float32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from securealign.models.optional import require
from securealign.models.quiet import quiet


class UnreadableModelError(Exception):
    """A folder that transformers cannot load: `reason` follows its name in a sentence, `hint` says what to do."""

    def __init__(self, reason: str, hint: str) -> None:
        super().__init__(reason)
        self.reason, self.hint = reason, hint


def load_pretrained(folder: Path, kind: str, purpose: str) -> tuple[Any, Any, list[str]]:
    """Return the tokenizer, the model, and the names of weights that the folder lacks, which hold random numbers.

    `kind` names a class of transformers, such as "AutoModel". Raises `UnreadableModelError`, and `DependencyError` that
    names the `purpose` without transformers and torch.
    """
    transformers = require("transformers", purpose)
    torch = require("torch", purpose)
    safetensors = require("safetensors", purpose)
    if not (folder / "config.json").is_file() or not any(folder.glob("*.safetensors")):
        raise UnreadableModelError(
            "holds no config.json with safetensors weights",
            "Give a model folder; weights in torch's pickle format must be converted to safetensors first.",
        )
    try:
        with quiet(transformers):
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
            model, report = getattr(transformers, kind).from_pretrained(
                folder, use_safetensors=True, trust_remote_code=False, output_loading_info=True
            )
    except (OSError, ValueError, KeyError, RuntimeError, safetensors.SafetensorError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UnreadableModelError(f"cannot be loaded: {reason}", "Check that the download is complete.") from error
    return tokenizer, model.to(torch.float32).eval(), sorted(report["missing_keys"])
