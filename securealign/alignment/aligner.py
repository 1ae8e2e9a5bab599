"""The alignment map as a scikit-learn estimator, fitted in clear: the reference for the encrypted protocol."""

from __future__ import annotations

from pathlib import Path

import numpy.typing as npt
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from securealign.alignment.maps import AlignmentMap
from securealign.alignment.ridge import Penalty, fit_map
from securealign.matrices import FloatMatrix


class LinearAligner(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Affine map from the embeddings of one encoder to those of another by ridge regression.

    `ridge` is the penalty of the paper, added to the Gram matrix, or "auto". After `fit`, `map_` holds the result.
    """

    map_: AlignmentMap

    def __init__(self, ridge: Penalty = 1e-3) -> None:
        self.ridge = ridge

    def fit(self, X: npt.ArrayLike, y: npt.ArrayLike) -> LinearAligner:  # noqa: N803
        """Fit the map from Z_B = `X` (N, d_B) to Z_A = `y` (N, d_A), reading both in blocks."""
        self.map_ = fit_map(X, y, self.ridge)
        return self

    def transform(self, X: npt.ArrayLike) -> FloatMatrix:  # noqa: N803
        """Map embeddings of shape (n, d_B) to (n, d_A); raises scikit-learn's `NotFittedError` before `fit`."""
        check_is_fitted(self)
        return self.map_.apply(X)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the fitted map to `folder` as safetensors with a manifest."""
        check_is_fitted(self)
        self.map_.save_pretrained(folder)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> LinearAligner:
        """Read a fitted map; raises `InputError` when the folder does not hold one."""
        loaded = AlignmentMap.from_pretrained(folder)
        aligner = cls(ridge=loaded.metadata.get("ridge", 1e-3))
        aligner.map_ = loaded
        return aligner
