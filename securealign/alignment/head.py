"""The provider's linear head: logits = z V + c."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from securealign.alignment.artifacts import load_artifact, save_artifact
from securealign.alignment.links import LINKS, Link, probabilities
from securealign.alignment.logistic import choose_inverse_penalty, fit_logistic
from securealign.alignment.scikit import ClassNames, names_of, scores_of
from securealign.errors import ErrorCode, InputError
from securealign.limits import Limits
from securealign.matrices import FloatMatrix, as_matrix, require_finite
from securealign.naming import fault_of_name

KIND = "head"
_DIGEST_DOMAIN = b"securealign/head/digest"


@dataclass(frozen=True, repr=False)
class LinearHead:
    """A linear classifier: `weight` (d_A, K), `bias` (K,), one name per class, how it was made, and its `link`.

    The link says what turns logits into probabilities, and whether anything does: see `securealign.alignment.links`.
    """

    weight: FloatMatrix
    bias: npt.NDArray[np.float64]
    class_names: tuple[str, ...]
    metadata: Mapping[str, Any] = field(default_factory=dict)
    link: Link = "softmax"

    def __repr__(self) -> str:
        return f"<LinearHead of {self.weight.shape[0]} dimensions and {len(self.class_names)} classes>"

    def __post_init__(self) -> None:
        classes = len(self.class_names)
        if self.weight.ndim != 2 or self.weight.shape[1] != classes or self.bias.shape != (classes,):
            raise InputError(
                f"A head with weight {self.weight.shape}, bias {self.bias.shape} and {classes} class names "
                "does not fit together.",
                code=ErrorCode.SHAPE_MISMATCH,
            )
        require_class_names(self.class_names)
        if self.link not in LINKS or (self.link == "sigmoid" and classes != 2):
            raise InputError(
                f"{self.link!r} does not give the probabilities of {classes} classes.",
                hint=f"Use one of {', '.join(LINKS)}; sigmoid is for two classes.",
            )
        require_finite(self.weight, "The head's weight")
        require_finite(self.bias[None], "The head's bias")

    @classmethod
    def fit(
        cls,
        embeddings: npt.ArrayLike,
        labels: Sequence[int],
        class_names: Sequence[str],
        *,
        inverse_penalty: float | Literal["auto"] = "auto",
    ) -> LinearHead:
        """Fit a logistic regression on standardised embeddings (n, d_A) and fold the scaling into the head.

        Labels are indices into `class_names`. The inverse penalty is scikit-learn's C; "auto" chooses it by
        cross-validation. `metadata` holds it as `inverse_penalty`, and after "auto" the accuracy on held-out texts as
        `cross_validated_accuracy`, None where too few could be held out.
        Raises `InputError` when lengths differ, fewer than two classes occur, a label has no name, a name is unfit, an
        embedding is not finite, or the inverse penalty is not above zero.
        """
        matrix = np.asarray(as_matrix(embeddings, "The training matrix"), dtype=np.float64)
        numbers = _numbered(labels, len(matrix), class_names)
        require_finite(matrix, "The training matrix")
        made: dict[str, Any] = {}
        if inverse_penalty == "auto":
            inverse_penalty, made["cross_validated_accuracy"] = choose_inverse_penalty(matrix, numbers)
        inverse_penalty = _positive(inverse_penalty)
        made["inverse_penalty"] = inverse_penalty
        scores = fit_logistic(matrix, numbers, inverse_penalty)
        return cls(scores.weight, scores.bias, names_of(scores.classes, class_names), made, scores.link)

    @classmethod
    def from_sklearn(cls, model: Any, class_names: ClassNames | None = None) -> LinearHead:  # noqa: ANN401
        """Import a fitted linear classifier of scikit-learn, also in a pipeline or a search, exactly.

        `class_names` are indexed by the model's classes where those are integers from 0, found by them where they are
        a mapping, and else taken in the order of `classes_`; without them a class is named by its label. A binary model
        has one score s; its two logits become -s/2 and s/2, which give the probabilities of a logistic regression.
        Raises `InputError` for a model that is not linear, not fitted, or gives several labels, and for names that do
        not belong to its classes.
        """
        scores = scores_of(model)
        names = names_of(scores.classes, class_names)
        scores = scores.two_sided()
        return cls(scores.weight, scores.bias, names, link=scores.link)

    def logits(self, embeddings: npt.ArrayLike) -> FloatMatrix:
        """Return logits of shape (n, K) for embeddings of shape (n, d_A)."""
        matrix = np.asarray(as_matrix(embeddings, "The embedding matrix", columns=len(self.weight)), dtype=np.float64)
        return matrix @ self.weight + self.bias

    def digest(self, salt: bytes) -> bytes:
        """Return SHA-256 of a salt (32 bytes) and the head, its link included, which it names to who lacks the salt."""
        header = json.dumps([self.weight.shape, self.class_names, self.link]).encode()
        numbers = [np.asarray(array, dtype="<f8").tobytes() for array in (self.weight, self.bias)]
        return hashlib.sha256(b"".join([_DIGEST_DOMAIN, salt, header, *numbers])).digest()

    def predict(self, embeddings: npt.ArrayLike) -> list[str]:
        """Return the class name with the largest logit for every embedding."""
        return [self.class_names[index] for index in self.logits(embeddings).argmax(axis=1)]

    def predict_proba(self, embeddings: npt.ArrayLike) -> FloatMatrix:
        """Return the probabilities (n, K) that the head's model gives to embeddings (n, d_A).

        Raises `OutputModeError` for a head of margins, such as that of a LinearSVC.
        """
        return probabilities(self.logits(embeddings), self.link)

    def save_pretrained(self, folder: str | Path, **metadata: Any) -> None:  # noqa: ANN401
        """Write the head to `folder` as safetensors with a manifest that also holds its metadata and `metadata`."""
        tensors = {"weight": self.weight, "bias": self.bias}
        own = {"class_names": list(self.class_names), "link": self.link}
        save_artifact(folder, KIND, tensors, {**self.metadata, **metadata, **own})

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> LinearHead:
        """Read a head; raises `InputError` when the folder does not hold one."""
        tensors, metadata = load_artifact(folder, KIND)
        names = metadata.pop("class_names", None)
        if set(tensors) != {"weight", "bias"} or not isinstance(names, list):
            raise InputError(f"{folder} holds no weight, bias and class names.", code=ErrorCode.FILE_INVALID)
        # Heads that were saved without a link are logistic regressions if they were fitted here, or else unknown.
        link = metadata.pop("link", "softmax" if "inverse_penalty" in metadata else "margin")
        return cls(tensors["weight"], tensors["bias"], tuple(str(name) for name in names), metadata, link)


def require_class_names(names: Iterable[str]) -> None:
    """Raise `InputError` for the first name that is blank, too long, not to be shown on one line, or there twice."""
    seen = set()
    for number, name in enumerate(names):
        fault = fault_of_name(name)
        if fault is not None:
            raise InputError(
                f"The class name of column {number} {fault}.",
                hint=f"Use names of 1 to {Limits().max_text} characters without line ends and control characters.",
            )
        if name in seen:
            raise InputError(f"Two classes have the same name {name!r}.", hint="Give every class a name of its own.")
        seen.add(name)


def _positive(inverse_penalty: object) -> float:
    value = float(inverse_penalty) if isinstance(inverse_penalty, Real) else 0.0
    if not 0 < value < float("inf"):
        raise InputError(f"The inverse penalty is {inverse_penalty!r}.", hint="Give a number above zero, or 'auto'.")
    return value


def _numbered(labels: Sequence[int], rows: int, class_names: Sequence[str]) -> npt.NDArray[np.intp]:
    """Return labels as an array (n,) after checking them and the names of those that occur."""
    numbers = np.asarray(labels)
    occurring = set(numbers.tolist()) if numbers.ndim == 1 else set()
    if numbers.shape != (rows,) or len(occurring) < 2:
        raise InputError(
            f"{rows} embeddings and {len(labels)} labels of {len(occurring)} classes cannot fit a head.",
            hint="Give one label per embedding and at least two classes.",
        )
    if numbers.dtype.kind not in "iu" or not 0 <= min(occurring) <= max(occurring) < len(class_names):
        raise InputError(
            f"A label is no index into the {len(class_names)} class names.",
            hint="Number the classes from 0 and name each of them.",
        )
    require_class_names(str(class_names[number]) for number in occurring)
    return numbers.astype(np.intp)
