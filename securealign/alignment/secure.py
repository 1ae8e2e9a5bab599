"""The client's mathematics around encrypted training: what it encrypts, and the map it solves for."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from securealign.alignment.maps import AlignmentMap
from securealign.alignment.ridge import Moments, Penalty, factor_ridge
from securealign.matrices import Affine, FloatMatrix, Rows

#: Square of the smallest norm assumed for a whitened column; those of directions without variance are rounding.
_SMALLEST_SQUARE = 1e-6


class ClientProblem:
    """Party B's half of the regression: `rows` to encrypt, shape (N, d_B + 1), and moments kept in clear.

    With the Cholesky factor L of the penalised Gram matrix, the rows are (Z_B - mean) L^-T rather than Z_B. The product
    with them needs one factor of L^-T to become the map instead of (L L^T)^-1, so its error is amplified by the square
    root of what a small direction of Z_B would do otherwise. The provider sees ciphertexts of the same size either way.
    A constant column makes its column sums, and with them the bias, part of the same product.
    """

    def __init__(self, embeddings: npt.ArrayLike, ridge: Penalty) -> None:
        self.embeddings = embeddings
        self.moments = Moments.of(Rows(embeddings, name="Z_B"))
        self.penalty, factor = factor_ridge(self.moments.gram, ridge)
        #: L^-T
        self.precondition: FloatMatrix = np.linalg.inv(factor).T
        # The diagonal of L^-1 G L^-T = I - lambda L^-1 L^-T; the floor is far above its rounding, and what it costs in
        # precision is as far below that of the other columns.
        squares = 1 - self.penalty * np.einsum("ij,ij->j", self.precondition, self.precondition)
        norms = np.sqrt(np.append(np.maximum(squares, _SMALLEST_SQUARE), float(self.moments.count)))
        self.rows = Rows(embeddings, name="Z_B", affine=self.affine(1.0), norms=norms)

    def affine(self, constant: float) -> Affine:
        """Return the map from Z_B to whitened rows that end in a constant."""
        columns = len(self.moments.mean)
        whiten = np.hstack([self.precondition, np.zeros((columns, 1))])
        return Affine(self.moments.mean, whiten, np.append(np.zeros(columns), constant))

    def solve(self, product: FloatMatrix) -> AlignmentMap:
        """Return the ridge map from the decrypted `product` Z_A^T [(Z_B - mean) L^-T, 1], shape (d_A, d_B + 1)."""
        return self.alignment(product[:, :-1].T, product[:, -1] / self.moments.count)

    def alignment(self, whitened: FloatMatrix, centre: npt.NDArray[np.float64]) -> AlignmentMap:
        """Return the map of whitened coefficients (d_B, d_A), given what it makes of the mean of Z_B (d_A,)."""
        weight = self.precondition @ whitened
        bias = centre - self.moments.mean @ weight
        return AlignmentMap(weight, bias, {"ridge": self.penalty, "rows": self.moments.count})
