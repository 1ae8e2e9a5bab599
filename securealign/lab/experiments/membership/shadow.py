"""Shadow maps in clear: ridge maps from the same public texts and many known choices of texts of the provider's.

With A = P^T P + lambda D, for public rows P that end in a constant which D leaves unpenalised, W_0 = A^-1 P^T Z_A, and
candidates C with residuals R = C_A - C W_0, the map with the members H is, by Woodbury's identity,
W_H = W_0 + A^-1 C_H^T (I + C_H A^-1 C_H^T)^-1 R_H. So a map costs a system of as many equations as there are members,
and A (W_H - W_0) has its columns in the space of the members' rows.

Under differential privacy the client's mathematics and the provider's noise are those of the protocol. What it protects
is a row of Z_A: whether it took part, or was zero. `PrivateRows` asks that. The paper asks whether a text was added:
then the client's rows, and its Gram matrix, differ too: `PrivateTexts`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from securealign.alignment.maps import AlignmentMap
from securealign.alignment.privacy import PrivateProblem
from securealign.alignment.ridge import Moments
from securealign.alignment.scaling import deviations
from securealign.alignment.secure import ClientProblem
from securealign.lab.experiments.membership.attack import BoolArray, IntArray
from securealign.matrices import FloatMatrix, Rows
from securealign.protocol.policy.privacy import Privacy
from securealign.protocol.training.noise import FINE_BITS, NoisePlan, private_rows


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


class ClearShadows:
    """Ridge maps without noise, under a penalty that the public rows decide."""

    def __init__(self, material: Material, penalty: float) -> None:
        sources = (material.public_source, material.pool_source)
        design, candidates = (np.pad(rows, ((0, 0), (0, 1)), constant_values=1.0) for rows in sources)
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


#: Far less than one in the public texts; the protocol's default.
DELTA = 1e-6


def noise_plan(material: Material, epsilon: float, rows: int) -> NoisePlan:
    """Return the provider's noise for so many rows; raises `SuiteError` when it leaves no precision for them."""
    targets = (material.public_target, material.pool_target)
    # c_A, the longest row of Z_A: 1 for encoders that normalise.
    norm = max(float(np.linalg.norm(target, axis=1).max()) for target in targets)
    # Embeddings of norm 1 in float32 are a little longer or shorter.
    norm = 1.0 if abs(norm - 1) < 1e-5 else norm
    rule = Privacy(epsilon=epsilon, delta=DELTA, row_norm=norm, max_epsilon=epsilon)
    left, width = material.pool_target.shape[1], material.pool_source.shape[1] + 1
    return NoisePlan(rows, left, width, norm, rule.noise_multiplier)


def provided(rows: FloatMatrix, plan: NoisePlan, name: str) -> tuple[FloatMatrix, FloatMatrix]:
    """Return rows of Z_A as clipped and rounded, and noise (d_B + 1, d_A) of a product, which follows from `name`."""
    count, width = len(rows), plan.columns
    sent = private_rows(Rows(rows), plan, hashlib.sha256(name.encode()).digest(), b"")
    coarse, fine = sent.block(count, count + width), sent.block(count + width, count + 2 * width)
    return sent.block(0, count), coarse + fine * 2.0**-FINE_BITS


class PrivateRows:
    """Maps over the public texts and all candidates; the provider has the members' rows, and zeros for the others."""

    def __init__(self, material: Material, penalty: float, plan: NoisePlan | None, seed: int) -> None:
        sources = np.vstack([material.public_source, material.pool_source])
        public = len(material.public_source)
        problem = PrivateProblem(ClientProblem(sources, penalty))
        width = sources.shape[1] + 1
        # The map is linear in the product, so the maps of unit products are all there is to know about it.
        self._operator = _affine(problem.solve(np.eye(width)))
        self.projection: FloatMatrix = np.linalg.inv(self._operator).astype(np.float64, copy=False)
        self.directions: FloatMatrix = problem.rows.block(public, len(sources))
        target = np.vstack([material.public_target, material.pool_target])
        if plan is not None:
            target, _ = provided(target, plan, "none of it is used")
        self.reference: FloatMatrix = self._operator @ (problem.rows.block(0, public).T @ target[:public])
        self._pool = target[public:]
        self._plan, self._seed = plan, seed

    def maps(self, members: BoolArray) -> Iterator[tuple[FloatMatrix, ...]]:
        """Yield the map of each line of members, every one with noise of its own."""
        for index, line in enumerate(members):
            product = self.directions[line].T @ self._pool[line]
            if self._plan is not None:
                product += provided(self._pool, self._plan, f"rows/{self._seed}/{index}")[1]
            yield (self.reference + self._operator @ product,)


class PrivateTexts:
    """Maps over the public texts and the members, once for each plan of noise."""

    def __init__(self, material: Material, penalty: float, plans: Sequence[NoisePlan], seed: int) -> None:
        client = ClientProblem(material.public_source, penalty)
        problem = PrivateProblem(client)
        width, public = material.public_source.shape[1] + 1, len(material.public_source)
        operator = _affine(problem.solve(np.eye(width)))
        self.projection: FloatMatrix = np.linalg.inv(operator).astype(np.float64, copy=False)
        self.reference: FloatMatrix = operator @ (problem.rows.block(0, public).T @ material.public_target)
        self.directions: FloatMatrix = client.affine(public**-0.5).apply(material.pool_source)
        self._material, self._penalty, self._plans, self._seed = material, penalty, plans, seed

    def maps(self, members: BoolArray) -> Iterator[tuple[FloatMatrix, ...]]:
        """Yield the maps of each line of members, one for each plan of noise, every one with noise of its own."""
        material = self._material
        for index, line in enumerate(members):
            problem = PrivateProblem(
                ClientProblem(np.vstack([material.public_source, material.pool_source[line]]), self._penalty)
            )
            target = np.vstack([material.public_target, material.pool_target[line]])
            sent = problem.rows.block(0, len(target)).T
            found = []
            for level, plan in enumerate(self._plans):
                limited, noise = provided(target, plan, f"texts/{self._seed}/{level}/{index}")
                found.append(_affine(problem.solve((sent @ limited + noise).T)))
            yield tuple(found)


def _affine(alignment: AlignmentMap) -> FloatMatrix:
    return np.vstack([alignment.weight, alignment.bias])
