"""Inference under `lwe` whose answers are labels: docs/label-spec.md.

U holds differences to the last class, the reference. What would decrypt to a difference of logits stays in two shares:
V = U C + R P with the provider, H S with the client. A garbled circuit adds the top bits of both and compares. The
client's share is known when a pool is, so it chooses by oblivious transfer before any query; an answer gives it the
labels of the provider's share. Nothing is flooded, because V is not sent.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from securealign.errors import CiphertextError, ErrorCode, KeyStoreError, LocalProtocolError
from securealign.he.blobs import HEADER_BYTES, Kind
from securealign.he.entropy import Entropy
from securealign.he.interface import LabelSecrets
from securealign.he.labels.client import LabelClient, PoolTables
from securealign.he.labels.layout import SALT_BYTES
from securealign.he.labels.provider import LabelProvider
from securealign.he.lwe.head import LweHeadEncryptor, LweHeadEvaluator, place
from securealign.he.lwe.label_plan import LabelBudget
from securealign.he.lwe.parameters import LOG_ANSWER_MODULUS
from securealign.he.lwe.residues import LIMB_BITS, IntMatrix
from securealign.limits import DIGEST_BYTES
from securealign.matrices import FloatMatrix

_SEED_BYTES = 32


@dataclass
class _Choosing:
    """How far a pool of the client is."""

    nonce: bytes
    chosen: bool = False
    tables: PoolTables | None = None
    #: Tables of which a part has arrived, their header, and the bytes of both so far.
    arriving: PoolTables | None = None
    header: bytes = b""
    received: int = 0
    #: Slots whose answers are to come; their tables are kept as long.
    outstanding: int = 0


class LabelHeadEncryptor(LweHeadEncryptor):
    """The client's side: queries as for logits, and the evaluation of circuits."""

    _plan: LabelBudget

    def __init__(self, plan: LabelBudget, session: bytes, entropy: Entropy, offer: bytes) -> None:
        super().__init__(plan, session, entropy)
        self._labels = LabelClient(plan.layout, session, offer, entropy.fork("transfer"))
        self._choosing: dict[int, _Choosing] = {}

    @property
    def head_norm(self) -> float:
        """0: the scale of the head stays with the provider."""
        return 0.0

    def key_material(self) -> bytes:
        """Return seeds and P, then the reply to the offer."""
        return super().key_material() + self._labels.reply

    def load_pool(self, pool: int, data: bytes, nonce: bytes) -> None:
        """Check H, then prepare A S + E and H S for every slot."""
        super().load_pool(pool, data, nonce)
        self._choosing[pool] = _Choosing(nonce, outstanding=self._plan.width)

    def choose(self, pool: int) -> bytes:
        """Return the choices of a loaded pool, once."""
        state = self._choosing.get(pool)
        if state is None or state.chosen:
            raise LocalProtocolError("A pool's choices follow its material, once.", hint="Prepare another pool.")
        state.chosen = True
        entropy = self._entropy.fork(f"choices {pool} {state.nonce.hex()}")
        body = self._labels.choose(pool, state.nonce, self._shares(pool), entropy)
        layout = self._plan.layout
        return self._key.binding.seal(Kind.HEAD_CHOICES, body, index=pool, rows=layout.rows, columns=layout.slots)

    def load_tables(self, pool: int, data: bytes, *, last: bool = True) -> None:
        """Take the next piece of the tables for the choices of a pool; they are forgotten if it is malformed."""
        state = self._choosing.get(pool)
        if state is None or not state.chosen or state.tables is not None:
            raise LocalProtocolError("Tables follow the choices of a pool, once.", hint="Prepare another pool.")
        try:
            self._add_tables(pool, state, data, last=last)
        except CiphertextError:
            state.arriving, state.header, state.received = None, b"", 0
            raise

    def _add_tables(self, pool: int, state: _Choosing, data: bytes, *, last: bool) -> None:
        layout, binding = self._plan.layout, self._key.binding
        missing = HEADER_BYTES - len(state.header)
        state.header += data[:missing]
        state.received += len(data)
        place = {"index": pool, "rows": layout.rows, "columns": layout.slots}
        if len(state.header) == HEADER_BYTES and missing:
            binding.require_header(Kind.HEAD_TABLES, state.header, **place)
        binding.require_length(Kind.HEAD_TABLES, state.received, layout.tables_bytes, whole=last)
        if state.arriving is None:
            state.arriving = self._labels.await_tables(pool, state.nonce)
        self._labels.add_tables(state.arriving, self._shares(pool), memoryview(data)[missing:])
        if last:
            state.tables, state.arriving = state.arriving, None

    def encrypt(self, pool: int, first_slot: int, queries: FloatMatrix) -> bytes:
        """Add the scaled queries, shape (count, provider_dim), to the masks of slots whose tables are here."""
        self._tables(pool)
        return super().encrypt(pool, first_slot, queries)

    def decrypt(self, pool: int, first_slot: int, answer: bytes) -> FloatMatrix:
        """Return index of the class, NaN where it names none, and number of thresholds exceeded, shape (count, 2).

        Each answer is decrypted once: tables are large, and leave with their slots.
        Raises `CiphertextError` for another length or header only: what tables and labels hold never shows outside.
        """
        layout, tables = self._plan.layout, self._tables(pool)
        count = len(self._pools[pool].queries[first_slot].exponents)
        index = place(self._plan, pool, first_slot)
        body = self._key.binding.open(
            Kind.HEAD_ANSWER, answer, layout.answer_bytes(count), index=index, rows=layout.rows, columns=count
        )
        outputs = self._labels.read(tables, first_slot, count, body).astype(np.float64)
        state = self._choosing[pool]
        tables.forget(first_slot, count)
        state.outstanding -= count
        if state.outstanding <= 0:
            state.tables = None
        bits = layout.outputs - layout.buckets
        labels = outputs[:, :bits] @ np.ldexp(1.0, np.arange(bits))
        labels[labels >= layout.classes] = np.nan
        return np.stack([labels, outputs[:, bits:].sum(axis=1)], axis=1)

    def restore_pool(self, pool: int, data: bytes, nonce: bytes, query_scales: Mapping[int, bytes]) -> None:
        """Take a pool again for the answers to come; its tables, for the same choices, follow."""
        super().restore_pool(pool, data, nonce, query_scales)
        queries = self._pools[pool].queries.values()
        outstanding = sum(len(scales.exponents) for scales in queries)
        self._choosing[pool] = _Choosing(nonce, chosen=True, outstanding=outstanding)

    def close(self) -> None:
        """Forget the secret key and its pools."""
        super().close()
        self.__dict__.pop("_labels", None)
        self._choosing.clear()

    def _tables(self, pool: int) -> PoolTables:
        state = self._choosing.get(pool)
        if state is None or state.tables is None:
            raise LocalProtocolError("A pool without tables gives no labels.", hint="Load its tables first.")
        return state.tables

    def _take_hint(self, pool: int, data: bytes) -> None:
        super()._take_hint(pool, data)
        if self._pools[pool].exponent:
            raise CiphertextError("A pool for labels has a scale.", code=ErrorCode.COEFFICIENT_OUT_OF_RANGE)

    def _shares(self, pool: int) -> IntMatrix:
        """Return the top bits of -(H S), shape (rows, slots)."""
        bits = self._plan.layout.bits
        top = (self._pools[pool].unmasks & ((1 << LOG_ANSWER_MODULUS) - 1)) >> (LOG_ANSWER_MODULUS - bits)
        return -top & ((1 << bits) - 1)


@dataclass(frozen=True)
class _Garbled:
    """What a garbled pool is answered with, and what makes its tables again."""

    seed: bytes
    salt: bytes
    choices_digest: bytes
    #: (slots, outputs); None until the tables are made.
    decode: npt.NDArray[np.uint8] | None = None

    def save(self) -> bytes:
        decode = b"" if self.decode is None else np.packbits(self.decode, bitorder="little").tobytes()
        return self.seed + self.salt + self.choices_digest + decode

    @classmethod
    def load(cls, data: bytes, plan: LabelBudget) -> _Garbled:
        seed, data = data[:_SEED_BYTES], data[_SEED_BYTES:]
        salt, data = data[:SALT_BYTES], data[SALT_BYTES:]
        digest, data = data[:DIGEST_BYTES], data[DIGEST_BYTES:]
        if not data:
            return cls(seed, salt, digest)
        shape = plan.width, plan.layout.outputs
        bits = np.unpackbits(np.frombuffer(data, dtype=np.uint8), count=shape[0] * shape[1], bitorder="little")
        return cls(seed, salt, digest, bits.reshape(shape))


class LabelHeadEvaluator(LweHeadEvaluator):
    """The provider's side: products as for logits, of which only labels leave."""

    _plan: LabelBudget

    def __init__(
        self,
        plan: LabelBudget,
        session: bytes,
        weight: FloatMatrix,
        bias: FloatMatrix,
        entropy: Entropy,
        *,
        secrets: LabelSecrets,
    ) -> None:
        if len(secrets.thresholds) != plan.layout.buckets:
            raise LocalProtocolError(f"A head with {plan.layout.buckets} thresholds was given {secrets.thresholds}.")
        zeros = np.zeros((len(weight), plan.layout.buckets))
        # A threshold is a class of weight 0; like every class it is compared by its difference to the reference.
        super().__init__(
            plan,
            session,
            np.hstack([weight[:, :-1], zeros]) - weight[:, -1:],
            np.concatenate([bias[:-1], secrets.thresholds]) - bias[-1],
            entropy,
        )
        # Labels have no unit, so the client needs no scale.
        self._exponent = 0
        self._labels = LabelProvider(plan.layout, session, secrets.transfer_seed)
        self._nonces: dict[int, bytes] = {}
        self._garbled: dict[int, _Garbled] = {}
        self._chosen: set[int] = set()

    def offer(self) -> bytes:
        """Return the offer of a transfer."""
        return self._labels.offer

    def accept_key(self, key: bytes) -> None:
        """Check and take the client's public key and its reply to the offer."""
        super().accept_key(key[: self._plan.key_bytes])
        self._labels.accept_reply(key[self._plan.key_bytes :])

    def prepare(self, pool: int, nonce: bytes) -> bytes:
        """Return H and keep R P."""
        self._nonces[pool] = nonce
        return super().prepare(pool, nonce)

    def garble(self, pool: int, choices: bytes) -> Iterator[bytes]:
        """Return the tables for a client's choices in pieces, of which memory holds one at a time.

        A pool is garbled once. One that was restored after its choices gives the same tables for the same choices.
        Raises `CiphertextError` for malformed or inconsistent choices, after which the pool is lost.
        """
        if pool not in self._nonces or pool in self._chosen:
            raise LocalProtocolError("A pool is garbled once, after its material.", hint="Prepare another pool.")
        self._chosen.add(pool)
        layout, binding = self._plan.layout, self._key.binding
        header = {"index": pool, "rows": layout.rows, "columns": layout.slots}
        body = binding.open(Kind.HEAD_CHOICES, choices, layout.choices_bytes, **header)
        digest = hashlib.sha256(choices).digest()
        before = self._garbled.get(pool)
        if before is not None and before.choices_digest != digest:
            raise CiphertextError("A pool was garbled for other choices.", code=ErrorCode.SEQUENCE_BROKEN)
        if before is None:
            seed, salt = (self._entropy.octets(size).tobytes() for size in (_SEED_BYTES, SALT_BYTES))
        else:
            seed, salt = before.seed, before.salt
        tables, decode = self._labels.garble(pool, self._nonces[pool], body, seed, salt)
        self._garbled[pool] = garbled = before or _Garbled(seed, salt, digest)
        return self._sealed(pool, tables, replace(garbled, decode=decode))

    def _sealed(self, pool: int, tables: Iterator[bytes], garbled: _Garbled) -> Iterator[bytes]:
        """Yield header and tables; then queries can be answered."""
        layout = self._plan.layout
        yield self._key.binding.seal(Kind.HEAD_TABLES, b"", index=pool, rows=layout.rows, columns=layout.slots)
        yield from tables
        self._garbled[pool] = garbled

    def evaluate(self, pool: int, first_slot: int, count: int, query: bytes) -> bytes:
        """Return labels of the top bits of V for `count` slots, the keys of their tables, and their decode bits.

        A slot must be answered once, ever: two answers with different bits show all its labels.
        """
        garbled = self._garbled.get(pool)
        if garbled is None or garbled.decode is None:
            raise CiphertextError("A query names slots that no live pool has.")
        plan = self._plan
        shift = plan.parameters.log_q - LIMB_BITS - plan.layout.bits
        values = self._masked(pool, first_slot, count, query).high >> shift
        body = self._labels.answer(garbled.seed, garbled.decode, first_slot, values)
        index = place(plan, pool, first_slot)
        return self._key.binding.seal(Kind.HEAD_ANSWER, body, index=index, rows=plan.left, columns=count)

    def retire(self, pool: int) -> None:
        """Forget a pool's mask and what it was garbled with."""
        super().retire(pool)
        self._nonces.pop(pool, None)
        self._garbled.pop(pool, None)
        self._chosen.discard(pool)

    def checkpoint(self, pool: int) -> bytes:
        """Return R P of a pool and its nonce, and what it was garbled with."""
        garbled = self._garbled.get(pool)
        return super().checkpoint(pool) + self._nonces[pool] + (garbled.save() if garbled else b"")

    def restore_pool(self, pool: int, state: bytes) -> None:
        """Take a pool again."""
        layout = self._plan.layout
        masks = len(state) - DIGEST_BYTES
        chosen = _SEED_BYTES + SALT_BYTES + DIGEST_BYTES
        # A pool's record ends with the nonce, with what its tables are made from, or with decode bits.
        expected = 16 * self._plan.left * self._plan.width
        if masks - expected not in {0, chosen, chosen + layout.decode_bytes(layout.slots)}:
            raise KeyStoreError(f"The record of pool {pool} has a wrong length.", hint="Start a new session.")
        super().restore_pool(pool, state[:expected])
        self._nonces[pool] = state[expected : expected + DIGEST_BYTES]
        if masks > expected:
            self._garbled[pool] = _Garbled.load(state[expected + DIGEST_BYTES :], self._plan)

    def close(self) -> None:
        """Forget the key and all pools."""
        super().close()
        self._nonces.clear()
        self._garbled.clear()
