"""Party B in inference: prepares pools of one-time slots, sends encrypted queries and decrypts logits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from securealign.errors import CiphertextError, ConfigurationError, ErrorCode, LocalProtocolError, RemoteProtocolError
from securealign.he.entropy import Entropy
from securealign.he.interface import HeadEncryptor, HeadShape, HeadSizes, Suite
from securealign.limits import Limits
from securealign.matrices import FloatMatrix, as_matrix, require_finite
from securealign.protocol.client import ClientParty
from securealign.protocol.inference.slots import SlotAllocator, SlotRange
from securealign.protocol.messages import (
    UNNAMED_SPACE,
    Answer,
    Confirm,
    InferenceAccept,
    InferenceHello,
    KeyChunk,
    Message,
    PoolChunk,
    Prepare,
    Query,
    UploadAck,
)
from securealign.protocol.party import Codec, Observer, decoded, kept, set_up
from securealign.protocol.randomness import Root
from securealign.protocol.states import INFERENCE_CLIENT, State
from securealign.protocol.streams import Assembler, chunks


class InferenceClient(ClientParty):
    """The client of one inference session over queries of `features` dimensions, in pools of `slots`.

    `space` names the provider's coordinates that the queries are in.
    """

    table = INFERENCE_CLIENT
    name = "inference"

    def __init__(
        self,
        codec: Codec,
        suites: Sequence[Suite],
        features: int,
        entropy: Entropy,
        *,
        slots: int = 64,
        space: bytes = UNNAMED_SPACE,
        limits: Limits | None = None,
        allow_unencrypted: bool = False,
        observer: Observer | None = None,
        root: Root | None = None,
    ) -> None:
        super().__init__(
            codec,
            suites,
            entropy,
            limits=limits,
            allow_unencrypted=allow_unencrypted,
            observer=observer,
            root=root,
        )
        if slots < 1:
            raise ConfigurationError(f"A pool of {slots} slots holds no query.", hint="Use 1 or more.")
        self._features = features
        self._slots = slots
        self._space = space
        #: What the provider accepted: classes, names, output mode, queries left.
        self.accepted: InferenceAccept | None = None
        self._encryptor: HeadEncryptor | None = None
        self._sizes: HeadSizes | None = None
        self._allocator = SlotAllocator(slots)
        self._pools_requested = 0
        self._pool: tuple[int, Assembler] | None = None
        #: Name of the blob that holds what has arrived of it.
        self._part = ""
        self._submitted = 0
        self._outstanding: dict[SlotRange, tuple[int, Assembler]] = {}
        self._answers: list[tuple[int, FloatMatrix]] = []
        self._head_norm = self._relative_error = 0.0
        #: Why an answer did not decrypt, if one did not; for the local user, and only once the session is over.
        self.undecrypted: CiphertextError | None = None

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
        known = {"dim_a": self._features, "pool_slots": self._slots, "queries": self._submitted}
        if self.accepted is None or self._sizes is None:
            return known
        return known | {"classes": self.accepted.classes, "answer_bits": self._sizes.answer_bits}

    def start(self) -> list[bytes]:
        """Return the opening message; the first pool is requested as soon as the key is sent."""
        hello = InferenceHello(hello=self._hello, provider_dim=self._features, slots=self._slots, space=self._space)
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
        matrix = np.asarray(as_matrix(queries, "The query matrix", columns=self._features), dtype=np.float64)
        require_finite(matrix, "The query matrix")
        sizes, encryptor = set_up(self._sizes), set_up(self._encryptor)
        if self._state is not State.READY:
            raise LocalProtocolError(f"Cannot send Query in state {self._state.value!r}.")
        messages = []
        offset = 0
        for slots in self._allocator.take(len(matrix), sizes.batch):
            block = matrix[offset : offset + slots.count]
            data = encryptor.encrypt(slots.pool, slots.first, block)
            self._expect_answer(slots, self._submitted + offset)
            offset += slots.count
            messages.append(Query(pool=slots.pool, first_slot=slots.first, count=slots.count, data=data))
        self._submitted += len(matrix)
        return self._send_all(messages)

    def take_answers(self) -> list[tuple[int, FloatMatrix]]:
        """Return (number of the first query, logits of shape (count, K)) for what was answered since the last call."""
        answers, self._answers = self._answers, []
        return answers

    def finish(self) -> list[bytes]:
        """Close the session; raises `LocalProtocolError` while answers are outstanding."""
        if self._outstanding or self._pool is not None:
            raise LocalProtocolError("Answers are outstanding.", hint="Wait for them, then finish.")
        return self._send_all([self._confirmation()])

    def _close(self) -> None:
        if self._encryptor is not None:
            self._encryptor.close()

    def _save(self) -> dict[str, Any] | None:
        undecrypted = self.undecrypted.message if self.undecrypted is not None else None
        fields = {
            "submitted": self._submitted,
            "pools": self._pools_requested,
            "undecrypted": undecrypted,
            "head_norm": self._head_norm,
        }
        if self._state not in {State.KEY, State.READY}:
            return fields
        encryptor = set_up(self._encryptor)
        if not self.restorable or any(answer.pending for _, answer in self._outstanding.values()):
            return None
        outstanding = [
            [slots.pool, slots.first, slots.count, number, encryptor.receipt(slots.pool, slots.first).hex()]
            for slots, (number, _) in self._outstanding.items()
        ]
        return {**fields, **self._save_upload(), "outstanding": outstanding, "under_way": self._save_pool()}

    def _save_pool(self) -> list[int] | None:
        """Keep what has arrived of a pool; returns its number, size, and how much that is."""
        self._blobs.drop(self._part)
        if self._pool is None:
            return None
        number, assembler = self._pool
        self._part = f"part/{number}/{len(assembler.pending)}"
        self._keep(self._part, assembler.pending)
        return [number, assembler.total, len(assembler.pending)]

    def _load(self, fields: Mapping[str, Any], blobs: Mapping[str, bytes]) -> None:
        self.nonce = decoded(self.codec, blobs, "hello", InferenceHello).hello.nonce
        self._submitted, self._pools_requested = fields["submitted"], fields["pools"]
        self._head_norm = fields["head_norm"]
        self._load_answers(blobs)
        if fields["undecrypted"] is not None:
            self.undecrypted = CiphertextError(fields["undecrypted"])
        if self._state is State.GREETED:
            return
        message = decoded(self.codec, blobs, "accept", InferenceAccept)
        encryptor = self._begin(message)
        if self._state not in {State.KEY, State.READY}:
            return
        rest = self._uploads(encryptor, fields["uploaded"])
        self._upload(rest, message.window, sent=fields["uploaded"], acknowledged=fields["acknowledged"])
        self._load_outstanding(encryptor, fields["outstanding"], blobs)
        if fields["under_way"] is not None:
            number, total, size = fields["under_way"]
            self._part = f"part/{number}/{size}"
            assembler = self._pool_assembler()
            if size:
                assembler.restore(total, kept(blobs, f"part/{number}/{size}"))
            self._pool = (number, assembler)

    def _load_answers(self, blobs: Mapping[str, bytes]) -> None:
        """Take up the answers decrypted so far: names hold number and count of their queries."""
        for name in blobs:
            kind, *place = name.split("/")
            if kind == "answer":
                number, count = map(int, place)
                logits = np.frombuffer(kept(blobs, name), dtype="<f8").reshape(count, -1)
                self._answers.append((number, logits))

    def _load_outstanding(
        self, encryptor: HeadEncryptor, outstanding: Sequence[Sequence[Any]], blobs: Mapping[str, bytes]
    ) -> None:
        """Expect the answers that are due. Slots that were not used are given up: only so can none be used twice."""
        self._allocator.spent.update(int(name.removeprefix("pool/")) for name in blobs if name.startswith("pool/"))
        receipts: dict[int, dict[int, bytes]] = {}
        for pool, first, count, number, receipt in outstanding:
            receipts.setdefault(pool, {})[first] = bytes.fromhex(receipt)
            self._expect_answer(SlotRange(pool, first, count), number)
        for pool, by_slot in receipts.items():
            encryptor.restore_pool(pool, kept(blobs, f"pool/{pool}"), by_slot)

    def _handle(self, message: Message) -> Iterator[Message]:
        match message:
            case InferenceAccept():
                yield from self._on_accept(message)
            case UploadAck():
                yield from self._continue_upload(message)
            case PoolChunk():
                self._on_pool(message)
            case Answer():
                self._on_answer(message)
            case Confirm():
                self._check_confirmation(message)
            case _:
                raise LocalProtocolError(f"No handler for {type(message).__name__}.")

    def _on_accept(self, message: InferenceAccept) -> Iterator[Message]:
        encryptor = self._begin(message)
        yield from self._upload(self._uploads(encryptor), message.window).ready()

    def _begin(self, message: InferenceAccept) -> HeadEncryptor:
        """Check what the provider accepted and make this side of the suite."""
        suite, session, entropy = self._agree(message.accept)
        if message.classes > self._limits.max_classes:
            raise RemoteProtocolError(
                f"The provider's {message.classes} classes exceed {self._limits.max_classes}.",
                code=ErrorCode.LIMIT_EXCEEDED,
            )
        shape = HeadShape(
            features=self._features,
            classes=message.classes,
            slots=self._slots,
            logit_bits=message.logit_bits or None,
        )
        self.accepted = message
        self._sizes = suite.head_sizes(shape)
        self._relative_error = suite.head_forecast(shape).relative_error
        self._encryptor = suite.head_encryptor(shape, session, entropy)
        return self._encryptor

    def _uploads(self, encryptor: HeadEncryptor, sent: int = 0) -> Iterator[Message]:
        """Yield what has to be uploaded after the first `sent` messages: the key, and a request for the first pool."""
        yield from islice(chunks(KeyChunk, encryptor.key_material()), sent, None)
        if not self._pools_requested:
            yield self._next_pool()

    def _next_pool(self) -> Prepare:
        number = self._pools_requested
        self._pools_requested += 1
        self._pool = (number, self._pool_assembler())
        return Prepare(pool=number)

    def _pool_assembler(self) -> Assembler:
        return Assembler(min(set_up(self._sizes).pool, self._limits.max_pool_bytes))

    def _expect_answer(self, slots: SlotRange, number: int) -> None:
        answer = Assembler(min(set_up(self._sizes).answer, self._limits.max_answer_bytes))
        self._outstanding[slots] = number, answer

    def _on_pool(self, message: PoolChunk) -> None:
        number, assembler = self._pool or (None, None)
        if assembler is None or message.pool != number:
            raise RemoteProtocolError(f"Pool {message.pool} was not asked for.", code=ErrorCode.SEQUENCE_BROKEN)
        assembler.add(message)
        if assembler.complete:
            material = assembler.take()
            encryptor = set_up(self._encryptor)
            encryptor.load_pool(message.pool, material)
            self._head_norm = max(self._head_norm, encryptor.head_norm)
            self._keep(f"pool/{message.pool}", material)
            self._allocator.add_pool(message.pool)
            self._pool = None

    def _on_answer(self, message: Answer) -> None:
        slots = SlotRange(message.pool, message.first_slot, message.count)
        if slots not in self._outstanding:
            raise RemoteProtocolError(
                "An answer arrives to a query that was not asked.", code=ErrorCode.SEQUENCE_BROKEN
            )
        number, answer = self._outstanding[slots]
        answer.add(message)
        if answer.complete:
            del self._outstanding[slots]
            logits = self._decrypt(slots, answer.take())
            self._answers.append((number, logits))
            self._keep(f"answer/{number}/{len(logits)}", logits.astype("<f8").tobytes())
            self._forget_pools()

    def _forget_pools(self) -> None:
        """Drop the material of pools that are used up and answered."""
        finished = self._allocator.spent - {slots.pool for slots in self._outstanding}
        self._blobs.drop(*(f"pool/{pool}" for pool in finished))
        self._allocator.spent -= finished

    def _decrypt(self, slots: SlotRange, answer: bytes) -> FloatMatrix:
        """Return the logits of a query, or NaN for an answer that does not decrypt.

        The session goes on as if nothing had happened: a client that aborts, or asks again, would tell the provider
        what came of a ciphertext of its choice, and with enough of that a secret key is lost.
        """
        encryptor = set_up(self._encryptor)
        try:
            logits = encryptor.decrypt(slots.pool, slots.first, answer)
            self._head_norm = max(self._head_norm, encryptor.head_norm)
            return logits
        except CiphertextError as error:
            self.undecrypted = self.undecrypted or error
            return np.full((slots.count, set_up(self.accepted).classes), np.nan)
