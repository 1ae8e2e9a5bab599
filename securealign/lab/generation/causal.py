"""A causal language model as three parts: a tokenizer with offsets, a body that gives hidden states, and a head."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from securealign.lab.generation.depths import POST_NORM, PRE_NORM, blocks_below
from securealign.lab.generation.loading import apply_head, final_norm, load_causal
from securealign.lab.generation.pairs import NO_OFFSET, Integers
from securealign.models.encoder import fingerprint_of
from securealign.optional import require

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
