"""Causal language models from folders: safetensors weights only, no code from the model, float32 on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from securealign.errors import ErrorCode, InputError
from securealign.models.pretrained import NO_WEIGHTS, loading
from securealign.optional import require

_PURPOSE = "A language model"
_PROBE = 8
_TOLERANCE = 1e-3


def load_causal(folder: Path) -> tuple[Any, Any]:
    """Return (tokenizer, model) of a folder; raises `InputError` for one that cannot be used here.

    What can be used has a fast tokenizer, which knows character offsets, and logits that are a function of the last
    hidden state alone. Raises `DependencyError` without torch and transformers.
    """
    require("transformers", _PURPOSE)
    if not (folder / "config.json").is_file() or not any(folder.glob("*.safetensors")):
        raise _unusable(folder, f"it {NO_WEIGHTS}")
    with loading(folder, purpose=_PURPOSE, role="cannot be used as a causal language model: it ") as missing:
        import torch
        import transformers

        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        model = transformers.AutoModelForCausalLM.from_pretrained(folder, use_safetensors=True)
        model = model.to(torch.float32).eval()
    if missing:
        raise _unusable(folder, f"it lacks {len(missing)} weights")
    if not tokenizer.is_fast:
        raise _unusable(folder, "its tokenizer knows no character offsets")
    _check_head(folder, model)
    return tokenizer, model


def _check_head(folder: Path, model: Any) -> None:  # noqa: ANN401 - torch is optional
    torch = require("torch", _PURPOSE)
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
