"""The cells of generated text: what natives and pairs write from the same prompts, and how alike it is."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

import numpy as np

from securealign.lab.experiments.embeddings import Embeddings
from securealign.lab.experiments.generation.prompts import PROMPTS, prompt_for
from securealign.lab.experiments.generation.setting import Pair, Setting
from securealign.lab.experiments.store import Row, Store
from securealign.lab.generation.stitched import StitchedModel
from securealign.lab.generation.stopping import StopRules

#: A run of tokens that comes so many times in a row is a loop, from which greedy decoding never returns.
LOOPS = 4


def written(setting: Setting, store: Store, stitched: StitchedModel, key: dict[str, Any]) -> list[Row]:
    """Return what a model or a pair writes, greedily, from the first prompts."""
    chosen = PROMPTS[: setting.samples]
    rules = StopRules(max_new_tokens=setting.max_new_tokens, repeats=LOOPS)

    def compute() -> list[Row]:
        rows = []
        for text, request in chosen:
            found = stitched.complete(prompt_for(stitched.source, text, request=request), rules)
            rows.append(
                {
                    "prompt": text,
                    "request": request,
                    "text": found.text,
                    "tokens": len(found.tokens),
                    "end": found.end.value,
                }
            )
        return rows

    whole = {"what": "written", **key, "prompts": [list(one) for one in chosen], "rules": [rules.max_new_tokens, LOOPS]}
    return store.rows("generation", whole, compute)


def likeness(
    pair: Pair, stitched: Sequence[Row], natives: dict[str, Sequence[Row]], encoder: str, embeddings: Embeddings
) -> Row:
    """Return the mean cosine between the embeddings of a pair's texts and those of both natives for the same prompts.

    The controls are texts of the native for all other prompts.
    """
    vectors = {
        "stitched": _unit(stitched, encoder, embeddings),
        "source": _unit(natives[pair[0]], encoder, embeddings),
        "target": _unit(natives[pair[1]], encoder, embeddings),
    }
    row: Row = {"source": pair[0], "target": pair[1], "encoder": encoder, "prompts": len(stitched)}
    for name, (one, other) in {
        "to_source": ("stitched", "source"),
        "to_target": ("stitched", "target"),
        "natives": ("source", "target"),
    }.items():
        cosines = vectors[one] @ vectors[other].T
        row[name] = float(np.trace(cosines)) / len(cosines)
        others = cosines[~np.eye(len(cosines), dtype=bool)]
        row[f"{name}_other_prompt"] = float(others.mean()) if len(others) else None
    row["mean_tokens"] = fmean(one["tokens"] for one in stitched)
    row["loops"] = sum(one["end"] == "repetition" for one in stitched)
    return row


def _unit(rows: Sequence[Row], encoder: str, embeddings: Embeddings) -> np.ndarray[Any, np.dtype[np.float64]]:
    # An empty text has an embedding too, but a token that says so is the same for every encoder.
    vectors = embeddings.of(encoder, [row["text"].strip() or "(nothing)" for row in rows], "generated texts")
    matrix = vectors.astype(np.float64)
    norms: np.ndarray[Any, np.dtype[np.float64]] = np.linalg.norm(matrix, axis=1, keepdims=True)
    unit: np.ndarray[Any, np.dtype[np.float64]] = matrix / np.maximum(norms, 1e-12)
    return unit
