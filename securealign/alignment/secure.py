"""The client's mathematics around encrypted training: what it encrypts, and the map it solves for."""

from __future__ import annotations

import numpy.typing as npt

from securealign.alignment.maps import AlignmentMap
from securealign.alignment.ridge import Moments, Penalty, solve_ridge
from securealign.matrices import FloatMatrix, Rows


class ClientProblem:
    """Party B's half of the regression: `rows` to encrypt, shape (N, d_B + 1), and moments kept in clear.

    The embeddings are centred, so that no precision is spent on their mean; the constant column makes the provider's
    column sums, and with them the bias, part of the same product.
    """

    def __init__(self, embeddings: npt.ArrayLike) -> None:
        self.moments = Moments.of(Rows(embeddings, name="Z_B"))
        self.rows = Rows(embeddings, name="Z_B", centre=self.moments.mean, constant_column=True)

    def solve(self, product: FloatMatrix, ridge: Penalty) -> AlignmentMap:
        """Return the ridge map from the decrypted `product` Z_A^T [Z_B - mean, 1], shape (d_A, d_B + 1)."""
        target_mean = product[:, -1] / self.moments.count
        return solve_ridge(self.moments, target_mean, product[:, :-1].T, ridge)
