"""The owner of the key recovers a column of the head from one answer, where nothing but the sum was meant to be in it.

It succeeds on answers that are not sanitised: partial sums in the slots of a CKKS answer, the quotient of two halves of
a BFV ciphertext, a product with the public matrix of `lwe`. It fails on sanitised ones. Success means numbers close to
V, failure a correlation with V that chance explains.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from scipy import stats
from support.lattice import closest, reduce_basis
from support.lwe_attacks import (
    HEADER_BYTES,
    SMALLEST_P,
    N,
    Q,
    head_pair,
    public_matrix,
    random_head,
    without_rerandomising,
)
from support.optional import library
from support.pools import NONCE
from support.toy import ask

from securealign.he.lwe.planner import OPERAND_NORM
from securealign.he.lwe.residues import unpack_answer
from securealign.matrices import FloatMatrix

#: The same for tests on libraries that nobody can seed, so that chance fails them never.
SMALLEST_P_UNSEEDED = 1e-6


def chance(guess: np.ndarray, truth: np.ndarray, smallest_p: float = SMALLEST_P) -> bool:
    """Whether nothing more than chance relates a guess to the truth."""
    return bool(stats.pearsonr(guess.astype(float).ravel(), truth.astype(float).ravel()).pvalue > smallest_p)


# CKKS with one `dot` for each class, as in TenSEAL.


class Slots:
    """The client of a CKKS head on TenSEAL, who looks at all slots of an answer."""

    def __init__(self, features: int, *, padded: bool) -> None:
        self.tenseal = library("tenseal", suite="tenseal-ckks")
        self.seal = library("tenseal.sealapi", suite="tenseal-ckks")
        self.context = self.tenseal.context(
            self.tenseal.SCHEME_TYPE.CKKS, 8192, coeff_mod_bit_sizes=[60, 40, 60], n_threads=1
        )
        self.context.global_scale = 2.0**40
        self.context.generate_galois_keys()
        self.length = 4096 if padded else features
        self.query = np.random.default_rng(0).normal(size=features)
        # The provider's half holds no secret key.
        public = self.tenseal.context_from(self.context.serialize(save_secret_key=False, save_galois_keys=True))
        assert not public.is_private()
        query = self.tenseal.ckks_vector(self.context, self.filled(self.query))
        self.received = self.tenseal.ckks_vector_from(public, query.serialize())

    def filled(self, vector: np.ndarray) -> list[float]:
        """Return a vector with zeros in the slots that are left."""
        return [*vector.tolist(), *[0.0] * (self.length - len(vector))]

    def answer(self, column: np.ndarray) -> object:
        """Return what the provider of a column sends."""
        data = self.received.dot(self.filled(column)).serialize()
        return self.tenseal.ckks_vector_from(self.context, data)

    def slots(self, column: np.ndarray) -> np.ndarray:
        """Return all numbers in the provider's answer, of which TenSEAL shows the first."""
        data = self.context.seal_context().data
        plain = self.seal.Plaintext()
        self.seal.Decryptor(data, self.context.secret_key().data).decrypt(self.answer(column).ciphertext()[0], plain)
        return np.array(self.seal.CKKSEncoder(data).decode_double(plain))

    def recover(self, column: np.ndarray) -> np.ndarray:
        """Guess the column from one answer: neighbouring slots differ by one term of the sum."""
        slots = self.slots(column)
        assert slots[0] == pytest.approx(self.query @ column, abs=1e-3)
        return (slots[:-1] - slots[1:])[: len(column)] / self.query


COLUMNS = np.random.default_rng(1).normal(size=(32, 64))


@pytest.fixture(scope="module")
def unpadded():
    return Slots(64, padded=False)


@pytest.fixture(scope="module")
def padded():
    return Slots(64, padded=True)


def test_slots_of_an_unpadded_dot_show_the_column(unpadded):
    recovered = np.array([unpadded.recover(column) for column in COLUMNS])
    assert np.median(np.abs(recovered / COLUMNS - 1)) < 1e-5
    assert np.corrcoef(recovered.ravel(), COLUMNS.ravel())[0, 1] > 0.9999


def test_slots_of_a_padded_dot_show_the_sum_and_noise(padded):
    recovered = np.array([padded.recover(column) for column in COLUMNS])
    assert chance(recovered, COLUMNS, SMALLEST_P_UNSEEDED)
    # Every slot holds the sum.
    assert np.ptp(padded.slots(COLUMNS[0])) < 1e-4


def test_noise_of_a_padded_dot_has_one_spread_whatever_the_column(padded):
    """Noise of the rotations covers that of the product: columns of norm 1 and 1000 whose logit is zero look alike."""
    orthogonal = COLUMNS - np.outer(COLUMNS @ padded.query, padded.query) / (padded.query @ padded.query)
    small, large = (
        [padded.slots(column / np.linalg.norm(column) * norm).std() for column in orthogonal] for norm in (1, 1000)
    )
    assert stats.ks_2samp(small, large).pvalue > SMALLEST_P_UNSEEDED


def test_a_padded_dot_still_confirms_a_guess_of_the_column(padded):
    """What padding leaves: an answer is a function of query and column, so a right guess gives the same bytes.

    A wrong guess of the very same logit does not. This is why the suite declares no function privacy.
    """
    truth = COLUMNS[0]
    other = COLUMNS[1] + padded.query * ((truth - COLUMNS[1]) @ padded.query) / (padded.query @ padded.query)
    assert other @ padded.query == pytest.approx(truth @ padded.query)
    answer = padded.answer(truth).serialize()
    assert padded.answer(truth).serialize() == answer
    assert padded.answer(other).serialize() != answer


def test_an_answer_of_lwe_confirms_no_guess():
    """The same column answers the same query in other bytes each time; the protocol answers it once."""
    weight, bias = random_head(1)
    encryptor, evaluator = head_pair(weight, bias, slots=1)
    answers, hints = [], []
    encryptor.load_pool(0, evaluator.prepare(0, NONCE), NONCE)
    query = encryptor.encrypt(0, 0, np.ones((1, len(weight))))
    for _ in range(2):
        hints.append(evaluator.prepare(0, NONCE))
        answers.append(evaluator.evaluate(0, 0, 1, query))
    assert hints[0] != hints[1]
    assert answers[0] != answers[1]


# BFV with coefficients for slots.


class Ring:
    """Z_q[X] / (X^n + 1) with q = 2^64 - 2^32 + 1 and n = 64, by evaluation at the roots of X^n + 1."""

    n, q = 64, 2**64 - 2**32 + 1

    def __init__(self) -> None:
        psi = pow(7, (self.q - 1) // (2 * self.n), self.q)
        powers = np.outer(2 * np.arange(self.n) + 1, np.arange(self.n)).astype(object)
        self._forward = np.vectorize(lambda power: pow(psi, power, self.q), otypes=[object])(powers)
        self._backward = np.vectorize(lambda power: pow(psi, -power, self.q), otypes=[object])(powers).T

    def evaluate(self, polynomial: np.ndarray) -> np.ndarray:
        return self._forward @ polynomial.astype(object) % self.q

    def interpolate(self, values: np.ndarray) -> np.ndarray:
        return self._backward @ values * pow(self.n, -1, self.q) % self.q

    def product(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        return self.interpolate(self.evaluate(left) * self.evaluate(right) % self.q)

    def quotient(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        inverse = np.array([pow(int(value), -1, self.q) for value in self.evaluate(right)], dtype=object)
        return self.centred(self.interpolate(self.evaluate(left) * inverse % self.q))

    def centred(self, polynomial: np.ndarray) -> np.ndarray:
        return (polynomial + self.q // 2) % self.q - self.q // 2


class TextbookBfv:
    """BFV (Fan, Vercauteren, ePrint 2012/144) as far as a plaintext product needs it, at a toy dimension."""

    delta = 1 << 40

    def __init__(self, seed: int) -> None:
        self.ring = Ring()
        self.random = np.random.default_rng(seed)
        self.secret = self._ternary()
        self.public = self.encrypt(np.zeros(Ring.n, dtype=object))

    def encrypt(self, message: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        uniform = self.random.integers(0, 2**62, size=Ring.n).astype(object) * 4 % Ring.q
        body = self._error() + self.delta * message - self.ring.product(uniform, self.secret)
        return body % Ring.q, uniform

    def multiply(
        self, ciphertext: tuple[np.ndarray, np.ndarray], operand: np.ndarray, *, rerandomise: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return a ciphertext times the provider's operand, plus a fresh encryption of zero if asked for."""
        parts = [self.ring.product(part, operand) for part in ciphertext]
        if rerandomise:
            fresh = self._ternary()
            parts = [
                part + self.ring.product(public, fresh) + self._error()
                for part, public in zip(parts, self.public, strict=True)
            ]
        return parts[0] % Ring.q, parts[1] % Ring.q

    def decrypt(self, ciphertext: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        body = self.ring.centred(ciphertext[0] + self.ring.product(ciphertext[1], self.secret))
        return (body + self.delta // 2) // self.delta

    def _ternary(self) -> np.ndarray:
        return self.random.integers(-1, 2, size=Ring.n).astype(object)

    def _error(self) -> np.ndarray:
        return np.rint(self.random.normal(0, 3.19, size=Ring.n)).astype(int).astype(object)


@pytest.mark.parametrize("rerandomise", [False, True])
def test_the_quotient_of_two_bfv_ciphertexts_is_the_column_unless_rerandomised(rerandomise):
    scheme = TextbookBfv(0)
    query = scheme.random.integers(-100, 100, size=Ring.n).astype(object)
    guesses, columns = [], []
    for _ in range(8):
        column = scheme.random.integers(-100, 100, size=Ring.n).astype(object)
        # Coefficient n - 1 of z(X) v(X) is the inner product when v is written backwards.
        operand = column[::-1]
        ciphertext = scheme.encrypt(query)
        answer = scheme.multiply(ciphertext, operand, rerandomise=rerandomise)
        assert scheme.decrypt(answer)[-1] == query @ column
        guesses.append(scheme.ring.quotient(answer[1], ciphertext[1])[::-1])
        columns.append(column)
    if rerandomise:
        assert chance(np.array(guesses), np.array(columns))
        assert not (np.array(guesses) == np.array(columns)).any()
    else:
        assert (np.array(guesses) == np.array(columns)).all()


# `lwe`, from the hint H.

TERMS, HEADS, CLASSES = 3, 4, 25


def columns_from_hint(seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield (column of U, recovered column): solve H = U A for the small U, a lattice of a few dimensions."""
    encryptor, evaluator = head_pair(*random_head(seed, TERMS - 1, CLASSES), slots=1, seed=seed)
    pool = evaluator.prepare(0, NONCE)
    hint = unpack_answer(memoryview(pool)[HEADER_BYTES + 2 :], (CLASSES, N))[:, :TERMS].astype(object)
    step = Q >> 40
    # Entries of U are brought to the size of the rounding of H.
    weight = step // 2 // (int(OPERAND_NORM) // 2)
    public = public_matrix(encryptor._key, "pool 0", TERMS, NONCE)[:, :TERMS]
    identity = np.eye(TERMS, dtype=int).astype(object)
    basis = np.block([[public, weight * identity], [Q * identity, 0 * identity]])
    reduced = reduce_basis(basis.tolist())
    for row, truth in zip(hint * step, evaluator._operand.T, strict=True):
        nearest = closest(reduced, [*row.tolist(), *[0] * TERMS])
        yield truth, np.array(nearest[TERMS:], dtype=object) // weight


def hint_attacks() -> tuple[FloatMatrix, np.ndarray]:
    """Return true and recovered columns of many heads."""
    pairs = [pair for seed in range(HEADS) for pair in columns_from_hint(seed)]
    return np.array([truth for truth, _ in pairs]), np.array([guess for _, guess in pairs])


def test_a_pool_of_lwe_shows_every_column_without_rerandomising(monkeypatch):
    without_rerandomising(monkeypatch)
    truth, recovered = hint_attacks()
    assert truth.shape == (HEADS * CLASSES, TERMS)
    assert (recovered == truth).all()


def test_a_pool_of_lwe_shows_no_column():
    truth, recovered = hint_attacks()
    assert not (recovered == truth).all(axis=1).any()
    assert chance(recovered, truth)
    signs = (recovered > 0) == (truth > 0)
    assert stats.binomtest(int(signs.sum()), signs.size).pvalue > SMALLEST_P


def test_an_answer_of_lwe_shows_no_column_beyond_its_sum():
    """What is left of an answer beside the sum, in units of its public scale, against the columns of 400 heads."""
    rest, columns = [], []
    for seed in range(400):
        weight, bias = random_head(seed, classes=1)
        encryptor, evaluator = head_pair(weight, bias, slots=1, seed=seed)
        encryptor.load_pool(0, evaluator.prepare(0, NONCE), NONCE)
        query = np.random.default_rng(seed).normal(size=(1, len(weight)))
        shown = ask(encryptor, evaluator, query)[0, 0]
        scale = evaluator._exponent + encryptor._pools[0].queries[0].exponents[0]
        rest.append(np.ldexp(shown - (query @ weight + bias)[0, 0], scale))
        columns.append([*weight[:, 0], bias[0]])
    assert min(stats.pearsonr(rest, entries).pvalue for entries in np.array(columns).T) > SMALLEST_P
    assert stats.spearmanr(np.abs(rest), np.linalg.norm(columns, axis=1)).pvalue > SMALLEST_P
