"""One function that reads a head from any file: the suffix says how."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from securealign.alignment.head import LinearHead
from securealign.alignment.links import Link
from securealign.alignment.scikit import ClassNames, Scores, names_of
from securealign.errors import ErrorCode, InputError
from securealign.heads.found import Found, invalid
from securealign.heads.names import names_beside
from securealign.heads.onnx_files import read_onnx
from securealign.heads.skops_files import read_skops
from securealign.heads.tensor_files import read_tensors

_READERS: Mapping[str, Callable[[Path], Found]] = {".skops": read_skops, ".onnx": read_onnx}
_TENSORS = ".safetensors"
#: Files that run code of whoever wrote them when they are read.
_PICKLES = frozenset({".pkl", ".pickle", ".joblib", ".pt", ".pth", ".bin", ".ckpt", ".sav"})


def read_head(
    path: str | Path, *, class_names: ClassNames | None = None, link: Link | None = None, layer: str | None = None
) -> LinearHead:
    """Return the linear head in a file of skops, ONNX or safetensors.

    `class_names` are those of the classes in their order, or by label; without them they are read from the file or
    from a JSON file beside it. `link` says what turns logits into probabilities, where the file does not say it or
    says otherwise. `layer` names one linear layer of several in a file of safetensors.
    Raises `InputError` for a file that cannot be read, a model that is not linear, and names that do not fit, and
    `DependencyError` without the package that reads the file.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if not path.is_file():
        raise invalid(path, "is no file", "Name a file of skops, ONNX or safetensors.")
    if layer is not None and suffix != _TENSORS:
        raise InputError(f"{path} has no layers by name.", hint="Leave --layer out: it is for safetensors.")
    if suffix in _PICKLES:
        raise invalid(
            path,
            "may be a pickle, which runs code when it is read",
            "Save the model with skops.io.dump, or weight and bias with safetensors.torch.save_file.",
        )
    if suffix not in {*_READERS, _TENSORS}:
        raise invalid(path, "is no known kind of head", f"Name it {', '.join([*_READERS, _TENSORS])}.")
    try:
        # Numbers that are not finite are refused when the head is made.
        with np.errstate(all="ignore"):
            found = _READERS[suffix](path) if suffix in _READERS else read_tensors(path, layer)
            scores = found.scores.two_sided()
        names = _names(path, found, class_names)
        head = LinearHead(scores.weight, scores.bias, names, {"imported_from": path.name}, scores.link)
    except (ValueError, TypeError, AttributeError, IndexError, KeyError, ArithmeticError) as error:
        # The numbers of a damaged file do not fit together.
        raise invalid(path, f"is damaged: {error}", "Save it again.") from error
    return head if link is None else replace(head, link=link)


def _names(path: Path, found: Found, class_names: ClassNames | None) -> tuple[str, ...]:
    classes = found.scores.classes
    if found.named:
        if isinstance(class_names, Mapping):
            class_names = _by_label(found.scores, class_names)
        return names_of(classes, class_names)
    if class_names is None:
        class_names = names_beside(path)
    if class_names is None:
        raise InputError(
            f"{path} does not name its {len(classes)} classes.",
            hint=f"Give --classes a,b,... in their order, or a list in {path.with_suffix('.json').name} beside it.",
        )
    if len(class_names) != len(classes):
        raise InputError(
            f"{len(class_names)} class names do not fit a head of {len(classes)} classes.",
            hint="Give one name for each class, in the order of the rows of its weight.",
            code=ErrorCode.SHAPE_MISMATCH,
        )
    return names_of(np.arange(len(classes)), _by_label(found.scores, class_names))


def _by_label(scores: Scores, class_names: ClassNames) -> ClassNames:
    """Return names by the labels of a model; keys of JSON are strings, whatever the labels are."""
    if not isinstance(class_names, Mapping):
        return class_names
    known: dict[str, Any] = {str(key): name for key, name in class_names.items()}
    return {label: known[str(label)] for label in scores.classes.tolist() if str(label) in known}
