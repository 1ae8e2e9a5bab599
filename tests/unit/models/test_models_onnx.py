"""Weights are read out of an ONNX export, which is written here field by field."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file

from securealign.errors import AssetError
from securealign.lab.assets.conversion.onnx import convert_paraphrase, read_bert_weights

MODULE = "model.0.auto_model."
D, F = 64, 96


def varint(value):
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def field(number, content):
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    content = content.encode() if isinstance(content, str) else content
    return varint(number << 3 | 2) + varint(len(content)) + content


def tensor(name, values, kind=1):
    dims = b"".join(field(1, size) for size in values.shape)
    return field(5, dims + field(2, kind) + field(8, name) + field(9, values.astype("<f4").tobytes()))


def node(kind, name, inputs):
    return field(1, b"".join(field(1, each) for each in inputs) + field(2, "out") + field(3, name) + field(4, kind))


def model_of(graph):
    return field(1, 8) + field(7, graph) + b"\x0d" + bytes(4) + b"\x09" + bytes(8)


def weights_of_one_layer():
    rng = np.random.default_rng(1)
    shapes = {"embeddings.word_embeddings": (7, D), "embeddings.position_embeddings": (9, D)}
    shapes |= {"embeddings.token_type_embeddings": (2, D)}
    linear = {"attention.self.query": (D, D), "attention.self.key": (D, D), "attention.self.value": (D, D)}
    linear |= {"attention.output.dense": (D, D), "intermediate.dense": (F, D), "output.dense": (D, F)}
    shapes |= {f"encoder.layer.0.{name}": shape for name, shape in linear.items()}
    weights = {f"{name}.weight": rng.normal(size=shape).astype("<f4") for name, shape in shapes.items()}
    for name, (size, _) in linear.items():
        weights[f"encoder.layer.0.{name}.bias"] = rng.normal(size=size).astype("<f4")
    for norm in ("embeddings", "encoder.layer.0.attention.output", "encoder.layer.0.output"):
        weights[f"{norm}.LayerNorm.weight"] = np.ones(D, "<f4")
        weights[f"{norm}.LayerNorm.bias"] = np.zeros(D, "<f4")
    return weights


def exported(weights):
    graph = node("Softmax", "/softmax", ["x"]) + node("MatMul", "/model/model.0/auto_model/MatMul", ["x", "y"])
    for number, (name, values) in enumerate(weights.items()):
        if name.startswith("encoder") and values.ndim == 2:
            module = name.removeprefix("encoder.layer.0.").removesuffix(".weight").replace(".", "/")
            path = f"/model/model.0/auto_model/encoder/layer.0/{module}/MatMul"
            graph += node("MatMul", path, ["x", f"onnx::{number}"])
            graph += tensor(f"onnx::{number}", values.T)
        else:
            graph += tensor(f"{MODULE}{name}", values)
    return model_of(graph)


def test_weights_have_the_names_and_the_orientation_of_their_modules():
    weights = weights_of_one_layer()
    read = read_bert_weights(exported(weights))
    assert read.keys() == weights.keys()
    for name, values in weights.items():
        np.testing.assert_array_equal(read[name], values)


def sources(tmp_path, content):
    for name in ("model", "tokenizer", "out"):
        (tmp_path / name).mkdir()
    (tmp_path / "model" / "m.onnx").write_bytes(content)
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt"):
        (tmp_path / "tokenizer" / name).write_text(name)
    return [tmp_path / "model", tmp_path / "tokenizer"]


def test_the_folder_has_sizes_weights_pooling_and_the_tokenizer_of_the_other(tmp_path):
    weights = weights_of_one_layer()
    convert_paraphrase(sources(tmp_path, exported(weights)), tmp_path / "out")
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    expected = {"vocab_size": 7, "hidden_size": D, "num_hidden_layers": 1, "num_attention_heads": 2}
    expected |= {"intermediate_size": F, "max_position_embeddings": 9, "type_vocab_size": 2}
    assert {name: config[name] for name in expected} == expected
    assert load_file(tmp_path / "out" / "model.safetensors").keys() == weights.keys()
    assert (tmp_path / "out" / "vocab.txt").read_text() == "vocab.txt"


@pytest.mark.models
def test_the_folder_is_loaded_without_missing_weights(tmp_path):
    transformers = pytest.importorskip("transformers", reason="needs the extra 'models'")
    convert_paraphrase(sources(tmp_path, exported(weights_of_one_layer())), tmp_path / "out")
    _, report = transformers.AutoModel.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert [key for key in report["missing_keys"] if not key.startswith("pooler.")] == []


DAMAGED = {
    "nothing": b"",
    "another format": b"PK\x03\x04" * 9,
    "cut": exported(weights_of_one_layer())[:-1000],
    "no encoder": model_of(node("Add", "a", ["x"]) + tensor("t", np.ones(2))),
    "halves": model_of(node("Add", "a", ["x"]) + tensor("t", np.ones(2), kind=10)),
    "a number for a graph": field(7, 3),
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED.keys())
def test_other_files_are_refused(tmp_path, content):
    with pytest.raises(AssetError, match=r"m\.onnx is no encoder that can be converted"):
        convert_paraphrase(sources(tmp_path, content), tmp_path / "out")
