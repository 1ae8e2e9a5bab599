"""A map from the statistics of a regression alone: its penalty, what it explains, and whether rows belong together.

With G = E diag(w) E^T of the client's N centred rows, X = Z_B^T U_A, C = E^T X and T = |U_A|^2, everything that follows
is known to the client: it needs no row of the provider.

    ridge   (G + lambda I)^-1 X, the paper's map (section 3.1)
    soft    with P S Q^T the singular value decomposition of (G + lambda I)^-1/2 X and r = S / sqrt(N), the shrunk
            canonical correlations: sqrt(N) (G + lambda I)^-1/2 P f(r) Q^T, f(r) = min(1, r / e)

Ridge shrinks what it cannot explain towards the mean, which moves texts across the boundaries of a head that was fitted
on embeddings that are not shrunken. The soft map gives every direction that stands above noise its full spread; e
bounds the correlations that unrelated encoders reach by chance.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np

from securealign.alignment.scaling import Vector
from securealign.errors import ConfigurationError, ErrorCode, InputError
from securealign.matrices import FloatMatrix

#: Kinds of map.
MapKind = Literal["ridge", "soft"]

#: Penalties to choose from, relative to the mean eigenvalue, above the smallest allowed one.
_LARGEST_PENALTY = 1e3
_PENALTIES = 241
#: Pairs of rows that belong together lie above this many deviations of what unrelated ones reach.
RELATED = 4.0
#: Below these, chance may reach it: rows for each dimension, and dimensions.
_ROWS_PER_DIMENSION, _FEWEST_DIMENSIONS = 4, 100


def require_map_kind(kind: str) -> None:
    """Raise `ConfigurationError` for a kind of map that there is not."""
    if kind not in get_args(MapKind):
        raise ConfigurationError(
            f"There is no map {kind!r}.", hint=f"Use one of {', '.join(map(repr, get_args(MapKind)))}."
        )


@dataclass(frozen=True, repr=False)
class Regression:
    """Eigenvalues (d_B,) and eigenvectors (d_B, d_B) of G, `projected` C (d_B, d_A), and T; `count` is N."""

    count: int
    values: Vector
    vectors: FloatMatrix
    projected: FloatMatrix
    total: float

    @classmethod
    def of(cls, count: int, gram: FloatMatrix, cross: FloatMatrix, total: float) -> Regression:
        """Return the regression of a Gram matrix (d_B, d_B) and cross-covariance (d_B, d_A) of centred rows."""
        values, vectors = np.linalg.eigh(gram)
        return cls(count, np.maximum(values, 0.0), vectors, vectors.T @ cross, total)

    def freedom(self, penalty: float) -> float:
        """Return the effective number of parameters for each dimension of the provider, the intercept among them."""
        return 1 + float(np.sum(self.values / (self.values + penalty)))

    def residual(self, penalty: float) -> float:
        """Return the squared norm of what the ridge map leaves unexplained of the rows it was fitted on."""
        raised, squares = self.values + penalty, self._squares
        explained = 2 * float(np.sum(squares / raised)) - float(np.sum(squares * self.values / raised**2))
        return self.total - explained

    def unseen(self, penalty: float) -> float:
        """Return the estimate of a row's squared error on unseen texts, by generalised cross-validation.

        Infinite where there are as many parameters as rows (Golub, Heath, Wahba 1979).
        """
        left = 1 - self.freedom(penalty) / self.count
        if left <= 0:
            return math.inf
        return max(self.residual(penalty), 0.0) / (self.count * left * left)

    def best_penalty(self, smallest: float) -> float:
        """Return the penalty, `smallest` or above, whose estimated error on unseen texts is smallest."""
        largest = max(_LARGEST_PENALTY * float(self.values.mean()), smallest)
        candidates: list[float] = np.geomspace(smallest, largest, _PENALTIES).tolist()
        return min(candidates, key=self.unseen)

    def explained(self, penalty: float) -> float:
        """Return R^2 of the ridge map on the rows it was fitted on."""
        return 1 - self._share(self.residual(penalty))

    def explained_unseen(self, penalty: float) -> float:
        """Return the estimate of R^2 of the ridge map on unseen texts; below zero where it is worse than the mean."""
        return 1 - self._share(self.unseen(penalty) * self.count)

    def relatedness(self, penalty: float) -> float:
        """Return by how many deviations the explained part exceeds what rows that do not belong together reach."""
        raised = self.values + penalty
        chance = (self.freedom(penalty) - 1) * self.total / (self.count - 1)
        spread = math.sqrt(2 * float(np.sum((self.values / raised) ** 2)) * self.total / self.count)
        return (float(np.sum(self._squares / raised)) - chance) / spread if spread > 0 else 0.0

    def weight(self, kind: MapKind, penalty: float) -> FloatMatrix:
        """Return the weight (d_B, d_A) of a map of centred rows."""
        raised = self.values + penalty
        if kind == "ridge":
            ridge: FloatMatrix = self.vectors @ (self.projected / raised[:, None])
            return ridge
        root = np.sqrt(raised)[:, None]
        left, values, right = np.linalg.svd(self.projected / root, full_matrices=False)
        # sqrt(N) min(1, r / e) with r = S / sqrt(N)
        by_chance = math.sqrt(self.total / self.count) + math.sqrt(max(self.freedom(penalty) - 1, 0.0))
        # Zero where neither side varies: such a direction carries nothing.
        kept = np.minimum(math.sqrt(self.count), values * math.sqrt(self.count) / (by_chance or math.inf))
        soft: FloatMatrix = self.vectors @ ((left * kept / root) @ right)
        return soft

    def facts(self, kind: MapKind, penalty: float, ridge: float | str) -> dict[str, Any]:
        """Return what a map's manifest says of its fit; `ridge` is the setting that led to the penalty."""
        return {
            "map": kind,
            "ridge": ridge,
            "penalty": penalty,
            "rows": self.count,
            "r2": self.explained(penalty),
            "r2_unseen": self.explained_unseen(penalty),
            "relatedness": self.relatedness(penalty),
        }

    def _share(self, squares: float) -> float:
        """Return squares relative to T; 1 where T is zero, since a provider may state any T."""
        return squares / self.total if self.total > 0 else 1.0

    @cached_property
    def _squares(self) -> Vector:
        squares: Vector = np.einsum("ij,ij->i", self.projected, self.projected)
        return squares


def require_related(regression: Regression, penalty: float) -> float:
    """Return the relatedness of both parties' rows; raises `InputError` when it is that of unrelated rows.

    Rows or dimensions too few to tell raise no error: see `unrelated_warning`.
    """
    found, dimension = regression.relatedness(penalty), len(regression.values)
    enough = regression.count >= _ROWS_PER_DIMENSION * dimension and dimension >= _FEWEST_DIMENSIONS
    if found < RELATED and enough:
        raise InputError(
            f"The public embeddings of the two parties do not belong together: relatedness {found:.1f}, where rows of "
            f"the same texts reach {RELATED:g} and more.",
            hint="Check that row i embeds the same text on both sides, in the same order, by the intended encoder.",
            code=ErrorCode.PAIRS_UNRELATED,
        )
    return found


def unrelated_warning(facts: Mapping[str, Any]) -> str | None:
    """Return what to tell a user whose map's manifest says that rows may not belong together, None if they do."""
    found = facts.get("relatedness")
    if found is None or found >= RELATED:
        return None
    return (
        f"The public embeddings may not belong together: relatedness {found:.1f}, where rows of the same texts reach "
        f"{RELATED:g} and more. Check their order, or give more public texts: here they are too few to decide."
    )
