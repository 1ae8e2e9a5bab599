"""The client's mathematics when the provider adds noise for differential privacy.

The client promises rows of norm at most 1, since what one of the provider's rows can change grows with them. It divides
every whitened row, constant included, by its norm. Weighing texts by 1 / norm leaves a ridge regression of the same
map; dividing the long ones only would fit it no better, because the noise is the same. The rows that carry the noise
are multiples of the identity, and take no part in the Gram matrix: they add noise to the product and nothing else.
"""

import numpy as np

from securealign.alignment.maps import AlignmentMap
from securealign.alignment.secure import ClientProblem
from securealign.matrices import FloatMatrix, MappedRows, Rows, StackedRows, UnitRows

#: Below one by more than rounding, so that no row is longer than promised.
_UNIT = 1 - 2.0**-40
#: The second row of a column is this much smaller; the protocol's FINE_BITS.
_FINE = 2.0**-8


class PrivateProblem:
    """The client's half of the regression under noise: `rows` to encrypt, shape (N + 2 (d_B + 1), d_B + 1).

    The last rows are the identity and 2^-8 times the identity, times what the provider draws. The penalty of `problem`
    is fixed.
    """

    def __init__(self, problem: ClientProblem) -> None:
        self._problem = problem
        count, width = problem.moments.count, len(problem.moments.mean) + 1
        # The constant is as long as another whitened column; a column of ones would outweigh the others.
        self._constant = count**-0.5
        source = problem.whitened(self._constant)
        self._gram = np.zeros((width, width))
        self._weights = 0.0
        squares = np.zeros(width)
        for block in source.blocks():
            norms = np.linalg.norm(block, axis=1, keepdims=True)
            self._gram += (block / norms).T @ block
            self._weights += float(np.sum(1 / norms))
            squares += np.sum((block / norms) ** 2, axis=0)
        parts = [MappedRows(source, _to_unit), UnitRows(width, 1.0), UnitRows(width, _FINE)]
        self.rows: Rows = StackedRows(parts, np.sqrt(squares + 1 + _FINE**2))

    def solve(self, product: FloatMatrix) -> AlignmentMap:
        """Return the ridge map from the decrypted `product`, shape (d_A, d_B + 1), including its noise."""
        problem = self._problem
        whitened = problem.precondition
        penalty = np.zeros_like(self._gram)
        # lambda L^-1 L^-T: what is left of the penalty in whitened space, at the mean weight of a text.
        penalty[:-1, :-1] = problem.penalty * self._weights / problem.moments.count * (whitened.T @ whitened)
        coefficients = np.linalg.solve(self._gram + penalty, product.T / _UNIT)
        # Noise hides the squared norm of the provider's rows, so neither a penalty nor R^2 can be derived.
        facts = {"map": "ridge", "ridge": problem.ridge, "penalty": problem.penalty, "rows": problem.moments.count}
        return problem.alignment(whitened @ coefficients[:-1], coefficients[-1] * self._constant, facts)


def _to_unit(block: FloatMatrix) -> FloatMatrix:
    unit: FloatMatrix = block / np.linalg.norm(block, axis=1, keepdims=True) * _UNIT
    return unit
