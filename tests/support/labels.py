"""Both parties of label-only answers in one process, and inputs whose labels are known."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from securealign.he.interface import HeadShape, LabelSecrets, LabelTerms
from securealign.he.lwe.label_head import LabelHeadEncryptor, LabelHeadEvaluator
from securealign.he.lwe.parameters import LweParameters
from securealign.he.lwe.suite import LweSuite
from securealign.matrices import FloatMatrix

from .entropy import SeededEntropy
from .pools import NONCE
from .toy import SESSION, TOY

TRANSFER_SEED = bytes(range(32))


def spread(values: npt.NDArray[np.int64], bits: int) -> npt.NDArray[np.uint8]:
    """Return the bits of integers (m, slots), lowest first, (bits, m, slots)."""
    return ((values[None] >> np.arange(bits)[:, None, None]) & 1).astype(np.uint8)


def expected(differences: npt.NDArray[np.int64], buckets: int) -> npt.NDArray[np.int64]:
    """Return index of the largest and thresholds exceeded, (slots, 1 + buckets), of signed numbers (m, slots)."""
    classes = len(differences) - buckets
    numbers = np.vstack([differences[:classes], np.zeros((1, differences.shape[1]), dtype=np.int64)])
    exceeded = differences[:classes].max(axis=0) > differences[classes:]
    return np.vstack([numbers.argmax(axis=0), exceeded]).T


def as_numbers(outputs: npt.NDArray[np.uint8], buckets: int) -> npt.NDArray[np.int64]:
    """Return index and thresholds exceeded, (slots, 1 + buckets), of output bits (slots, outputs)."""
    bits = outputs.shape[1] - buckets
    index = (outputs[:, :bits].astype(np.int64) << np.arange(bits)).sum(axis=1)
    return np.hstack([index[:, None], outputs[:, bits:]])


@dataclass
class LabelPair:
    """Encryptor and evaluator of a head whose answers are labels, with a pool whose tables are loaded."""

    weight: FloatMatrix
    bias: FloatMatrix
    slots: int
    terms: LabelTerms = field(default_factory=LabelTerms)
    thresholds: tuple[float, ...] = ()
    parameters: LweParameters = TOY
    client_seed: bytes = b"client"
    provider_seed: bytes = b"provider"

    def __post_init__(self) -> None:
        self.evaluator = self.new_evaluator()
        self.encryptor = self.new_encryptor()
        self.evaluator.accept_key(self.encryptor.key_material())

    @property
    def shape(self) -> HeadShape:
        features, classes = self.weight.shape
        return HeadShape(provider_dim=features, classes=classes, slots=self.slots, labels=self.terms)

    def new_evaluator(self) -> LabelHeadEvaluator:
        made = LweSuite(self.parameters).head_evaluator(
            self.shape,
            SESSION,
            self.weight,
            self.bias,
            SeededEntropy(self.provider_seed),
            labels=LabelSecrets(transfer_seed=TRANSFER_SEED, thresholds=self.thresholds),
        )
        assert isinstance(made, LabelHeadEvaluator)
        return made

    def new_encryptor(self) -> LabelHeadEncryptor:
        entropy = SeededEntropy(self.client_seed)
        made = LweSuite(self.parameters).head_encryptor(self.shape, SESSION, entropy, self.evaluator.offer())
        assert isinstance(made, LabelHeadEncryptor)
        return made

    def load(self, pool: int = 0, nonce: bytes = NONCE) -> None:
        """Bring a pool to where its slots are free."""
        self.encryptor.load_pool(pool, self.evaluator.prepare(pool, nonce), nonce)
        self.encryptor.load_tables(pool, b"".join(self.evaluator.garble(pool, self.encryptor.choose(pool))))

    def ask(self, queries: FloatMatrix, first_slot: int = 0, pool: int = 0) -> FloatMatrix:
        """Return labels and thresholds exceeded, (count, 2)."""
        query = self.encryptor.encrypt(pool, first_slot, queries)
        answer = self.evaluator.evaluate(pool, first_slot, len(queries), query)
        return self.encryptor.decrypt(pool, first_slot, answer)
