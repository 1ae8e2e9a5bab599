"""The client in inference: prepares pools of one-time slots, sends encrypted queries and decrypts answers.

A pool is asked for; its hint arrives; for label-only answers the client then sends its choices, once, and tables
arrive; now its slots are free. A pool that is on this way when the client's process ends is given up: choices are never
made a second time, and what arrives of the pool is dropped. Nothing that depends on an answer is sent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from securealign.errors import CiphertextError, ConfigurationError, ErrorCode, LocalProtocolError, RemoteProtocolError
from securealign.he.interface import HeadEncryptor, HeadShape, HeadSizes, LabelTerms
from securealign.limits import DIGEST_BYTES
from securealign.matrices import FloatMatrix, as_matrix, require_finite
from securealign.protocol import messages as m
from securealign.protocol.client import ClientMachine
from securealign.protocol.context import ClientContext
from securealign.protocol.inference.client_state import InferenceClientState
from securealign.protocol.inference.slots import SlotAllocator, SlotRange, sizes_within
from securealign.protocol.inference.under_way import UnderWay
from securealign.protocol.machine import require
from securealign.protocol.resume.snapshot import require_blob, require_message
from securealign.protocol.states import INFERENCE_CLIENT, State
from securealign.protocol.streams import Assembler, ChunkOrder, chunks, count_chunks

#: States in which pools and queries pass.
_OPEN = frozenset({State.KEY, State.READY})


class InferenceClient(ClientMachine):
    """The client of one inference session over queries of d_A = `provider_dim` dimensions, in pools of `slots`.

    `space` names the provider's coordinates that the queries are in, and `head` the head that is asked; "" is for the
    only one. `outputs` are the modes that it takes.
    """

    table = INFERENCE_CLIENT
    kind = "inference"
    state_type = InferenceClientState

    def __init__(
        self,
        context: ClientContext,
        provider_dim: int,
        *,
        slots: int = 64,
        space: bytes = m.UNNAMED_SPACE,
        outputs: Sequence[m.OutputMode] = tuple(m.OutputMode),
        head: str = "",
    ) -> None:
        super().__init__(context)
        if slots < 1:
            raise ConfigurationError(f"A pool of {slots} slots holds no query.", hint="Use 1 or more.")
        self._provider_dim = provider_dim
        #: Slots of a pool.
        self.slots = slots
        self._space = space
        self._outputs, self._head = tuple(outputs), head
        #: What the provider accepted: classes, names, output mode, queries left.
        self.accepted: m.InferenceAccept | None = None
        self._encryptor: HeadEncryptor | None = None
        self._sizes: HeadSizes | None = None
        self._shape: HeadShape | None = None
        self._allocator = SlotAllocator(slots)
        self._pools_requested = 0
        self._pool: UnderWay | None = None
        self._submitted = 0
        self._outstanding: dict[SlotRange, tuple[int, Assembler]] = {}
        self._answers: list[tuple[int, FloatMatrix]] = []
        self._head_norm = self._relative_error = 0.0
        #: Why an answer did not decrypt, if one did not; for the local user, and only once the session is over.
        self.undecrypted: CiphertextError | None = None

    @property
    def answer_columns(self) -> int:
        """Numbers of an answer: K logits, or label and bucket."""
        return require(self._shape).answer_columns

    @property
    def free_slots(self) -> int:
        """Queries that can be submitted now."""
        return self._allocator.free

    @property
    def preparing(self) -> bool:
        """Whether a pool is under way."""
        return self._pool is not None

    @property
    def may_prepare(self) -> bool:
        """Whether a pool can be requested now: none is under way, and it would not retire one with unused slots."""
        room = self.accepted is not None and self._allocator.pools < self.accepted.live_pools
        return room and not self.preparing and self._state is State.READY

    @property
    def submitted(self) -> int:
        """Queries submitted so far, also before an interruption."""
        return self._submitted

    @property
    def outstanding(self) -> int:
        """Queries submitted and not yet answered."""
        return sum(slots.count for slots in self._outstanding)

    @property
    def logit_error(self) -> float:
        """Standard deviation of a logit's error for a query [z; 1] of norm 1; 0 before the head's scale is known."""
        return self._head_norm * self._relative_error

    @property
    def facts(self) -> dict[str, int]:
        """Return d_A, slots and queries so far; K and bits of an answer once the provider has said them."""
        known = {"dim_a": self._provider_dim, "pool_slots": self.slots, "queries": self._submitted}
        if self.accepted is None or self._sizes is None:
            return known
        return known | {"classes": self.accepted.classes, "answer_bits": self._sizes.answer_bits}

    def start(self) -> list[bytes]:
        """Return the opening message; the first pool is requested as soon as the key is sent."""
        hello = m.InferenceHello(
            hello=self._hello,
            provider_dim=self._provider_dim,
            slots=self.slots,
            space=self._space,
            outputs=self._outputs,
            head=self._head,
        )
        return self._send_all([hello])

    def prepare(self) -> list[bytes]:
        """Request the next pool; one at a time, any time after the handshake, while `may_prepare`."""
        if not self.may_prepare:
            raise LocalProtocolError(
                "No pool can be requested now.", hint="Wait for the one under way, or use those that are ready."
            )
        return self._send_all([self._next_pool()])

    def submit(self, queries: npt.ArrayLike) -> list[bytes]:
        """Encrypt queries of shape (count, d_A) into fresh slots; their numbers continue those of earlier ones.

        Raises `InputError` for a wrong shape or NaN before a slot is used, `LocalProtocolError` when slots are missing.
        """
        matrix = np.asarray(as_matrix(queries, "The query matrix", columns=self._provider_dim), dtype=np.float64)
        require_finite(matrix, "The query matrix")
        sizes, encryptor = require(self._sizes), require(self._encryptor)
        if self._state is not State.READY:
            raise LocalProtocolError(f"Cannot send Query in state {self._state.value!r}.")
        messages = []
        offset = 0
        for slots in self._allocator.take(len(matrix), sizes.batch):
            block = matrix[offset : offset + slots.count]
            data = encryptor.encrypt(slots.pool, slots.first, block)
            self._expect_answer(slots, self._submitted + offset)
            offset += slots.count
            messages.append(m.Query(pool=slots.pool, first_slot=slots.first, count=slots.count, data=data))
        self._submitted += len(matrix)
        return self._send_all(messages)

    def take_answers(self) -> list[tuple[int, FloatMatrix]]:
        """Return (number of the first query, answers) for what was answered since the last call.

        Answers are logits of shape (count, K), or of shape (count, 2) the index of the label and the number of
        thresholds exceeded; NaN stands for an answer that did not decrypt.
        """
        answers, self._answers = self._answers, []
        return answers

    def forget_answers(self, first: int, last: int) -> None:
        """Give up the record of the answers to queries `first` to `last`: the caller keeps them for good."""
        for name in list(self.record.blobs):
            kind, *place = name.split("/")
            if kind == "answer" and first <= int(place[0]) and sum(map(int, place)) <= last:
                self.record.drop(name)

    def finish(self) -> list[bytes]:
        """Close the session; raises `LocalProtocolError` while answers are outstanding."""
        if self._outstanding or self._pool is not None:
            raise LocalProtocolError("Answers are outstanding.", hint="Wait for them, then finish.")
        return self._send_all([self._confirmation()])

    def capture(self) -> InferenceClientState | None:
        """Return where the machine stands; None while part of an answer has arrived, and for suites that cannot."""
        own: dict[str, Any] = {
            "submitted": self._submitted,
            "pools": self._pools_requested,
            "head_norm": self._head_norm,
            "undecrypted": self.undecrypted.message if self.undecrypted is not None else None,
        }
        if self._state not in _OPEN:
            return InferenceClientState(**self._common(), **own)
        if not self.restorable or any(answer.pending for _, answer in self._outstanding.values()):
            return None
        encryptor, common = require(self._encryptor), self._common()
        outstanding = [
            [slots.pool, slots.first, slots.count, number, encryptor.query_scales(slots.pool, slots.first).hex()]
            for slots, (number, _) in self._outstanding.items()
        ]
        under_way = [self._pool.number, self._pool.chosen] if self._pool is not None else None
        return InferenceClientState(
            **common, **own, **self._upload_progress(), outstanding=outstanding, under_way=under_way
        )

    def _resume(self, state: InferenceClientState, blobs: Mapping[str, bytes]) -> None:
        self.nonce = require_message(self.codec, blobs, "hello", m.InferenceHello).hello.nonce
        self._submitted, self._pools_requested = state.submitted, state.pools
        self._head_norm = state.head_norm
        self._resume_answers(blobs)
        if state.undecrypted is not None:
            self.undecrypted = CiphertextError(state.undecrypted)
        if self._state is State.GREETED:
            return
        message = require_message(self.codec, blobs, "accept", m.InferenceAccept)
        self._begin(message)
        if self._state not in _OPEN:
            return
        self._upload(message.window, sent=state.uploaded, acknowledged=state.acknowledged)
        self._resume_outstanding(state.outstanding, blobs)
        if state.under_way is not None:
            self._pool = UnderWay(*state.under_way)

    def _resume_answers(self, blobs: Mapping[str, bytes]) -> None:
        """Take up the answers decrypted so far: names hold number and count of their queries."""
        for name in blobs:
            kind, *place = name.split("/")
            if kind == "answer":
                number, count = map(int, place)
                logits = np.frombuffer(require_blob(blobs, name), dtype="<f8").reshape(count, -1)
                self._answers.append((number, logits))

    def _resume_outstanding(self, outstanding: Sequence[Sequence[Any]], blobs: Mapping[str, bytes]) -> None:
        """Expect the answers that are due. Unused slots are given up, so that none is used twice."""
        self._allocator.spent.update(int(name.removeprefix("pool/")) for name in blobs if name.startswith("pool/"))
        scales: dict[int, dict[int, bytes]] = {}
        for pool, first, count, number, query_scales in outstanding:
            scales.setdefault(pool, {})[first] = bytes.fromhex(query_scales)
            self._expect_answer(SlotRange(pool, first, count), number)
        for pool, by_slot in scales.items():
            blob = require_blob(blobs, f"pool/{pool}")
            nonce, material = blob[:DIGEST_BYTES], blob[DIGEST_BYTES:]
            require(self._encryptor).restore_pool(pool, material, nonce, by_slot)
            if require(self._shape).labels is not None:
                *names, last = self._tables_of(pool)
                for name in (*names, last):
                    require(self._encryptor).load_tables(pool, require_blob(blobs, name), last=name == last)

    def _handle(self, message: m.Message) -> Iterator[m.Message]:
        match message:
            case m.PoolChunk():
                yield from self._on_pool(message)
            case m.TablesChunk():
                self._on_tables(message)
            case m.Answer():
                self._on_answer(message)
            case _:
                yield from super()._handle(message)

    def _begin(self, message: m.InferenceAccept) -> None:
        suite, session, entropy = self._agree(message.accept)
        if message.classes > self._limits.max_classes:
            raise RemoteProtocolError(
                f"The provider's {message.classes} classes exceed {self._limits.max_classes}.",
                code=ErrorCode.LIMIT_EXCEEDED,
            )
        if message.output not in self._outputs:
            raise RemoteProtocolError(
                f"The provider gives answers of the mode {message.output.name}, which was not asked for.",
                code=ErrorCode.OUTPUT_REFUSED,
            )
        terms = message.labels
        shape = HeadShape(
            provider_dim=self._provider_dim,
            classes=message.classes + (terms is not None and terms.abstains),
            slots=self.slots,
            logit_bits=message.logit_bits or None,
            labels=LabelTerms(bits=terms.bits, segments=terms.segments, buckets=terms.buckets) if terms else None,
        )
        self.accepted, self._shape = message, shape
        self._sizes = sizes_within(suite, shape, self._limits)
        self._relative_error = suite.head_forecast(shape).relative_error
        self._encryptor = suite.head_encryptor(shape, session, entropy, terms.offer if terms else b"")

    def _uploads(self, sent: int) -> Iterator[m.Message]:
        yield from islice(chunks(m.KeyChunk, require(self._encryptor).key_material()), sent, None)
        if not self._pools_requested:
            yield self._next_pool()

    def _next_pool(self) -> m.Prepare:
        number = self._pools_requested
        self._pools_requested += 1
        # Not derived: a copy of this client that asks for the same pool gets another matrix.
        nonce = self._context.entropy.octets(DIGEST_BYTES).tobytes()
        hint = Assembler(min(require(self._sizes).pool, self._limits.max_pool_bytes))
        self._pool = UnderWay(number, arriving=hint, nonce=nonce)
        return m.Prepare(pool=number, nonce=nonce)

    def _expect_answer(self, slots: SlotRange, number: int) -> None:
        answer = Assembler(min(require(self._sizes).answer, self._limits.max_answer_bytes))
        self._outstanding[slots] = number, answer

    def _on_pool(self, message: m.PoolChunk) -> Iterator[m.ChoicesChunk]:
        pool, hint = self._arrived(message)
        if not isinstance(hint, Assembler) or not hint.complete:
            return
        encryptor, shape = require(self._encryptor), require(self._shape)
        pool.hint = hint.take()
        encryptor.load_pool(pool.number, pool.hint, pool.nonce)
        self._head_norm = max(self._head_norm, encryptor.head_norm)
        if shape.labels is None:
            self._free(pool)
            return
        pool.chosen = True
        pool.arriving = ChunkOrder(require(self._sizes).tables)
        yield from chunks(m.ChoicesChunk, encryptor.choose(pool.number), pool=pool.number)

    def _on_tables(self, message: m.TablesChunk) -> None:
        pool, order = self._arrived(message)
        if order is None:
            return
        require(self._encryptor).load_tables(pool.number, message.data, last=order.complete)
        # Recorded once all are here: a pool of which a part is missing is given up.
        pool.pieces.append(message.data)
        if order.complete:
            for name, piece in zip(self._tables_of(pool.number), pool.pieces, strict=True):
                self.record.keep(name, piece)
            self._free(pool)

    def _arrived(self, message: m.PoolChunk | m.TablesChunk) -> tuple[UnderWay, Assembler | ChunkOrder | None]:
        """Add a piece of the pool under way; returns the pool, and what arrives of it unless it was given up."""
        pool = self._pool
        if pool is None or not pool.expects(message):
            raise RemoteProtocolError(
                f"{type(message).__name__} of pool {message.pool} is not due.", code=ErrorCode.SEQUENCE_BROKEN
            )
        if pool.arriving is None:
            # The pool was given up; the provider still sends what was asked for, and pieces may be missing here.
            if message.offset + len(message.data) == message.total:
                self._pool = None
            return pool, None
        pool.arriving.add(message)
        return pool, pool.arriving

    def _free(self, pool: UnderWay) -> None:
        """Let queries use the slots of a pool."""
        self.record.keep(f"pool/{pool.number}", pool.nonce + pool.hint)
        self._allocator.add_pool(pool.number)
        self._pool = None

    def _tables_of(self, pool: int) -> list[str]:
        """Return the names under which the pieces of a pool's tables are recorded."""
        return [f"tables/{pool}/{number}" for number in range(count_chunks(require(self._sizes).tables))]

    def _on_answer(self, message: m.Answer) -> None:
        slots = SlotRange(message.pool, message.first_slot, message.count)
        if slots not in self._outstanding:
            raise RemoteProtocolError(
                "An answer arrives to a query that was not asked.", code=ErrorCode.SEQUENCE_BROKEN
            )
        number, answer = self._outstanding[slots]
        answer.add(message)
        if answer.complete:
            del self._outstanding[slots]
            found = self._decrypt(slots, answer.take())
            self._answers.append((number, found))
            self.record.keep(f"answer/{number}/{len(found)}", found.astype("<f8").tobytes())
            self._forget_pools()

    def _forget_pools(self) -> None:
        """Drop the material of pools that are used up and answered."""
        finished = self._allocator.spent - {slots.pool for slots in self._outstanding}
        for pool in finished:
            self.record.drop(f"pool/{pool}")
            for name in self._tables_of(pool):
                self.record.drop(name)
            require(self._encryptor).retire(pool)
        self._allocator.spent -= finished

    def _decrypt(self, slots: SlotRange, answer: bytes) -> FloatMatrix:
        """Return the answers to a query, NaN for those that do not decrypt.

        The session goes on as if nothing had happened: a client that aborts, or asks again, would tell the provider
        what came of a ciphertext of its choice, and with enough of that a secret key is lost.
        """
        encryptor = require(self._encryptor)
        try:
            found = encryptor.decrypt(slots.pool, slots.first, answer)
            self._head_norm = max(self._head_norm, encryptor.head_norm)
            if np.isnan(found).any():
                self.undecrypted = self.undecrypted or CiphertextError(
                    "An answer holds what no head of the provider's scale gives."
                )
            return found
        except CiphertextError as error:
            self.undecrypted = self.undecrypted or error
            return np.full((slots.count, self.answer_columns), np.nan)
