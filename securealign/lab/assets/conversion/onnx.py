"""BERT encoders that sentence-transformers exported to ONNX: the weights, by the names of their modules.

Only the weights and the names of the nodes are read; the graph is not run.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from securealign.heads.onnx_schema import array_of, parse_model
from securealign.lab.assets.conversion.bert import BertShape, write_bert, write_mean_pooling
from securealign.lab.assets.conversion.folders import unusable

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt")
_MAX_TOKENS = 128  # of paraphrase-MiniLM-L3-v2
_HEAD_SIZE = 32  # of the MiniLM family, which the weights do not show
_MODULE = "model.0.auto_model."


def convert_paraphrase(sources: Sequence[Path], folder: Path) -> None:
    """Write paraphrase-MiniLM-L3-v2, whose tokenizer is that of the second source, MiniLM."""
    path = next(iter(sources[0].glob("*.onnx")))
    try:
        weights = read_bert_weights(path.read_bytes())
        shape = _shape(weights)
    except (ValueError, IndexError, KeyError) as error:
        raise unusable(f"{path} is no encoder that can be converted: {error}.") from error
    write_bert(folder, shape, weights)
    write_mean_pooling(folder, width=shape.hidden_size, max_tokens=_MAX_TOKENS, normalize=False)
    for name in _TOKENIZER_FILES:
        shutil.copyfile(sources[1] / name, folder / name)


def read_bert_weights(data: bytes) -> dict[str, NDArray[np.float32]]:
    """Return the weights of an exported model, named as in transformers' BertModel."""
    graph = parse_model(data).graph
    tensors = {tensor.name: array_of(tensor) for tensor in graph.initializer}
    weights = {name.removeprefix(_MODULE): values for name, values in tensors.items() if name.startswith(_MODULE)}
    for node in graph.node:
        # The exporter folds the transposition of a linear layer into its weight, which loses its name; the node that
        # multiplies by it still tells the module: /model/model.0/auto_model/encoder/layer.0/output/dense/MatMul.
        if node.op_type == "MatMul" and node.input[1] in tensors:
            module = node.name.replace("/", ".").partition(_MODULE)[2].removesuffix(".MatMul")
            weights[f"{module}.weight"] = tensors[node.input[1]].T
    return weights


def _shape(weights: dict[str, NDArray[np.float32]]) -> BertShape:
    words, hidden = weights["embeddings.word_embeddings.weight"].shape
    layers = {name.split(".")[2] for name in weights if name.startswith("encoder.layer.")}
    return BertShape(
        vocab_size=words,
        hidden_size=hidden,
        num_hidden_layers=len(layers),
        num_attention_heads=hidden // _HEAD_SIZE,
        intermediate_size=len(weights["encoder.layer.0.intermediate.dense.bias"]),
        max_position_embeddings=len(weights["embeddings.position_embeddings.weight"]),
        type_vocab_size=len(weights["embeddings.token_type_embeddings.weight"]),
        pad_token_id=0,
    )
