"""Party B in training: uploads encrypted rows and receives the encrypted cross-covariance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from securealign.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from securealign.he.entropy import Entropy
from securealign.he.interface import CovarianceEncryptor, CovarianceShape, Suite
from securealign.limits import MAX_CHUNK_BYTES, Limits
from securealign.matrices import FloatMatrix, Rows
from securealign.protocol.client import ClientParty
from securealign.protocol.messages import (
    Confirm,
    Finish,
    KeyChunk,
    Message,
    PrivacyTerms,
    ResultChunk,
    RowBatch,
    TrainingAccept,
    TrainingHello,
    UploadAck,
)
from securealign.protocol.party import Codec, Observer, decoded, kept, set_up
from securealign.protocol.randomness import Root
from securealign.protocol.states import TRAINING_CLIENT, State
from securealign.protocol.streams import Assembler, chunks

#: States in which acknowledgements may arrive.
_UPLOADING = frozenset({State.KEY, State.ROWS, State.RESULT})


class TrainingClient(ClientParty):
    """The client of one training session; its rows (N, d_B + 1) end in a constant column that carries the bias.

    `private_rows` take their place if the provider adds noise: N rows of norm at most 1, then d_B + 1 rows of the
    identity and as many of 2^-8 times the identity. Without them such a provider is refused.
    """

    table = TRAINING_CLIENT
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
        root: Root | None = None,
        private_rows: Rows | None = None,
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
        self._rows = rows
        self._private_rows = private_rows
        #: What the provider's noise guarantees, if it adds any; the product is then that of `private_rows`.
        self.privacy: PrivacyTerms | None = None
        #: Name of the provider's coordinates, and the squared norm of its rows in them, 0 if it adds noise.
        self.space = b""
        self.total_squares = 0.0
        self._digest = dataset_digest
        self._encryptor: CovarianceEncryptor | None = None
        self._result: Assembler | None = None
        self._ciphertext = b""
        self._rows_sent = 0
        self._provider_dim = 0

    def start(self) -> list[bytes]:
        """Return the opening message."""
        rows, columns = self._rows.shape
        return self._send_all(
            [TrainingHello(hello=self._hello, client_dim=columns - 1, rows=rows, dataset_digest=self._digest)]
        )

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
        encryptor = set_up(self._encryptor)
        try:
            return encryptor.decrypt(self._ciphertext)
        finally:
            encryptor.close()

    def _close(self) -> None:
        if self._encryptor is not None:
            self._encryptor.close()

    def _release(self) -> None:
        # A session that is done still has its result to decrypt.
        if self._state is State.ABORTED:
            self._close()

    def _save(self) -> dict[str, Any] | None:
        fields: dict[str, Any] = {"rows": self._rows_sent}
        if self._state is State.GREETED:
            return fields
        if not self.restorable:
            return None
        return fields | self._save_upload() if self._state in _UPLOADING else fields

    def _load(self, fields: Mapping[str, Any], blobs: Mapping[str, bytes]) -> None:
        self.nonce = decoded(self.codec, blobs, "hello", TrainingHello).hello.nonce
        if self._state is State.GREETED:
            return
        message = decoded(self.codec, blobs, "accept", TrainingAccept)
        encryptor = self._begin(message)
        self._rows_sent = fields["rows"]
        if self._state in _UPLOADING:
            rest = self._uploads(encryptor, fields["uploaded"])
            self._upload(rest, message.window, sent=fields["uploaded"], acknowledged=fields["acknowledged"])
        else:
            self._ciphertext = kept(blobs, "result")

    def _handle(self, message: Message) -> Iterator[Message]:
        match message:
            case TrainingAccept():
                yield from self._on_accept(message)
            case UploadAck():
                yield from self._continue_upload(message)
            case ResultChunk():
                yield from self._on_result(message)
            case Confirm():
                self._check_confirmation(message)
            case _:
                raise LocalProtocolError(f"No handler for {type(message).__name__}.")

    def _on_accept(self, message: TrainingAccept) -> Iterator[Message]:
        encryptor = self._begin(message)
        yield from self._upload(self._uploads(encryptor), message.window).ready()

    def _begin(self, message: TrainingAccept) -> CovarianceEncryptor:
        """Check what the provider accepted and make this side of the suite."""
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
        shape = CovarianceShape(rows=rows, provider_dim=message.provider_dim, client_dim=columns)
        self._encryptor = suite.covariance_encryptor(shape, session, self._rows, entropy)
        self._result = Assembler(min(suite.covariance_sizes(shape).result, self._limits.max_result_bytes))
        return self._encryptor

    def _take_terms(self, terms: PrivacyTerms | None) -> None:
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

    def _uploads(self, encryptor: CovarianceEncryptor, sent: int = 0) -> Iterator[Message]:
        """Yield what has to be uploaded after the first `sent` messages, with which `_rows_sent` rows have gone."""
        if self._state is State.RESULT:
            return
        yield from islice(chunks(KeyChunk, encryptor.key_material()), sent, None)
        for rows in encryptor.encrypt(MAX_CHUNK_BYTES, self._rows_sent):
            self._rows_sent = rows.first + rows.count
            yield RowBatch(first=rows.first, count=rows.count, data=rows.data)
        yield Finish()

    def _on_result(self, message: ResultChunk) -> Iterator[Message]:
        result = set_up(self._result)
        result.add(message)
        if result.complete:
            self._ciphertext = result.take()
            self._keep("result", self._ciphertext)
            yield self._confirmation()
