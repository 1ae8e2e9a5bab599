"""The client in training: uploads encrypted rows and receives the encrypted cross-covariance."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from securealign.errors import ErrorCode, RemoteProtocolError
from securealign.he.interface import CovarianceEncryptor, CovarianceShape
from securealign.limits import MAX_CHUNK_BYTES
from securealign.matrices import FloatMatrix, Rows
from securealign.protocol import messages as m
from securealign.protocol.client import ClientMachine
from securealign.protocol.context import ClientContext
from securealign.protocol.machine import require
from securealign.protocol.resume.snapshot import MachineState, require_blob, require_message
from securealign.protocol.states import TRAINING_CLIENT, State
from securealign.protocol.streams import Assembler, chunks

#: States in which acknowledgements may arrive.
_UPLOADING = frozenset({State.KEY, State.ROWS, State.RESULT})


@dataclass(frozen=True, kw_only=True)
class TrainingClientState(MachineState):
    """Rows sent, and messages of the upload sent and acknowledged; the blob "result" is the encrypted product."""

    rows: int
    uploaded: int = 0
    acknowledged: int = 0


class TrainingClient(ClientMachine):
    """The client of one training session; its rows (N, d_B + 1) end in a constant column that carries the bias.

    `private_rows` take their place if the provider adds noise: N rows of norm at most 1, then d_B + 1 rows of the
    identity and as many of 2^-8 times the identity. Without them such a provider is refused. `space_name` chooses among
    the provider's spaces; "" is for the one of the public texts.
    """

    table = TRAINING_CLIENT
    kind = "training"
    state_type = TrainingClientState

    def __init__(
        self,
        context: ClientContext,
        rows: Rows,
        dataset_digest: bytes,
        *,
        private_rows: Rows | None = None,
        space_name: str = "",
    ) -> None:
        super().__init__(context)
        self._rows, self._private_rows = rows, private_rows
        #: What the provider's noise guarantees, if it adds any; the product is then that of `private_rows`.
        self.privacy: m.PrivacyTerms | None = None
        #: Name of the provider's coordinates, and the squared norm of its rows in them, 0 if it adds noise.
        self.space = b""
        self.total_squares = 0.0
        self._digest, self._space_name = dataset_digest, space_name
        self._encryptor: CovarianceEncryptor | None = None
        self._result: Assembler | None = None
        self._ciphertext = b""
        self._rows_sent = 0
        self._provider_dim = 0

    def start(self) -> list[bytes]:
        """Return the opening message."""
        rows, columns = self._rows.shape
        hello = m.TrainingHello(
            hello=self._hello,
            client_dim=columns - 1,
            rows=rows,
            dataset_digest=self._digest,
            space_name=self._space_name,
        )
        return self._send_all([hello])

    @property
    def progress(self) -> tuple[int, int]:
        """Rows sent so far and in all."""
        return self._rows_sent, self._rows.shape[0]

    @property
    def facts(self) -> dict[str, int]:
        """Return N, d_B, and d_A once the provider has said it."""
        rows, columns = self._rows.shape
        return {"rows": rows, "dim_b": columns - 1} | ({"dim_a": self._provider_dim} if self._provider_dim else {})

    def product(self) -> FloatMatrix:
        """Decrypt U_A^T [Z_B 1], shape (d_A, d_B + 1), once the session is done; call once, it ends the secret key."""
        self.require_success()
        encryptor = require(self._encryptor)
        try:
            return encryptor.decrypt(self._ciphertext)
        finally:
            encryptor.close()

    def _release(self) -> None:
        # A session that is done still has its result to decrypt.
        if self._state is State.ABORTED:
            self._close()

    def capture(self) -> TrainingClientState | None:
        """Return where the machine stands; None once the suite has a key that it cannot make again."""
        if self._state is not State.GREETED and not self.restorable:
            return None
        progress: dict[str, Any] = self._upload_progress() if self._state in _UPLOADING else {}
        return TrainingClientState(**self._common(), rows=self._rows_sent, **progress)

    def _resume(self, state: TrainingClientState, blobs: Mapping[str, bytes]) -> None:
        self.nonce = require_message(self.codec, blobs, "hello", m.TrainingHello).hello.nonce
        if self._state is State.GREETED:
            return
        message = require_message(self.codec, blobs, "accept", m.TrainingAccept)
        self._begin(message)
        self._rows_sent = state.rows
        if self._state in _UPLOADING:
            self._upload(message.window, sent=state.uploaded, acknowledged=state.acknowledged)
        else:
            self._ciphertext = require_blob(blobs, "result")

    def _handle(self, message: m.Message) -> Iterator[m.Message]:
        return self._on_result(message) if isinstance(message, m.ResultChunk) else super()._handle(message)

    def _begin(self, message: m.TrainingAccept) -> None:
        suite, session, entropy = self._agree(message.accept)
        if message.dataset_digest != self._digest:
            raise RemoteProtocolError("The provider holds other public texts.", code=ErrorCode.DATASET_MISMATCH)
        if message.provider_dim > self._limits.max_dimension:
            raise RemoteProtocolError(
                f"The provider's dimension {message.provider_dim} exceeds {self._limits.max_dimension}.",
                code=ErrorCode.LIMIT_EXCEEDED,
            )
        self._provider_dim = message.provider_dim
        self.space, self.total_squares = message.space, message.total_squares
        self._take_terms(message.privacy)
        rows, columns = self._rows.shape
        shape = CovarianceShape(rows=rows, provider_dim=message.provider_dim, columns=columns)
        self._encryptor = suite.covariance_encryptor(shape, session, self._rows, entropy)
        self._result = Assembler(min(suite.covariance_sizes(shape).result, self._limits.max_result_bytes))

    def _take_terms(self, terms: m.PrivacyTerms | None) -> None:
        """Go on with the rows that fit the provider's noise; raises `RemoteProtocolError` if there are none."""
        self.privacy = terms
        if terms is None:
            return
        if self._private_rows is None:
            raise RemoteProtocolError(
                f"The provider adds noise for differential privacy (epsilon = {terms.epsilon:g}), which makes the map "
                "less accurate.",
                hint="Set accept_noise = true to align all the same.",
                code=ErrorCode.PRIVACY_REFUSED,
            )
        self._rows = self._private_rows

    def _uploads(self, sent: int) -> Iterator[m.Message]:
        # All of it was sent before the state RESULT, rows included: `_rows_sent` says how many of them.
        if self._state is State.RESULT:
            return
        encryptor = require(self._encryptor)
        yield from islice(chunks(m.KeyChunk, encryptor.key_material()), sent, None)
        for rows in encryptor.encrypt(MAX_CHUNK_BYTES, self._rows_sent):
            self._rows_sent = rows.first + rows.count
            yield m.RowBatch(first=rows.first, count=rows.count, data=rows.data)
        yield m.Finish()

    def _on_result(self, message: m.ResultChunk) -> Iterator[m.Message]:
        result = require(self._result)
        result.add(message)
        if result.complete:
            self._ciphertext = result.take()
            self.record.keep("result", self._ciphertext)
            yield self._confirmation()
