"""A client sends chosen numbers in place of encryptions of zero, to read the randomness that hides the head.

Each coefficient of an answer shows 18 bits of R P. With R of three values a pool of 291 slots showed all of R at the
parameters in use, and with it the head. With R of 2,048 values a pool of any size shows too little of it.
"""

from __future__ import annotations

import numpy as np
import pytest
from support.entropy import SeededEntropy
from support.lwe_attacks import HEADER_BYTES, Q, centred, head_pair, integers, public_matrix, random_head
from support.pools import NONCE

from securealign.he.interface import CovarianceShape, HeadShape
from securealign.he.lwe import evaluation as evaluation_module
from securealign.he.lwe import sampling
from securealign.he.lwe.covariance import covariance_plan
from securealign.he.lwe.head import Kind, answer_bits, head_plan
from securealign.he.lwe.parameters import LWE_128, LWE_128Q
from securealign.he.lwe.planner import COLUMNS_OF_A_GROUP, MASK_BITS, MAX_SLOTS
from securealign.he.lwe.residues import Residues, pack, planes, unpack_answer

FEATURES = 5
DIMENSION = LWE_128.dimension
#: Lowest bit of what is planted: just above the flood.
LOWEST = 62
#: Values of R between -1 and 1 that fit above the flood, as digits to the base three.
DIGITS = 11
#: Columns of H that are looked at; a handful tells a right guess from a wrong one.
SEEN = 50


class Forger:
    """A client whose P holds chosen numbers alone, and whose queries are encryptions of zero without errors."""

    def __init__(self, planted: np.ndarray) -> None:
        self.slots = planted.shape[1]
        self.encryptor, self.evaluator = head_pair(*random_head(1, FEATURES, 1), self.slots, parameters=LWE_128)
        key = self.encryptor.key_material()[: HEADER_BYTES + 64]
        self.evaluator.accept_key(key + pack(_residues(planted)))
        self.pool = self.evaluator.prepare(0, NONCE)

    def read(self) -> np.ndarray:
        """Return R P of the pool as far as answers show it, shape (slots,): with C = 0 nothing else is in them."""
        nothing = bytes(10 * (FEATURES + 1) * self.slots)
        query = self.evaluator._key.binding.seal(Kind.HEAD_QUERY, nothing, rows=FEATURES + 1, columns=self.slots)
        answer = self.evaluator.evaluate(0, 0, self.slots, query)
        values = unpack_answer(memoryview(answer)[HEADER_BYTES:], (1, self.slots)).astype(object)
        return centred(values * (Q >> 40))[0]

    def unmasked(self, mask: np.ndarray) -> np.ndarray:
        """Return columns of H - R A' for a guess of R: those of U A up to E1 and rounding if the guess is right."""
        hint = unpack_answer(memoryview(self.pool)[HEADER_BYTES + 2 :], (1, DIMENSION))[0, :SEEN].astype(object)
        words, halves = planes(self.evaluator._key._mask.rows(0, DIMENSION), DIMENSION)
        rows = words[:, :SEEN].astype(object) + (halves[:, :SEEN].astype(object) << 64)
        return centred(hint * (Q >> 40) - mask @ rows)

    @property
    def hidden(self) -> np.ndarray:
        """U A, which no attack may use."""
        matrix = public_matrix(self.encryptor._key, "pool 0", FEATURES + 1, NONCE)[:, :SEEN]
        return (self.evaluator._operand.T.astype(np.int64).astype(object) @ matrix)[0]


def _residues(values: np.ndarray) -> Residues:
    return Residues((values % (1 << 40)).astype(np.int64), (values >> 40).astype(np.int64))


def powers_of_three() -> np.ndarray:
    slots = -(-DIMENSION // DIGITS)
    planted = np.zeros((DIMENSION, slots), dtype=object)
    for entry in range(DIMENSION):
        planted[entry, entry // DIGITS] = 3 ** (entry % DIGITS) << LOWEST
    return planted


def digits(read: np.ndarray) -> np.ndarray:
    """Return R from sums of its values times powers of three."""
    found = []
    for value in read:
        rest = round(value / 2**LOWEST)
        for _ in range(DIGITS):
            digit = (rest + 1) % 3 - 1
            found.append(digit)
            rest = (rest - digit) // 3
    return np.array(found[:DIMENSION], dtype=object)


def shows_the_head(forger: Forger, mask: np.ndarray) -> bool:
    """Whether H less R A' is U A, from which a lattice of a few dimensions gives U."""
    left = centred(forger.unmasked(mask) - forger.hidden)
    return bool(max(abs(left)) <= (Q >> 41) + 30)


def test_with_three_values_a_pool_shows_its_mask_and_the_head(monkeypatch):
    """The control."""
    monkeypatch.setattr(evaluation_module.sampling, "wide", sampling.ternary)
    forger = Forger(powers_of_three())
    assert forger.slots == 291
    assert shows_the_head(forger, digits(forger.read()))


def test_with_2048_values_the_same_pool_shows_neither(monkeypatch):
    drawn = recorded_masks(monkeypatch)
    forger = Forger(powers_of_three())
    guess = digits(forger.read())
    assert not shows_the_head(forger, guess)
    assert np.mean(guess == drawn[0][0]) < 0.01


def recorded_masks(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """Return a list to which every R is added as the provider draws it, which no attack may use."""
    seen: list[np.ndarray] = []
    wide = sampling.wide

    def spy(entropy, shape):
        seen.append(wide(entropy, shape).astype(object))
        return seen[-1]

    monkeypatch.setattr(evaluation_module.sampling, "wide", spy)
    return seen


@pytest.mark.parametrize("slots", [40, 291])
def test_a_slot_shows_18_bits_and_no_more(monkeypatch, slots):
    """One entry of R in each slot, its 11 bits exactly, with seven bits of another above what is left of the flood."""
    seen = recorded_masks(monkeypatch)
    planted = np.zeros((DIMENSION, slots), dtype=object)
    for slot in range(slots):
        planted[2 * slot, slot] = 1 << LOWEST + 7
        planted[2 * slot + 1, slot] = 1 << LOWEST - 4
    forger = Forger(planted)
    (mask,) = seen[0]
    read = forger.read()
    first = np.array([round(value / 2 ** (LOWEST + 7)) for value in read])
    assert (first == mask[: 2 * slots : 2]).all()
    rest = np.array([value - int(entry) * 2 ** (LOWEST + 7) for value, entry in zip(read, first, strict=True)])
    second = np.array([round(value / 2 ** (LOWEST - 4)) for value in rest])
    missing = second - mask[1 : 2 * slots : 2].astype(np.int64)
    # The flood covers four of the eleven bits of the second entry: a deviation of 2^4 / sqrt(12).
    assert missing.astype(np.int64).std() > 4
    assert answer_bits(forger.evaluator._plan) == 18
    guess = np.zeros(DIMENSION, dtype=object)
    guess[: 2 * slots : 2], guess[1 : 2 * slots : 2] = first, second
    assert not shows_the_head(forger, guess)


@pytest.mark.parametrize("parameters", [LWE_128, LWE_128Q], ids=lambda parameters: parameters.name)
def test_what_the_widest_group_and_pool_leave_is_as_hard_as_the_keys(parameters):
    head = head_plan(parameters, HeadShape(provider_dim=768, classes=6, slots=MAX_SLOTS))
    training = covariance_plan(parameters, CovarianceShape(rows=10_000, provider_dim=768, columns=4097))
    assert max(group.stop - group.start for group in training.groups) == COLUMNS_OF_A_GROUP
    for plan in (head, training):
        assert plan.forged_key_security.classical_bits > 145
        assert plan.forged_key_security.core_svp_bits > 115
    # The bits that all slots show together, against those that a row of R holds.
    assert 0.55 * MASK_BITS * parameters.dimension > MAX_SLOTS * 18


def test_groups_of_columns_share_no_randomness(monkeypatch):
    drawn = recorded_masks(monkeypatch)
    _, evaluator = head_pair(*random_head(1, FEATURES, 1), 3)
    plan, key = evaluator._plan, evaluator._key
    first, second = (
        integers(evaluation_module.rerandomisation(plan, key, slice(0, 2), SeededEntropy(seed)))
        for seed in (b"one group", b"another")
    )
    assert not (first == second).any()
    assert not (drawn[0] == drawn[1]).all()
