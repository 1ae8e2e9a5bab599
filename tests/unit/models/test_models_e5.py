"""A tiny E5S1 file, written here, becomes an encoder that transformers computes."""

import json
import struct

import numpy as np
import pytest

from securealign.errors import AssetError
from securealign.lab.assets.conversion.e5 import convert_e5, read_e5s1

SIZES = {"hidden": 32, "layers": 1, "heads": 2, "intermediate": 64, "vocabulary": 10, "positions": 16, "types": 2}
PIECES = ["<s>", "<pad>", "</s>", "<unk>", "\u2581query:", "\u2581a", "\u2581b", "c", "\u2581"]
SCORES = [0.0, 0.0, 0.0, 0.0, -1.0, -2.0, -2.0, -2.0, -3.0]


def shapes():
    d, f = SIZES["hidden"], SIZES["intermediate"]
    yield "emb.word", (SIZES["vocabulary"], d), True
    yield "emb.pos", (SIZES["positions"], d), False
    yield "emb.type", (SIZES["types"], d), False
    for part in ("q", "k", "v", "ao"):
        yield f"l0.{part}.w", (d, d), True
        yield f"l0.{part}.b", (d,), False
    yield "l0.fi.w", (f, d), True
    yield "l0.fi.b", (f,), False
    yield "l0.fo.w", (d, f), True
    yield "l0.fo.b", (d,), False
    for norm in ("emb.ln", "l0.aln", "l0.oln"):
        yield f"{norm}.w", (d,), False
        yield f"{norm}.b", (d,), False


def quantised(shape, rng):
    count = int(np.prod(shape)) // 32
    nibbles = rng.integers(0, 16, (count, 32), dtype=np.uint8)
    scales = rng.uniform(0.01, 0.1, count).astype(np.float16)
    packed = nibbles[:, :16] | nibbles[:, 16:] << 4
    data = b"".join(scale.tobytes() + row.tobytes() for scale, row in zip(scales, packed, strict=True))
    values = (nibbles.astype(np.float32) - 8) * scales.astype(np.float32)[:, None]
    return values.reshape(shape), data


def write_e5s1(path, *, without=None):
    """Write the file and return its weights by name."""
    rng = np.random.default_rng(1)
    header = struct.pack("<4sI7ifi", b"E5S1", 1, *SIZES.values(), 1e-12, 32)
    encoded = [piece.encode() for piece in PIECES]
    offsets = np.cumsum([0, *map(len, encoded)]).astype("<u4")
    vocabulary = struct.pack("<5iQ", len(PIECES), 0, 2, 1, 3, int(offsets[-1]))
    vocabulary += offsets.tobytes() + np.array(SCORES, "<f4").tobytes() + b"".join(encoded)
    normalisation = struct.pack("<iI", 1, 9) + struct.pack("<IBI", 9, 1, 32)
    weights, listed = {}, []
    for name, shape, small in shapes():
        if name == without:
            continue
        if small:
            weights[name], data = quantised(shape, rng)
        else:
            weights[name] = rng.normal(size=shape).astype("<f4")
            data = weights[name].tobytes()
        listed.append((name.encode(), int(small), weights[name].size, data))
    start = len(header + vocabulary + normalisation) + 4 + sum(2 + len(name) + 21 for name, *_ in listed)
    directory, content = struct.pack("<i", len(listed)), b""
    for name, kind, count, data in listed:
        directory += struct.pack("<H", len(name)) + name
        directory += struct.pack("<BIQQ", kind, count, start + len(content), len(data))
        content += data
    path.write_bytes(header + vocabulary + normalisation + directory + content)
    return weights


@pytest.fixture
def source(tmp_path):
    (tmp_path / "source").mkdir()
    return tmp_path / "source"


def test_sizes_vocabulary_and_weights_are_read(source):
    weights = write_e5s1(source / "e5-small-q4.bin")
    content = read_e5s1(source / "e5-small-q4.bin")
    assert list(vars(content.shape).values()) == [10, 32, 1, 2, 64, 16, 2, 1, pytest.approx(1e-12)]
    assert content.pieces == tuple(zip(PIECES, SCORES, strict=True))
    assert content.special == {"begin": 0, "padding": 1, "end": 2, "unknown": 3}
    assert content.tensors.keys() == weights.keys()
    for name, values in weights.items():
        np.testing.assert_array_equal(content.tensors[name], values.ravel())


@pytest.mark.parametrize("damage", [b"", b"GGUF" + bytes(40), b"E5S1" + bytes(40)])
def test_another_file_is_refused(source, damage):
    (source / "e5-small-q4.bin").write_bytes(damage)
    with pytest.raises(AssetError, match=r"is no E5S1 file"):
        read_e5s1(source / "e5-small-q4.bin")


def test_a_file_that_ends_early_is_refused(source):
    path = source / "e5-small-q4.bin"
    write_e5s1(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(AssetError, match=r"is no E5S1 file"):
        read_e5s1(path)


@pytest.mark.models
def test_a_missing_weight_is_reported(source, tmp_path):
    write_e5s1(source / "e5-small-q4.bin", without="l0.fo.w")
    with pytest.raises(AssetError, match=r"lacks a weight .*l0\.fo\.w"):
        convert_e5([source], tmp_path)


@pytest.mark.thorough
@pytest.mark.models
def test_the_converted_folder_is_an_encoder_with_prompt_and_unit_length(source, tmp_path):
    pytest.importorskip("transformers", reason="needs the extra 'models'")
    from securealign.models.transformer import TransformerEncoder

    weights = write_e5s1(source / "e5-small-q4.bin")
    folder = tmp_path / "e5"
    folder.mkdir()
    convert_e5([source], folder)
    encoder = TransformerEncoder(folder)
    assert (encoder.dimension, encoder.max_tokens) == (32, 16)
    vectors = encoder.encode(["a bc", "a  b c", "", "zz"])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    tokens = encoder._model.tokenizer("query: a  bc\tzz")["input_ids"]
    assert tokens == [0, 4, 5, 6, 7, 8, 3, 2]
    table = encoder._model[0].model.get_input_embeddings().weight
    np.testing.assert_array_equal(table.detach().numpy(), weights["emb.word"])
    assert json.loads((folder / "config.json").read_text())["num_attention_heads"] == 2
