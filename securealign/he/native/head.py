"""Inference on a native library: the provider's layer on encrypted queries, without an offline phase.

A query is [z; 1] at its own scale, which stays with the client; weight and bias share one, which travels with answers.
"""

from collections.abc import Mapping

import numpy as np

from securealign.errors import CiphertextError, ErrorCode, LocalProtocolError, SuiteError
from securealign.he.blobs import HEADER_BYTES, Kind
from securealign.he.interface import NUMBER_BITS, HeadShape, HeadSizes, WithoutLabelsClient, WithoutLabelsProvider
from securealign.he.native.envelope import seal, sealed_bytes, unscale, unseal
from securealign.he.native.profile import Profile
from securealign.he.native.worker import Worker
from securealign.he.scales import TYPICAL_SHARE, Exponents, largest_exponents, received_exponents
from securealign.limits import MAX_CHUNK_BYTES
from securealign.matrices import FloatMatrix

_EXPONENT_BYTES = 2


class HeadPlan:
    """The sizes of one head under a profile; raises `SuiteError` for more classes than it can hold."""

    def __init__(self, profile: Profile, shape: HeadShape) -> None:
        shape.require_full_logits(profile.name)
        if shape.classes > profile.largest_classes:
            raise SuiteError(
                f"The suite {profile.name!r} holds {profile.largest_classes} classes, not {shape.classes}.",
                hint="Use the suite lwe.",
                code=ErrorCode.PLAN_INFEASIBLE,
            )
        job = profile.head
        self.profile, self.job, self.shape = profile, job, shape
        self.terms = shape.provider_dim + 1
        #: Ciphertexts of a query, and of its answer.
        self.parts = job.ciphertexts(self.terms)
        self.results = profile.answer_ciphertexts(shape)
        self.query_bytes = sealed_bytes(self.parts, job.fresh_bytes)
        self.answer_bytes = sealed_bytes(self.results, job.evaluated_bytes)
        self.key_room = profile.head_key_bytes(shape)
        self.key_bytes = sealed_bytes(1, self.key_room)

    @property
    def sizes(self) -> HeadSizes:
        """Exact sizes of key and answer."""
        batch = max(1, (MAX_CHUNK_BYTES - HEADER_BYTES) // self.query_bytes)
        answer = HEADER_BYTES + _EXPONENT_BYTES + batch * self.answer_bytes
        return HeadSizes(
            key=HEADER_BYTES + self.key_bytes,
            pool=0,
            batch=batch,
            answer=answer,
            # The library decodes a logit to a float64.
            answer_bits=self.shape.classes * NUMBER_BITS,
            # The provider keeps the answers of live pools for retries.
            memory=self.profile.memory(self.key_bytes, answer) + 2 * self.shape.slots * self.answer_bytes,
        )

    def key_place(self) -> dict[str, int]:
        """Return the fields of a key's header."""
        return {"rows": self.shape.classes, "columns": self.shape.provider_dim}

    def place(self, pool: int, first_slot: int, count: int) -> dict[str, int]:
        """Return the fields of the header of a query or an answer."""
        return {"index": pool * self.shape.slots + first_slot, "rows": self.terms, "columns": count}


class NativeHeadEncryptor(WithoutLabelsClient):
    """The client's side: the secret key stays in the worker."""

    def __init__(self, plan: HeadPlan, session: bytes) -> None:
        self._plan = plan
        self._worker = Worker(plan.profile, "HeadClient", plan.shape.provider_dim, plan.shape.classes)
        key = seal([self._worker.call(bytes, "key")], 1, plan.key_room)
        self._key = plan.profile.binding(session).seal(Kind.HEAD_KEY, key, **plan.key_place())
        self._binding = plan.profile.binding(session, self._key)
        self._exponents: dict[tuple[int, int], Exponents] = {}
        self._head_norm = 0.0

    @property
    def head_norm(self) -> float:
        """Norm of the provider's classes, from the scale that comes with an answer."""
        return self._head_norm

    def key_material(self) -> bytes:
        """Return the public key and the evaluation keys."""
        return self._key

    def load_pool(self, pool: int, data: bytes, nonce: bytes) -> None:
        """Accept an empty pool."""
        if data:
            raise CiphertextError(f"Pool {pool} holds {len(data)} bytes; this suite has no offline phase.")

    def encrypt(self, pool: int, first_slot: int, queries: FloatMatrix) -> bytes:
        """Encrypt queries of shape (count, provider_dim), each at its own scale."""
        plan = self._plan
        terms = np.hstack([queries, np.ones((len(queries), 1))])
        exponents = largest_exponents(np.linalg.norm(terms, axis=1), plan.job.message_norm)
        if (pool, first_slot) in self._exponents:
            raise LocalProtocolError("A slot cannot hold a second query.", hint="Use the next slots.")
        self._exponents[pool, first_slot] = exponents
        ciphertexts: list[bytes] = self._worker.call(list, "encrypt", np.ldexp(terms, exponents[:, None]))
        body = seal(ciphertexts, len(queries) * plan.parts, plan.job.fresh_bytes)
        return self._binding.seal(Kind.HEAD_QUERY, body, **plan.place(pool, first_slot, len(queries)))

    def decrypt(self, pool: int, first_slot: int, answer: bytes) -> FloatMatrix:
        """Return the logits of the queries that begin at `first_slot`, shape (count, classes)."""
        plan, exponents = self._plan, self._exponents[pool, first_slot]
        place = plan.place(pool, first_slot, len(exponents))
        length = _EXPONENT_BYTES + len(exponents) * plan.answer_bytes
        body = self._binding.open(Kind.HEAD_ANSWER, answer, length, **place)
        scale = received_exponents(body[:_EXPONENT_BYTES])
        self._head_norm = float(np.ldexp(plan.job.operand_norm * TYPICAL_SHARE, -int(scale[0])))
        logits = self._worker.read(np.ndarray, "decrypt", unseal(body[_EXPONENT_BYTES:], plan.job.evaluated_bytes))
        return unscale(logits, (len(exponents), plan.shape.classes), exponents[:, None] + scale)

    def query_scales(self, pool: int, first_slot: int) -> bytes:
        """Return nothing: without its worker this side cannot go on."""
        return b""

    def restore_pool(self, pool: int, data: bytes, nonce: bytes, query_scales: Mapping[int, bytes]) -> None:
        """Raise `LocalProtocolError`: the secret key has gone with its worker."""
        raise LocalProtocolError(f"{self._plan.profile.name} cannot be restored.", hint="Start another session.")

    def retire(self, pool: int) -> None:
        """Forget the scales of a pool's queries."""
        self._exponents = {place: scales for place, scales in self._exponents.items() if place[0] != pool}

    def close(self) -> None:
        """End the worker, and the secret key with it."""
        self._worker.close()


class NativeHeadEvaluator(WithoutLabelsProvider):
    """The provider's side: its worker holds the client's keys and the head."""

    def __init__(self, plan: HeadPlan, session: bytes, weight: FloatMatrix, bias: FloatMatrix) -> None:
        self._plan, self._session = plan, session
        terms = np.vstack([weight, bias])
        # One scale for all classes: their norms stay between the provider and its head.
        norms = np.linalg.norm(terms, axis=0).max(keepdims=True)
        self._exponent = largest_exponents(norms, plan.job.operand_norm)
        self._worker = Worker(plan.profile, "HeadProvider", np.ldexp(terms, self._exponent))

    def accept_key(self, key: bytes) -> None:
        """Check and take the client's public and evaluation keys."""
        plan = self._plan
        body = plan.profile.binding(self._session).open(Kind.HEAD_KEY, key, plan.key_bytes, **plan.key_place())
        self._worker.read(int, "accept_key", *unseal(body, plan.key_room))
        self._binding = plan.profile.binding(self._session, key)

    def prepare(self, pool: int, nonce: bytes) -> bytes:
        """Return nothing: the suite has no offline phase."""
        return b""

    def evaluate(self, pool: int, first_slot: int, count: int, query: bytes) -> bytes:
        """Return the encrypted logits of `count` queries."""
        plan = self._plan
        place = plan.place(pool, first_slot, count)
        body = self._binding.open(Kind.HEAD_QUERY, query, count * plan.query_bytes, **place)
        ciphertexts: list[bytes] = self._worker.read(list, "evaluate", unseal(body, plan.job.fresh_bytes))
        results = seal(ciphertexts, count * plan.results, plan.job.evaluated_bytes, fault=CiphertextError)
        return self._binding.seal(Kind.HEAD_ANSWER, self._exponent.astype("<i2").tobytes() + results, **place)

    def retire(self, pool: int) -> None:
        """Nothing belongs to a pool."""

    def checkpoint(self, pool: int) -> bytes:
        """Return nothing: nothing belongs to a pool."""
        return b""

    def restore_pool(self, pool: int, state: bytes) -> None:
        """Nothing belongs to a pool."""

    def close(self) -> None:
        """End the worker."""
        self._worker.close()
