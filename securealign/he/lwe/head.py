"""Inference under `lwe`: the provider's layer on encrypted queries, with all but a vector addition done beforehand.

U holds the weight and the bias as one more term; a query is the column [z; 1]. A pool is a fresh A (d_A + 1 rows) for
all slots. Offline, the provider sends H and keeps R P, the client keeps A S + E and H S. Online, a slot costs one
addition each way. A slot masks one query: the protocol machines of both parties see to that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from securealign.errors import CiphertextError, ErrorCode, KeyStoreError, LocalProtocolError, SuiteError
from securealign.he.blobs import HEADER_BYTES, Kind
from securealign.he.entropy import Entropy
from securealign.he.interface import HeadShape, WithoutLabelsClient, WithoutLabelsProvider
from securealign.he.lwe import residues
from securealign.he.lwe.evaluation import flooded, rerandomisation
from securealign.he.lwe.keys import PublicKey, SecretKey
from securealign.he.lwe.parameters import ANSWER_BYTES, LOG_ANSWER_MODULUS, RESIDUE_BYTES, LweParameters
from securealign.he.lwe.planner import MAX_SLOTS, OPERAND_NORM, BitBudget
from securealign.he.lwe.products import TILE_ROWS, IntegerProduct, Planes, tiles
from securealign.he.scales import TYPICAL_SHARE, Exponents, largest_exponents, received_exponents
from securealign.limits import MAX_CHUNK_BYTES
from securealign.matrices import FloatMatrix

_EXPONENT_BYTES = 2
_NORM_BYTES = 8
#: Fewer bits leave too little of the modulus beside the flood.
_SMALLEST_LOGIT_BITS = 4


@dataclass(frozen=True)
class CoarseBudget(BitBudget):
    """A head whose flood is wide enough to leave a logit no more than `logit_bits`; precision falls accordingly."""

    logit_bits: int

    def __post_init__(self) -> None:
        if self.logit_bits < _SMALLEST_LOGIT_BITS:
            raise SuiteError(
                f"Logits of {self.logit_bits} bits leave nothing to decide by.",
                hint=f"Set output_bits to {_SMALLEST_LOGIT_BITS} or more.",
                code=ErrorCode.OUTPUT_REFUSED,
            )

    @property
    def flood_bits(self) -> int:
        """log2 of the flood's half-width, at least what hides the noise."""
        return max(super().flood_bits, self.parameters.log_q - 1 - self.logit_bits)


def head_plan(parameters: LweParameters, shape: HeadShape) -> BitBudget:
    """Return the bit budget of a head; raises `SuiteError` when it does not fit."""
    if shape.slots > MAX_SLOTS:
        raise SuiteError(
            f"A pool of {shape.slots} slots shows too much of its randomness to a client with a forged key.",
            hint=f"Use pool_slots = {MAX_SLOTS} or less.",
            code=ErrorCode.PLAN_INFEASIBLE,
        )
    plan = BitBudget(parameters, left=shape.classes, terms=shape.provider_dim + 1, width=shape.slots)
    if shape.logit_bits is None:
        return plan
    return CoarseBudget(parameters, plan.left, plan.terms, plan.width, shape.logit_bits)


def pool_bytes(plan: BitBudget) -> int:
    """Return the size of the offline material of one pool."""
    return HEADER_BYTES + _EXPONENT_BYTES + plan.hint_bytes


def query_batch(plan: BitBudget) -> int:
    """Return how many queries, and how many answers, fit in one chunk."""
    largest = max(plan.terms * RESIDUE_BYTES, plan.left * ANSWER_BYTES)
    return (MAX_CHUNK_BYTES - HEADER_BYTES) // largest


def answer_bytes(plan: BitBudget, count: int) -> int:
    """Return the size of the answer to `count` queries."""
    return HEADER_BYTES + plan.left * count * ANSWER_BYTES


def answer_bits(plan: BitBudget) -> int:
    """Return the bits that the logits of one query can show together, whatever the key and the query are."""
    return plan.left * plan.coefficient_bits


def _purpose(pool: int) -> str:
    return f"pool {pool}"


def place(plan: BitBudget, pool: int, first_slot: int) -> int:
    """Return the header index of a slot: its number in the sequence of all pools."""
    return pool * plan.width + first_slot


class _QueryScales(NamedTuple):
    """Of the queries in one message: exponents, and norms of the columns of M."""

    exponents: Exponents
    norms: FloatMatrix

    def save(self) -> bytes:
        return self.exponents.astype("<i2").tobytes() + self.norms.astype("<f8").tobytes()

    @classmethod
    def load(cls, data: bytes) -> _QueryScales:
        count = len(data) // (_EXPONENT_BYTES + _NORM_BYTES)
        exponents = np.frombuffer(data, dtype="<i2", count=count).astype(np.int64)
        return cls(exponents, np.frombuffer(data, dtype="<f8", offset=_EXPONENT_BYTES * count))


class _ClientPool(NamedTuple):
    #: A S + E for every slot; None for a pool that was restored, which masks no query any more.
    masks: residues.Residues | None
    unmasks: residues.IntMatrix
    exponent: int
    #: By first slot of a batch: the scales of its queries.
    queries: dict[int, _QueryScales]
    used: set[int]


class LweHeadEncryptor(WithoutLabelsClient):
    """The client's side: one secret for all pools of a session, fresh public randomness for each."""

    def __init__(self, plan: BitBudget, session: bytes, entropy: Entropy) -> None:
        self._plan, self._entropy = plan, entropy
        self._key = SecretKey(plan, Kind.HEAD_KEY, session, entropy)
        self._pools: dict[int, _ClientPool] = {}
        #: Largest number of a pool that was forgotten.
        self._retired = -1
        self._head_norm = 0.0

    @property
    def head_norm(self) -> float:
        """Norm of the provider's classes, from the scale that comes with a pool."""
        return self._head_norm

    def key_material(self) -> bytes:
        """Return seeds and P."""
        return self._key.public

    def load_pool(self, pool: int, data: bytes, nonce: bytes) -> None:
        """Check H, then prepare A S + E and H S for every slot."""
        plan, purpose = self._plan, _purpose(pool)
        self._take_hint(pool, data)
        zeros = np.zeros((plan.terms, plan.width), dtype=np.int64)
        errors = self._entropy.fork(f"{purpose} {nonce.hex()}")
        masks = self._key.encrypt(self._key.matrix(purpose, nonce), 0, zeros, errors)
        self._pools[pool] = self._pools[pool]._replace(masks=masks)

    def _take_hint(self, pool: int, data: bytes) -> None:
        """Check H and prepare H S."""
        plan = self._plan
        if pool in self._pools or pool <= self._retired:
            raise LocalProtocolError(
                "A pool cannot be loaded twice: its slots would mask again.", hint="Number it anew."
            )
        body = self._key.binding.open(
            Kind.HEAD_POOL, data, pool_bytes(plan) - HEADER_BYTES, index=pool, rows=plan.left, columns=plan.width
        )
        exponent = int(received_exponents(body[:_EXPONENT_BYTES])[0])
        self._head_norm = float(np.ldexp(OPERAND_NORM * TYPICAL_SHARE, -exponent))
        hint = residues.unpack_answer(body[_EXPONENT_BYTES:], (plan.left, plan.parameters.dimension))
        self._pools[pool] = _ClientPool(None, self._key.unmask_hint(hint), exponent, {}, set())

    def encrypt(self, pool: int, first_slot: int, queries: FloatMatrix) -> bytes:
        """Add the scaled queries, shape (count, provider_dim), to the masks of their slots."""
        plan, state = self._plan, self._pools[pool]
        columns = np.hstack([queries, np.ones((len(queries), 1))]).T
        norms = np.linalg.norm(columns, axis=0)
        exponents = largest_exponents(norms, plan.message_norm)
        slots = range(first_slot, first_slot + len(queries))
        if state.masks is None or not state.used.isdisjoint(slots) or not 0 <= slots.start < slots.stop <= plan.width:
            raise LocalProtocolError("A slot cannot mask a second query.", hint="Prepare another pool.")
        state.used.update(slots)
        state.queries[first_slot] = _QueryScales(exponents, np.ldexp(norms, exponents))
        messages = np.rint(np.ldexp(columns, exponents)).astype(np.int64)
        masks = state.masks.columns(slice(slots.start, slots.stop))
        body = residues.pack(residues.reduce(masks.low + messages, masks.high, plan.parameters.log_q))
        index = place(plan, pool, first_slot)
        return self._key.binding.seal(Kind.HEAD_QUERY, body, index=index, rows=plan.terms, columns=len(queries))

    def decrypt(self, pool: int, first_slot: int, answer: bytes) -> FloatMatrix:
        """Return the logits of the queries that begin at `first_slot`, shape (count, classes).

        A query with a logit that no head of this scale gives has NaN in their place: an altered H shows itself so.
        """
        plan, state = self._plan, self._pools[pool]
        exponents, norms = state.queries[first_slot]
        count = len(exponents)
        body = self._key.binding.open(
            Kind.HEAD_ANSWER,
            answer,
            plan.left * count * ANSWER_BYTES,
            index=place(plan, pool, first_slot),
            rows=plan.left,
            columns=count,
        )
        slots = slice(first_slot, first_slot + count)
        values = residues.centre(residues.unpack_answer(body, (plan.left, count)) - state.unmasks[:, slots])
        scale = plan.parameters.log_q - LOG_ANSWER_MODULUS - exponents - state.exponent
        logits: FloatMatrix = np.ldexp(values.astype(np.float64), scale).T
        logits[np.any(np.abs(values) > plan.largest_value(norms), axis=0)] = np.nan
        return logits

    def query_scales(self, pool: int, first_slot: int) -> bytes:
        """Return the scales of the queries that begin at `first_slot`."""
        return self._pools[pool].queries[first_slot].save()

    def restore_pool(self, pool: int, data: bytes, nonce: bytes, query_scales: Mapping[int, bytes]) -> None:
        """Take a pool again for the answers to come; none of its slots masks a query any more."""
        self._take_hint(pool, data)
        state = self._pools[pool]
        for first_slot, scales in query_scales.items():
            state.queries[first_slot] = _QueryScales.load(scales)

    def retire(self, pool: int) -> None:
        """Forget masks and unmasks of a pool; it cannot be loaded again."""
        self._pools.pop(pool, None)
        self._retired = max(self._retired, pool)

    def close(self) -> None:
        """Forget the secret key and its pools."""
        self.__dict__.pop("_key", None)
        self._pools.clear()


class LweHeadEvaluator(WithoutLabelsProvider):
    """The provider's side: owns U and a mask per pool."""

    def __init__(
        self, plan: BitBudget, session: bytes, weight: FloatMatrix, bias: FloatMatrix, entropy: Entropy
    ) -> None:
        self._plan, self._session, self._entropy = plan, session, entropy
        terms = np.vstack([weight, bias])
        # One scale for all classes: their norms stay between the provider and its head.
        norms = np.linalg.norm(terms, axis=0).max(keepdims=True)
        self._exponent = int(largest_exponents(norms, OPERAND_NORM)[0])
        self._operand = np.rint(np.ldexp(terms, self._exponent))
        self._masks: dict[int, residues.Residues] = {}

    def accept_key(self, key: bytes) -> None:
        """Check and take the client's public key."""
        self._key = PublicKey(self._plan, Kind.HEAD_KEY, self._session, key)

    def prepare(self, pool: int, nonce: bytes) -> bytes:
        """Return H = U A + R A' + E1 for a pool and keep R P; A depends on the client's nonce."""
        plan = self._plan
        n, log_q = plan.parameters.dimension, plan.parameters.log_q
        matrix = self._key.matrix(_purpose(pool), nonce)
        mask = rerandomisation(plan, self._key, slice(0, plan.width), self._entropy)
        product = self._multiply([residues.planes(matrix.rows(0, plan.terms), n)], n)
        hint = residues.switch_modulus(residues.add(product, mask.columns(slice(0, n)), log_q), log_q)
        self._masks[pool] = mask.columns(slice(n, None))
        body = np.array([self._exponent], dtype="<i2").tobytes() + residues.pack_answer(hint)
        return self._key.binding.seal(Kind.HEAD_POOL, body, index=pool, rows=plan.left, columns=plan.width)

    def evaluate(self, pool: int, first_slot: int, count: int, query: bytes) -> bytes:
        """Return Y = U C + R P + F modulo 2^40 for `count` slots."""
        plan = self._plan
        masked = self._masked(pool, first_slot, count, query)
        answer = residues.switch_modulus(flooded(plan, masked, self._entropy), plan.parameters.log_q)
        index = place(plan, pool, first_slot)
        return self._key.binding.seal(
            Kind.HEAD_ANSWER, residues.pack_answer(answer), index=index, rows=plan.left, columns=count
        )

    def _masked(self, pool: int, first_slot: int, count: int, query: bytes) -> residues.Residues:
        """Return U C + R P for `count` slots."""
        plan = self._plan
        if pool not in self._masks or not 0 <= first_slot < first_slot + count <= plan.width:
            raise CiphertextError("A query names slots that no live pool has.")
        index = place(plan, pool, first_slot)
        body = self._key.binding.open(
            Kind.HEAD_QUERY, query, plan.terms * count * RESIDUE_BYTES, index=index, rows=plan.terms, columns=count
        )
        rows = np.frombuffer(body, dtype=np.uint8).reshape(plan.terms, count * RESIDUE_BYTES)
        product = self._multiply([residues.unpack(rows, count, plan.parameters.log_q)], count)
        mask = self._masks[pool].columns(slice(first_slot, first_slot + count))
        return residues.add(product, mask, plan.parameters.log_q)

    def retire(self, pool: int) -> None:
        """Forget a pool's mask."""
        self._masks.pop(pool, None)

    def checkpoint(self, pool: int) -> bytes:
        """Return R P of a pool."""
        return self._masks[pool].low.astype("<i8").tobytes() + self._masks[pool].high.astype("<i8").tobytes()

    def restore_pool(self, pool: int, state: bytes) -> None:
        """Take R P of a pool."""
        shape = (2, self._plan.left, self._plan.width)
        if len(state) != 8 * int(np.prod(shape)):
            raise KeyStoreError(f"The record of pool {pool} has a wrong length.", hint="Start a new session.")
        low, high = np.frombuffer(state, dtype="<i8").reshape(shape)
        self._masks[pool] = residues.Residues(low, high)

    def close(self) -> None:
        """Forget the key and all masks."""
        self.__dict__.pop("_key", None)
        self._masks.clear()

    def _multiply(self, parts: list[Planes], columns: int) -> residues.Residues:
        plan = self._plan
        product = IntegerProduct(plan.left, columns, plan.parameters.log_q, min(plan.terms, TILE_ROWS))
        for first, count in tiles(plan.terms):
            tile = slice(first, first + count)
            product.add(self._operand[tile], [(words[tile], halves[tile]) for words, halves in parts])
        return product.result()
