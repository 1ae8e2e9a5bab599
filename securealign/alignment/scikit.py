"""Linear classifiers of scikit-learn as one matrix and one vector, and the names of their classes.

A classifier is linear here when it names the class of the largest of K scores z V + c, or of the sign of one score.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from securealign.alignment.links import Link
from securealign.alignment.scaling import Vector
from securealign.alignment.scikit_steps import affine_of, is_scikit, require_fitted
from securealign.errors import ErrorCode, InputError
from securealign.matrices import FloatMatrix

#: Names of classes, by integer class, in their order, or by label.
ClassNames = Sequence[str] | Mapping[Any, str]

_HINT = (
    "Take a linear one: LogisticRegression, LinearSVC, RidgeClassifier, SGDClassifier or OneVsRestClassifier of them."
)


class Scores(NamedTuple):
    """The scores z V + c of a classifier: `weight` (d, K), `bias` (K,) for its `classes` (K,), and their link.

    Of two classes there may be one score, which is above zero for the second.
    """

    weight: FloatMatrix
    bias: Vector
    classes: npt.NDArray[Any]
    link: Link

    def two_sided(self) -> Scores:
        """Return one score for each class: the only one s of two becomes -s/2 and s/2."""
        if self.weight.shape[1] > 1:
            return self
        weight, bias = self.weight / 2, self.bias / 2
        return self._replace(weight=np.hstack([-weight, weight]), bias=np.concatenate([-bias, bias]))


def scores_of(model: Any) -> Scores:  # noqa: ANN401 - whatever a caller takes for a classifier
    """Return the scores of a fitted linear classifier, of a pipeline that ends in one, or of a search for one.

    Those of pipelines and searches hold for what goes into them.
    Raises `InputError` for a model that is not fitted, not linear, or gives several labels.
    """
    require_fitted(model)
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
    reader = _READERS.get(name)
    if reader is None or not is_scikit(model):
        raise _not_linear(name)
    return reader(model)


def names_of(classes: npt.NDArray[Any], class_names: ClassNames | None) -> tuple[str, ...]:
    """Return a name for each of a model's classes (K,).

    Classes are indices into names, where those are a sequence that reaches so far, or keys of a mapping; else there
    must be as many names as classes, in their order; without names a class is named by its label.
    Raises `InputError` for names that do not fit, or name two classes alike.
    """
    labels = [label.item() if isinstance(label, np.generic) else label for label in classes]
    names = tuple(map(str, labels)) if class_names is None else tuple(map(str, _chosen(labels, class_names)))
    first: dict[str, Any] = {}
    for label, name in zip(labels, names, strict=True):
        if name in first:
            raise InputError(
                f"The classes {first[name]!r} and {label!r} have the same name {name!r}.",
                hint="Give every class a name of its own.",
            )
        first[name] = label
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


def _not_linear(name: str) -> InputError:
    return InputError(f"{name} is no linear classifier: its scores are no z V + c.", hint=_HINT)


def _coefficients(link: Callable[[Any], Link]) -> Callable[[Any], Scores]:
    """Return what reads `coef_` and `intercept_` of a model whose link is known from it."""

    def read(model: Any) -> Scores:  # noqa: ANN401
        coefficients = model.coef_.toarray() if hasattr(model.coef_, "toarray") else np.asarray(model.coef_)
        weight = np.atleast_2d(coefficients).T.astype(np.float64)
        # Without an intercept it is a single zero, whatever the number of classes.
        bias = np.broadcast_to(np.ravel(model.intercept_).astype(np.float64), weight.shape[1:]).copy()
        return Scores(weight, bias, np.asarray(model.classes_), link(model))

    return read


def _logistic(model: Any) -> Scores:  # noqa: ANN401
    # scikit-learn below 1.8 lets users choose between the softmax and one class against the rest.
    several = getattr(model, "multi_class", "auto")
    scores = _coefficients(lambda _: "sigmoid")(model)
    if len(scores.classes) > 2:
        separate = several == "ovr" or (several != "multinomial" and model.solver == "liblinear")
        return scores._replace(link="ovr" if separate else "softmax")
    if several != "multinomial":
        return scores
    # The softmax of -s and s: twice what a logistic regression of two classes has.
    return scores._replace(weight=2 * scores.weight, bias=2 * scores.bias)


def _descent_link(model: Any) -> Link:  # noqa: ANN401
    if model.loss == "log_loss":
        return "sigmoid" if len(model.classes_) == 2 else "ovr"
    return "huber" if model.loss == "modified_huber" else "margin"


def _one_linear_margin(model: Any) -> Scores:  # noqa: ANN401
    """Read a support vector machine of a linear kernel; more classes than two are pairs that vote."""
    if model.kernel != "linear" or len(model.classes_) != 2:
        raise _not_linear(type(model).__name__)
    return _coefficients(lambda _: "margin")(model)


def _nearest_centroid(model: Any) -> Scores:  # noqa: ANN401
    """Return scores of distances without |z|^2, which all classes share: 2 z c - |c|^2."""
    if model.metric != "euclidean":
        raise _not_linear(f"NearestCentroid with the metric {model.metric!r}")
    centroids, classes = np.asarray(model.centroids_), np.asarray(model.classes_)
    priors = getattr(model, "class_prior_", None)
    if priors is None or np.isclose(priors, 1 / len(classes)).all():
        # Its labels are by distances as they are, but its probabilities by distances in deviations.
        return Scores(2 * centroids.T, -(centroids**2).sum(axis=1), classes, "margin")
    scale = np.where(model.within_class_std_dev_ > 0, model.within_class_std_dev_, 1.0)
    scaled = centroids / scale
    with np.errstate(divide="ignore"):
        bias = 2 * np.log(priors) - (scaled**2).sum(axis=1)
    return Scores(2 * (scaled / scale).T, bias, classes, "softmax")


def _naive_bayes(model: Any) -> Scores:  # noqa: ANN401
    """Return the joint logarithms of probabilities, which are linear in counts."""
    name, weight, bias = type(model).__name__, np.asarray(model.feature_log_prob_), np.asarray(model.class_log_prior_)
    if name == "ComplementNB" and len(bias) > 1:
        bias = np.zeros_like(bias)
    if name == "BernoulliNB":
        if model.binarize is not None:
            raise _not_linear(f"BernoulliNB with binarize={model.binarize}")
        absent = np.log(1 - np.exp(weight))
        weight, bias = weight - absent, bias + absent.sum(axis=1)
    return Scores(weight.T, bias, np.asarray(model.classes_), "softmax")


def _one_against_the_rest(model: Any) -> Scores:  # noqa: ANN401
    """Return the scores of one binary classifier for each class, or of a single one for two classes."""
    parts = [_one_score(scores_of(part)) for part in model.estimators_]
    links = {part.link for part in parts}
    link = links.pop() if len(links) == 1 else "margin"
    return Scores(
        np.hstack([part.weight for part in parts]),
        np.concatenate([part.bias for part in parts]),
        np.asarray(model.classes_),
        "ovr" if link == "sigmoid" and len(parts) > 1 else link,
    )


def _one_score(part: Scores) -> Scores:
    """Return a binary classifier's one score; that of two, whose softmax it gives, is their difference."""
    if part.weight.shape[1] == 1:
        return part
    if part.link != "softmax" or part.weight.shape[1] != 2:
        raise _not_linear("OneVsRestClassifier of NearestCentroid or of classifiers of more than two classes")
    return Scores(part.weight[:, 1:] - part.weight[:, :1], part.bias[1:] - part.bias[:1], part.classes, "sigmoid")


_MARGIN = _coefficients(lambda _: "margin")
_READERS: Mapping[str, Callable[[Any], Scores]] = {
    "LogisticRegression": _logistic,
    "LogisticRegressionCV": _logistic,
    "LinearDiscriminantAnalysis": _coefficients(lambda model: "sigmoid" if len(model.classes_) == 2 else "softmax"),
    "SGDClassifier": _coefficients(_descent_link),
    **dict.fromkeys(
        ("RidgeClassifier", "RidgeClassifierCV", "Perceptron", "PassiveAggressiveClassifier", "LinearSVC"), _MARGIN
    ),
    "SVC": _one_linear_margin,
    "NuSVC": _one_linear_margin,
    "NearestCentroid": _nearest_centroid,
    "MultinomialNB": _naive_bayes,
    "ComplementNB": _naive_bayes,
    "BernoulliNB": _naive_bayes,
    "OneVsRestClassifier": _one_against_the_rest,
}


def _through(step: Any, scores: Scores) -> Scores:  # noqa: ANN401
    """Return the scores for what a fitted step of a pipeline takes, given those for what it gives."""
    if step is None or step == "passthrough":
        return scores
    require_fitted(step)
    if isinstance(getattr(step, "steps", None), list):
        for _, part in reversed(step.steps):
            scores = _through(part, scores)
        return scores
    matrix, offset = affine_of(step)
    weight = matrix[:, None] * scores.weight if matrix.ndim == 1 else matrix @ scores.weight
    return scores._replace(weight=weight, bias=scores.bias + offset @ scores.weight)
