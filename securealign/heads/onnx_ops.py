"""Operators of ONNX that keep x S + o linear."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from securealign.alignment.scaling import Vector
from securealign.heads.onnx_schema import array_of
from securealign.limits import Limits
from securealign.matrices import FloatMatrix

Array = npt.NDArray[Any]
#: Numbers of floating-point types, to which a cast changes nothing but precision: float, float16, double, bfloat16.
_FLOATS = frozenset({1, 10, 11, 16})


class NotLinear(ValueError):
    """A graph that is no linear classifier; the message says why, as the end of a sentence."""


class Affine(NamedTuple):
    """x becomes x S + o, with `weight` (d, k) and `offset` (k,)."""

    weight: FloatMatrix
    offset: Vector


class Identity(NamedTuple):
    """The input, of a dimension that is not known yet."""


Value = Array | Affine | Identity
_Operator = Callable[[list[Any], Mapping[str, Any]], Value]


def attributes_of(node: Any) -> dict[str, Any]:  # noqa: ANN401 - a message made at run time
    """Return the attributes of a node by name: numbers, texts, lists of them, and arrays."""
    read: dict[int, Callable[[Any], Any]] = {
        1: lambda attribute: attribute.f,
        2: lambda attribute: attribute.i,
        3: lambda attribute: attribute.s.decode("utf-8"),
        4: lambda attribute: array_of(attribute.t),
        6: lambda attribute: list(attribute.floats),
        7: lambda attribute: list(attribute.ints),
        8: lambda attribute: [text.decode("utf-8") for text in attribute.strings],
    }
    return {each.name: read[each.type](each) for each in node.attribute if each.type in read}


def _affine(value: Value, width: int) -> Affine:
    """Return a value as an affine map with k = `width`, where its dimension is not known yet."""
    if isinstance(value, Identity):
        return Affine(np.eye(width), np.zeros(width))
    if not isinstance(value, Affine):
        raise NotLinear("a matrix of the model is multiplied by another before it meets the input")
    return value


def _vector(value: Value, name: str) -> Vector:
    """Return a constant that is the same for all texts, (k,) or (1,)."""
    if not isinstance(value, np.ndarray):
        raise NotLinear(f"{name} of two values that depend on the input is not read")
    if value.ndim > 2 or (value.ndim == 2 and value.shape[0] != 1):
        raise NotLinear(f"{name} takes a constant of shape {value.shape}")
    return np.ravel(value).astype(np.float64)


def _scaled(value: Value, factor: Vector, shift: Vector) -> Affine:
    """Return x S + o with its columns multiplied and shifted; a single number is that of all columns."""
    affine = _affine(value, max(len(factor), len(shift)))
    if not {len(factor), len(shift)} <= {1, len(affine.offset)}:
        raise ValueError(f"{max(len(factor), len(shift))} numbers do not fit {len(affine.offset)} columns")
    return Affine(affine.weight * factor, affine.offset * factor + shift)


def _gemm(values: list[Any], attributes: Mapping[str, Any]) -> Affine:
    value, matrix, *shift = values
    if attributes.get("transA", 0) or not isinstance(matrix, np.ndarray) or matrix.ndim != 2:
        raise NotLinear("Gemm and MatMul need a matrix of the model as their second input")
    matrix = matrix.astype(np.float64)
    if attributes.get("transB", 0):
        matrix = matrix.T
    affine = _affine(value, len(matrix))
    if len(affine.offset) != len(matrix):
        raise ValueError(f"a matrix of {len(matrix)} rows does not fit {len(affine.offset)} columns")
    alpha, beta = attributes.get("alpha", 1.0), attributes.get("beta", 1.0)
    result = Affine(alpha * affine.weight @ matrix, alpha * affine.offset @ matrix)
    return _scaled(result, np.ones(1), beta * _vector(shift[0], "Gemm")) if shift else result


def _add(values: list[Any], _: Mapping[str, Any]) -> Affine:
    value, constant = values if not isinstance(values[0], np.ndarray) else reversed(values)
    return _scaled(value, np.ones(1), _vector(constant, "Add"))


def _subtract(values: list[Any], _: Mapping[str, Any]) -> Affine:
    value, constant = values
    if isinstance(value, np.ndarray):
        return _scaled(constant, -np.ones(1), _vector(value, "Sub"))
    return _scaled(value, np.ones(1), -_vector(constant, "Sub"))


def _multiply(values: list[Any], _: Mapping[str, Any]) -> Affine:
    value, constant = values if not isinstance(values[0], np.ndarray) else reversed(values)
    return _scaled(value, _vector(constant, "Mul"), np.zeros(1))


def _divide(values: list[Any], _: Mapping[str, Any]) -> Affine:
    value, constant = values
    if isinstance(value, np.ndarray):
        raise NotLinear("Div by a value that depends on the input")
    return _scaled(value, 1 / _vector(constant, "Div"), np.zeros(1))


def _scaler(values: list[Any], attributes: Mapping[str, Any]) -> Affine:
    factor, offset = (np.array(attributes[name], dtype=np.float64) for name in ("scale", "offset"))
    return _scaled(values[0], factor, -offset * factor)


def _concat(values: list[Any], attributes: Mapping[str, Any]) -> Affine:
    if attributes.get("axis") not in {1, -1} or not all(isinstance(value, Affine) for value in values):
        raise NotLinear("Concat does not join scores of the same text")
    if sum(len(value.offset) for value in values) > Limits().max_dimension:
        raise NotLinear(f"Concat makes more than {Limits().max_dimension} columns")
    return Affine(np.hstack([value.weight for value in values]), np.concatenate([value.offset for value in values]))


def _columns(values: list[Any], attributes: Mapping[str, Any]) -> Affine:
    value, indices = values
    # ArrayFeatureExtractor has no axis: it takes columns.
    if not isinstance(value, Affine) or not isinstance(indices, np.ndarray) or attributes.get("axis", 1) not in {1, -1}:
        raise NotLinear("a choice of columns depends on the input, or on a dimension that is not known")
    chosen = np.ravel(indices)
    return Affine(value.weight[:, chosen], value.offset[chosen])


def _gather(values: list[Any], attributes: Mapping[str, Any]) -> Affine:
    return _columns(values, {"axis": 0, **attributes})


def _same(values: list[Any], attributes: Mapping[str, Any]) -> Value:
    if attributes.get("to", 1) not in _FLOATS or attributes.get("axis", 1) != 1:
        raise NotLinear("a cast to whole numbers or a change of shape comes before the scores")
    same: Value = values[0]
    return same


def _constant(_: list[Any], attributes: Mapping[str, Any]) -> Value:
    found = [attributes[name] for name in attributes if name.startswith("value")]
    if len(found) != 1:
        raise ValueError("a constant has no value that is read")
    return np.asarray(found[0])


def _transpose(values: list[Any], attributes: Mapping[str, Any]) -> Value:
    if not isinstance(values[0], np.ndarray) or attributes.get("perm", [1, 0]) != [1, 0]:
        raise NotLinear("Transpose of a value that depends on the input")
    turned: Array = values[0].T
    return turned


#: What each operator makes of its inputs and attributes.
LINEAR: Mapping[str, _Operator] = {
    "Add": _add,
    "ArrayFeatureExtractor": _columns,
    "Cast": _same,
    "Concat": _concat,
    "Constant": _constant,
    "Div": _divide,
    "Flatten": _same,
    "Gather": _gather,
    "Gemm": _gemm,
    "Identity": _same,
    "MatMul": _gemm,
    "Mul": _multiply,
    "Neg": lambda values, _: _scaled(values[0], -np.ones(1), np.zeros(1)),
    "Scaler": _scaler,
    "Sub": _subtract,
    "Transpose": _transpose,
}
