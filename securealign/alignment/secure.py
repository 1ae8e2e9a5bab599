"""The client's mathematics around encrypted training: what it encrypts, and the map it solves for."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy.linalg

from securealign.alignment.maps import AlignmentMap
from securealign.alignment.ridge import Moments, Penalty, factor_ridge
from securealign.matrices import Affine, FloatMatrix, Rows

#: Relative error up to which the norm of a column is taken from the Gram matrix.
_RELIABLE = 1e-6


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
        self._precondition: FloatMatrix = scipy.linalg.solve_triangular(factor, np.eye(columns), lower=True).T
        affine = Affine(
            np.hstack([self._precondition, np.zeros((columns, 1))]), np.append(-mean @ self._precondition, 1.0)
        )
        norms = np.append(self._norms(Rows(embeddings, name="Z_B", affine=affine)), np.sqrt(self._moments.count))
        self.rows = Rows(embeddings, name="Z_B", affine=affine, norms=norms)

    def _norms(self, rows: Rows) -> npt.NDArray[np.float64]:
        """Return upper bounds of the norms of the whitened columns: below them, a column would overflow the modulus.

        They follow from the Gram matrix unless rounding dominates it in a direction, such as that of equal columns;
        then the rows are measured. What rounding leaves of a column that should be zero differs from pass to pass.
        """
        moments, precondition = self._moments, self._precondition
        magnitude = np.abs(precondition)
        unit = len(moments.mean) * np.finfo(np.float64).eps
        squares = np.einsum("ij,ij->j", precondition, moments.gram @ precondition)
        error = unit * np.einsum("ij,ij->j", magnitude, np.abs(moments.gram) @ magnitude)
        rounding = unit * np.sqrt(np.diag(moments.gram) + moments.count * moments.mean**2) @ magnitude
        if (squares < error / _RELIABLE).any():
            squares, error = rows.column_norms()[:-1] ** 2, np.zeros_like(error)
        norms: npt.NDArray[np.float64] = np.sqrt(squares + error + rounding**2)
        return norms

    def solve(self, product: FloatMatrix) -> AlignmentMap:
        """Return the ridge map from the decrypted `product` Z_A^T [(Z_B - mean) L^-T, 1], shape (d_A, d_B + 1)."""
        weight = self._precondition @ product[:, :-1].T
        bias = product[:, -1] / self._moments.count - self._moments.mean @ weight
        return AlignmentMap(weight, bias, {"ridge": self._penalty, "rows": self._moments.count})
