"""A causal language model as three parts: a tokenizer with offsets, a body that gives hidden states, and a head.

Weights are read from safetensors alone, in float32 on the CPU; no code comes from a model's folder.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from securealign.errors import ConfigurationError, FileError, InputError
from securealign.lab.measures.tokenizers import NO_OFFSET, Integers
from securealign.models.encoder import fingerprint_of
from securealign.models.pretrained import NO_WEIGHTS, loading
from securealign.optional import require

POST_NORM = "post-norm"
PRE_NORM = "h[-1]"
#: Of the paper's sweep (appendix), the last first.
DEPTHS = (POST_NORM, PRE_NORM, "h[-2]", "3L/4", "L/2", "L/4")


def blocks_below(depth: str, layers: int) -> int:
    """Return after how many of `layers` blocks the state is taken; raises `ConfigurationError` for no depth."""
    shares = {"3L/4": layers * 3 // 4, "L/2": layers // 2, "L/4": layers // 4}
    blocks = {POST_NORM: layers, PRE_NORM: layers, "h[-2]": layers - 1}
    blocks |= {name: max(1, count) for name, count in shares.items()}
    if depth not in blocks:
        raise ConfigurationError(f"{depth!r} is no depth.", hint=f"Use one of: {', '.join(DEPTHS)}.")
    return blocks[depth]


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
    return FileError(
        f"{folder} cannot be used as a causal language model: {reason}.",
        hint="Give the folder of a decoder with safetensors weights and a tokenizer.json.",
    )


States = npt.NDArray[np.float32]

#: Rows whose logits are held at a time: 256 MiB for the largest vocabularies in use.
HEAD_ROWS = 256
_FINGERPRINTED = ("*.safetensors", "*.json", "*.jinja", "*.model")
_TURN_ENDS = ("<|im_end|>", "<end_of_turn>", "<|eot_id|>", "<|end|>", "<|endoftext|>")


class Tokens(NamedTuple):
    """A text's token numbers (t,) and the character at which each ends (t,), `NO_OFFSET` for special tokens."""

    ids: Integers
    ends: Integers


class CausalModel:
    """A model from a folder in the layout of transformers; raises `InputError` for one that cannot be used."""

    def __init__(self, folder: str | Path, *, name: str | None = None) -> None:
        self._folder = Path(folder)
        self.name = name or self._folder.name
        self.tokenizer, self.model = load_causal(self._folder)
        self.layers = int(self.model.config.num_hidden_layers)
        self.dimension = int(self.model.config.hidden_size)
        self.vocabulary = int(self.model.get_output_embeddings().weight.shape[0])

    def __repr__(self) -> str:
        return f"<CausalModel {self.name}: {self.layers} blocks of {self.dimension}, {self.vocabulary} tokens>"

    @cached_property
    def fingerprint(self) -> str:
        """Hexadecimal SHA-256 over weights, configuration and tokenizer."""
        files = {path.name: path for glob in _FINGERPRINTED for path in sorted(self._folder.glob(glob))}
        return fingerprint_of(files, {"kind": "causal"})

    @cached_property
    def parameters(self) -> int:
        """How many weights the model has, shared ones counted once."""
        return sum(int(weight.numel()) for weight in self.model.parameters())

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """Tokens that are no text."""
        return frozenset(map(int, self.tokenizer.all_special_ids)) | frozenset(
            number for number, token in self.tokenizer.added_tokens_decoder.items() if token.special
        )

    @cached_property
    def end_ids(self) -> frozenset[int]:
        """Tokens that end a text or a turn."""
        configured = self.model.generation_config.eos_token_id
        ends = set(configured if isinstance(configured, list) else [configured])
        ends |= {self.tokenizer.eos_token_id}
        added = {token.content: number for number, token in self.tokenizer.added_tokens_decoder.items()}
        ends |= {added.get(name) for name in _TURN_ENDS}
        return frozenset(int(number) for number in ends if number is not None)

    def tokenize(self, texts: Sequence[str], *, max_tokens: int | None = None) -> list[Tokens]:
        """Return the tokens of each text as the model reads it, its special tokens included."""
        cut: dict[str, Any] = {} if max_tokens is None else {"truncation": True, "max_length": max_tokens}
        encoded = self.tokenizer(list(texts), return_offsets_mapping=True, return_special_tokens_mask=True, **cut)
        rows = zip(encoded["input_ids"], encoded["offset_mapping"], encoded["special_tokens_mask"], strict=True)
        return [
            Tokens(
                np.array(ids, dtype=np.int64),
                np.array([NO_OFFSET if mask else end for (_, end), mask in zip(spans, special, strict=True)], np.int64),
            )
            for ids, spans, special in rows
        ]

    def states(self, batch: Sequence[Integers], depths: Sequence[str] = (POST_NORM,)) -> dict[str, list[States]]:
        """Return the hidden states (t, d) of each text of a batch at each depth."""
        torch = require("torch", "A language model")
        rows = [torch.from_numpy(tokens) for tokens in batch]
        ids, mask = (
            torch.nn.utils.rnn.pad_sequence(parts, batch_first=True) for parts in (rows, map(torch.ones_like, rows))
        )
        states = self.run(depths, input_ids=ids, attention_mask=mask, use_cache=False)
        return {
            depth: [whole[row, : len(tokens)].numpy() for row, tokens in enumerate(batch)]
            for depth, whole in states.items()
        }

    def run(self, depths: Sequence[str], **inputs: Any) -> dict[str, Any]:  # noqa: ANN401 - tensors of torch
        """Run the body and return its states (n, t, d) at each depth, as tensors."""
        torch = require("torch", "A language model")
        before: list[Any] = []
        hook = None
        if PRE_NORM in depths:
            # transformers returns the state behind the norm as the last of its hidden states, and this one nowhere.
            hook = final_norm(self.model, self.name).register_forward_pre_hook(lambda _, given: before.append(given[0]))
        try:
            with torch.inference_mode():
                inner = any(depth not in {POST_NORM, PRE_NORM} for depth in depths)
                output = self.model.base_model(output_hidden_states=inner, **inputs)
        finally:
            if hook is not None:
                hook.remove()
        found = {POST_NORM: output.last_hidden_state, PRE_NORM: before[-1] if before else None}
        return {
            depth: found[depth] if depth in found else output.hidden_states[blocks_below(depth, self.layers)]
            for depth in depths
        }

    def logits(self, states: npt.NDArray[np.floating], depth: str = POST_NORM) -> Any:  # noqa: ANN401 - a tensor
        """Return the logits (n, V) of states (n, d), behind the final norm when they are from before it."""
        torch = require("torch", "A language model")
        with torch.inference_mode():
            hidden = torch.from_numpy(np.ascontiguousarray(states, dtype=np.float32))
            if depth != POST_NORM:
                hidden = final_norm(self.model, self.name)(hidden)
            return apply_head(self.model, hidden)

    def logit_blocks(self, states: npt.NDArray[np.floating], depth: str = POST_NORM) -> Iterator[tuple[slice, Any]]:
        """Yield the logits of `HEAD_ROWS` states at a time: those of a whole text would not fit into memory."""
        for start in range(0, len(states), HEAD_ROWS):
            rows = slice(start, min(start + HEAD_ROWS, len(states)))
            yield rows, self.logits(states[rows], depth)


def same_tokens(one: CausalModel, other: CausalModel) -> bool:
    """Return whether two models number the same tokens alike, so that numbers can go from one to the other."""
    return one is other or bool(one.tokenizer.get_vocab() == other.tokenizer.get_vocab())
