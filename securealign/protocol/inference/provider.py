"""Party A in inference: prepares pools, applies its head to encrypted queries, and keeps the slots one-time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from securealign.alignment.head import LinearHead
from securealign.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from securealign.he.entropy import Entropy
from securealign.he.interface import HeadEvaluator, HeadShape, Suite
from securealign.limits import Limits
from securealign.protocol.budget import BudgetLedger, QueryAccount
from securealign.protocol.inference.slots import SlotLedger, SlotRange
from securealign.protocol.messages import (
    UNNAMED_SPACE,
    Answer,
    Confirm,
    InferenceAccept,
    InferenceHello,
    KeyChunk,
    Message,
    OutputMode,
    PoolChunk,
    Prepare,
    Query,
)
from securealign.protocol.party import Codec, Observer, decoded, kept, set_up
from securealign.protocol.policy import Policy
from securealign.protocol.provider import Grant, ProviderParty
from securealign.protocol.states import INFERENCE_PROVIDER, State
from securealign.protocol.streams import chunks


class InferenceProvider(ProviderParty):
    """The provider of one inference session; owns the head and sees ciphertexts only.

    The head takes embeddings in the coordinates named `space`; maps into others are refused.
    `account` bounds what the peer's sessions are given together; without it each session stands alone. `throttle` is
    asked for the number of queries of a message before they are charged.
    """

    table = INFERENCE_PROVIDER
    name = "inference"

    def __init__(
        self,
        codec: Codec,
        suites: Sequence[Suite],
        head: LinearHead,
        entropy: Entropy,
        *,
        policy: Policy | None = None,
        limits: Limits | None = None,
        space: bytes = UNNAMED_SPACE,
        account: QueryAccount | None = None,
        throttle: Grant | None = None,
        reserve: Grant | None = None,
        turn: AbstractContextManager[object] | None = None,
        observer: Observer | None = None,
    ) -> None:
        super().__init__(
            codec, suites, entropy, policy=policy, limits=limits, reserve=reserve, turn=turn, observer=observer
        )
        self._head = head
        self._space = space
        self._evaluator: HeadEvaluator | None = None
        self._ledger: SlotLedger | None = None
        self._pools = 0
        self._shared_account = account
        self._account = account or BudgetLedger().account("session")
        self._throttle = throttle
        self._answer_bits = 0
        self._answered = self._slots = 0

    @property
    def facts(self) -> dict[str, int]:
        """Return d_A, K and queries so far; slots and bits of an answer once the client has asked for them."""
        features, classes = self._head.weight.shape
        known = {"dim_a": features, "classes": classes, "queries": self._answered}
        return known | ({"pool_slots": self._slots, "answer_bits": self._answer_bits} if self._slots else {})

    @property
    def queries_answered(self) -> int:
        """Queries answered so far; a retry does not count again."""
        return self._answered

    @property
    def bits_answered(self) -> int:
        """Bits that the answers so far held at most."""
        return self._answered * self._answer_bits

    @property
    def free_slots(self) -> int:
        """Query slots prepared and not used, while the session is open."""
        return self._ledger.free if self._ledger is not None and self._state is State.READY else 0

    def _close(self) -> None:
        if self._evaluator is not None:
            self._evaluator.close()

    def _save(self) -> dict[str, Any] | None:
        fields: dict[str, Any] = {"pools": self._pools, "answered": self._answered}
        if self._state not in {State.KEY, State.READY}:
            self._blobs.drop("key", "pool/")
            return fields
        intake = self._save_intake()
        return None if intake is None else fields | intake | {"used": set_up(self._ledger).save()}

    def _load(self, fields: Mapping[str, Any], blobs: Mapping[str, bytes]) -> None:
        self._pools, self._answered = fields["pools"], fields["answered"]
        if self._state not in {State.KEY, State.READY}:
            return
        hello = decoded(self.codec, blobs, "hello", InferenceHello)
        accept = decoded(self.codec, blobs, "accept", InferenceAccept)
        same = hello.space == self._space and accept.logit_bits == (self._policy.output_bits or 0)
        self._require_same_policy(same)
        suite, session = self._agreed(accept.accept, hello.hello)
        evaluator = self._begin(hello, suite, session)
        if self._shared_account is None:
            self._account.charge(self._answered, self._answer_bits, self._policy.query_limits)
        self._load_intake(fields, blobs, evaluator)
        for pool in set_up(self._ledger).load(fields["used"]):
            evaluator.restore_pool(pool, kept(blobs, f"pool/{pool}"))

    def _handle(self, message: Message) -> Iterator[Message]:
        match message:
            case InferenceHello():
                yield self._on_hello(message)
            case KeyChunk():
                yield self._take_key(message, self._evaluator)
            case Prepare():
                yield from self._on_prepare(message)
            case Query():
                yield from self._on_query(message)
            case Confirm():
                self._check_confirmation(message)
                yield self._confirmation()
            case _:
                raise LocalProtocolError(f"No handler for {type(message).__name__}.")

    def _on_hello(self, message: InferenceHello) -> InferenceAccept:
        accept, suite, session = self._greet(message.hello)
        features, classes = self._head.weight.shape
        if message.space != self._space:
            raise RemoteProtocolError(
                f"The client's map leads into the space {message.space.hex()}, this provider's is {self._space.hex()}.",
                hint="Its client has to align again.",
                code=ErrorCode.SPACE_MISMATCH,
            )
        if message.provider_dim != features:
            raise RemoteProtocolError(
                f"Queries have {message.provider_dim} dimensions, the head takes {features}.",
                code=ErrorCode.SHAPE_MISMATCH,
            )
        if message.slots > self._limits.max_pool_slots:
            raise RemoteProtocolError(
                f"A pool of {message.slots} slots exceeds {self._limits.max_pool_slots}.", code=ErrorCode.LIMIT_EXCEEDED
            )
        self._begin(message, suite, session)
        return InferenceAccept(
            accept=accept,
            classes=classes,
            class_names=self._head.class_names if self._policy.publish_class_names else (),
            output=OutputMode.LOGITS,
            queries_left=self._account.left(self._answer_bits, self._policy.query_limits),
            window=self._limits.upload_window,
            live_pools=self._limits.max_live_pools,
            logit_bits=self._policy.output_bits or 0,
        )

    def _begin(self, hello: InferenceHello, suite: Suite, session: bytes) -> HeadEvaluator:
        """Make this side of the suite and expect the key."""
        features, classes = self._head.weight.shape
        shape = HeadShape(features=features, classes=classes, slots=hello.slots, logit_bits=self._policy.output_bits)
        sizes = suite.head_sizes(shape)
        self._answer_bits, self._slots = sizes.answer_bits, hello.slots
        self._expect_key(sizes.key, sizes.memory)
        self._ledger = SlotLedger(hello.slots, self._limits.max_live_pools)
        self._evaluator = suite.head_evaluator(shape, session, self._head.weight, self._head.bias, self._entropy)
        return self._evaluator

    def _on_prepare(self, message: Prepare) -> Iterator[PoolChunk]:
        set_up(self._intake).require_key()
        if message.pool != self._pools:
            raise RemoteProtocolError(
                f"Pool {message.pool} is requested, {self._pools} is next.", code=ErrorCode.SEQUENCE_BROKEN
            )
        evaluator = set_up(self._evaluator)
        self._pools += 1
        for retired in set_up(self._ledger).open_pool(message.pool):
            evaluator.retire(retired)
            self._blobs.drop(f"pool/{retired}")
        with self._turn:
            material = evaluator.prepare(message.pool)
        if self.recorded:
            self._keep(f"pool/{message.pool}", evaluator.checkpoint(message.pool))
        yield from chunks(PoolChunk, material, pool=message.pool)

    def _on_query(self, message: Query) -> Iterator[Answer]:
        ledger = set_up(self._ledger)
        slots = SlotRange(message.pool, message.first_slot, message.count)
        data = ledger.replay(slots, message.data)
        if data is None:
            if self._throttle is not None:
                self._throttle(message.count)
            # Debited before anything leaves, so that a failure costs the client a query and never the provider one.
            self._account.charge(message.count, self._answer_bits, self._policy.query_limits)
            self._answered += message.count
            data = set_up(self._evaluator).evaluate(slots.pool, slots.first, slots.count, message.data)
            ledger.record(slots, message.data, data)
        yield from chunks(Answer, data, pool=slots.pool, first_slot=slots.first, count=slots.count)
