"""A provider's head as a classifier of scikit-learn: it is not trained here, and every prediction is a query.

Clones and copies with the same settings share one open client, and with it sessions and batches. Cross-validation asks
the provider for every fold: what it costs of the budget is what the folds hold.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import NotFittedError
from sklearn.utils.metaestimators import available_if

from securealign.client.connection import OpenClient, connect
from securealign.errors import InputError, ShapeError
from securealign.matrices import FloatMatrix

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

        `y` may be None; its length has to be that of `X`. Raises `InputError` for inputs that do not fit the map.
        """
        client = self._client()
        if not client.aligned:
            client.align()
        inputs = _inputs(X)
        if y is not None and len(y) != len(inputs):
            raise ShapeError(f"X has {len(inputs)} rows and y {len(y)}.", hint="Give one label for each input.")
        if isinstance(inputs, np.ndarray):
            if inputs.shape[1] != client.dimension:
                raise ShapeError(
                    f"X has {inputs.shape[1]} features, and the map takes embeddings of {client.dimension}.",
                    hint="Give embeddings by the encoder that was aligned, or texts.",
                )
            self.n_features_in_ = inputs.shape[1]
        self.classes_ = np.array(client.classes_)
        return self

    def predict(self, X: Any) -> npt.NDArray[np.str_]:  # noqa: ANN401
        """Return the label of each input (m,); "" where the provider gave none."""
        return self._fitted().predict(_inputs(X))

    @available_if(_has_logits)  # type: ignore[untyped-decorator]
    def predict_proba(self, X: Any) -> FloatMatrix:  # noqa: ANN401
        """Return probabilities (m, K); raises `OutputModeError` for a head of margins."""
        return self._fitted().predict_proba(_inputs(X))

    @available_if(_has_logits)  # type: ignore[untyped-decorator]
    def decision_function(self, X: Any) -> FloatMatrix:  # noqa: ANN401
        """Return logits (m, K); for two classes, as scikit-learn has it, their difference (m,)."""
        logits = self._fitted().decision_function(_inputs(X))
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

    def _fitted(self) -> OpenClient:
        if not hasattr(self, "classes_"):
            raise NotFittedError("This RemoteClassifier is not fitted: call fit, which checks and aligns.")
        return self._client()

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


def _inputs(values: Any) -> list[str] | npt.NDArray[np.floating]:  # noqa: ANN401
    """Return texts as a list, or embeddings as a matrix; raises `InputError` for anything else."""
    if hasattr(values, "to_numpy"):
        values = values.to_numpy()
    if isinstance(values, np.ndarray) and values.dtype.kind not in "USO":
        if values.ndim != 2:
            raise ShapeError(f"X has {values.ndim} dimensions, and embeddings two.", hint="Give a row for each input.")
        return values
    items = list(values) if isinstance(values, Iterable) and not isinstance(values, str) else []
    if items and all(isinstance(item, str) for item in items):
        return [str(item) for item in items]
    try:
        matrix = np.array(items, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError("X holds neither texts nor numbers.", hint="Give a list of texts, or a matrix.") from error
    return _inputs(matrix)
