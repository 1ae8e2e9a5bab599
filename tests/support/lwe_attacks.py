"""What attacks on `lwe` have in common: residues as Python integers, heads, and the arithmetic of a toy key's owner."""

from __future__ import annotations

import numpy as np
import pytest

from securealign.he.lwe import head as head_module
from securealign.he.lwe.head import LweHeadEncryptor, LweHeadEvaluator
from securealign.he.lwe.keys import PublicMatrix, SecretKey
from securealign.he.lwe.parameters import RESIDUE_BYTES, LweParameters
from securealign.he.lwe.products import Planes
from securealign.he.lwe.residues import Residues, planes
from securealign.matrices import FloatMatrix

from .entropy import SeededEntropy
from .pools import NONCE
from .toy import TOY, ToySuite, ask

N = TOY.dimension
Q = 1 << TOY.log_q
HEADER_BYTES = head_module.HEADER_BYTES
#: A statistic of a protected answer is as likely as this, or the test fails; seeds are fixed.
SMALLEST_P = 1e-3


def without_rerandomising(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the re-randomisation of heads away."""

    def zeros(plan, key, columns, entropy):
        shape = (plan.left, plan.parameters.dimension + columns.stop)
        return Residues(np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64))

    monkeypatch.setattr(head_module, "rerandomisation", zeros)


def without_flooding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the flood of heads away."""
    monkeypatch.setattr(head_module, "flooded", lambda plan, answer, entropy: answer)


def random_head(seed: int, features: int = 11, classes: int = 4) -> tuple[FloatMatrix, FloatMatrix]:
    """Return weight (features, classes) and bias (classes,) of size one."""
    random = np.random.default_rng(seed)
    return random.normal(size=(features, classes)), random.normal(size=classes)


def head_pair(
    weight: FloatMatrix, bias: FloatMatrix, slots: int, seed: int = 0, parameters: LweParameters = TOY
) -> tuple[LweHeadEncryptor, LweHeadEvaluator]:
    """Return both parties of a head under randomness of this seed."""
    client, provider = SeededEntropy(b"client %d" % seed), SeededEntropy(b"provider %d" % seed)
    return ToySuite(parameters, client_entropy=client, provider_entropy=provider).head_pair(weight, bias, slots)


def plane_integers(matrix: Planes) -> np.ndarray:
    """Return residues as they are multiplied, as Python integers."""
    return matrix[0].astype(object) + matrix[1].astype(object) * (1 << 64)


def integers(matrix: Residues) -> np.ndarray:
    """Return residues as they are added, as Python integers."""
    return matrix.low.astype(object) + matrix.high.astype(object) * (1 << 40)


def wire_integers(data: bytes, rows: int, columns: int) -> np.ndarray:
    """Return the residues in the body of a key or a query, as Python integers of shape (rows, columns)."""
    return plane_integers(planes(np.frombuffer(data, np.uint8).reshape(rows, columns * RESIDUE_BYTES), columns))


def expanded(matrix: PublicMatrix, rows: int) -> np.ndarray:
    """Return the first rows of a public matrix as Python integers."""
    return plane_integers(planes(matrix.rows(0, rows), matrix.columns))


def public_matrix(key: SecretKey, purpose: str, rows: int, nonce: bytes = b"") -> np.ndarray:
    """Return A as its owner knows it, shape (rows, n)."""
    return expanded(key.matrix(purpose, nonce), rows)


def secret_integers(key: SecretKey) -> np.ndarray:
    """Return S as its owner knows it, shape (n, width)."""
    return key._secret.astype(np.int64).astype(object)


def centred(values: np.ndarray) -> np.ndarray:
    """Return residues in [-q/2, q/2)."""
    return (values + Q // 2) % Q - Q // 2


class Residuals:
    """Runs queries and computes Y - H S - U M at full precision, as the owner of the key would without rounding.

    The switch of the modulus already drops most of this noise, but it is deterministic and no claim rests on it.
    """

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        weight: FloatMatrix,
        bias: FloatMatrix,
        *,
        slots: int,
        parameters: LweParameters = TOY,
    ) -> None:
        seen: list[Residues] = []
        switch = head_module.residues.switch_modulus

        def spy(residues: Residues, log_q: int) -> np.ndarray:
            seen.append(residues)
            return switch(residues, log_q)

        monkeypatch.setattr(head_module.residues, "switch_modulus", spy)
        # Ten thousand answers are quickest in one pool.
        monkeypatch.setattr(head_module, "MAX_SLOTS", slots)
        encryptor, evaluator = head_pair(weight, bias, slots, parameters=parameters)
        encryptor.load_pool(0, evaluator.prepare(0, NONCE), NONCE)
        queries = np.random.default_rng(5).normal(size=(slots, len(weight)))
        columns = np.hstack([queries, np.ones((slots, 1))]).T
        ask(encryptor, evaluator, queries)
        exponents = encryptor._pools[0].queries[0].exponents
        messages = np.rint(np.ldexp(columns, exponents)).astype(np.int64).astype(object)
        hint, answer = (integers(residues) for residues in seen)
        secret = secret_integers(encryptor._key)
        self.plan = evaluator._plan
        #: U, shape (classes, terms).
        self.operand = evaluator._operand.T
        exact = self.operand.astype(np.int64).astype(object) @ messages
        #: Shape (classes, slots).
        self.noise = centred(answer - hint @ secret - exact).astype(np.float64)
        masks = integers(encryptor._pools[0].masks)
        #: The errors of the client's own ciphertexts, shape (terms, slots).
        self.errors = centred(masks - public_matrix(encryptor._key, "pool 0", len(columns), NONCE) @ secret).astype(
            np.float64
        )

    def regression(self) -> FloatMatrix:
        """Estimate U from the noise and the errors that the client chose itself."""
        estimate: FloatMatrix = np.linalg.lstsq(self.errors.T, self.noise.T, rcond=None)[0].T
        return estimate


def solve(matrix: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the X nearest zero with matrix X = right modulo q, by elimination with pivots of least power of two."""
    size = len(matrix)
    table = np.hstack([matrix, right]) % Q
    power_of = np.vectorize(lambda entry: (entry & -entry).bit_length() - 1 if entry else TOY.log_q, otypes=[np.int64])
    powers, columns = [], np.arange(size)
    for step in range(size):
        candidates = power_of(table[step:, step:size])
        row, column = np.unravel_index(candidates.argmin(), candidates.shape)
        powers.append(int(candidates[row, column]))
        table[[step, step + row]] = table[[step + row, step]]
        table[:, [step, step + column]] = table[:, [step + column, step]]
        columns[[step, step + column]] = columns[[step + column, step]]
        inverse = pow(int(table[step, step]) >> powers[-1], -1, Q)
        factors = (table[step + 1 :, step] >> powers[-1]) * inverse % Q
        table[step + 1 :] = (table[step + 1 :] - factors[:, None] * table[step]) % Q
    solution = np.zeros((size, right.shape[1]), dtype=object)
    for step in reversed(range(size)):
        modulus = Q >> powers[step]
        rest = (table[step, size:] - table[step, :size] @ solution) % Q >> powers[step]
        values = rest * pow(int(table[step, step]) >> powers[step], -1, modulus) % modulus
        solution[step] = (values + modulus // 2) % modulus - modulus // 2
    ordered = np.empty_like(solution)
    ordered[columns] = solution
    return ordered
