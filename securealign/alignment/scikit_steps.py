"""Steps of scikit-learn's pipelines that are linear: x becomes x S + o."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from securealign.alignment.scaling import Vector
from securealign.errors import InputError

#: A matrix S (d, k), or its diagonal (d,), and an offset o (k,).
Affine = tuple[npt.NDArray[np.float64], Vector]


def is_scikit(model: Any) -> bool:  # noqa: ANN401
    """Return whether a model is scikit-learn's own: one derived from it may compute something else."""
    return type(model).__module__.startswith("sklearn.")


def require_fitted(model: Any) -> None:  # noqa: ANN401
    """Raise `InputError` for a model that is not fitted, or is none of scikit-learn."""
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
        raise InputError(
            f"{model!r:.60} is no model of scikit-learn.", hint="Give a fitted classifier, such as LogisticRegression."
        ) from None


def affine_of(step: Any) -> Affine:  # noqa: ANN401
    """Return what a fitted step does; raises `InputError` for one that is not linear."""
    name = type(step).__name__
    if name not in _AFFINE or not is_scikit(step) or getattr(step, "clip", False):
        raise InputError(
            f"{name}{' with clip=True' if name in _AFFINE else ''} is no linear step of a pipeline.",
            hint=f"Apply it to the embeddings before, or use one of {', '.join(_AFFINE)}.",
        )
    return _AFFINE[name](step)


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


def _selection(step: Any) -> Affine:  # noqa: ANN401
    chosen = step.get_support()
    return np.eye(len(chosen))[:, chosen], np.zeros(int(chosen.sum()))


_AFFINE: Mapping[str, Callable[[Any], Affine]] = {
    "StandardScaler": _standard,
    "MinMaxScaler": lambda step: (step.scale_, step.min_),
    "MaxAbsScaler": lambda step: (1 / step.scale_, np.zeros(len(step.scale_))),
    "RobustScaler": _robust,
    "PCA": _principal,
    "IncrementalPCA": _principal,
    "TruncatedSVD": lambda step: (step.components_.T, np.zeros(len(step.components_))),
    **dict.fromkeys(
        (
            "VarianceThreshold",
            "SelectKBest",
            "SelectPercentile",
            "SelectFpr",
            "SelectFdr",
            "SelectFwe",
            "GenericUnivariateSelect",
            "SelectFromModel",
            "RFE",
            "RFECV",
            "SequentialFeatureSelector",
        ),
        _selection,
    ),
}
