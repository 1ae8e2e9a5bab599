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
        self._moments = Moments.of(Rows(embeddings, name="Z_B"))
        gram, mean, columns = self._moments.gram, self._moments.mean, len(self._moments.mean)
        self._penalty, factor = factor_ridge(gram, ridge)
        # L^-T
        self._precondition: FloatMatrix = np.linalg.inv(factor).T
        whiten = np.hstack([self._precondition, np.zeros((columns, 1))])
        constant = np.append(np.zeros(columns), 1.0)
        # The diagonal of L^-1 G L^-T = I - lambda L^-1 L^-T; the floor is far above its rounding, and what it costs in
        # precision is as far below that of the other columns.
        squares = 1 - self._penalty * np.einsum("ij,ij->j", self._precondition, self._precondition)
        norms = np.sqrt(np.append(np.maximum(squares, _SMALLEST_SQUARE), float(self._moments.count)))
        self.rows = Rows(embeddings, name="Z_B", affine=Affine(mean, whiten, constant), norms=norms)

    def solve(self, product: FloatMatrix) -> AlignmentMap:
        """Return the ridge map from the decrypted `product` Z_A^T [(Z_B - mean) L^-T, 1], shape (d_A, d_B + 1)."""
        weight = self._precondition @ product[:, :-1].T
        bias = product[:, -1] / self._moments.count - self._moments.mean @ weight
        return AlignmentMap(weight, bias, {"ridge": self._penalty, "rows": self._moments.count})
