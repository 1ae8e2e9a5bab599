"""The client's mathematics around encrypted training: what it encrypts, and the map it solves for."""

from typing import Any

import numpy as np
import numpy.typing as npt

from securealign.alignment.maps import AlignmentMap
from securealign.alignment.regression import MapKind, Regression, require_map_kind, require_related
from securealign.alignment.ridge import Moments, Penalty, factor_ridge, smallest_penalty
from securealign.alignment.scaling import Scaling
from securealign.matrices import Affine, FloatMatrix, MappedRows, Rows

#: Square of the smallest norm assumed for a whitened column; those of directions without variance are rounding.
_SMALLEST_SQUARE = 1e-6


class ClientProblem:
    """The client's half of the regression: `rows` to encrypt, shape (N, d_B + 1), and moments kept in clear.

    With the Cholesky factor L of the penalised Gram matrix, the rows are (Z_B - mean) L^-T rather than Z_B. The product
    with them needs one factor of L^-T to become the map instead of (L L^T)^-1, so its error is amplified by the square
    root of what a small direction of Z_B would do otherwise. The provider sees ciphertexts of the same size either way.
    A constant column makes its column sums, and with them the bias, part of the same product.

    With `ridge` "auto" the columns of Z_B are standardised, L has the smallest penalty that may be chosen, and the
    product decides which, unless it is `fixed`; a number is the penalty of the paper, of rows as they are.
    """

    def __init__(
        self, embeddings: npt.ArrayLike, ridge: Penalty, kind: MapKind = "ridge", *, fixed: bool = False
    ) -> None:
        require_map_kind(kind)
        source = Rows(embeddings, name="Z_B")
        self.ridge, self.kind = ridge, kind
        self.scaling = Scaling.of(source, "Z_B") if ridge == "auto" else Scaling.identity(source.shape[1])
        self._source = source
        self.moments = Moments.of(self.scaling.rows(source))
        smallest = ridge if fixed else smallest_penalty(ridge, self.moments.gram)
        self.penalty, self._factor = factor_ridge(self.moments.gram, smallest)
        #: L^-T
        self.precondition: FloatMatrix = np.linalg.inv(self._factor).T
        # The diagonal of L^-1 G L^-T = I - lambda L^-1 L^-T; the floor is far above its rounding, and what it costs in
        # precision is as far below that of the other columns.
        squares = 1 - self.penalty * np.einsum("ij,ij->j", self.precondition, self.precondition)
        norms = np.sqrt(np.append(np.maximum(squares, _SMALLEST_SQUARE), float(self.moments.count)))
        self.rows = self.whitened(1.0, norms)

    def whitened(self, constant: float, norms: npt.NDArray[np.float64] | None = None) -> Rows:
        """Return the whitened rows, which end in a constant; `norms` bounds the norms of their columns."""
        affine = self.affine(constant)
        return MappedRows(self._source, self.scaling.then(affine), columns=len(affine.offset), norms=norms)

    def affine(self, constant: float) -> Affine:
        """Return the map from scaled rows to whitened rows that end in a constant."""
        columns = len(self.moments.mean)
        whiten = np.hstack([self.precondition, np.zeros((columns, 1))])
        return Affine(self.moments.mean, whiten, np.append(np.zeros(columns), constant))

    def solve(self, product: FloatMatrix, total_squares: float) -> AlignmentMap:
        """Return the map into the provider's coordinates from the decrypted product and the squared norm of U_A.

        The `product` is U_A^T [(Z_B - mean) L^-T, 1], shape (d_A, d_B + 1). Raises `InputError` for rows of the two
        parties that do not belong together.
        """
        cross = self._factor @ product[:, :-1].T
        regression = Regression.of(self.moments.count, self.moments.gram, cross, total_squares)
        penalty = regression.best_penalty(self.penalty) if self.ridge == "auto" else self.penalty
        require_related(regression, penalty)
        facts = regression.facts(self.kind, penalty, self.ridge)
        return self.alignment(regression.weight(self.kind, penalty), product[:, -1] / self.moments.count, facts)

    def alignment(self, weight: FloatMatrix, centre: npt.NDArray[np.float64], facts: dict[str, Any]) -> AlignmentMap:
        """Return the map of raw embeddings for a weight of scaled and centred ones (d_B, d_A).

        `centre` (d_A,) is what the mean of the scaled rows becomes.
        """
        return AlignmentMap(*self.scaling.raw_map(weight, self.moments.mean, centre), facts)
