"""ONNX graphs of linear classifiers: what comes of the input is followed through the nodes as x S + o."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from securealign.alignment.links import Link
from securealign.alignment.scikit import Scores
from securealign.errors import ErrorCode, InputError
from securealign.heads.found import Found, invalid
from securealign.heads.onnx_ops import LINEAR, Affine, Array, Identity, NotLinear, Value, attributes_of
from securealign.heads.onnx_schema import array_of, parse_model
from securealign.limits import Limits

_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml"})
_LINKS: dict[str, Link] = {"NONE": "margin", "SOFTMAX": "softmax", "LOGISTIC": "ovr"}
#: What may become of labels, scores and probabilities: they are cut, cast, named and brought to a sum of one.
_AFTER = frozenset(
    {"ArgMax", "ArrayFeatureExtractor", "Cast", "Flatten", "Gather", "Identity", "Normalizer", "Reshape", "Squeeze"}
    | {"ZipMap"}
)


def read_onnx(path: Path) -> Found:
    """Return the scores of the linear classifier in a file.

    Raises `InputError` for a file that is damaged, or whose graph is not that of one linear classifier.
    """
    try:
        graph = parse_model(path.read_bytes()).graph
        if not graph.node:
            raise ValueError("it holds no graph")
        return _Walk(path, graph).found()
    except NotLinear as error:
        raise InputError(
            f"{path} is no linear classifier: {error}.",
            hint="Export the raw scores alone (skl2onnx: options raw_scores), or save the model with skops.",
        ) from error
    except (ValueError, IndexError, KeyError) as error:
        raise invalid(path, f"cannot be read as ONNX: {error}", "Export the model again.") from error


class _Walk:
    """Follows the input of a graph, and keeps where its scores end."""

    def __init__(self, path: Path, graph: Any) -> None:  # noqa: ANN401 - a message made at run time
        self._path = path
        self._values: dict[str, Value | None] = {tensor.name: array_of(tensor) for tensor in graph.initializer}
        inputs = [value for value in graph.input if value.name not in self._values]
        if len(inputs) != 1:
            raise NotLinear(f"it has {len(inputs)} inputs, not one of embeddings")
        self._values[inputs[0].name] = _input(inputs[0])
        #: The scores that labels or probabilities are made of: one matrix, whatever its values are called.
        self._scores: list[Affine] = []
        self._link: Link | None = None
        self._labels: list[Array] = []
        self._decides = False
        for node in graph.node:
            self._take(node)
        if not self._scores:
            for value in graph.output:
                end = self._values.get(value.name)
                if isinstance(end, Affine):
                    self._end_at(end, None)

    def found(self) -> Found:
        """Return the scores of the whole graph."""
        if len(self._scores) != 1:
            raise NotLinear(f"it ends in {len(self._scores)} matrices of scores, not in one")
        (scores,) = self._scores
        outputs = scores.weight.shape[1]
        named = bool(self._labels)
        labels = self._labels[0] if named else np.arange(max(2, outputs))
        if any(not np.array_equal(labels, other) for other in self._labels):
            raise NotLinear("it names its classes in several ways")
        if len(labels) != max(2, outputs):
            raise InputError(
                f"{self._path} has {outputs} scores for {len(labels)} classes.",
                hint="Export the model again.",
                code=ErrorCode.SHAPE_MISMATCH,
            )
        return Found(Scores(scores.weight, scores.offset, labels, self._chosen_link(outputs)), named)

    def _chosen_link(self, outputs: int) -> Link:
        if self._link is None:
            # Where the graph decides by scores as they are, it says nothing of probabilities.
            return "margin" if self._decides else "sigmoid" if outputs == 1 else "softmax"
        return "sigmoid" if self._link == "ovr" and outputs == 1 else self._link

    def _take(self, node: Any) -> None:  # noqa: ANN401
        if node.domain not in _DOMAINS:
            raise NotLinear(f"the operator {node.op_type} is of {node.domain}")
        values = [self._value(name) for name in node.input if name]
        attributes = attributes_of(node)
        result: Value | None = None
        if node.op_type == "LinearClassifier":
            self._classifier(node, values[0], attributes)
        elif any(value is None for value in values):
            self._after(node, values, attributes)
        elif node.op_type in {"Softmax", "LogSoftmax", "Sigmoid", "ArgMax", "ZipMap"}:
            self._end(node, values[0], attributes)
        elif node.op_type in LINEAR:
            result = LINEAR[node.op_type](values, attributes)
        else:
            raise NotLinear(f"the operator {node.op_type} is not linear, or not known")
        for name in node.output:
            self._values[name] = result

    def _value(self, name: str) -> Value | None:
        if name not in self._values:
            raise ValueError(f"nothing gives {name!r}")
        return self._values[name]

    def _classifier(self, node: Any, value: Value | None, attributes: dict[str, Any]) -> None:  # noqa: ANN401
        """Take a node that holds weights, labels and a transformation of scores."""
        labels = attributes.get("classlabels_strings", attributes.get("classlabels_ints", ()))
        self._labels.append(np.array(labels, dtype=object))
        coefficients = np.array(attributes["coefficients"], dtype=np.float64)
        bias = np.array(attributes.get("intercepts", ()), dtype=np.float64)
        outputs = len(bias) or len(labels)
        if not outputs or outputs not in {len(labels), len(labels) - 1} or len(coefficients) % outputs:
            raise ValueError(f"{len(coefficients)} coefficients do not fit {len(labels)} classes")
        weight = coefficients.reshape(outputs, -1).T
        scores = LINEAR["Gemm"]([value, weight, bias if len(bias) else np.zeros(outputs)], {})
        transform = attributes.get("post_transform", "NONE")
        if transform not in _LINKS or (transform == "SOFTMAX" and outputs == 1):
            raise NotLinear(f"LinearClassifier with post_transform {transform} gives other probabilities")
        self._end_at(scores, _LINKS[transform])

    def _end(self, node: Any, value: Value | None, attributes: dict[str, Any]) -> None:  # noqa: ANN401
        if not isinstance(value, Affine) or attributes.get("axis", 1 if node.op_type != "ArgMax" else 0) not in {1, -1}:
            raise NotLinear(f"{node.op_type} does not take the scores of each text")
        link: Link | None = None
        if "Softmax" in node.op_type:
            link = "softmax"
        elif node.op_type == "Sigmoid":
            if value.weight.shape[1] > 1:
                raise NotLinear("Sigmoid of several scores gives several labels to a text")
            link = "sigmoid"
        elif node.op_type == "ArgMax":
            self._decides = True
        else:
            self._name(attributes)
        self._end_at(value, link)

    def _end_at(self, scores: Value, link: Link | None) -> None:
        if not isinstance(scores, Affine) or (link and self._link not in {None, link}):
            raise NotLinear("it gives probabilities in two ways")
        if not any(all(map(np.array_equal, scores, other)) for other in self._scores):
            self._scores.append(scores)
        self._link = link or self._link

    def _after(self, node: Any, values: list[Value | None], attributes: dict[str, Any]) -> None:  # noqa: ANN401
        """Take a node behind the scores: it may name classes, but not change which is the largest."""
        if node.op_type not in _AFTER or attributes.get("norm", "L1") != "L1":
            raise NotLinear(f"the operator {node.op_type} changes scores or probabilities")
        if node.op_type == "ZipMap":
            self._name(attributes)
        table = values[0]
        if node.op_type in {"ArrayFeatureExtractor", "Gather"} and isinstance(table, np.ndarray):
            self._labels.append(np.ravel(table).astype(object))

    def _name(self, attributes: dict[str, Any]) -> None:
        labels = attributes.get("classlabels_strings") or attributes.get("classlabels_int64s")
        if labels:
            self._labels.append(np.array(labels, dtype=object))


def _input(value: Any) -> Affine | Identity:  # noqa: ANN401
    """Return the embeddings as they are; of a shape that is not known, their dimension follows from a later node."""
    dims = value.type.tensor_type.shape.dim
    if len(dims) not in {0, 2}:
        raise NotLinear(f"its input has {len(dims)} axes, not one for texts and one for dimensions")
    width = dims[1].dim_value if dims else 0
    if width > Limits().max_dimension:
        raise NotLinear(f"its input has {width} dimensions, more than {Limits().max_dimension}")
    return Affine(np.eye(width), np.zeros(width)) if width > 0 else Identity()
