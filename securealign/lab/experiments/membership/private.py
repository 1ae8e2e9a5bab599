"""Shadow maps under differential privacy: the client's mathematics and the provider's noise, as in the protocol.

What differential privacy protects is a row of Z_A: whether it took part, or was zero. `PrivateRows` asks that. The
paper asks whether a text was added, and then the client's rows, and its Gram matrix, differ too: `PrivateTexts`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np

from securealign.alignment.maps import AlignmentMap
from securealign.alignment.privacy import PrivateProblem
from securealign.alignment.secure import ClientProblem
from securealign.lab.experiments.membership.attack import BoolArray
from securealign.lab.experiments.membership.shadow import Material
from securealign.matrices import FloatMatrix, Rows
from securealign.protocol.policy.privacy import Privacy
from securealign.protocol.training.noise import FINE_BITS, NoisePlan, private_rows

#: Far less than one in the public texts; the protocol's default.
DELTA = 1e-6


def noise_plan(material: Material, epsilon: float, rows: int) -> NoisePlan:
    """Return the provider's noise for so many rows; raises `SuiteError` when it leaves no precision for them.

    c_A is the longest row of Z_A: 1 for encoders that normalise.
    """
    targets = (material.public_target, material.pool_target)
    norm = max(float(np.linalg.norm(target, axis=1).max()) for target in targets)
    # Embeddings of norm 1 in float32 are a little longer or shorter.
    norm = 1.0 if abs(norm - 1) < 1e-5 else norm
    rule = Privacy(epsilon=epsilon, delta=DELTA, row_norm=norm, max_epsilon=epsilon)
    left, width = material.pool_target.shape[1], material.pool_source.shape[1] + 1
    return NoisePlan(rows, left, width, norm, rule.noise_multiplier)


def provided(rows: FloatMatrix, plan: NoisePlan, name: str) -> tuple[FloatMatrix, FloatMatrix]:
    """Return rows of Z_A as the provider clips and rounds them, and what its noise adds to a product (d_B + 1, d_A).

    The noise follows from `name`.
    """
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
