"""A linear layer in a file of safetensors becomes a head; its classes are named beside it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from securealign.errors import ErrorCode, InputError
from securealign.heads import read_head
from securealign.heads.names import parse_names

RANDOM = np.random.default_rng(4)
WEIGHT, BIAS = RANDOM.normal(size=(3, 4)).astype(np.float32), RANDOM.normal(size=3).astype(np.float32)
ROWS = RANDOM.normal(size=(20, 4))
NAMES = ("art", "law", "sea")


def saved(tmp_path, **tensors):
    path = tmp_path / "model.safetensors"
    save_file({name.replace("__", "."): np.ascontiguousarray(array) for name, array in tensors.items()}, path)
    return path


@pytest.mark.parametrize("prefix", ["", "classifier__", "model__head__"])
@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_a_linear_layer_is_a_head_with_a_softmax(tmp_path, prefix, kind):
    weight, bias = WEIGHT.astype(kind), BIAS.astype(kind)
    head = read_head(saved(tmp_path, **{f"{prefix}weight": weight, f"{prefix}bias": bias}), class_names=NAMES)
    logits = ROWS @ weight.T.astype(float) + bias.astype(float)
    np.testing.assert_allclose(head.logits(ROWS), logits, atol=1e-12)
    np.testing.assert_allclose(head.predict_proba(ROWS), np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True))
    assert head.class_names == NAMES


def test_a_layer_of_torch_gives_what_torch_gives(tmp_path):
    torch = pytest.importorskip("torch", reason="needs the extra 'models'")
    from safetensors.torch import save_file as save_torch

    layer = torch.nn.Linear(4, 3).to(torch.bfloat16)
    save_torch(layer.state_dict(), tmp_path / "layer.safetensors")
    head = read_head(tmp_path / "layer.safetensors", class_names=NAMES)
    with torch.no_grad():
        expected = layer.float()(torch.tensor(ROWS, dtype=torch.float32)).softmax(dim=1).numpy()
    np.testing.assert_allclose(head.predict_proba(ROWS), expected, atol=1e-6)


def test_one_output_is_the_score_of_the_second_of_two_classes(tmp_path):
    head = read_head(saved(tmp_path, weight=WEIGHT[:1], bias=BIAS[:1]), class_names=("no", "yes"))
    score = ROWS @ WEIGHT[0].astype(float) + BIAS[0]
    np.testing.assert_allclose(head.predict_proba(ROWS)[:, 1], 1 / (1 + np.exp(-score)))
    assert head.predict(ROWS) == ["yes" if value > 0 else "no" for value in score]
    assert head.link == "sigmoid"


def test_a_layer_without_bias_has_none(tmp_path):
    head = read_head(saved(tmp_path, weight=WEIGHT), class_names=NAMES)
    np.testing.assert_array_equal(head.bias, np.zeros(3))


def test_one_layer_of_several_is_taken_by_name_alone(tmp_path):
    path = saved(tmp_path, dense__weight=np.eye(4), out__weight=WEIGHT, out__bias=BIAS, norm__weight=np.ones(4))
    with pytest.raises(InputError, match="holds more than one linear layer") as caught:
        read_head(path, class_names=NAMES)
    assert "--layer, of dense, out;" in caught.value.hint
    assert read_head(path, class_names=NAMES, layer="out").weight.shape == (4, 3)
    with pytest.raises(InputError, match="holds no linear layer 'norm'") as caught:
        read_head(path, class_names=NAMES, layer="norm")
    assert "dense, out" in caught.value.hint


def test_a_layer_beside_other_tensors_is_not_taken_for_the_head(tmp_path):
    with pytest.raises(InputError, match="more than one linear layer"):
        read_head(saved(tmp_path, weight=WEIGHT, bias=BIAS, scale=np.ones(3)), class_names=NAMES)
    assert read_head(tmp_path / "model.safetensors", class_names=NAMES, layer="").weight.shape == (4, 3)


BAD_SHAPES = {
    "swapped": (WEIGHT[:, :4].T, BIAS, "in torch: transpose it"),
    "another number of classes": (WEIGHT, BIAS[:2], "a number for each class"),
    "a bias of two axes": (WEIGHT, BIAS[None], "a number for each class"),
}


@pytest.mark.parametrize(("weight", "bias", "hint"), BAD_SHAPES.values(), ids=BAD_SHAPES)
def test_shapes_that_do_not_fit_are_refused(tmp_path, weight, bias, hint):
    with pytest.raises(InputError, match="holds a weight of shape") as caught:
        read_head(saved(tmp_path, weight=weight, bias=bias), class_names=NAMES)
    assert caught.value.code is ErrorCode.SHAPE_MISMATCH
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("tensors", "code"),
    [
        ({"weight": np.full((3, 4), np.nan), "bias": BIAS}, ErrorCode.NON_FINITE_INPUT),
        ({"weight": WEIGHT, "bias": np.full(3, np.inf)}, ErrorCode.NON_FINITE_INPUT),
        ({"weight": np.ones((3, 4), dtype=np.int64)}, ErrorCode.FILE_INVALID),
        ({"weight": np.ones(4, dtype=np.float32)}, ErrorCode.FILE_INVALID),
        ({"weight": np.ones((0, 4), dtype=np.float32)}, ErrorCode.FILE_INVALID),
        ({"kernel": WEIGHT}, ErrorCode.FILE_INVALID),
        ({}, ErrorCode.FILE_INVALID),
    ],
    ids=["NaN", "infinite", "integers", "one axis", "no class", "another name", "nothing"],
)
def test_tensors_that_are_no_head_are_refused(tmp_path, tensors, code):
    with pytest.raises(InputError) as caught:
        read_head(saved(tmp_path, **tensors), class_names=NAMES)
    assert caught.value.code is code
    assert caught.value.hint or code is ErrorCode.NON_FINITE_INPUT


@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: data[:-5], lambda data: b"\xff" * 20])
def test_a_damaged_file_is_refused(tmp_path, damage):
    path = saved(tmp_path, weight=WEIGHT, bias=BIAS)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match="is no file of safetensors, or damaged"):
        read_head(path, class_names=NAMES)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("model.json", list(NAMES)),
        ("classes.json", {"0": "art", "2": "sea", "1": "law"}),
        ("config.json", {"hidden_size": 4, "id2label": {"0": "art", "1": "law", "2": "sea"}}),
    ],
)
def test_names_are_read_beside_the_file(tmp_path, file, content):
    (tmp_path / "config.json").write_text('{"hidden_size": 4}')
    (tmp_path / file).write_text(json.dumps(content))
    assert read_head(saved(tmp_path, weight=WEIGHT)).class_names == NAMES


def test_without_names_none_are_made_up(tmp_path):
    with pytest.raises(InputError, match="does not name its 3 classes") as caught:
        read_head(saved(tmp_path, weight=WEIGHT))
    assert "model.json" in caught.value.hint


@pytest.mark.parametrize("names", [NAMES[:2], (*NAMES, "more"), {"0": "art"}], ids=["fewer", "more", "one"])
def test_another_number_of_names_is_refused(tmp_path, names):
    with pytest.raises(InputError, match=r"class names do not fit a head of 3 classes") as caught:
        read_head(saved(tmp_path, weight=WEIGHT), class_names=names)
    assert caught.value.code is ErrorCode.SHAPE_MISMATCH


def test_names_by_other_numbers_are_refused(tmp_path):
    with pytest.raises(InputError, match="The class 0 has no name"):
        read_head(saved(tmp_path, weight=WEIGHT), class_names={"1": "a", "2": "b", "3": "c"})


def test_names_are_given_as_a_list_or_a_file(tmp_path):
    assert parse_names("art, law,sea") == list(NAMES)
    (tmp_path / "names.txt").write_text("art\nlaw, civil\n")
    assert parse_names(str(tmp_path / "names.txt")) == ["art", "law, civil"]
    (tmp_path / "names.json").write_text("[1, 2]")
    assert parse_names(str(tmp_path / "names.json")) == ["1", "2"]


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("names.json", b"[", "is no JSON"),
        ("names.json", b"\xff", "is no JSON"),
        ("names.json", b"3", "holds no class names"),
        ("names.json", b"[null]", "holds no class names"),
        ("config.json", b"{}", "holds no class names"),
        ("names.txt", b"\xff\xfe", "holds no class names"),
    ],
)
def test_a_file_without_names_is_refused(tmp_path, file, content, message):
    (tmp_path / file).write_bytes(content)
    with pytest.raises(InputError, match=message):
        parse_names(str(tmp_path / file))


@pytest.mark.parametrize("name", ["model.pkl", "model.pt", "model.joblib", "pytorch_model.bin"])
def test_files_that_may_run_code_are_not_opened(tmp_path, name):
    (tmp_path / name).write_bytes(b"\x80\x04.")
    with pytest.raises(InputError, match="may be a pickle") as caught:
        read_head(tmp_path / name)
    assert "skops" in caught.value.hint


def test_other_files_are_refused(tmp_path):
    (tmp_path / "model.txt").touch()
    with pytest.raises(InputError, match=r"no known kind of head.*\.skops, \.onnx, \.safetensors"):
        read_head(tmp_path / "model.txt")
    with pytest.raises(InputError, match="is no file"):
        read_head(tmp_path / "nowhere.skops")
    with pytest.raises(InputError, match="has no layers by name"):
        read_head(tmp_path / "model.txt", layer="out")
