"""The provider in inference: prepares pools, applies its head to encrypted queries, and keeps the slots one-time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from securealign.alignment.head import LinearHead
from securealign.errors import ErrorCode, RemoteProtocolError
from securealign.he.interface import HeadEvaluator, HeadShape, Suite
from securealign.protocol import messages as m
from securealign.protocol.context import ProviderContext, Quota
from securealign.protocol.inference.slots import SlotLedger, SlotRange
from securealign.protocol.machine import require
from securealign.protocol.policy.budget import QueryAccount
from securealign.protocol.provider import ProviderMachine
from securealign.protocol.resume.snapshot import MachineState, require_blob, require_message
from securealign.protocol.states import INFERENCE_PROVIDER, State
from securealign.protocol.streams import chunks

#: States in which the key, pools and queries pass.
_OPEN = frozenset({State.KEY, State.READY})


@dataclass(frozen=True, kw_only=True)
class InferenceProviderState(MachineState):
    """Pools made, queries answered, messages of the upload received, and whether the key is complete.

    `used` holds the used slots of each live pool as a hexadecimal bit mask. Blobs: the key and the live pools.
    """

    pools: int
    answered: int
    uploads: int = 0
    has_key: bool = False
    used: Mapping[str, str] = field(default_factory=dict)


class InferenceProvider(ProviderMachine):
    """The provider of one inference session; owns the head and sees ciphertexts only.

    The head takes embeddings in the coordinates of the context's `space`; maps into others are refused.
    `account` bounds what the peer's sessions are given together; without it each session stands alone. `throttle` is
    asked for the number of queries of a message before they are charged.
    """

    table = INFERENCE_PROVIDER
    kind = "inference"
    state_type = InferenceProviderState

    def __init__(
        self,
        context: ProviderContext,
        head: LinearHead,
        *,
        account: QueryAccount | None = None,
        throttle: Quota | None = None,
    ) -> None:
        super().__init__(context)
        self._head = head
        self._evaluator: HeadEvaluator | None = None
        self._ledger: SlotLedger | None = None
        self._pools = 0
        self._shared_account = account
        self._account = account or QueryAccount.of("session")
        self._throttle = throttle
        self._answer_bits = 0
        self._answered = self._slots = 0

    @property
    def facts(self) -> dict[str, int]:
        """Return d_A, K and queries so far; slots and bits of an answer once the client has asked for them."""
        provider_dim, classes = self._head.weight.shape
        known = {"dim_a": provider_dim, "classes": classes, "queries": self._answered}
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

    def capture(self) -> InferenceProviderState | None:
        """Return where the machine stands; None while part of the key has arrived."""
        own: dict[str, Any] = {"pools": self._pools, "answered": self._answered}
        if self._state not in _OPEN:
            return InferenceProviderState(**self._common("key", "pool/"), **own)
        upload = self._upload_progress()
        if upload is None:
            return None
        return InferenceProviderState(**self._common(), **own, **upload, used=require(self._ledger).save())

    def _resume(self, state: InferenceProviderState, blobs: Mapping[str, bytes]) -> None:
        self._pools, self._answered = state.pools, state.answered
        if self._state not in _OPEN:
            return
        hello = require_message(self.codec, blobs, "hello", m.InferenceHello)
        accept = require_message(self.codec, blobs, "accept", m.InferenceAccept)
        same = hello.space == self._space and accept.logit_bits == (self._policy.output_bits or 0)
        self._require_same_policy(same)
        suite, session = self._agreed(accept.accept, hello.hello)
        evaluator = self._begin(hello, suite, session)
        if self._shared_account is None:
            self._account.charge(self._answered, self._answer_bits, self._policy.query_limits)
        self._resume_upload(state.uploads, state.has_key, blobs)
        for pool in require(self._ledger).load(state.used):
            evaluator.restore_pool(pool, require_blob(blobs, f"pool/{pool}"))

    def _handle(self, message: m.Message) -> Iterator[m.Message]:
        match message:
            case m.InferenceHello():
                yield self._on_hello(message)
            case m.Prepare():
                yield from self._on_prepare(message)
            case m.Query():
                yield from self._on_query(message)
            case _:
                yield from super()._handle(message)

    def _on_hello(self, message: m.InferenceHello) -> m.InferenceAccept:
        accept, suite, session = self._greet(message.hello)
        provider_dim, classes = self._head.weight.shape
        if message.space != self._space:
            raise RemoteProtocolError(
                f"The client's map leads into the space {message.space.hex()}, this provider's is {self._space.hex()}.",
                hint="Its client has to align again.",
                code=ErrorCode.SPACE_MISMATCH,
            )
        if message.provider_dim != provider_dim:
            raise RemoteProtocolError(
                f"Queries have {message.provider_dim} dimensions, the head takes {provider_dim}.",
                code=ErrorCode.SHAPE_MISMATCH,
            )
        if message.slots > self._limits.max_pool_slots:
            raise RemoteProtocolError(
                f"A pool of {message.slots} slots exceeds {self._limits.max_pool_slots}.", code=ErrorCode.LIMIT_EXCEEDED
            )
        self._begin(message, suite, session)
        return m.InferenceAccept(
            accept=accept,
            classes=classes,
            class_names=self._head.class_names if self._policy.publish_class_names else (),
            output=m.OutputMode.LOGITS,
            queries_left=self._account.left(self._answer_bits, self._policy.query_limits),
            window=self._limits.upload_window,
            live_pools=self._limits.max_live_pools,
            logit_bits=self._policy.output_bits or 0,
        )

    def _begin(self, hello: m.InferenceHello, suite: Suite, session: bytes) -> HeadEvaluator:
        """Make this side of the suite and expect the key."""
        provider_dim, classes = self._head.weight.shape
        shape = HeadShape(
            provider_dim=provider_dim, classes=classes, slots=hello.slots, logit_bits=self._policy.output_bits
        )
        sizes = suite.head_sizes(shape)
        self._answer_bits, self._slots = sizes.answer_bits, hello.slots
        self._expect_key(sizes.key, sizes.memory)
        self._ledger = SlotLedger(hello.slots, self._limits.max_live_pools)
        self._evaluator = suite.head_evaluator(shape, session, self._head.weight, self._head.bias, self._entropy)
        return self._evaluator

    def _on_prepare(self, message: m.Prepare) -> Iterator[m.PoolChunk]:
        require(self._receiver).require_key()
        if message.pool != self._pools:
            raise RemoteProtocolError(
                f"Pool {message.pool} is requested, {self._pools} is next.", code=ErrorCode.SEQUENCE_BROKEN
            )
        evaluator = require(self._evaluator)
        self._pools += 1
        for retired in require(self._ledger).open_pool(message.pool):
            evaluator.retire(retired)
            self.record.drop(f"pool/{retired}")
        with self._compute_slot:
            material = evaluator.prepare(message.pool, message.nonce)
        if self.record.wanted:
            self.record.keep(f"pool/{message.pool}", evaluator.checkpoint(message.pool))
        yield from chunks(m.PoolChunk, material, pool=message.pool)

    def _on_query(self, message: m.Query) -> Iterator[m.Answer]:
        ledger = require(self._ledger)
        slots = SlotRange(message.pool, message.first_slot, message.count)
        data = ledger.replay(slots, message.data)
        if data is None:
            if self._throttle is not None:
                self._throttle(message.count)
            # Debited before anything leaves, so that a failure costs the client a query and never the provider one.
            self._account.charge(message.count, self._answer_bits, self._policy.query_limits)
            self._answered += message.count
            data = require(self._evaluator).evaluate(slots.pool, slots.first, slots.count, message.data)
            ledger.record(slots, message.data, data)
        yield from chunks(m.Answer, data, pool=slots.pool, first_slot=slots.first, count=slots.count)
