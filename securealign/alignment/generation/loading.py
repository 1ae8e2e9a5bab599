"""Causal language models from folders: safetensors weights only, no code from the model, float32 on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from securealign.errors import ErrorCode, InputError
from securealign.models.optional import require
from securealign.models.quiet import quiet

_PURPOSE = "A language model"
_PROBE = 8
_TOLERANCE = 1e-3


def load_causal(folder: Path) -> tuple[Any, Any]:
    """Return (tokenizer, model) of a folder; raises `InputError` for one that cannot be used here.

    What can be used has a fast tokenizer, which knows character offsets, and logits that are a function of the last
    hidden state alone. Raises `DependencyError` without torch and transformers.
    """
    transformers = require("transformers", _PURPOSE)
    torch = require("torch", _PURPOSE)
    if not (folder / "config.json").is_file() or not any(folder.glob("*.safetensors")):
        raise _unusable(folder, "it holds no config.json with safetensors weights")
    try:
        with quiet(transformers):
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
            model, report = transformers.AutoModelForCausalLM.from_pretrained(
                folder, use_safetensors=True, trust_remote_code=False, output_loading_info=True
            )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise _unusable(folder, (str(error).strip().splitlines() or [type(error).__name__])[0]) from error
    if report["missing_keys"]:
        raise _unusable(folder, f"it lacks {len(report['missing_keys'])} weights")
    if not tokenizer.is_fast:
        raise _unusable(folder, "its tokenizer knows no character offsets")
    model = model.to(torch.float32).eval()
    _check_head(folder, torch, model)
    return tokenizer, model


def _check_head(folder: Path, torch: Any, model: Any) -> None:  # noqa: ANN401 - torch is optional
    ids = torch.arange(min(_PROBE, model.config.vocab_size)).unsqueeze(0)
    with torch.inference_mode():
        hidden = model.base_model(input_ids=ids, use_cache=False).last_hidden_state
        ours, own = apply_head(model, hidden), model(input_ids=ids, use_cache=False).logits
    if not torch.allclose(ours, own, atol=_TOLERANCE, rtol=_TOLERANCE):
        raise _unusable(folder, "its logits are no linear function of the last hidden state")


def apply_head(model: Any, hidden: Any) -> Any:  # noqa: ANN401 - torch is optional
    """Return the logits (..., V) of states behind the final norm (..., d), capped where the model caps them."""
    logits = model.get_output_embeddings()(hidden)
    cap = getattr(model.config, "final_logit_softcapping", None)
    return logits if cap is None else (logits / cap).tanh() * cap


def final_norm(model: Any, name: str) -> Any:  # noqa: ANN401 - torch is optional
    """Return the module between the last block and the head; raises `InputError` when it has no usual name."""
    for attribute in ("norm", "final_layernorm", "final_layer_norm", "ln_f"):
        module = getattr(model.base_model, attribute, None)
        if module is not None:
            return module
    raise InputError(
        f"The final norm of {name} is not known.", hint="Use the depth 'post-norm', which does not need it."
    )


def _unusable(folder: Path, reason: str) -> InputError:
    return InputError(
        f"{folder} cannot be used as a causal language model: {reason}.",
        hint="Give the folder of a decoder with safetensors weights and a tokenizer.json.",
        code=ErrorCode.FILE_INVALID,
    )
