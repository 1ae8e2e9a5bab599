"""The fit of a map with the rows of both parties at hand: what the protocol computes under encryption.

Labelled shots among the rows weigh more than public texts: rows are multiplied by the square root of their weight.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from securealign.alignment.coordinates import Space
from securealign.alignment.maps import AlignmentMap
from securealign.alignment.regression import MapKind, Regression, require_map_kind, require_related, unrelated_warning
from securealign.alignment.ridge import CrossMoments, Penalty, check_paired, smallest_penalty
from securealign.alignment.scaling import Scaling
from securealign.errors import InputError, SecurealignWarning
from securealign.matrices import BLOCK_ROWS, Rows, as_matrix


def fit_map(
    z_b: npt.ArrayLike,
    z_a: npt.ArrayLike,
    ridge: Penalty,
    *,
    kind: MapKind = "ridge",
    weights: npt.ArrayLike | None = None,
) -> AlignmentMap:
    """Return the map from raw Z_B (N, d_B) to raw Z_A (N, d_A), reading both in blocks.

    With `ridge` "auto" repeated rows are left out, columns are standardised and the penalty is chosen by generalised
    cross-validation; a number is the penalty of the paper and takes all rows as they are. `weights` (N,) are above
    zero. Raises `InputError` for rows that do not pair, hold NaN, do not vary or do not belong together.
    """
    return ClearFit.of(z_b, z_a, ridge, weights=weights).map(kind)


@dataclass(frozen=True, repr=False)
class ClearFit:
    """The regression of Z_B on Z_A and what its coordinates mean: a map of either kind is a step from here."""

    regression: Regression
    scaling: Scaling
    space: Space
    moments: CrossMoments
    penalty: float
    ridge: Penalty

    @classmethod
    def of(
        cls, z_b: npt.ArrayLike, z_a: npt.ArrayLike, ridge: Penalty = "auto", *, weights: npt.ArrayLike | None = None
    ) -> ClearFit:
        """Fit Z_B (N, d_B) to Z_A (N, d_A); see `fit_map`."""
        matrix_b, matrix_a = as_matrix(z_b, "Z_B"), as_matrix(z_a, "Z_A")
        check_paired(len(matrix_b), len(matrix_a))
        given = None if weights is None else _checked_weights(weights, len(matrix_b))
        if ridge == "auto":
            kept = distinct_rows(matrix_b, matrix_a)
            if len(kept) < len(matrix_b):
                matrix_b, matrix_a = matrix_b[kept], matrix_a[kept]
                given = None if given is None else given[kept]
        source, target = Rows(matrix_b, name="Z_B"), Rows(matrix_a, name="Z_A")
        scaling = Scaling.of(source, "Z_B") if ridge == "auto" else Scaling.identity(source.shape[1])
        space = Space.of(target, scaling=Scaling.of(target, "Z_A", normalise=ridge == "auto"))
        moments = CrossMoments.empty(source.shape[1], target.shape[1])
        pairs = scaling.rows(source), space.rows(target)
        for first in range(0, len(matrix_b), BLOCK_ROWS):
            rows_b, rows_a = (side.block(first, first + BLOCK_ROWS) for side in pairs)
            moments.update(rows_b, rows_a, None if given is None else given[first : first + BLOCK_ROWS])
        total = space.total_squares if given is None else moments.target_squares
        regression = Regression.of(len(matrix_b), moments.source.gram, moments.cross, total)
        smallest = smallest_penalty(ridge, moments.source.gram)
        penalty = regression.best_penalty(smallest) if ridge == "auto" else smallest
        return cls(regression, scaling, space, moments, penalty, ridge)

    def map(self, kind: MapKind = "ridge") -> AlignmentMap:
        """Return the map of raw embeddings; raises `InputError` for rows that do not belong together."""
        require_map_kind(kind)
        require_related(self.regression, self.penalty)
        weight = self.regression.weight(kind, self.penalty)
        raw = self.scaling.raw_map(weight, self.moments.source.mean, self.moments.target_mean)
        facts = self.regression.facts(kind, self.penalty, self.ridge)
        warn_unrelated(facts)
        return AlignmentMap(*self.space.unfold(*raw), facts)


def warn_unrelated(facts: Mapping[str, Any]) -> None:
    """Warn when rows of the two parties may not belong together."""
    warning = unrelated_warning(facts)
    if warning is not None:
        warnings.warn(warning, SecurealignWarning, stacklevel=3)


def distinct_rows(z_b: npt.NDArray[np.floating], z_a: npt.NDArray[np.floating]) -> npt.NDArray[np.intp]:
    """Return the rows, in order, at which a pair of embeddings occurs for the first time."""
    seen: set[tuple[bytes, bytes]] = set()
    kept = []
    for row, pair in enumerate(zip(z_b, z_a, strict=True)):
        key = (pair[0].tobytes(), pair[1].tobytes())
        if key not in seen:
            seen.add(key)
            kept.append(row)
    return np.array(kept, dtype=np.intp)


def _checked_weights(weights: npt.ArrayLike, rows: int) -> npt.NDArray[np.float64]:
    given = np.asarray(weights, dtype=np.float64)
    if given.shape != (rows,) or not (np.isfinite(given) & (given > 0)).all():
        raise InputError(
            f"Weights of shape {given.shape} do not fit {rows} rows.", hint="Give a number above zero for each row."
        )
    return given
