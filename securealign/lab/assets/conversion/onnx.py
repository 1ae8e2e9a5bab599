"""BERT encoders that sentence-transformers exported to ONNX: the weights, by the names of their modules.

Only the weights and the names of the nodes are read, with the few lines of protobuf's wire format that this takes; the
graph is not run.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from securealign.errors import AssetError, ErrorCode
from securealign.lab.assets.conversion.bert import BertShape, write_bert, write_mean_pooling

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt")
_MAX_TOKENS = 128  # of paraphrase-MiniLM-L3-v2
_HEAD_SIZE = 32  # of the MiniLM family, which the weights do not show
_MODULE = "model.0.auto_model."

# Field numbers of onnx.proto.
_GRAPH, _NODE, _INITIALIZER = 7, 1, 5
_NODE_INPUT, _NODE_NAME, _NODE_KIND = 1, 3, 4
_TENSOR_DIMS, _TENSOR_TYPE, _TENSOR_NAME, _TENSOR_RAW = 1, 2, 8, 9
_FLOAT = 1

_Fields = dict[int, list[int | memoryview]]


def convert_paraphrase(sources: Sequence[Path], folder: Path) -> None:
    """Write paraphrase-MiniLM-L3-v2, whose tokenizer is that of the second source, MiniLM."""
    path = next(iter(sources[0].glob("*.onnx")))
    try:
        weights = read_bert_weights(path.read_bytes())
        shape = _shape(weights)
    except (ValueError, IndexError, KeyError) as error:
        raise AssetError(
            f"{path} is no encoder that can be converted: {error}.",
            hint="Delete its folder.",
            code=ErrorCode.FILE_INVALID,
        ) from error
    write_bert(folder, shape, weights)
    write_mean_pooling(folder, max_tokens=_MAX_TOKENS, normalize=False)
    for name in _TOKENIZER_FILES:
        shutil.copyfile(sources[1] / name, folder / name)


def read_bert_weights(data: bytes) -> dict[str, NDArray[np.float32]]:
    """Return the weights of an exported model, named as in transformers' BertModel."""
    graph = _fields(_bytes(_fields(memoryview(data))[_GRAPH][0]))
    tensors = dict(_tensor(_fields(_bytes(message))) for message in graph[_INITIALIZER])
    weights = {name.removeprefix(_MODULE): values for name, values in tensors.items() if name.startswith(_MODULE)}
    for message in graph[_NODE]:
        node = _fields(_bytes(message))
        inputs = [_text(name) for name in node.get(_NODE_INPUT, [])]
        # The exporter folds the transposition of a linear layer into its weight, which loses its name; the node that
        # multiplies by it still tells the module: /model/model.0/auto_model/encoder/layer.0/output/dense/MatMul.
        if _text(node[_NODE_KIND][0]) == "MatMul" and inputs[1] in tensors:
            module = _text(node[_NODE_NAME][0]).replace("/", ".").partition(_MODULE)[2].removesuffix(".MatMul")
            weights[f"{module}.weight"] = tensors[inputs[1]].T
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


def _tensor(fields: _Fields) -> tuple[str, NDArray[np.float32]]:
    name = _text(fields[_TENSOR_NAME][0])
    dims = [size for size in fields.get(_TENSOR_DIMS, []) if isinstance(size, int)]
    raw = _bytes(fields[_TENSOR_RAW][0])
    if fields[_TENSOR_TYPE] != [_FLOAT] or len(raw) != 4 * prod(dims):
        raise ValueError(f"the tensor {name} is not in float32, or not of its shape {dims}")
    return name, np.frombuffer(raw, "<f4").reshape(dims)


def _fields(message: memoryview) -> _Fields:
    fields: _Fields = {}
    for number, value in _walk(message):
        fields.setdefault(number, []).append(value)
    return fields


def _walk(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    position = 0
    while position < len(message):
        key, position = _varint(message, position)
        number, kind = key >> 3, key & 7
        if kind == 0:
            value, position = _varint(message, position)
            yield number, value
            continue
        size, position = _varint(message, position) if kind == 2 else ({1: 8, 5: 4}[kind], position)
        if position + size > len(message):
            raise ValueError("a message ends early")
        yield number, message[position : position + size]
        position += size


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[position]
        value |= (byte & 127) << shift
        position, shift = position + 1, shift + 7
        if byte < 128:
            return value, position


def _bytes(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise ValueError("a number stands where a message should")
    return value


def _text(value: int | memoryview) -> str:
    return bytes(_bytes(value)).decode("utf-8")
