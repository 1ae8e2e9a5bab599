"""Prompts of generated texts: beginnings of sentences, and requests."""

from __future__ import annotations

from securealign.lab.generation.causal import CausalModel
from securealign.lab.generation.chat import Prompt, frame

#: (text, whether it is a request in a conversation); requests go through the chat template of the model that reads.
PROMPTS: tuple[tuple[str, bool], ...] = (
    ("The capital of France is", False),
    ("What is the capital of Italy?", True),
    ("Once upon a time there was a farmer who", False),
    ("Explain in one sentence why the sky is blue.", True),
    ("The government announced on Monday that", False),
    ("Name three animals that live in the sea.", True),
    ("To make a good soup you first have to", False),
    ("Write a short greeting to a new neighbour.", True),
    ("The history of the city begins with", False),
    ("What do plants need to grow?", True),
    ("She opened the door and saw", False),
    ("Give me one tip for learning a language.", True),
)


def prompt_for(model: CausalModel, text: str, *, request: bool) -> Prompt:
    """Return a prompt as this model reads it."""
    return frame(model, [{"role": "user", "content": text}]) if request else Prompt(text)
