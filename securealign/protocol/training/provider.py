"""Party A in training: multiplies encrypted rows with its own and returns the sanitised product."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

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
from securealign.protocol.negotiation import answer_hello, session_id
from securealign.protocol.party import Codec, Observer, Party, set_up
from securealign.protocol.policy import Policy
from securealign.protocol.states import TRAINING_PROVIDER
from securealign.protocol.streams import Intake, chunks


class TrainingProvider(Party):
    """The provider of one training session; owns its rows (N, d_A) and sees ciphertexts only."""

    table = TRAINING_PROVIDER
    is_client = False
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
        observer: Observer | None = None,
    ) -> None:
        super().__init__(codec, observer)
        self._suites = suites
        self._rows = rows
        self._digest = dataset_digest
        self._entropy = entropy
        self._policy = policy or Policy()
        self._limits = limits or Limits()
        self._evaluator: CovarianceEvaluator | None = None
        self._intake: Intake | None = None
        self._rows_received = 0

    def _handle(self, message: Message) -> Iterator[Message]:
        match message:
            case TrainingHello():
                yield self._on_hello(message)
            case KeyChunk():
                yield self._on_key(message)
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
        accept, suite = answer_hello(
            message.hello,
            self._suites,
            self._entropy,
            allow_unencrypted=self._policy.allow_unencrypted,
            require_function_private=self._policy.require_function_private,
        )
        rows, dimension = self._rows.shape
        if message.dataset_digest != self._digest or message.rows != rows:
            raise RemoteProtocolError("The client holds other public texts.", code=ErrorCode.DATASET_MISMATCH)
        self._policy.check_training(message.rows, message.dimension, self._limits)
        shape = CovarianceShape(rows=rows, provider_dim=dimension, client_dim=message.dimension + 1)
        session = session_id(self.name, message.hello.nonce, accept.nonce)
        self._intake = Intake(min(suite.covariance_sizes(shape).key, self._limits.max_key_bytes))
        self._evaluator = suite.covariance_evaluator(shape, session, self._rows, self._entropy)
        return TrainingAccept(
            accept=accept, dimension=dimension, dataset_digest=self._digest, window=self._limits.upload_window
        )

    def _on_key(self, message: KeyChunk) -> UploadAck:
        intake = set_up(self._intake)
        key = intake.add_key(message)
        if key is not None:
            set_up(self._evaluator).accept_key(key)
        return intake.acknowledge()

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
        return intake.acknowledge()

    def _on_finish(self) -> Iterator[ResultChunk]:
        if self._rows_received != self._rows.shape[0]:
            raise RemoteProtocolError(
                f"The client finishes after {self._rows_received} of {self._rows.shape[0]} rows.",
                code=ErrorCode.SEQUENCE_BROKEN,
            )
        yield from chunks(ResultChunk, set_up(self._evaluator).finish())
        self._evaluator = None
