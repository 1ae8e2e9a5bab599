"""Parameter sets of a toy dimension, which claim no security, and one call per job of the suite."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from securealign.he.entropy import Entropy
from securealign.he.interface import CovarianceEncryptor, CovarianceEvaluator, CovarianceShape, HeadShape
from securealign.he.lwe.head import LweHeadEncryptor, LweHeadEvaluator
from securealign.he.lwe.parameters import LweParameters
from securealign.he.lwe.suite import LweSuite
from securealign.matrices import FloatMatrix, Rows

from .entropy import SeededEntropy

TOY = LweParameters(name="toy", dimension=64, log_q=80, classical_bits=0)
#: A modulus that leaves four bits of a residue unused, so that a residue can be out of range.
TOY_76 = LweParameters(name="toy-76", dimension=64, log_q=76, classical_bits=0)

SESSION = bytes(range(32))
#: Bytes of a piece of encrypted rows unless a test says otherwise.
PIECE_BYTES = 1 << 16


@dataclass(frozen=True)
class ToySuite:
    """Both parties of either job in one process, under seeded randomness."""

    parameters: LweParameters = TOY
    session: bytes = SESSION
    client_entropy: Entropy | None = None
    provider_entropy: Entropy | None = None

    def covariance_pair(
        self, provider_rows: npt.ArrayLike, client_rows: npt.ArrayLike
    ) -> tuple[CovarianceEncryptor, CovarianceEvaluator]:
        """Return encryptor and evaluator of a covariance, before the key has travelled."""
        left, right = Rows(provider_rows), Rows(client_rows)
        shape = CovarianceShape(rows=left.shape[0], provider_dim=left.shape[1], columns=right.shape[1])
        suite = LweSuite(self.parameters)
        return (
            suite.covariance_encryptor(shape, self.session, right, self._client()),
            suite.covariance_evaluator(shape, self.session, left, self._provider()),
        )

    def covariance(
        self, provider_rows: npt.ArrayLike, client_rows: npt.ArrayLike, *, piece_bytes: int = PIECE_BYTES
    ) -> FloatMatrix:
        """Return Z_A^T Z_B as the client decrypts it."""
        encryptor, evaluator = self.covariance_pair(provider_rows, client_rows)
        evaluator.accept_key(encryptor.key_material())
        for rows in encryptor.encrypt(piece_bytes):
            evaluator.absorb(rows)
        return encryptor.decrypt(evaluator.finish())

    def head_pair(
        self, weight: FloatMatrix, bias: FloatMatrix, slots: int
    ) -> tuple[LweHeadEncryptor, LweHeadEvaluator]:
        """Return encryptor and evaluator of a head that hold each other's key material."""
        shape = HeadShape(provider_dim=weight.shape[0], classes=weight.shape[1], slots=slots)
        suite = LweSuite(self.parameters)
        encryptor = suite.head_encryptor(shape, self.session, self._client())
        evaluator = suite.head_evaluator(shape, self.session, weight, bias, self._provider())
        evaluator.accept_key(encryptor.key_material())
        return encryptor, evaluator

    def _client(self) -> Entropy:
        return self.client_entropy or SeededEntropy(b"client")

    def _provider(self) -> Entropy:
        return self.provider_entropy or SeededEntropy(b"provider")


def ask(
    encryptor: LweHeadEncryptor,
    evaluator: LweHeadEvaluator,
    queries: FloatMatrix,
    *,
    pool: int = 0,
    first_slot: int = 0,
) -> FloatMatrix:
    """Return the logits of queries that are sent together into consecutive slots of a loaded pool."""
    query = encryptor.encrypt(pool, first_slot, queries)
    return encryptor.decrypt(pool, first_slot, evaluator.evaluate(pool, first_slot, len(queries), query))


def predicted_error(relative: float, left: FloatMatrix, right: FloatMatrix) -> npt.NDArray[np.float64]:
    """Return the standard deviation that a plan promises for every entry of left^T right."""
    return relative * np.linalg.norm(left, axis=0)[:, None] * np.linalg.norm(right, axis=0)
