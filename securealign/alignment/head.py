"""The provider's linear head: logits = z V + c."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from securealign.alignment.artifacts import load_artifact, save_artifact
from securealign.alignment.fits import scale_of
from securealign.errors import ErrorCode, InputError
from securealign.limits import Limits
from securealign.matrices import FloatMatrix, as_matrix, require_finite
from securealign.naming import fault_of_name

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression

_KIND = "head"


@dataclass(frozen=True, repr=False)
class LinearHead:
    """A linear classifier over embeddings: `weight` (d_A, K), `bias` (K,), one name per class."""

    weight: FloatMatrix
    bias: npt.NDArray[np.float64]
    class_names: tuple[str, ...]

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
        for number, name in enumerate(self.class_names):
            fault = fault_of_name(name)
            if fault is not None:
                raise InputError(
                    f"The class name of column {number} {fault}.",
                    hint=f"Use names of 1 to {Limits().max_text} characters without line ends and control characters.",
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
        inverse_penalty: float = 1.0,
    ) -> LinearHead:
        """Fit a logistic regression on standardised embeddings (n, d_A) and fold the scaling into the head.

        Raises `InputError` when lengths differ or fewer than two classes occur.
        """
        # scikit-learn takes a second to import, which only fitting needs to spend.
        from sklearn.linear_model import LogisticRegression
        from threadpoolctl import threadpool_limits

        matrix = np.asarray(as_matrix(embeddings, "The training matrix"), dtype=np.float64)
        require_finite(matrix, "The training matrix")
        if len(labels) != len(matrix) or len(set(labels)) < 2:
            raise InputError(
                f"{len(matrix)} embeddings and {len(labels)} labels of {len(set(labels))} classes cannot fit a head.",
                hint="Give one label per embedding and at least two classes.",
            )
        # Standardised, a dead dimension of an encoder would get a weight without bound.
        mean, scale = matrix.mean(axis=0), scale_of(matrix)
        model = LogisticRegression(C=inverse_penalty, max_iter=2000)
        # numpy and scipy bring a BLAS each, and the solver goes back and forth between the two: the idle threads of one
        # spin on the cores that the other needs, which takes twenty times as long as one thread alone.
        with threadpool_limits(1, user_api="blas"), warnings.catch_warnings():
            # A few texts of many classes are what a client alone may have; it is told by its accuracy.
            warnings.filterwarnings("ignore", message="The number of unique classes is greater")
            model.fit((matrix - mean) / scale, np.asarray(labels))
        head = cls.from_sklearn(model, class_names)
        weight = head.weight / scale[:, None]
        return cls(weight, head.bias - mean @ weight, head.class_names)

    @classmethod
    def from_sklearn(cls, model: LogisticRegression, class_names: Sequence[str] | None = None) -> LinearHead:
        """Import a fitted `LogisticRegression`; `class_names` are indexed by its integer classes.

        A binary model has one score s; its two logits become -s/2 and s/2, which give the same probabilities.
        """
        coefficients, intercept = np.asarray(model.coef_), np.asarray(model.intercept_)
        if len(coefficients) == 1:
            coefficients = np.vstack([-coefficients, coefficients]) / 2
            intercept = np.concatenate([-intercept, intercept]) / 2
        names = [str(class_names[label]) if class_names is not None else str(label) for label in model.classes_]
        return cls(coefficients.T.astype(np.float64), intercept.astype(np.float64), tuple(names))

    def logits(self, embeddings: npt.ArrayLike) -> FloatMatrix:
        """Return logits of shape (n, K) for embeddings of shape (n, d_A)."""
        matrix = np.asarray(as_matrix(embeddings, "The embedding matrix", columns=len(self.weight)), dtype=np.float64)
        return matrix @ self.weight + self.bias

    def predict(self, embeddings: npt.ArrayLike) -> list[str]:
        """Return the class name with the largest logit for every embedding."""
        return [self.class_names[index] for index in self.logits(embeddings).argmax(axis=1)]

    def save_pretrained(self, folder: str | Path, **metadata: Any) -> None:  # noqa: ANN401
        """Write the head to `folder` as safetensors with a manifest that also holds `metadata`."""
        tensors = {"weight": self.weight, "bias": self.bias}
        save_artifact(folder, _KIND, tensors, {**metadata, "class_names": list(self.class_names)})

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> LinearHead:
        """Read a head; raises `InputError` when the folder does not hold one."""
        tensors, metadata = load_artifact(folder, _KIND)
        names = metadata.get("class_names")
        if set(tensors) != {"weight", "bias"} or not isinstance(names, list):
            raise InputError(f"{folder} holds no weight, bias and class names.", code=ErrorCode.FILE_INVALID)
        return cls(tensors["weight"], tensors["bias"], tuple(str(name) for name in names))
