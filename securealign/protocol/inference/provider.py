"""The provider in inference: prepares pools, applies its head to encrypted queries, and keeps the slots one-time.

For label-only answers a pool has three states: prepared, garbled once its only choices have arrived, and retired.
Slots answer queries in a garbled pool alone. Tables are large: they are made while they are sent, and never kept. A
restored provider makes them again, byte for byte, from the choices and from seeds that were recorded before the first
of them was sent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from securealign.errors import ErrorCode, RemoteProtocolError
from securealign.he.interface import HeadEvaluator, HeadSizes, LabelSecrets, Suite
from securealign.limits import DIGEST_BYTES
from securealign.protocol import messages as m
from securealign.protocol.context import ProviderContext, Quota
from securealign.protocol.inference.slots import SlotLedger, SlotRange, sizes_within
from securealign.protocol.machine import require
from securealign.protocol.offers import FindHead, OfferedHead, answer_terms, head_changed, output_mode
from securealign.protocol.policy.budget import QueryAccount
from securealign.protocol.provider import ProviderMachine
from securealign.protocol.resume.snapshot import MachineState, require_blob, require_message
from securealign.protocol.states import INFERENCE_PROVIDER, State
from securealign.protocol.streams import Assembler, chunks, count_chunks, cut

#: States in which the key, pools and queries pass.
_OPEN = frozenset({State.KEY, State.READY})
#: Names of blobs, or how they begin, that no finished session needs.
_SECRET = ("key", "pool/", "choices/", "chosen/", "garbled/", "transfer")


@dataclass(frozen=True, kw_only=True)
class InferenceProviderState(MachineState):
    """Pools made, queries answered, messages of the upload received, and whether the key is complete.

    `used` holds the used slots of each live pool as a hexadecimal bit mask. Blobs: the key and the live pools, under
    "pool/" as they were prepared, under "chosen/" while their tables are made, and under "garbled/" after that; for
    label-only answers the seed of the transfer, and choices whose tables the client has yet to record.
    """

    pools: int
    answered: int
    uploads: int = 0
    has_key: bool = False
    used: Mapping[str, str] = field(default_factory=dict)
    #: Thresholds that the pools were made under.
    levels: Sequence[float] = ()
    #: By pool: the number of the first message of its tables.
    tables: Mapping[str, int] = field(default_factory=dict)


class InferenceProvider(ProviderMachine):
    """The provider of one inference session; owns the head and sees ciphertexts only.

    `find` gives the head that the client names; maps into another space than the head's are refused. It is asked again
    before each message that uses the head: a session whose head was replaced ends. `throttle` is asked for the number
    of queries of a message before they are charged, `prepare_throttle` for each pool.
    """

    table = INFERENCE_PROVIDER
    kind = "inference"
    state_type = InferenceProviderState

    def __init__(
        self,
        context: ProviderContext,
        find: FindHead,
        *,
        throttle: Quota | None = None,
        prepare_throttle: Quota | None = None,
    ) -> None:
        super().__init__(context)
        self._find = find
        #: Name of the head, and the head as it was offered when the client asked for it.
        self._name = ""
        self._offer: OfferedHead | None = None
        #: With labels: 32 secret bytes from which the transfer derives.
        self._transfer_seed = b""
        self._sizes: HeadSizes | None = None
        #: Live pools that have tables, and the choices that arrive for another one.
        self._garbled: set[int] = set()
        self._choices: tuple[int, Assembler] | None = None
        #: By live pool: the number of the first message of its tables; and the pool whose tables are being made.
        self._tables: dict[int, int] = {}
        self._making: int | None = None
        #: What was recorded of a restored session, read when it is needed.
        self._recorded: Mapping[str, bytes] = {}
        self._evaluator: HeadEvaluator | None = None
        self._ledger: SlotLedger | None = None
        self._pools = 0
        self._account = QueryAccount.of("session")
        self._throttle, self._prepare_throttle = throttle, prepare_throttle
        self._answered = self._slots = 0

    @property
    def facts(self) -> dict[str, int]:
        """Return d_A, K, queries so far, slots and bits of an answer once the client has asked for a head."""
        if self._offer is None:
            return {}
        provider_dim, classes = self._offer.head.weight.shape
        known = {"dim_a": provider_dim, "classes": classes, "queries": self._answered}
        return known | ({"pool_slots": self._slots, "answer_bits": self._answer_bits} if self._slots else {})

    @property
    def _answer_bits(self) -> int:
        return self._sizes.answer_bits if self._sizes is not None else 0

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
        """Query slots of live pools that are not used, while the session is open."""
        return self._ledger.free if self._ledger is not None and self._state is State.READY else 0

    def capture(self) -> InferenceProviderState | None:
        """Return where the machine stands; None while part of the key or of choices has arrived, or tables leave."""
        own: dict[str, Any] = {"pools": self._pools, "answered": self._answered, "levels": self._policy.levels}
        if self._state not in _OPEN:
            return InferenceProviderState(**self._common(*_SECRET), **own)
        upload = self._upload_progress()
        if upload is None or self._choices is not None:
            return None
        if self._making is not None and self.sent > self._tables[self._making]:
            return None
        for pool in self._tables:
            if self._numbers(pool).stop <= self.record.peer_recorded:
                self.record.drop(f"choices/{pool}")
        tables = {str(pool): first for pool, first in self._tables.items()}
        return InferenceProviderState(
            **self._common(), **own, **upload, used=require(self._ledger).save(), tables=tables
        )

    def again(self, first: int) -> Iterator[tuple[range, Iterator[bytes]]]:
        """Yield the tables that a client lacks, and the numbers of their messages."""
        for pool in self._tables:
            numbers = self._numbers(pool)
            if pool != self._making and numbers.stop > first:
                yield numbers, map(self.codec.encode, self._tables_again(pool))

    def _resume(self, state: InferenceProviderState, blobs: Mapping[str, bytes]) -> None:
        self._pools, self._answered = state.pools, state.answered
        if self._state not in _OPEN:
            return
        hello = require_message(self.codec, blobs, "hello", m.InferenceHello)
        accept = require_message(self.codec, blobs, "accept", m.InferenceAccept)
        offer = self._take(hello.head)
        policy = self._policy
        if accept.head_digest != offer.digest:
            raise head_changed(hello.head)
        same = hello.space == offer.space and accept.logit_bits == (policy.output_bits or 0)
        same &= accept.output is output_mode(policy) and tuple(state.levels) == policy.levels
        self._require_same_policy(same)
        suite, session = self._agreed(accept.accept, hello.hello)
        if policy.labels is not None:
            self._transfer_seed = require_blob(blobs, "transfer")
        evaluator = self._begin(hello, suite, session)
        if offer.account is None:
            self._account.charge(self._answered, self._answer_bits, self._policy.query_limits)
        self._resume_upload(state.uploads, state.has_key, blobs)
        self._recorded, self._tables = blobs, {int(pool): first for pool, first in state.tables.items()}
        self._garbled.update(self._tables)
        for pool in require(self._ledger).load(state.used):
            kind = next((kind for kind in ("garbled", "chosen") if f"{kind}/{pool}" in blobs), "pool")
            evaluator.restore_pool(pool, require_blob(blobs, f"{kind}/{pool}"))
            if kind == "chosen":
                self._make(pool, self._tables_again(pool))

    def _handle(self, message: m.Message) -> Iterator[m.Message]:
        if self._choices is not None and not isinstance(message, m.ChoicesChunk):
            raise RemoteProtocolError(
                f"{type(message).__name__} arrives between pieces of choices.", code=ErrorCode.SEQUENCE_BROKEN
            )
        if not isinstance(message, m.InferenceHello):
            self._require_same_head()
        match message:
            case m.InferenceHello():
                yield self._on_hello(message)
            case m.Prepare():
                yield from self._on_prepare(message)
            case m.ChoicesChunk():
                self._on_choices(message)
            case m.Query():
                yield from self._on_query(message)
            case _:
                yield from super()._handle(message)

    def _take(self, name: str) -> OfferedHead:
        """Return the head of a name, under whose rules the session then stands."""
        self._name, self._offer = name, self._find(name)
        self._policy = self._offer.policy or self._policy
        self._account = self._offer.account or self._account
        return self._offer

    def _require_same_head(self) -> None:
        """Raise `RemoteProtocolError` when the head or what its answers hold was changed; take changed limits."""
        begun = require(self._offer)
        offer = self._find(self._name)
        policy = offer.policy or self._policy
        same = (offer.digest, offer.space) == (begun.digest, begun.space)
        if offer is not begun and not (same and answer_terms(policy) == answer_terms(self._policy)):
            raise head_changed(self._name)
        self._policy = policy

    def _on_hello(self, message: m.InferenceHello) -> m.InferenceAccept:
        accept, suite, session = self._greet(message.hello)
        offer = self._take(message.head)
        provider_dim, classes = offer.head.weight.shape
        if message.space != offer.space:
            raise RemoteProtocolError(
                f"The client's map leads into the space {message.space.hex()}, the head's is {offer.space.hex()}.",
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
        mode, terms = output_mode(self._policy), self._policy.labels
        if mode not in message.outputs:
            raise RemoteProtocolError(
                f"Policy gives answers of the mode {mode.name}, which the client does not take.",
                hint="Its client has to be one that takes labels without logits.",
                code=ErrorCode.OUTPUT_REFUSED,
            )
        if terms is not None:
            self._transfer_seed = self._entropy.octets(DIGEST_BYTES).tobytes()
            self.record.keep("transfer", self._transfer_seed)
        evaluator = self._begin(message, suite, session)
        return m.InferenceAccept(
            accept=accept,
            classes=classes,
            class_names=offer.head.class_names if self._policy.publish_class_names else (),
            output=mode,
            queries_left=self._account.left(self._answer_bits, self._policy.query_limits),
            window=self._limits.upload_window,
            live_pools=self._limits.max_live_pools,
            logit_bits=self._policy.output_bits or 0,
            labels=None
            if terms is None
            else m.LabelTerms(
                bits=terms.bits,
                segments=terms.segments,
                buckets=terms.buckets,
                abstains=self._policy.abstain_below is not None,
                offer=evaluator.offer(),
            ),
            head_digest=offer.digest,
            link=m.Link[offer.head.link.upper()] if terms is None else m.Link.MARGIN,
        )

    def _begin(self, hello: m.InferenceHello, suite: Suite, session: bytes) -> HeadEvaluator:
        """Make this side of the suite and expect the key."""
        policy = self._policy
        offer = require(self._offer)
        weight, bias = offer.classes(policy.abstain_below)
        features, classes = offer.head.weight.shape
        shape = policy.head_shape(features, classes, hello.slots)
        if shape.labels is not None and not suite.info.label_only:
            shape.require_full_logits(suite.info.name)
        self._sizes, self._slots = sizes_within(suite, shape, self._limits), hello.slots
        self._expect_key(self._sizes.key, self._sizes.memory)
        self._ledger = SlotLedger(hello.slots, self._limits.max_live_pools)
        labels = None
        if shape.labels is not None:
            labels = LabelSecrets(transfer_seed=self._transfer_seed, thresholds=policy.confidence_thresholds)
        self._evaluator = suite.head_evaluator(shape, session, weight, bias, self._entropy, labels=labels)
        return self._evaluator

    def _on_prepare(self, message: m.Prepare) -> Iterator[m.PoolChunk]:
        require(self._receiver).require_key()
        if message.pool != self._pools:
            raise RemoteProtocolError(
                f"Pool {message.pool} is requested, {self._pools} is next.", code=ErrorCode.SEQUENCE_BROKEN
            )
        self._throttle_pool()
        evaluator = require(self._evaluator)
        self._pools += 1
        for retired in require(self._ledger).open_pool(message.pool):
            evaluator.retire(retired)
            self._garbled.discard(retired)
            self._tables.pop(retired, None)
            for kind in ("pool", "choices", "garbled"):
                self.record.drop(f"{kind}/{retired}")
        with self._compute_slot:
            material = evaluator.prepare(message.pool, message.nonce)
        if self.record.wanted:
            self.record.keep(f"pool/{message.pool}", evaluator.checkpoint(message.pool))
        yield from chunks(m.PoolChunk, material, pool=message.pool)

    def _on_choices(self, message: m.ChoicesChunk) -> None:
        pool, ledger, sizes = message.pool, require(self._ledger), require(self._sizes)
        if self._choices is None:
            if self._policy.labels is None or not ledger.is_live(pool) or pool in self._garbled:
                raise RemoteProtocolError(f"Pool {pool} waits for no choices.", code=ErrorCode.SEQUENCE_BROKEN)
            self._choices = pool, Assembler(min(sizes.choices, self._limits.max_choices_bytes))
        begun, choices = self._choices
        if pool != begun:
            raise RemoteProtocolError(
                f"Choices for pool {pool} arrive between those for pool {begun}.", code=ErrorCode.SEQUENCE_BROKEN
            )
        choices.add(message)
        if not choices.complete:
            return
        self._choices = None
        evaluator, content = require(self._evaluator), choices.take()
        with self._compute_slot:
            pieces = evaluator.garble(pool, content)
        self._garbled.add(pool)
        self._tables[pool] = self.sent
        if self.record.wanted:
            self.record.drop(f"pool/{pool}")
            self.record.keep(f"choices/{pool}", content)
            self.record.keep(f"chosen/{pool}", evaluator.checkpoint(pool))
        self._make(pool, self._cut(pool, pieces))

    def _make(self, pool: int, tables: Iterator[m.TablesChunk]) -> None:
        """Let the tables of a pool be made while they are sent."""

        def made() -> Iterator[m.TablesChunk]:
            yield from tables
            self._making = None
            if self.record.wanted:
                self.record.drop(f"chosen/{pool}")
                self.record.keep(f"garbled/{pool}", require(self._evaluator).checkpoint(pool))
                self.record.needs_snapshot = True

        self._making, self._following = pool, made()

    def _tables_again(self, pool: int) -> Iterator[m.TablesChunk]:
        """Make the tables of a restored pool again; it counts as one more pool, so that a client cannot ask at will."""
        self._throttle_pool()
        yield from self._cut(
            pool, require(self._evaluator).garble(pool, require_blob(self._recorded, f"choices/{pool}"))
        )

    def _cut(self, pool: int, pieces: Iterator[bytes]) -> Iterator[m.TablesChunk]:
        """Yield tables as messages; each piece takes its turn of the processor."""

        def computed() -> Iterator[bytes]:
            while True:
                with self._compute_slot:
                    piece = next(pieces, None)
                if piece is None:
                    return
                yield piece

        return cut(m.TablesChunk, computed(), require(self._sizes).tables, pool=pool)

    def _numbers(self, pool: int) -> range:
        """Return the numbers of the messages that hold the tables of a pool."""
        first = self._tables[pool]
        return range(first, first + count_chunks(require(self._sizes).tables))

    def _throttle_pool(self) -> None:
        """Take a pool from what the peer may ask for."""
        if self._prepare_throttle is not None:
            self._prepare_throttle(1)

    def _on_query(self, message: m.Query) -> Iterator[m.Answer]:
        ledger = require(self._ledger)
        slots = SlotRange(message.pool, message.first_slot, message.count)
        if self._policy.labels is not None and message.pool not in self._garbled:
            raise RemoteProtocolError(f"Pool {message.pool} has no tables.", code=ErrorCode.SEQUENCE_BROKEN)
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
