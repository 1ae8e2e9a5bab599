"""Party B in training: uploads encrypted rows and receives the encrypted cross-covariance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from securealign.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from securealign.he.entropy import Entropy
from securealign.he.interface import CovarianceEncryptor, CovarianceShape, Suite
from securealign.limits import MAX_CHUNK_BYTES, Limits
from securealign.matrices import FloatMatrix, Rows
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
from securealign.protocol.negotiation import check_accept, make_hello, session_id
from securealign.protocol.party import Codec, Observer, Party, set_up
from securealign.protocol.states import TRAINING_CLIENT
from securealign.protocol.streams import Assembler, Uploader, chunks


class TrainingClient(Party):
    """The client of one training session; its rows (N, d_B + 1) end in a constant column that carries the bias."""

    table = TRAINING_CLIENT
    is_client = True
    name = "training"

    def __init__(
        self,
        codec: Codec,
        suites: Sequence[Suite],
        rows: Rows,
        dataset_digest: bytes,
        entropy: Entropy,
        *,
        limits: Limits | None = None,
        allow_unencrypted: bool = False,
        observer: Observer | None = None,
    ) -> None:
        super().__init__(codec, observer)
        self._suites = suites
        self._rows = rows
        self._digest = dataset_digest
        self._entropy = entropy
        self._limits = limits or Limits()
        self._hello = make_hello(suites, entropy, allow_unencrypted=allow_unencrypted)
        #: The parameter set that the provider chose.
        self.suite_name = ""
        self._encryptor: CovarianceEncryptor | None = None
        self._uploader: Uploader | None = None
        self._result: Assembler | None = None
        self._ciphertext = b""
        self._rows_sent = 0

    def start(self) -> list[bytes]:
        """Return the opening message."""
        rows, columns = self._rows.shape
        return self._send_all(
            [TrainingHello(hello=self._hello, dimension=columns - 1, rows=rows, dataset_digest=self._digest)]
        )

    @property
    def progress(self) -> tuple[int, int]:
        """Rows sent so far and in all."""
        return self._rows_sent, self._rows.shape[0]

    def product(self) -> FloatMatrix:
        """Decrypt Z_A^T [Z_B 1], shape (d_A, d_B + 1), once the session is done."""
        self.require_success()
        return set_up(self._encryptor).decrypt(self._ciphertext)

    def _handle(self, message: Message) -> Iterator[Message]:
        match message:
            case TrainingAccept():
                yield from self._on_accept(message)
            case UploadAck():
                set_up(self._uploader).acknowledge(message.received)
                yield from set_up(self._uploader).ready()
            case ResultChunk():
                yield from self._on_result(message)
            case Confirm():
                self._check_confirmation(message)
            case _:
                raise LocalProtocolError(f"No handler for {type(message).__name__}.")

    def _on_accept(self, message: TrainingAccept) -> Iterator[Message]:
        suite = check_accept(message.accept, self._suites)
        self.suite_name = suite.info.parameter_set
        if message.dataset_digest != self._digest:
            raise RemoteProtocolError("The provider holds other public texts.", code=ErrorCode.DATASET_MISMATCH)
        if message.dimension > self._limits.max_dimension:
            raise RemoteProtocolError(
                f"The provider's dimension {message.dimension} exceeds {self._limits.max_dimension}.",
                code=ErrorCode.LIMIT_EXCEEDED,
            )
        rows, columns = self._rows.shape
        shape = CovarianceShape(rows=rows, provider_dim=message.dimension, client_dim=columns)
        session = session_id(self.name, self._hello.nonce, message.accept.nonce)
        self._encryptor = suite.covariance_encryptor(shape, session, self._rows, self._entropy)
        self._result = Assembler(min(suite.covariance_sizes(shape).result, self._limits.max_result_bytes))
        window = min(message.window, self._limits.upload_window)
        self._uploader = Uploader(self._uploads(self._encryptor), window)
        yield from self._uploader.ready()

    def _uploads(self, encryptor: CovarianceEncryptor) -> Iterator[Message]:
        yield from chunks(KeyChunk, encryptor.key_material())
        for rows in encryptor.encrypt(MAX_CHUNK_BYTES):
            self._rows_sent = rows.first + rows.count
            yield RowBatch(first=rows.first, count=rows.count, data=rows.data)
        yield Finish()

    def _on_result(self, message: ResultChunk) -> Iterator[Message]:
        result = set_up(self._result)
        result.add(message)
        if result.complete:
            self._ciphertext = result.take()
            yield self._confirmation()
