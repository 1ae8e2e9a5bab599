"""Prompts: a conversation as a model's chat template writes it, or plain text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from securealign.lab.generation.causal import CausalModel

#: {"role": "user" or "assistant", "content": text}, as chat templates take them.
Message = Mapping[str, str]

_USER, _ASSISTANT = "User:", "Assistant:"


@dataclass(frozen=True)
class Prompt:
    """A text to continue; `special` adds the tokenizer's special tokens, `stops` are strings that end the answer."""

    text: str
    special: bool = True
    stops: tuple[str, ...] = ()


def frame(model: CausalModel, messages: Sequence[Message]) -> Prompt:
    """Return a conversation as the model's chat template writes it, or as named lines for a base model."""
    if model.tokenizer.chat_template:
        text = model.tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)
        return Prompt(text, special=False)
    names = {"user": _USER, "assistant": _ASSISTANT}
    lines = [f"{names.get(message['role'], message['role'])} {message['content']}" for message in messages]
    return Prompt("\n".join([*lines, _ASSISTANT]), stops=(f"\n{_USER}", f"\n{_ASSISTANT}"))
