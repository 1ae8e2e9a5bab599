"""Party A in training: multiplies encrypted rows with its own and returns the sanitised product."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from securealign.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from securealign.he.entropy import Entropy
from securealign.he.interface import CovarianceEvaluator, CovarianceShape, EncryptedRows, Suite
from securealign.limits import Limits
from securealign.matrices import Rows
from securealign.protocol.messages import (
    Confirm,
    Finish,
    KeyChunk,
    Message,
    ResultChunk,
    RowBatch,
    TrainingAccept,
    TrainingHello,
    UploadAck,
)
from securealign.protocol.party import Codec, Observer, decoded, kept, set_up
from securealign.protocol.policy import Policy
from securealign.protocol.provider import Grant, ProviderParty
from securealign.protocol.states import TRAINING_PROVIDER, State
from securealign.protocol.streams import chunks
from securealign.protocol.training.rank import RankAccount


class TrainingProvider(ProviderParty):
    """The provider of one training session; owns its rows (N, d_A) and sees ciphertexts only.

    `account` bounds what the peer's sessions show together; without it each session stands alone.
    """

    table = TRAINING_PROVIDER
    name = "training"

    def __init__(
        self,
        codec: Codec,
        suites: Sequence[Suite],
        rows: Rows,
        dataset_digest: bytes,
        entropy: Entropy,
        *,
        policy: Policy | None = None,
        limits: Limits | None = None,
        account: RankAccount | None = None,
        reserve: Grant | None = None,
        observer: Observer | None = None,
    ) -> None:
        super().__init__(codec, suites, entropy, policy=policy, limits=limits, reserve=reserve, observer=observer)
        self._rows = rows
        self._digest = dataset_digest
        self._account = account
        #: Columns charged to the account for which nothing has been computed yet.
        self._charged = 0
        self._evaluator: CovarianceEvaluator | None = None
        self._rows_received = 0
        self._rows_recorded = 0

    def _close(self) -> None:
        if self._evaluator is not None:
            self._evaluator.close()

    def _release(self) -> None:
        if self._account is not None and self._charged:
            self._account.refund(self._charged)
            self._charged = 0
        self._close()

    def _save(self) -> dict[str, Any] | None:
        fields = {"rows": self._rows_received, "charged": self._charged}
        if self._state not in {State.KEY, State.ROWS}:
            self._blobs.drop("key", "sums/")
            return fields
        intake = self._save_intake()
        if intake is None or not self._save_sums():
            return None
        return fields | intake

    def _save_sums(self) -> bool:
        """Keep what the rows so far add up to; returns whether the suite can say."""
        if self._rows_received == self._rows_recorded:
            return True
        sums = set_up(self._evaluator).checkpoint()
        if sums is None:
            return False
        self._blobs.drop("sums/")
        self._keep(f"sums/{self._rows_received}", sums)
        self._rows_recorded = self._rows_received
        return True

    def _load(self, fields: Mapping[str, Any], blobs: Mapping[str, bytes | None]) -> None:
        self._rows_received = self._rows_recorded = fields["rows"]
        self._charged = fields["charged"]
        if self._state not in {State.KEY, State.ROWS}:
            return
        hello = decoded(self._codec, blobs, "hello", TrainingHello)
        accept = decoded(self._codec, blobs, "accept", TrainingAccept)
        suite, session = self._agreed(accept.accept, hello.hello)
        evaluator = self._begin(hello, suite, session)
        self._load_intake(fields, blobs, evaluator)
        if self._rows_received:
            evaluator.restore(kept(blobs, f"sums/{self._rows_received}"), self._rows_received)

    def _handle(self, message: Message) -> Iterator[Message]:
        match message:
            case TrainingHello():
                yield self._on_hello(message)
            case KeyChunk():
                yield self._take_key(message, self._evaluator)
            case RowBatch():
                yield self._on_rows(message)
            case Finish():
                yield from self._on_finish()
            case Confirm():
                self._check_confirmation(message)
                yield self._confirmation()
            case _:
                raise LocalProtocolError(f"No handler for {type(message).__name__}.")

    def _on_hello(self, message: TrainingHello) -> TrainingAccept:
        accept, suite, session = self._greet(message.hello)
        rows, dimension = self._rows.shape
        if message.dataset_digest != self._digest or message.rows != rows:
            raise RemoteProtocolError("The client holds other public texts.", code=ErrorCode.DATASET_MISMATCH)
        self._policy.check_training(message.rows, message.dimension, self._limits)
        self._charge(self._shape(message))
        self._begin(message, suite, session)
        return TrainingAccept(
            accept=accept, dimension=dimension, dataset_digest=self._digest, window=self._limits.upload_window
        )

    def _shape(self, hello: TrainingHello) -> CovarianceShape:
        rows, dimension = self._rows.shape
        return CovarianceShape(rows=rows, provider_dim=dimension, client_dim=hello.dimension + 1)

    def _begin(self, hello: TrainingHello, suite: Suite, session: bytes) -> CovarianceEvaluator:
        """Make this side of the suite and expect the key."""
        shape = self._shape(hello)
        sizes = suite.covariance_sizes(shape)
        self._expect_key(sizes.key, sizes.memory)
        self._evaluator = suite.covariance_evaluator(shape, session, self._rows, self._entropy)
        return self._evaluator

    def _charge(self, shape: CovarianceShape) -> None:
        if self._account is not None:
            self._account.charge(shape.client_dim, self._policy.max_columns(shape.rows))
            self._charged = shape.client_dim

    def _on_rows(self, message: RowBatch) -> UploadAck:
        intake = set_up(self._intake)
        intake.require_key()
        if message.first != self._rows_received:
            raise RemoteProtocolError(
                f"Row {message.first} follows row {self._rows_received - 1}.", code=ErrorCode.SEQUENCE_BROKEN
            )
        if message.first + message.count > self._rows.shape[0]:
            raise RemoteProtocolError("More rows arrive than the handshake named.", code=ErrorCode.SHAPE_MISMATCH)
        set_up(self._evaluator).absorb(EncryptedRows(message.first, message.count, message.data))
        self._rows_received += message.count
        self.record_due |= self._rows_received - self._rows_recorded >= self._limits.rows_between_records
        return intake.acknowledge()

    def _on_finish(self) -> Iterator[ResultChunk]:
        if self._rows_received != self._rows.shape[0]:
            raise RemoteProtocolError(
                f"The client finishes after {self._rows_received} of {self._rows.shape[0]} rows.",
                code=ErrorCode.SEQUENCE_BROKEN,
            )
        # From here on the peer may see the product, however the session ends.
        self._charged = 0
        evaluator = set_up(self._evaluator)
        result = evaluator.finish()
        evaluator.close()
        yield from chunks(ResultChunk, result)
