"""An ONNX graph that is linear from embeddings to scores becomes a head; any other is refused by its operator."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from securealign.errors import ErrorCode, InputError
from securealign.heads import onnx_ops, read_head
from securealign.heads.onnx_schema import Model

FILES = Path(__file__).parent / "files"
RANDOM = np.random.default_rng(8)
WEIGHT, BIAS = RANDOM.normal(size=(4, 3)).astype(np.float32), RANDOM.normal(size=3).astype(np.float32)
SCALE, SHIFT = np.array([1, 2, 0.5, 4], dtype=np.float32), np.array([0, 3, -1, 0.25], dtype=np.float32)
ROWS = RANDOM.normal(size=(20, 4))
SCORES = ROWS @ WEIGHT.astype(float) + BIAS
NAMES = ("art", "law", "sea")
KINDS = {float: (1, "f"), int: (2, "i"), str: (3, "s")}
LISTS = {float: (6, "floats"), int: (7, "ints"), str: (8, "strings")}


def tensor(message, name, values):
    values = np.asarray(values)
    message.name = name
    message.dims.extend(values.shape)
    if values.dtype.kind in "UO":
        message.data_type = 8
        message.string_data.extend(text.encode() for text in values.ravel())
    else:
        message.data_type = {"f4": 1, "i4": 6, "i8": 7, "f8": 11, "f2": 10}[values.dtype.str[1:]]
        message.raw_data = values.tobytes()


def attribute(message, name, value):
    message.name = name
    if isinstance(value, np.ndarray):
        message.type = 4
        tensor(message.t, "", value)
    elif isinstance(value, list):
        message.type, field = LISTS[type(value[0])]
        getattr(message, field).extend(each.encode() if isinstance(each, str) else each for each in value)
    else:
        message.type, field = KINDS[type(value)]
        setattr(message, field, value.encode() if isinstance(value, str) else value)


def model_of(nodes, constants=(), *, inputs=("x",), dims=(0, 4), outputs=("y",)):
    """Return a file with nodes (operator, inputs, outputs, attributes) and constants by name."""
    graph = Model().graph
    for name in inputs:
        value = graph.input.add(name=name)
        for size in dims:
            value.type.tensor_type.shape.dim.add(dim_value=size)
    for name in outputs:
        graph.output.add(name=name)
    for name, values in dict(constants).items():
        tensor(graph.initializer.add(), name, values)
    for kind, takes, gives, attributes in nodes:
        node = graph.node.add(op_type=kind, input=takes, output=gives)
        node.domain = attributes.pop("domain", "")
        for name, value in attributes.items():
            attribute(node.attribute.add(), name, value)
    return Model(graph=graph).SerializeToString()


def head_of(tmp_path, nodes, constants=(), *, names=NAMES, **options):
    path = tmp_path / "model.onnx"
    path.write_bytes(model_of(nodes, constants, **options))
    return read_head(path, class_names=names)


def classifier(weight=WEIGHT, bias=BIAS, labels=NAMES, transform="SOFTMAX", takes="x"):
    attributes = {"coefficients": weight.T.ravel().tolist(), "post_transform": transform}
    attributes["classlabels_strings" if isinstance(labels[0], str) else "classlabels_ints"] = list(labels)
    if bias is not None:
        attributes["intercepts"] = bias.tolist()
    return ("LinearClassifier", [takes], ["label", "scores"], {"domain": "ai.onnx.ml", **attributes})


LINEAR = {"W": WEIGHT, "b": BIAS}
GEMM = ("Gemm", ["x", "W", "b"], ["y"], {})


@pytest.mark.parametrize("name", ["skl2onnx_scaled", "skl2onnx_descent", "torch_linear"])
def test_files_of_exporters_give_what_onnxruntime_gives(name):
    """What it gave for these rows is beside the files."""
    expected = json.loads((FILES / "expected.json").read_text())
    rows, given = np.array(expected["rows"]), expected[name]
    names = None if name == "skl2onnx_scaled" else [*"abc"[: len(given["scores"][0])]]
    head = read_head(FILES / f"{name}.onnx", class_names=names)
    found = head.logits(rows) if name != "skl2onnx_scaled" else head.predict_proba(rows)
    np.testing.assert_allclose(found, given["scores"], rtol=1e-5, atol=1e-5)
    assert head.predict(rows) == given.get("labels", head.predict(rows))


@pytest.mark.parametrize(("transform", "link"), [("SOFTMAX", "softmax"), ("LOGISTIC", "ovr"), ("NONE", "margin")])
@pytest.mark.parametrize("labels", [NAMES, (4, 7, 9)])
def test_a_linear_classifier(tmp_path, transform, link, labels):
    head = head_of(tmp_path, [classifier(labels=labels, transform=transform)], names=None)
    np.testing.assert_allclose(head.logits(ROWS), SCORES)
    assert (head.link, head.class_names) == (link, tuple(map(str, labels)))


def test_a_linear_classifier_without_intercepts_names_its_own_dimension(tmp_path):
    head = head_of(tmp_path, [classifier(bias=None)], names=None, dims=())
    np.testing.assert_allclose(head.logits(ROWS), SCORES - BIAS)


def test_one_score_is_that_of_the_second_class(tmp_path):
    node = classifier(WEIGHT[:, :1], BIAS[:1], ("no", "yes"), "LOGISTIC")
    head = head_of(tmp_path, [node], names=None)
    np.testing.assert_allclose(head.predict_proba(ROWS)[:, 1], 1 / (1 + np.exp(-SCORES[:, 0])))
    assert head.link == "sigmoid"


BEFORE = {
    "Scaler": ([("Scaler", ["x"], ["z"], {"scale": SCALE.tolist(), "offset": SHIFT.tolist()})], (ROWS - SHIFT) * SCALE),
    "Sub and Div": ([("Sub", ["x", "m"], ["c"], {}), ("Div", ["c", "s"], ["z"], {})], (ROWS - SHIFT) / SCALE),
    "Mul and Add": ([("Mul", ["s", "x"], ["c"], {}), ("Add", ["m", "c"], ["z"], {})], ROWS * SCALE + SHIFT),
    "a number": ([("Mul", ["x", "two"], ["z"], {})], 2 * ROWS),
    "Neg": ([("Neg", ["x"], ["z"], {})], -ROWS),
    "Sub from a constant": ([("Sub", ["m", "x"], ["z"], {})], SHIFT - ROWS),
    "Cast and Identity": ([("Cast", ["x"], ["c"], {"to": 1}), ("Identity", ["c"], ["z"], {})], ROWS),
    "Flatten": ([("Flatten", ["x"], ["z"], {"axis": 1})], ROWS),
    "columns": ([("ArrayFeatureExtractor", ["x", "i"], ["z"], {})], ROWS[:, [3, 0, 1, 2]]),
    "Gather": ([("Gather", ["x", "i"], ["z"], {"axis": 1})], ROWS[:, [3, 0, 1, 2]]),
    "Constant": (
        [("Constant", [], ["k"], {"value": SHIFT}), ("Add", ["x", "k"], ["z"], {})],
        ROWS + SHIFT,
    ),
}
CONSTANTS = LINEAR | {"m": SHIFT[None], "s": SCALE, "two": np.float32(2), "i": np.array([3, 0, 1, 2])}


@pytest.mark.parametrize(("nodes", "given"), BEFORE.values(), ids=BEFORE)
def test_steps_before_a_classifier_are_folded(tmp_path, nodes, given):
    head = head_of(tmp_path, [*nodes, ("Gemm", ["z", "W", "b"], ["y"], {})], CONSTANTS)
    np.testing.assert_allclose(head.logits(ROWS), given @ WEIGHT.astype(float) + BIAS, rtol=1e-12)


@pytest.mark.parametrize(
    ("node", "constants", "expected"),
    [
        (GEMM, LINEAR, SCORES),
        (("Gemm", ["x", "W", "b"], ["y"], {"transB": 1}), {"W": WEIGHT.T, "b": BIAS}, SCORES),
        (("Gemm", ["x", "W", "b"], ["y"], {"alpha": 2.0, "beta": 0.5}), LINEAR, 2 * SCORES - 1.5 * BIAS.astype(float)),
        (("Gemm", ["x", "W"], ["y"], {}), LINEAR, SCORES - BIAS),
        (("MatMul", ["x", "W"], ["y"], {}), LINEAR, SCORES - BIAS),
        (("MatMul", ["x", "W"], ["y"], {}), {"W": WEIGHT.astype(np.float64)}, SCORES - BIAS),
    ],
    ids=["Gemm", "transposed", "factors", "no bias", "MatMul", "double"],
)
@pytest.mark.parametrize("dims", [(0, 4), ()])
def test_a_linear_layer(tmp_path, node, constants, expected, dims):
    head = head_of(tmp_path, [node], constants, dims=dims)
    np.testing.assert_allclose(head.logits(ROWS), expected, rtol=1e-6)
    assert head.link == "softmax"


def test_numbers_may_be_fields_instead_of_bytes(tmp_path):
    model = Model.FromString(model_of([GEMM], {"b": BIAS}))
    model.graph.initializer.add(name="W", dims=WEIGHT.shape, data_type=1, float_data=WEIGHT.ravel().tolist())
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    np.testing.assert_allclose(read_head(tmp_path / "model.onnx", class_names=NAMES).logits(ROWS), SCORES)


ENDS = {
    "Softmax": ([("Softmax", ["y"], ["p"], {"axis": -1})], "softmax"),
    "LogSoftmax": ([("LogSoftmax", ["y"], ["p"], {"axis": 1})], "softmax"),
    "ArgMax": ([("ArgMax", ["y"], ["l"], {"axis": 1})], "margin"),
    "both": ([("ArgMax", ["y"], ["l"], {"axis": 1}), ("Softmax", ["y"], ["p"], {})], "softmax"),
    "a copy": ([("Identity", ["y"], ["c"], {}), ("ArgMax", ["c"], ["l"], {"axis": 1})], "margin"),
}


@pytest.mark.parametrize(("nodes", "link"), ENDS.values(), ids=ENDS)
def test_the_end_of_the_graph_says_what_probabilities_are(tmp_path, nodes, link):
    head = head_of(tmp_path, [GEMM, *nodes], LINEAR)
    np.testing.assert_allclose(head.logits(ROWS), SCORES)
    assert head.link == link


def test_a_sigmoid_of_one_score_is_the_second_of_two_classes(tmp_path):
    nodes = [("Gemm", ["x", "W", "b"], ["y"], {}), ("Sigmoid", ["y"], ["p"], {})]
    head = head_of(tmp_path, nodes, {"W": WEIGHT[:, :1], "b": BIAS[:1]}, names=("no", "yes"))
    np.testing.assert_allclose(head.predict_proba(ROWS)[:, 1], 1 / (1 + np.exp(-SCORES[:, 0])))


def test_scores_of_both_signs_are_joined(tmp_path):
    nodes = [
        ("MatMul", ["x", "W"], ["s"], {}),
        ("Neg", ["s"], ["n"], {}),
        ("Concat", ["n", "s"], ["y"], {"axis": 1}),
        ("ArgMax", ["y"], ["i"], {"axis": 1}),
        ("ArrayFeatureExtractor", ["table", "i"], ["l"], {}),
    ]
    constants = {"W": WEIGHT[:, :1], "table": np.array(["no", "yes"])}
    head = head_of(tmp_path, nodes, constants, names=None)
    assert head.predict(ROWS) == ["yes" if row @ WEIGHT[:, 0] > 0 else "no" for row in ROWS]


def test_classes_are_named_where_probabilities_are(tmp_path):
    zipped = ("ZipMap", ["p"], ["z"], {"domain": "ai.onnx.ml", "classlabels_strings": list(NAMES)})
    assert head_of(tmp_path, [GEMM, ("Softmax", ["y"], ["p"], {}), zipped], LINEAR, names=None).class_names == NAMES
    direct = ("ZipMap", ["y"], ["z"], {"domain": "ai.onnx.ml", "classlabels_int64s": [5, 6, 7]})
    assert head_of(tmp_path, [GEMM, direct], LINEAR, names=None).class_names == ("5", "6", "7")


def test_probabilities_of_a_classifier_may_be_brought_to_a_sum_of_one(tmp_path):
    nodes = [classifier(transform="LOGISTIC"), ("Normalizer", ["scores"], ["p"], {"norm": "L1"})]
    assert head_of(tmp_path, nodes, names=None).link == "ovr"


W4 = {"W": WEIGHT, "b": BIAS, "V": np.eye(3, dtype=np.float32)}
NOT_LINEAR = {
    "Relu": ([("Relu", ["x"], ["y"], {})], "the operator Relu is not linear"),
    "Normalizer": ([("Normalizer", ["x"], ["y"], {"norm": "L2"})], "the operator Normalizer is not linear"),
    "a layer behind probabilities": (
        [GEMM, ("Softmax", ["y"], ["p"], {}), ("MatMul", ["p", "V"], ["z"], {})],
        "the operator MatMul changes scores or probabilities",
    ),
    "a norm behind scores": (
        [classifier(), ("Normalizer", ["scores"], ["p"], {"norm": "L2"})],
        "the operator Normalizer changes",
    ),
    "ArgMin": ([GEMM, ("ArgMin", ["y"], ["l"], {"axis": 1})], "the operator ArgMin is not linear"),
    "over texts": ([GEMM, ("ArgMax", ["y"], ["l"], {})], "ArgMax does not take the scores of each text"),
    "Softmax over texts": ([GEMM, ("Softmax", ["y"], ["p"], {"axis": 0})], "Softmax does not take the scores"),
    "ArgMax of the input": ([("ArgMax", ["b"], ["l"], {"axis": 1})], "ArgMax does not take the scores"),
    "several sigmoids": ([GEMM, ("Sigmoid", ["y"], ["p"], {})], "several labels to a text"),
    "two classifiers": ([classifier(), classifier(-WEIGHT)], "ends in 2 matrices of scores"),
    "two links": ([classifier(), classifier(transform="LOGISTIC")], "probabilities in two ways"),
    "two lists of names": ([classifier(), classifier(labels=("a", "b", "c"))], "names its classes in several ways"),
    "probit": ([classifier(transform="PROBIT")], "post_transform PROBIT"),
    "softmax of one": ([classifier(WEIGHT[:, :1], BIAS[:1], ("a", "b"))], "post_transform SOFTMAX"),
    "no end": ([("Softmax", ["x"], ["y"], {}), ("Softmax", ["q"], ["y"], {})], "nothing gives 'q'"),
    "product of two": ([("Mul", ["x", "x"], ["y"], {})], "Mul of two values"),
    "sum of two": ([GEMM, ("Add", ["y", "y"], ["z"], {})], "Add of two values"),
    "attention": ([("MatMul", ["x", "x"], ["y"], {})], "need a matrix of the model"),
    "matrix first": ([("MatMul", ["V", "W"], ["y"], {})], "is multiplied by another before"),
    "quotient": ([("Div", ["b", "x"], ["y"], {})], "Div by a value"),
    "a constant for each text": ([("Add", ["x", "V"], ["y"], {})], r"a constant of shape \(3, 3\)"),
    "join of texts": ([GEMM, ("Concat", ["y", "y"], ["z"], {"axis": 0})], "Concat does not join"),
    "rows": ([("Gather", ["x", "i"], ["y"], {})], "a choice of columns"),
    "whole numbers": ([("Cast", ["x"], ["y"], {"to": 7})], "a cast to whole numbers"),
    "turned": ([("Transpose", ["x"], ["y"], {"perm": [1, 0]})], "Transpose of a value"),
    "a stranger's operator": ([("Gemm", ["x", "W"], ["y"], {"domain": "com.other"})], "Gemm is of com.other"),
    "nothing of the input": ([("Identity", ["b"], ["y"], {})], "ends in 0 matrices"),
}


@pytest.mark.parametrize(("nodes", "message"), NOT_LINEAR.values(), ids=NOT_LINEAR)
def test_what_is_not_linear_is_refused_by_its_operator(tmp_path, nodes, message):
    with pytest.raises(InputError, match=message) as caught:
        head_of(tmp_path, nodes, W4 | {"i": np.array([0])}, names=None)
    assert caught.value.code in {ErrorCode.INPUT_INVALID, ErrorCode.FILE_INVALID}
    assert caught.value.hint


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inputs": ("x", "w")}, "has 2 inputs"),
        ({"inputs": ()}, "has 0 inputs"),
        ({"dims": (0, 7, 4)}, "has 3 axes"),
        ({"dims": (0, 1 << 40)}, "more than 8192"),
        ({"dims": (0, 5)}, "a matrix of 4 rows does not fit 5 columns"),
    ],
    ids=["two", "none", "tokens", "huge", "another dimension"],
)
def test_an_input_that_is_no_embedding_is_refused(tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        head_of(tmp_path, [GEMM], LINEAR, **options)


def test_a_graph_cannot_grow_without_bound(tmp_path, monkeypatch):
    nodes = [("Concat", [f"v{n}", f"v{n}"], [f"v{n + 1}"], {"axis": 1}) for n in range(40)]
    with pytest.raises(InputError, match="Concat makes more than 8192 columns"):
        head_of(tmp_path, nodes, inputs=("v0",), dims=(0, 4))


def test_columns_of_an_unknown_dimension_cannot_be_chosen(tmp_path):
    node = ("ArrayFeatureExtractor", ["x", "i"], ["z"], {})
    with pytest.raises(InputError, match="a dimension that is not known"):
        head_of(tmp_path, [node, GEMM], CONSTANTS, dims=())


@pytest.mark.parametrize(
    ("nodes", "constants"),
    [
        ([classifier(WEIGHT[:, :2], BIAS[:2], (1, 2, 3))], {}),
        ([GEMM, ("ZipMap", ["y"], ["z"], {"classlabels_int64s": [1, 2]})], LINEAR),
    ],
    ids=["fewer scores", "fewer names"],
)
def test_another_number_of_classes_is_refused(tmp_path, nodes, constants):
    with pytest.raises(InputError) as caught:
        head_of(tmp_path, nodes, constants, names=None)
    assert caught.value.code is ErrorCode.SHAPE_MISMATCH


@pytest.mark.parametrize("names", [("a", "b"), None])
def test_a_layer_needs_a_name_for_each_class(tmp_path, names):
    with pytest.raises(InputError, match=r"names? (do not fit|its 3)|does not name its 3"):
        head_of(tmp_path, [GEMM], LINEAR, names=names)


def external():
    model = Model.FromString(model_of([GEMM], LINEAR))
    model.graph.initializer[0].data_location = 1
    return model.SerializeToString()


DAMAGED = {
    "nothing": b"",
    "another format": b"PK\x03\x04" * 9,
    "cut": model_of([GEMM], LINEAR)[:-20],
    "weights elsewhere": external(),
    "halves": model_of([GEMM], {"W": WEIGHT.astype(np.float16), "b": BIAS}),
    "coefficients that do not fit": model_of([classifier(WEIGHT.ravel()[:-1, None])]),
    "no coefficients": model_of([("LinearClassifier", ["x"], ["l", "s"], {"classlabels_ints": [1, 2]})]),
    "no classes": model_of([("LinearClassifier", ["x"], ["l", "s"], {"coefficients": [1.0, 2.0]})]),
    "a bias that does not fit": model_of([GEMM], {"W": WEIGHT, "b": BIAS[:2]}),
    "a constant without value": model_of([("Constant", [], ["k"], {}), GEMM], LINEAR),
    "columns that are not there": model_of([("Gather", ["x", "i"], ["z"], {"axis": 1})], {"i": np.array([9])}),
    "too few inputs": model_of([("Sub", ["x"], ["z"], {})]),
    "a scaler of nothing": model_of([("Scaler", ["x"], ["z"], {})]),
    "a matrix of one axis": model_of([("MatMul", ["x", "b"], ["z"], {})], LINEAR),
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_file_is_refused(tmp_path, content):
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(InputError, match=r"model\.onnx (cannot be read|is damaged|is no linear)") as caught:
        read_head(tmp_path / "model.onnx", class_names=NAMES)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("nodes", "constants"),
    [
        ([GEMM], {"W": np.full((4, 3), np.nan, dtype=np.float32), "b": BIAS}),
        ([("Div", ["x", "zero"], ["z"], {}), ("Gemm", ["z", "W", "b"], ["y"], {})], LINEAR | {"zero": np.float32(0)}),
    ],
    ids=["NaN", "a quotient of zero"],
)
def test_numbers_that_are_not_finite_are_refused(tmp_path, nodes, constants):
    with pytest.raises(InputError) as caught:
        head_of(tmp_path, nodes, constants)
    assert caught.value.code is ErrorCode.NON_FINITE_INPUT


def test_a_transposed_matrix_of_the_model_is_a_matrix_of_the_model(tmp_path):
    nodes = [("Transpose", ["T"], ["W"], {"perm": [1, 0]}), ("MatMul", ["x", "W"], ["y"], {})]
    np.testing.assert_allclose(head_of(tmp_path, nodes, {"T": WEIGHT.T}).logits(ROWS), SCORES - BIAS)


def test_every_operator_has_a_test():
    named = {node[0] for nodes, _ in BEFORE.values() for node in nodes} | {"Gemm", "MatMul", "Concat", "Transpose"}
    assert named == {*onnx_ops.LINEAR}
