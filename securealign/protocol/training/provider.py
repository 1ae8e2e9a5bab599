"""Party A in training: multiplies encrypted rows with its own and returns the sanitised product."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from securealign.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from securealign.he.entropy import Entropy
from securealign.he.interface import CovarianceEvaluator, CovarianceShape, EncryptedRows, Suite
from securealign.limits import Limits
from securealign.matrices import Rows
from securealign.protocol.messages import (
    UNNAMED_SPACE,
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
from securealign.protocol.policy import Policy
from securealign.protocol.provider import Grant, ProviderParty
from securealign.protocol.states import TRAINING_PROVIDER, State
from securealign.protocol.streams import chunks
from securealign.protocol.training.noise import SEED_BYTES, NoisePlan, extra_rows, noise_bytes, private_rows
from securealign.protocol.training.privacy import PrivacyAccount
from securealign.protocol.training.rank import RankAccount


class TrainingProvider(ProviderParty):
    """The provider of one training session; owns its rows (N, d_A) and sees ciphertexts only.

    The rows are embeddings in the coordinates named `space`, and `total_squares` is their squared norm.
    `account` bounds what the peer's sessions show together, and `privacy_account` what they cost if policy asks for
    differential privacy; without them each session stands alone.
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
        space: bytes = UNNAMED_SPACE,
        total_squares: float | None = None,
        account: RankAccount | None = None,
        privacy_account: PrivacyAccount | None = None,
        reserve: Grant | None = None,
        turn: AbstractContextManager[object] | None = None,
        observer: Observer | None = None,
    ) -> None:
        super().__init__(
            codec, suites, entropy, policy=policy, limits=limits, reserve=reserve, turn=turn, observer=observer
        )
        self._rows = rows
        self._digest = dataset_digest
        self._space = space
        self._total_squares = total_squares
        self._account = account
        self._privacy_account = privacy_account
        #: Rows that travel: those of the public texts, and rows of noise if policy asks for them.
        self._expected_rows = rows.shape[0]
        #: Columns charged to the account for which nothing has been computed yet.
        self._charged = 0
        self._columns = 0
        self._evaluator: CovarianceEvaluator | None = None
        self._rows_received = 0
        self._rows_recorded = 0
        self._noise_seed = b""
        self._client_dim = 0

    @property
    def facts(self) -> dict[str, int]:
        """Return N, d_A, and d_B once the client has said it."""
        rows, dimension = self._rows.shape
        return {"rows": rows, "dim_a": dimension} | ({"dim_b": self._client_dim} if self._client_dim else {})

    @property
    def columns_shown(self) -> int:
        """Columns of the cross-covariance that the session has shown, or may have."""
        return self._columns if self._state in {State.RESULT, State.CONFIRMING, State.DONE} else 0

    def _close(self) -> None:
        if self._evaluator is not None:
            self._evaluator.close()

    def _release(self) -> None:
        if self._charged:
            self._refund(self._charged)
            self._charged = 0
        self._close()

    def _save(self) -> dict[str, Any] | None:
        fields = {"rows": self._rows_received, "charged": self._charged, "columns": self._columns}
        if self._state not in {State.KEY, State.ROWS}:
            self._blobs.drop("key", "sums/", "noise")
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

    def _load(self, fields: Mapping[str, Any], blobs: Mapping[str, bytes]) -> None:
        self._rows_received = self._rows_recorded = fields["rows"]
        self._charged, self._columns = fields["charged"], fields["columns"]
        if self._state not in {State.KEY, State.ROWS}:
            return
        hello = decoded(self.codec, blobs, "hello", TrainingHello)
        accept = decoded(self.codec, blobs, "accept", TrainingAccept)
        suite, session = self._agreed(accept.accept, hello.hello)
        self._require_same_policy(accept.privacy == self._terms() and accept.space == self._space)
        if accept.privacy is not None:
            self._noise_seed = kept(blobs, "noise")
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
        self._policy.check_training(message.rows, message.client_dim, self._limits)
        self._check_privacy(suite, message)
        self._charge(message.client_dim + 1)
        self._begin(message, suite, session)
        return TrainingAccept(
            accept=accept,
            provider_dim=dimension,
            dataset_digest=self._digest,
            window=self._limits.upload_window,
            space=self._space,
            total_squares=self._squares(),
            privacy=self._terms(),
        )

    def _squares(self) -> float:
        """Return the squared norm of the rows, in a pass over them unless it is known; 0 under privacy."""
        if self._policy.privacy is not None:
            return 0.0
        if self._total_squares is None:
            self._total_squares = float(np.sum(self._rows.column_norms() ** 2))
        return self._total_squares

    def _terms(self) -> PrivacyTerms | None:
        privacy = self._policy.privacy
        if privacy is None:
            return None
        return PrivacyTerms(epsilon=privacy.epsilon, delta=privacy.delta, noise_multiplier=privacy.noise_multiplier)

    def _check_privacy(self, suite: Suite, hello: TrainingHello) -> None:
        """Raise `RemoteProtocolError` when noise is asked for and cannot protect, or takes too many rows."""
        if self._policy.privacy is None:
            return
        if not suite.info.exact:
            raise RemoteProtocolError(
                f"Policy asks for differential privacy, and results of {suite.info.name!r} hold errors that depend on "
                "the provider's rows.",
                hint="Offer the suite lwe, or turn privacy off.",
                code=ErrorCode.PRIVACY_REFUSED,
            )
        rows = hello.rows + extra_rows(hello.client_dim + 1)
        if rows > self._limits.max_rows:
            raise RemoteProtocolError(
                f"{hello.rows} rows and those of the noise exceed {self._limits.max_rows}.",
                hint="Agree on fewer public texts, or raise max_rows.",
                code=ErrorCode.LIMIT_EXCEEDED,
            )

    def _session_rows(self, width: int, session: bytes) -> Rows:
        """Return the provider's rows in a session of `width` columns: Z_A, or Z_A and noise."""
        privacy = self._policy.privacy
        if privacy is None:
            return self._rows
        rows, dimension = self._rows.shape
        plan = NoisePlan(rows, dimension, width, privacy.row_norm, privacy.noise_multiplier)
        if not self._noise_seed:
            self._noise_seed = self._entropy.octets(SEED_BYTES).tobytes()
            self._keep("noise", self._noise_seed)
        return private_rows(self._rows, plan, self._noise_seed, session)

    def _begin(self, hello: TrainingHello, suite: Suite, session: bytes) -> CovarianceEvaluator:
        """Make this side of the suite and expect the key."""
        self._client_dim, width = hello.client_dim, hello.client_dim + 1
        count, dimension = self._rows.shape
        self._expected_rows = count + (extra_rows(width) if self._policy.privacy is not None else 0)
        shape = CovarianceShape(rows=self._expected_rows, provider_dim=dimension, client_dim=width)
        sizes = suite.covariance_sizes(shape)
        self._expect_key(sizes.key, sizes.memory + (noise_bytes(dimension, width) if self._policy.privacy else 0))
        rows = self._session_rows(width, session)
        self._evaluator = suite.covariance_evaluator(shape, session, rows, self._entropy)
        return self._evaluator

    def _charge(self, columns: int) -> None:
        """Charge the session to the peer's accounts, to all or to none."""
        if self._account is not None:
            self._account.charge(columns, self._policy.max_columns(self._rows.shape[0]))
        self._charged = self._columns = columns
        if self._privacy_account is not None and self._policy.privacy is not None:
            try:
                self._privacy_account.charge(self._policy.privacy)
            except RemoteProtocolError:
                self._charged = 0
                if self._account is not None:
                    self._account.refund(columns)
                raise

    def _refund(self, columns: int) -> None:
        if self._account is not None:
            self._account.refund(columns)
        if self._privacy_account is not None and self._policy.privacy is not None:
            self._privacy_account.refund(self._policy.privacy)

    def _on_rows(self, message: RowBatch) -> UploadAck:
        intake = set_up(self._intake)
        intake.require_key()
        if message.first != self._rows_received:
            raise RemoteProtocolError(
                f"Row {message.first} follows row {self._rows_received - 1}.", code=ErrorCode.SEQUENCE_BROKEN
            )
        if message.first + message.count > self._expected_rows:
            raise RemoteProtocolError("More rows arrive than the handshake named.", code=ErrorCode.SHAPE_MISMATCH)
        with self._turn:
            set_up(self._evaluator).absorb(EncryptedRows(message.first, message.count, message.data))
        self._rows_received += message.count
        self.record_due |= self._rows_received - self._rows_recorded >= self._limits.rows_between_records
        return intake.acknowledge()

    def _on_finish(self) -> Iterator[ResultChunk]:
        if self._rows_received != self._expected_rows:
            raise RemoteProtocolError(
                f"The client finishes after {self._rows_received} of {self._expected_rows} rows.",
                code=ErrorCode.SEQUENCE_BROKEN,
            )
        # From here on the peer may see the product, however the session ends.
        self._charged = 0
        evaluator = set_up(self._evaluator)
        with self._turn:
            result = evaluator.finish()
        evaluator.close()
        yield from chunks(ResultChunk, result)
