"""A provider's head as a classifier of scikit-learn: it is not trained here, and every prediction is a query.

Clones and copies with the same settings share one open client, and with it sessions and batches. Cross-validation asks
the provider for every fold: what it costs of the budget is what the folds hold.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import NotFittedError
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length

from securealign.client.connecting import connect
from securealign.client.connection import OpenClient
from securealign.matrices import FloatMatrix

try:
    from sklearn.utils.validation import validate_data
except ImportError:  # scikit-learn 1.5
    validate_data = BaseEstimator._validate_data

_lock = Lock()
#: Open clients by configuration file, head and overrides, as long as an estimator uses them.
_open: weakref.WeakValueDictionary[tuple[str, str, tuple[str, ...]], OpenClient] = weakref.WeakValueDictionary()


def _has_logits(estimator: RemoteClassifier) -> bool:
    """Return whether the head answers with logits; raises the reason where it cannot be asked."""
    return estimator._client().output == "logits"


class RemoteClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A classifier whose answers come from a provider, under encryption.

    `config` is the client's configuration file, `head` names one of the provider's heads, and `overrides` have the form
    section.name=value. Inputs are texts (m,) or their embeddings (m, d_B) by the client's encoder.
    """

    def __init__(self, config: str | Path = "client.toml", *, head: str = "", overrides: Sequence[str] = ()) -> None:
        self.config = config
        self.head = head
        self.overrides = overrides

    def fit(self, X: Any, y: Any = None) -> RemoteClassifier:  # noqa: ANN401 - as scikit-learn has it
        """Check the inputs, and align with the provider where no map is saved. Neither X nor y is sent.

        `y` may be None. Raises `ValueError` as scikit-learn does for inputs and labels that no classifier takes, and
        for embeddings that the map does not take.
        """
        for name in ("n_features_in_", "feature_names_in_"):
            self.__dict__.pop(name, None)
        inputs = self._inputs(X, reset=True)
        if y is not None:
            y = validate_data(self, X="no_validation", y=y)
            check_classification_targets(y)
            check_consistent_length(inputs, y)
        client = self._client()
        if not client.aligned:
            client.align()
        self._require_dimension(client, inputs)
        self.classes_ = np.array(client.classes_)
        return self

    def predict(self, X: Any) -> npt.NDArray[np.str_]:  # noqa: ANN401
        """Return the label of each input (m,); "" where the provider gave none."""
        client, inputs = self._ready(X)
        return client.predict(inputs)

    @available_if(_has_logits)  # type: ignore[untyped-decorator]
    def predict_proba(self, X: Any) -> FloatMatrix:  # noqa: ANN401
        """Return probabilities (m, K); raises `OutputModeError` for a head of margins."""
        client, inputs = self._ready(X)
        return client.predict_proba(inputs)

    @available_if(_has_logits)  # type: ignore[untyped-decorator]
    def decision_function(self, X: Any) -> FloatMatrix:  # noqa: ANN401
        """Return logits (m, K); for two classes, as scikit-learn has it, their difference (m,)."""
        client, inputs = self._ready(X)
        logits = client.decision_function(inputs)
        return logits[:, 1] - logits[:, 0] if logits.shape[1] == 2 else logits

    def close(self) -> None:
        """Give up the open client, which is closed when no clone uses it."""
        self.__dict__.pop("_opened", None)

    def _client(self) -> OpenClient:
        """Return the client that estimators of these settings share."""
        key = (str(Path(self.config).absolute()), self.head, tuple(self.overrides))
        held: tuple[Any, OpenClient] | None = self.__dict__.get("_opened")
        if held is not None and held[0] == key and not held[1].closed:
            return held[1]
        with _lock:
            client = _open.get(key)
            if client is None or client.closed:
                client = _open[key] = connect(self.config, head=self.head, overrides=self.overrides)
        self._opened = key, client
        return client

    def _inputs(self, X: Any, *, reset: bool = False) -> list[str] | npt.NDArray[np.floating]:  # noqa: ANN401
        """Return texts as a list, or embeddings as a matrix; raises the `ValueError` of scikit-learn for others."""
        items = X.tolist() if isinstance(X, np.ndarray) and X.ndim == 1 else X
        if hasattr(X, "to_list"):  # a column of pandas or polars
            items = X.to_list()
        if isinstance(items, list | tuple) and items and all(isinstance(item, str) for item in items):
            return list(items)
        matrix: npt.NDArray[np.floating] = validate_data(self, X=X, dtype=[np.float64, np.float32], reset=reset)
        return matrix

    def _require_dimension(self, client: OpenClient, inputs: list[str] | npt.NDArray[np.floating]) -> None:
        if isinstance(inputs, np.ndarray) and inputs.shape[1] != client.dimension:
            raise ValueError(
                f"X has {inputs.shape[1]} features, but {type(self).__name__} is expecting {client.dimension} "
                "features as input: give embeddings by the encoder that was aligned, or texts."
            )

    def _ready(self, X: Any) -> tuple[OpenClient, list[str] | npt.NDArray[np.floating]]:  # noqa: ANN401
        """Return the client and what it is asked; raises `NotFittedError` before `fit`, `ValueError` as `fit` does."""
        if not hasattr(self, "classes_"):
            raise NotFittedError(f"This {type(self).__name__} is not fitted: call fit, which checks and aligns.")
        inputs, client = self._inputs(X), self._client()
        self._require_dimension(client, inputs)
        return client, inputs

    def __getstate__(self) -> dict[str, Any]:
        """Return what is pickled and copied: everything but the open client, which belongs to this process."""
        state: dict[str, Any] = super().__getstate__()
        return {name: value for name, value in state.items() if name != "_opened"}

    def __sklearn_tags__(self) -> Any:  # noqa: ANN401 - a type that scikit-learn 1.5 does not have
        tags = super().__sklearn_tags__()
        tags.target_tags.required = False
        tags.input_tags.string = True
        tags.classifier_tags.poor_score = True
        return tags
