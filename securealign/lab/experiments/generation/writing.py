"""The cells of generated text: what natives and pairs write from the same prompts, and how alike it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np
from sklearn.metrics.pairwise import cosine_similarity

from securealign.lab.experiments.embeddings import Embeddings
from securealign.lab.experiments.generation.setting import GenerationConfig, Pair
from securealign.lab.experiments.run import Cell
from securealign.lab.experiments.store import Row
from securealign.lab.generation.chat import Prompt, frame
from securealign.lab.generation.stitched import StitchedModel
from securealign.lab.generation.stopping import StopRules

#: A sequence of tokens that is repeated so many times is a loop; greedy decoding never leaves it.
LOOPS = 4
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


def written(config: GenerationConfig, pair: Pair, stitched: StitchedModel, key: dict[str, Any]) -> list[Cell]:
    """Return what a model or a pair writes, greedily, from the first prompts."""
    chosen = PROMPTS[: config.samples]
    rules = StopRules(max_new_tokens=config.max_new_tokens, repeats=LOOPS)

    def compute() -> Iterator[Row]:
        for text, request in chosen:
            prompt = frame(stitched.source, [{"role": "user", "content": text}]) if request else Prompt(text)
            found = stitched.complete(prompt, rules)
            told = {"text": found.text, "tokens": len(found.tokens), "end": found.end.value}
            yield {"prompt": text, "request": request, **told}

    whole = {"what": "written", **key, "prompts": [list(one) for one in chosen], "rules": [rules.max_new_tokens, LOOPS]}
    names = {"source": pair[0], "target": pair[1]}
    return [Cell(table="texts", names=names, key=whole, compute=compute, kept="")]


def likeness(
    pair: Pair, stitched: Sequence[Row], natives: Mapping[str, Sequence[Row]], encoder: str, embeddings: Embeddings
) -> Row:
    """Return the mean cosine between the embeddings of a pair's texts and those of both natives for the same prompts.

    The controls are texts of the native for all other prompts.
    """
    texts = {"stitched": stitched, "source": natives[pair[0]], "target": natives[pair[1]]}
    # An empty text has an embedding too, but a word that says so is the same for every encoder.
    vectors = {
        name: embeddings.of(encoder, [row["text"].strip() or "(nothing)" for row in rows], "generated texts")
        for name, rows in texts.items()
    }
    row: Row = {"source": pair[0], "target": pair[1], "encoder": encoder, "prompts": len(stitched)}
    for name, (one, other) in {
        "to_source": ("stitched", "source"),
        "to_target": ("stitched", "target"),
        "natives": ("source", "target"),
    }.items():
        cosines = cosine_similarity(vectors[one].astype(np.float64), vectors[other].astype(np.float64))
        row[name] = float(np.trace(cosines)) / len(cosines)
        others = cosines[~np.eye(len(cosines), dtype=bool)]
        row[f"{name}_other_prompt"] = float(others.mean()) if len(others) else None
    row["mean_tokens"] = fmean(one["tokens"] for one in stitched)
    row["loops"] = sum(one["end"] == "repetition" for one in stitched)
    return row
