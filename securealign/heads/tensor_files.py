"""Files of safetensors: the weight (K, d) and bias (K,) of a linear layer, as torch saves it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import safetensors

from securealign.alignment.scikit import Scores
from securealign.errors import ErrorCode, InputError
from securealign.heads.found import Found, invalid
from securealign.models.precomputed import read_safetensors

_SHOWN = 5


def read_tensors(path: Path, layer: str | None = None) -> Found:
    """Return the scores of the linear layer in a file, or of the one that `layer` names.

    One output is the score of the second of two classes, with its logistic function as probability; several have the
    softmax. Raises `InputError` for a file that is damaged, holds other tensors too, or whose shapes do not fit.
    """
    try:
        with safetensors.safe_open(path, framework="np") as content:
            shapes = {name: tuple(content.get_slice(name).get_shape()) for name in content.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, OSError) as error:
        raise invalid(path, f"is no file of safetensors, or damaged: {error}", "Save it again.") from error
    prefix = _prefix(path, shapes, layer)
    shape, bias_shape = shapes[f"{prefix}weight"], shapes.get(f"{prefix}bias")
    outputs = shape[0]
    if bias_shape not in {None, (outputs,)}:
        swapped = bias_shape == (shape[1],)
        raise InputError(
            f"{path} holds a weight of shape {shape} and a bias of shape {bias_shape}.",
            hint="The weight has a row for each class, as in torch"
            + (": transpose it." if swapped else "; the bias a number for each class."),
            code=ErrorCode.SHAPE_MISMATCH,
        )
    weight = np.asarray(read_safetensors(path, f"{prefix}weight"), dtype=np.float64).T
    bias = np.zeros(outputs)
    if bias_shape is not None:
        bias = np.asarray(read_safetensors(path, f"{prefix}bias"), dtype=np.float64)
    classes = np.arange(max(2, outputs))
    return Found(Scores(weight, bias, classes, "sigmoid" if outputs == 1 else "softmax"), named=False)


def _prefix(path: Path, shapes: dict[str, tuple[int, ...]], layer: str | None) -> str:
    """Return what stands before "weight" in the name of the layer's weight."""
    weights = [
        name.removesuffix("weight")
        for name, shape in shapes.items()
        if (name == "weight" or name.endswith(".weight")) and len(shape) == 2 and 0 not in shape
    ]
    if layer is not None:
        prefix = f"{layer}." if layer else ""
        if prefix not in weights:
            raise invalid(path, f"holds no linear layer {layer!r}", f"It holds {_listed(weights)}.")
        return prefix
    if not weights:
        raise invalid(path, "holds no weight of a linear layer", "Save the tensors 'weight' (K, d) and 'bias' (K,).")
    (first, *more) = weights
    if more or {*shapes} - {f"{first}weight", f"{first}bias"}:
        raise invalid(
            path,
            "holds more than one linear layer",
            f"Take one with --layer, of {_listed(weights)}; it is the head if it gets the embeddings as they are.",
        )
    return first


def _listed(prefixes: list[str]) -> str:
    names = [prefix.removesuffix(".") or "''" for prefix in prefixes]
    return ", ".join(names[-_SHOWN:]) or "none"
