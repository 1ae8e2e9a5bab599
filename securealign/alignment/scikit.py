"""Linear classifiers of scikit-learn as one matrix and one vector, and the names of their classes.

A classifier is linear here when it names the class of the largest of K scores z V + c, or of the sign of one score.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from securealign.alignment.scaling import Vector
from securealign.errors import ErrorCode, InputError
from securealign.matrices import FloatMatrix

#: Names of classes, by integer class, in their order, or by label.
ClassNames = Sequence[str] | Mapping[Any, str]

#: A matrix S (d, k), or its diagonal (d,), and an offset o (k,).
Affine = tuple[npt.NDArray[np.float64], Vector]

_LINEAR = (
    "LogisticRegression",
    "LogisticRegressionCV",
    "RidgeClassifier",
    "RidgeClassifierCV",
    "SGDClassifier",
    "Perceptron",
    "PassiveAggressiveClassifier",
    "LinearSVC",
    "LinearDiscriminantAnalysis",
)
_HINT = (
    "Take a linear one: LogisticRegression, LinearSVC, RidgeClassifier, SGDClassifier or OneVsRestClassifier of them."
)


class Scores(NamedTuple):
    """The scores z V + c of a classifier: `weight` (d, K), `bias` (K,) for its `classes` (K,).

    Of two classes there may be one score, which is above zero for the second.
    """

    weight: FloatMatrix
    bias: Vector
    classes: npt.NDArray[Any]

    def two_sided(self) -> Scores:
        """Return one score for each class: the only one s of two becomes -s/2 and s/2."""
        if self.weight.shape[1] > 1:
            return self
        weight, bias = self.weight / 2, self.bias / 2
        return Scores(np.hstack([-weight, weight]), np.concatenate([-bias, bias]), self.classes)


def scores_of(model: Any) -> Scores:  # noqa: ANN401 - whatever a caller takes for a classifier
    """Return the scores of a fitted linear classifier, of a pipeline that ends in one, or of a search for one.

    Those of pipelines and searches hold for what goes into them.
    Raises `InputError` for a model that is not fitted, not linear, or gives several labels.
    """
    _require_fitted(model)
    if hasattr(model, "best_estimator_"):
        return scores_of(model.best_estimator_)
    if isinstance(getattr(model, "steps", None), list):
        *before, (_, last) = model.steps
        scores = scores_of(last)
        for _, step in reversed(before):
            scores = _through(step, scores)
        return scores
    name = type(model).__name__
    binarizer = getattr(model, "label_binarizer_", getattr(model, "_label_binarizer", None))
    if str(getattr(binarizer, "y_type_", "")).startswith("multilabel"):
        raise InputError(
            f"{name} gives several labels to a text; a head names one.",
            hint="Fit a classifier of one label, or one for each label.",
        )
    if name == "OneVsRestClassifier" and _is_scikit(model):
        return _one_against_the_rest(model)
    if not _is_scikit(model) or (name not in _LINEAR and not _is_one_linear_margin(model)):
        raise InputError(f"{name} is no linear classifier: its scores are no z V + c.", hint=_HINT)
    coefficients = model.coef_.toarray() if hasattr(model.coef_, "toarray") else np.asarray(model.coef_)
    weight = np.atleast_2d(coefficients).T.astype(np.float64)
    # Without an intercept it is a single zero, whatever the number of classes.
    bias = np.broadcast_to(np.ravel(model.intercept_).astype(np.float64), weight.shape[1:]).copy()
    return Scores(weight, bias, np.asarray(model.classes_))


def names_of(classes: npt.NDArray[Any], class_names: ClassNames | None) -> tuple[str, ...]:
    """Return a name for each of a model's classes (K,).

    Classes are indices into names, where those are a sequence that reaches so far, or keys of a mapping; else there
    must be as many names as classes, in their order; without names a class is named by its label.
    Raises `InputError` for names that do not fit, or name two classes alike.
    """
    labels = [label.item() if isinstance(label, np.generic) else label for label in classes]
    names = tuple(map(str, labels)) if class_names is None else tuple(map(str, _chosen(labels, class_names)))
    if len(set(names)) != len(names):
        raise InputError("Two classes have the same name.", hint="Give every class a name of its own.")
    return names


def _chosen(labels: list[Any], class_names: ClassNames) -> list[Any]:
    if isinstance(class_names, Mapping):
        missing = [label for label in labels if label not in class_names]
        if missing:
            raise InputError(f"The class {missing[0]!r} has no name.", hint="Name every class of the model.")
        return [class_names[label] for label in labels]
    if all(type(label) is int and 0 <= label < len(class_names) for label in labels):
        return [class_names[label] for label in labels]
    if len(class_names) != len(labels):
        raise InputError(
            f"{len(class_names)} class names do not fit a model of {len(labels)} classes.",
            hint="Give one name for each class, in the order of the model's classes_, or none.",
            code=ErrorCode.SHAPE_MISMATCH,
        )
    if sorted(map(str, labels)) == sorted(class_names) and list(map(str, labels)) != list(class_names):
        raise InputError(
            "The class names are the model's own labels in another order.",
            hint="Leave them out: the labels are the names; or give a mapping from label to name.",
        )
    return list(class_names)


def _require_fitted(model: Any) -> None:  # noqa: ANN401
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    try:
        check_is_fitted(model)
        if hasattr(model, "cv_results_") and not hasattr(model, "best_estimator_"):
            raise NotFittedError
    except NotFittedError:
        raise InputError(
            f"{type(model).__name__} is not fitted.",
            hint="Call its fit first; a search over parameters needs refit=True.",
        ) from None
    except TypeError:
        raise InputError(f"{model!r:.60} is no model of scikit-learn.", hint=_HINT) from None


def _is_scikit(model: Any) -> bool:  # noqa: ANN401
    """Return whether a model is scikit-learn's own: one derived from it may compute something else."""
    return type(model).__module__.startswith("sklearn.")


def _one_against_the_rest(model: Any) -> Scores:  # noqa: ANN401
    """Return the scores of one binary classifier for each class, or of a single one for two classes."""
    parts = [scores_of(part) for part in model.estimators_]
    if any(part.weight.shape[1] != 1 for part in parts):
        raise InputError(f"{type(model).__name__} holds classifiers of more than two classes.", hint=_HINT)
    return Scores(
        np.hstack([part.weight for part in parts]),
        np.concatenate([part.bias for part in parts]),
        np.asarray(model.classes_),
    )


def _is_one_linear_margin(model: Any) -> bool:  # noqa: ANN401
    """Return whether a support vector machine of kernels is linear: more classes than two are pairs that vote."""
    kernel = getattr(model, "kernel", None)
    return type(model).__name__ in {"SVC", "NuSVC"} and kernel == "linear" and len(model.classes_) == 2


def _standard(step: Any) -> Affine:  # noqa: ANN401
    inverse = 1 / (step.scale_ if step.scale_ is not None else np.ones(step.n_features_in_))
    # The mean is there without being subtracted, because the deviation needs it.
    return inverse, -step.mean_ * inverse if step.with_mean else np.zeros_like(inverse)


def _robust(step: Any) -> Affine:  # noqa: ANN401
    inverse = 1 / (step.scale_ if step.scale_ is not None else np.ones(step.n_features_in_))
    return inverse, -step.center_ * inverse if step.center_ is not None else np.zeros_like(inverse)


def _principal(step: Any) -> Affine:  # noqa: ANN401
    spread = np.sqrt(np.maximum(step.explained_variance_, np.finfo(np.float64).eps)) if step.whiten else 1.0
    axes = step.components_.T / spread
    return axes, -step.mean_ @ axes


#: What steps of pipelines do: x -> x S + o.
_AFFINE: Mapping[str, Callable[[Any], Affine]] = {
    "StandardScaler": _standard,
    "MinMaxScaler": lambda step: (step.scale_, step.min_),
    "MaxAbsScaler": lambda step: (1 / step.scale_, np.zeros(len(step.scale_))),
    "RobustScaler": _robust,
    "PCA": _principal,
    "TruncatedSVD": lambda step: (step.components_.T, np.zeros(len(step.components_))),
}


def _through(step: Any, scores: Scores) -> Scores:  # noqa: ANN401
    """Return the scores for what a fitted step of a pipeline takes, given those for what it gives."""
    if step is None or step == "passthrough":
        return scores
    _require_fitted(step)
    if isinstance(getattr(step, "steps", None), list):
        for _, part in reversed(step.steps):
            scores = _through(part, scores)
        return scores
    name = type(step).__name__
    if name not in _AFFINE or not _is_scikit(step) or getattr(step, "clip", False):
        raise InputError(
            f"{name}{' with clip=True' if name in _AFFINE else ''} is no linear step of a pipeline.",
            hint=f"Apply it to the embeddings before, or use one of {', '.join(_AFFINE)}.",
        )
    matrix, offset = _AFFINE[name](step)
    weight = matrix[:, None] * scores.weight if matrix.ndim == 1 else matrix @ scores.weight
    return Scores(weight, scores.bias + offset @ scores.weight, scores.classes)
