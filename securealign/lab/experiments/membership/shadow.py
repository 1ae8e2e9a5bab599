"""Shadow maps in clear: ridge maps from the same public texts and many known choices of texts of the provider's.

With A = P^T P + lambda D, for public rows P that end in a constant which D leaves unpenalised, W_0 = A^-1 P^T Z_A, and
candidates C with residuals R = C_A - C W_0, the map with the members H is, by Woodbury's identity,
W_H = W_0 + A^-1 C_H^T (I + C_H A^-1 C_H^T)^-1 R_H. So a map costs a system of as many equations as there are members,
and A (W_H - W_0) has its columns in the space of the members' rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from securealign.alignment.ridge import Moments
from securealign.alignment.scaling import deviations
from securealign.lab.experiments.membership.attack import BoolArray, IntArray
from securealign.matrices import FloatMatrix, Rows


@dataclass(frozen=True)
class Material:
    """Rows of both parties: public ones (N, d), and candidates (pool, d), of which a map holds half."""

    public_source: FloatMatrix
    public_target: FloatMatrix
    pool_source: FloatMatrix
    pool_target: FloatMatrix

    def standardised(self) -> Material:
        """Return the source rows with mean 0 and deviation 1 over the public ones; a constant column becomes 0."""
        mean, scale = self.public_source.mean(axis=0), deviations(self.public_source)
        return Material(
            (self.public_source - mean) / scale, self.public_target, (self.pool_source - mean) / scale, self.pool_target
        )

    def penalty(self, share: float) -> float:
        """Return the ridge penalty that is a share of the mean diagonal of the public Gram matrix."""
        gram = Moments.of(Rows(self.public_source)).gram
        return share * float(np.trace(gram)) / len(gram)


class Shadows(Protocol):
    """Maps of known members, and what an observer knows who has the public rows of both parties.

    `reference` (k, d_A) is the map without a candidate, weight and bias; projection (k, k) times the deviation from it
    has its columns in the space of the members among `directions` (pool, k), but for noise.
    """

    reference: FloatMatrix
    projection: FloatMatrix
    directions: FloatMatrix

    def maps(self, members: BoolArray) -> Iterator[tuple[FloatMatrix, ...]]:
        """Yield, for each line of members (maps, pool), the maps (d_B + 1, d_A) at each level of noise."""
        ...


def draw_members(maps: int, pool: int, random: np.random.Generator, *, exact: bool) -> BoolArray:
    """Return members (maps, pool): maps 2 k and 2 k + 1 split the candidates, in halves if `exact`, or by coins."""
    keys = random.random((maps // 2, pool))
    half = np.argsort(np.argsort(keys, axis=1), axis=1) < pool // 2 if exact else keys < 0.5
    members = np.empty((2 * len(half), pool), dtype=np.bool_)
    members[0::2], members[1::2] = half, ~half
    return members


def shuffle_members(members: BoolArray, random: np.random.Generator) -> BoolArray:
    """Return members that no longer have to do with the maps: each target's are exchanged in pairs, by coins."""
    swapped = np.repeat(random.random((len(members) // 2, members.shape[1])) < 0.5, 2, axis=0)
    return members ^ swapped


def fold_numbers(maps: int, folds: int) -> IntArray:
    """Return a fold for each map; two maps that split the candidates share one, as each tells the other's members."""
    return (np.arange(maps) // 2) % folds


def with_constant(rows: FloatMatrix) -> FloatMatrix:
    """Return rows (n, d) with a column of ones, (n, d + 1)."""
    return np.hstack([rows, np.ones((len(rows), 1))])


class ClearShadows:
    """Ridge maps without noise, under a penalty that the public rows decide."""

    def __init__(self, material: Material, penalty: float) -> None:
        design, candidates = with_constant(material.public_source), with_constant(material.pool_source)
        penalised = np.append(np.full(design.shape[1] - 1, penalty), 0.0)
        factor = np.linalg.cholesky(design.T @ design + np.diag(penalised))
        inverse = np.linalg.inv(factor)
        self.projection: FloatMatrix = factor.T
        self.reference: FloatMatrix = inverse.T @ (inverse @ (design.T @ material.public_target))
        self.directions: FloatMatrix = candidates @ inverse.T
        self._kernel = self.directions @ self.directions.T
        self._spread = inverse.T @ self.directions.T
        self._residual = material.pool_target - candidates @ self.reference

    def maps(self, members: BoolArray) -> Iterator[tuple[FloatMatrix, ...]]:
        """Yield the map of each line of members."""
        for line in members:
            inside = np.flatnonzero(line)
            system = np.eye(len(inside)) + self._kernel[np.ix_(inside, inside)]
            yield (self.reference + self._spread[:, inside] @ np.linalg.solve(system, self._residual[inside]),)
