"""How alike two encoders see the same texts: linear CKA, its debiased form, and SVCCA.

Row i of both matrices embeds the same text; dimensions may differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from securealign.alignment.ridge import check_paired
from securealign.errors import InputError
from securealign.matrices import FloatMatrix, as_matrix, require_finite

#: An order in which rows are taken.
Order = npt.NDArray[np.intp]

#: Rows below which the debiased estimate divides by nothing.
_FEWEST_ROWS = 4
#: Variance, relative to the largest, below which a principal component is noise of rounding.
_DEAD = 1e-10
#: Rows up to which CKA compares Gram matrices of rows, made once for each encoder; above, products of dimensions, made
#: anew for each pair, so that memory stays d_x by d_y.
_GRAM_ROWS = 1024


def linear_cka(x: npt.ArrayLike, y: npt.ArrayLike) -> float:
    """Return linear CKA of rows (n, d_x) and (n, d_y), from 0 to 1 (Kornblith et al. 2019; the paper's section 3).

    With few rows for their dimensions it is far above zero for embeddings that have nothing in common: see
    `debiased_cka`. Raises `InputError` for rows that do not vary or do not pair.
    """
    return CentredRows.of(x).cka(CentredRows.of(y))


def debiased_cka(x: npt.ArrayLike, y: npt.ArrayLike) -> float:
    """Return CKA with the unbiased estimate of HSIC (Song et al. 2012; Murphy et al. 2024), zero on average by chance.

    A single value may be below zero. Raises `InputError` as `linear_cka` does.
    """
    return CentredRows.of(x).debiased_cka(CentredRows.of(y))


@dataclass(frozen=True, repr=False, eq=False)
class CentredRows:
    """Rows about their mean, and the sums over them that every comparison needs again."""

    #: Shape (n, d).
    rows: FloatMatrix
    #: Squared length of every row, shape (n,).
    lengths: npt.NDArray[np.float64]
    #: X X^T, shape (n, n), where it is small.
    gram: FloatMatrix | None
    #: ||X^T X||_F^2 = ||X X^T||_F^2.
    own: float

    @classmethod
    def of(cls, values: npt.ArrayLike) -> CentredRows:
        """Centre rows (n, d); raises `InputError` for fewer than 4 rows or rows that do not vary."""
        rows = _checked(values, _FEWEST_ROWS)
        spread = np.abs(rows).max()
        rows = rows - rows.mean(axis=0)
        # The same row many times over leaves what rounding leaves of it, which would be compared as if it were data.
        if np.abs(rows).max() <= len(rows) * np.finfo(np.float64).eps * spread:
            raise InputError(
                "Embeddings that do not vary are similar to none.", hint="Check the encoder, or give other texts."
            )
        gram = rows @ rows.T if len(rows) <= _GRAM_ROWS else None
        own = _squared_norm(rows.T @ rows if gram is None else gram)
        return cls(rows, np.einsum("ij,ij->i", rows, rows), gram, own)

    def in_order(self, order: Order) -> CentredRows:
        """Return the same rows in another order, as a control."""
        gram = None if self.gram is None else self.gram[np.ix_(order, order)]
        return CentredRows(self.rows[order], self.lengths[order], gram, self.own)

    def cka(self, other: CentredRows) -> float:
        """Return linear CKA; raises `InputError` unless there are as many rows."""
        return self._common(other) / float(np.sqrt(self.own * other.own))

    def debiased_cka(self, other: CentredRows) -> float:
        """Return debiased CKA; raises `InputError` unless rows pair and are enough for their dimensions."""
        own = (self._debiased(self, self.own), other._debiased(other, other.own))
        if min(own) <= 0:
            raise InputError(
                "The embeddings are too few for their dimensions to be compared without bias.", hint="Give more texts."
            )
        return self._debiased(other, self._common(other)) / float(np.sqrt(own[0] * own[1]))

    def _common(self, other: CentredRows) -> float:
        """Return ||X^T Y||_F^2."""
        check_paired(len(self.rows), len(other.rows))
        if self.gram is not None and other.gram is not None:
            return float(np.vdot(self.gram, other.gram))
        return _squared_norm(self.rows.T @ other.rows)

    def _debiased(self, other: CentredRows, common: float) -> float:
        """Return n (n - 3) times the unbiased HSIC of the rows' Gram matrices, given ||X^T Y||_F^2."""
        count = len(self.rows)
        diagonal = float(self.lengths @ other.lengths) * count / (count - 2)
        total = float(self.lengths.sum() * other.lengths.sum()) / ((count - 1) * (count - 2))
        return common - diagonal + total


@dataclass(frozen=True)
class Svcca:
    """Mean canonical correlations of two encoders over `components` directions (SVCCA, Raghu et al. 2017)."""

    #: As many as asked for, unless rows or dimensions allow fewer.
    components: int
    #: Over the rows that the directions were fitted on: high for any two encoders, for it is what was maximised.
    trained: float
    #: Over rows that were held out, with its sign: zero on average by chance.
    held_out: float


@dataclass(frozen=True, repr=False, eq=False)
class KeptComponents:
    """Coordinates of rows in principal components, in which the training rows are orthonormal columns."""

    #: Shape (n, k), the largest component first.
    train: FloatMatrix
    #: Shape (m, k).
    test: FloatMatrix

    @classmethod
    def of(cls, train: npt.ArrayLike, test: npt.ArrayLike, components: int) -> KeptComponents:
        """Fit up to `components` principal components of `train` (n, d) and apply them to `test` (m, d).

        Fewer are kept when the rows have less rank, or are fewer than twice as many: two subspaces of more than half
        of the rows' dimensions meet whatever is in them. Raises `InputError` for too few rows.
        """
        fitted = _checked(train, _FEWEST_ROWS)
        held = _checked(test, 3, columns=fitted.shape[1])
        mean = fitted.mean(axis=0)
        fitted, held = fitted - mean, held - mean
        wide = fitted.shape[1] > len(fitted)
        variances, vectors = np.linalg.eigh(fitted @ fitted.T if wide else fitted.T @ fitted)
        kept = min(components, (len(fitted) - 1) // 2, int(np.sum(variances > _DEAD * variances[-1])))
        variances, vectors = variances[::-1][:kept], vectors[:, ::-1][:, :kept]
        if wide:
            return cls(vectors, held @ (fitted.T @ (vectors / variances)))
        directions = vectors / np.sqrt(variances)
        return cls(fitted @ directions, held @ directions)

    def svcca(self, other: KeptComponents, components: int, order: Order | None = None) -> Svcca:
        """Compare by `components`, the other's training rows in an `order`; raises `InputError` unless rows pair."""
        check_paired(len(self.train), len(other.train))
        check_paired(len(self.test), len(other.test))
        kept = min(components, self.train.shape[1], other.train.shape[1])
        if kept < 1:
            raise InputError("There is no component to compare by.", hint="Ask for one or more, of texts that vary.")
        paired = other.train[:, :kept] if order is None else other.train[order, :kept]
        left, correlations, right = np.linalg.svd(self.train[:, :kept].T @ paired)
        held = _correlations(self.test[:, :kept] @ left, other.test[:, :kept] @ right.T)
        return Svcca(kept, float(correlations.mean()), float(held.mean()))


def svcca_row(x: KeptComponents, y: KeptComponents, counts: Sequence[int], order: Order) -> dict[str, float]:
    """Return SVCCA by column for each number of components, with y's training rows in another `order` as a control."""
    row: dict[str, float] = {}
    for count in counts:
        name, found, shuffled = f"svcca_{count}", x.svcca(y, count), x.svcca(y, count, order)
        row |= {f"{name}_components": found.components, name: found.held_out, f"{name}_shuffled": shuffled.held_out}
        row |= {f"{name}_trained": found.trained, f"{name}_trained_shuffled": shuffled.trained}
    return row


def _correlations(x: FloatMatrix, y: FloatMatrix) -> npt.NDArray[np.float64]:
    """Return the correlation of every column of x with the same of y, 0 where one does not vary."""
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    norms = np.linalg.norm(x, axis=0) * np.linalg.norm(y, axis=0)
    products: npt.NDArray[np.float64] = np.einsum("ij,ij->j", x, y)
    found: npt.NDArray[np.float64] = np.divide(products, norms, out=np.zeros_like(products), where=norms > 0)
    return found


def _squared_norm(matrix: FloatMatrix) -> float:
    return float(np.vdot(matrix, matrix))


def _checked(values: npt.ArrayLike, fewest: int, columns: int | None = None) -> FloatMatrix:
    matrix = np.asarray(as_matrix(values, "The embedding matrix", columns=columns), dtype=np.float64)
    require_finite(matrix, "The embedding matrix")
    if len(matrix) < fewest:
        raise InputError(f"{len(matrix)} rows are too few to compare encoders by.", hint=f"Give {fewest} or more.")
    return matrix
