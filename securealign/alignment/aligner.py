"""The alignment map as a scikit-learn estimator, fitted in clear: the reference for the encrypted protocol."""

from __future__ import annotations

from pathlib import Path

import numpy.typing as npt
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from securealign.alignment.clear import fit_map
from securealign.alignment.maps import AlignmentMap
from securealign.alignment.regression import MapKind
from securealign.alignment.ridge import Penalty
from securealign.matrices import FloatMatrix


class LinearAligner(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Affine map from the embeddings of one encoder to those of another.

    `ridge` is the penalty of the paper, added to the Gram matrix, or "auto", which standardises the columns and chooses
    by generalised cross-validation. `map` is "ridge" (the paper's) or "soft", which keeps the spread of embeddings: see
    `securealign.alignment.regression`. After `fit`, `map_` holds the result.
    """

    map_: AlignmentMap

    def __init__(self, ridge: Penalty = 1e-3, map: MapKind = "ridge") -> None:  # noqa: A002 - what users call it
        self.ridge, self.map = ridge, map

    def fit(
        self,
        X: npt.ArrayLike,  # noqa: N803 - scikit-learn's name
        y: npt.ArrayLike,
        sample_weight: npt.ArrayLike | None = None,
    ) -> LinearAligner:
        """Fit the map from Z_B = `X` (N, d_B) to Z_A = `y` (N, d_A), reading both in blocks; weights are above zero."""
        self.map_ = fit_map(X, y, self.ridge, kind=self.map, weights=sample_weight)
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
        aligner = cls(ridge=loaded.metadata.get("ridge", 1e-3), map=loaded.metadata.get("map", "ridge"))
        aligner.map_ = loaded
        return aligner
