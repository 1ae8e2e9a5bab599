"""The provider in training: multiplies encrypted rows with its own and returns the sanitised product."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from securealign.errors import ErrorCode, RemoteProtocolError
from securealign.he.interface import CovarianceEvaluator, CovarianceShape, EncryptedRows, Suite
from securealign.matrices import Rows
from securealign.protocol import messages as m
from securealign.protocol.context import ProviderContext
from securealign.protocol.machine import require
from securealign.protocol.offers import FindRows, OfferedRows
from securealign.protocol.provider import ProviderMachine
from securealign.protocol.resume.snapshot import MachineState, require_blob, require_message
from securealign.protocol.states import TRAINING_PROVIDER, State
from securealign.protocol.streams import chunks
from securealign.protocol.training.noise import SEED_BYTES, NoisePlan, extra_rows, noise_bytes, private_rows

#: States in which the key and rows arrive.
_UPLOADING = frozenset({State.KEY, State.ROWS})


@dataclass(frozen=True, kw_only=True)
class TrainingProviderState(MachineState):
    """Rows received, columns charged and shown, messages of the upload received, and whether the key is complete.

    Blobs: the key, the sums over the rows so far, and the seed of the noise.
    """

    rows: int
    charged: int
    columns: int
    uploads: int = 0
    has_key: bool = False


class TrainingProvider(ProviderMachine):
    """The provider of one training session; owns its rows (N, d_A), which `find` gives, and sees ciphertexts only."""

    table = TRAINING_PROVIDER
    kind = "training"
    state_type = TrainingProviderState

    def __init__(self, context: ProviderContext, find: FindRows) -> None:
        super().__init__(context)
        self._find = find
        #: What the session multiplies with, once the client has named it.
        self._offer: OfferedRows | None = None
        #: Rows that travel: those of the public texts, and rows of noise if policy asks for them.
        self._expected_rows = 0
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
        """Return N, d_A and d_B once the client has said what it aligns."""
        if self._offer is None:
            return {}
        rows, provider_dim = self._offer.rows.shape
        return {"rows": rows, "dim_a": provider_dim} | ({"dim_b": self._client_dim} if self._client_dim else {})

    @property
    def columns_shown(self) -> int:
        """Columns of the cross-covariance that the session has shown, or may have."""
        return self._columns if self._state in {State.RESULT, State.CONFIRMING, State.DONE} else 0

    def _release(self) -> None:
        if self._charged:
            self._refund(self._charged)
            self._charged = 0
        self._close()

    def capture(self) -> TrainingProviderState | None:
        """Return where the machine stands; None during the key, and for suites that cannot state their sums."""
        uploading = self._state in _UPLOADING
        fields = self._common(*(("sums/",) if uploading else ("key", "sums/", "noise")))
        upload = self._upload_progress() if uploading else {}
        if upload is None:
            return None
        if uploading and self._rows_received:
            fields["blobs"][f"sums/{self._rows_received}"] = self._sums
        return TrainingProviderState(
            **fields, rows=self._rows_received, charged=self._charged, columns=self._columns, **upload
        )

    def _sums(self) -> bytes | None:
        sums = require(self._evaluator).checkpoint()
        if sums is not None:
            self._rows_recorded = self._rows_received
        return sums

    def _resume(self, state: TrainingProviderState, blobs: Mapping[str, bytes]) -> None:
        self._rows_received = self._rows_recorded = state.rows
        self._charged, self._columns = state.charged, state.columns
        if self._state not in _UPLOADING:
            return
        hello = require_message(self.codec, blobs, "hello", m.TrainingHello)
        accept = require_message(self.codec, blobs, "accept", m.TrainingAccept)
        suite, session = self._agreed(accept.accept, hello.hello)
        self._offer = offer = self._find(hello.space_name, hello.dataset_digest)
        same_texts = accept.dataset_digest == offer.dataset_digest and accept.space == offer.space
        self._require_same_policy(same_texts and accept.privacy == self._terms())
        if accept.privacy is not None:
            self._noise_seed = require_blob(blobs, "noise")
        evaluator = self._begin(hello, suite, session)
        self._resume_upload(state.uploads, state.has_key, blobs)
        if self._rows_received:
            evaluator.restore(require_blob(blobs, f"sums/{self._rows_received}"), self._rows_received)

    def _handle(self, message: m.Message) -> Iterator[m.Message]:
        match message:
            case m.TrainingHello():
                yield self._on_hello(message)
            case m.RowBatch():
                yield self._on_rows(message)
            case m.Finish():
                yield from self._on_finish()
            case _:
                yield from super()._handle(message)

    def _on_hello(self, message: m.TrainingHello) -> m.TrainingAccept:
        accept, suite, session = self._greet(message.hello)
        self._offer = offer = self._find(message.space_name, message.dataset_digest)
        rows, provider_dim = offer.rows.shape
        if message.dataset_digest != offer.dataset_digest or message.rows != rows:
            raise RemoteProtocolError("The client holds other public texts.", code=ErrorCode.DATASET_MISMATCH)
        self._policy.check_training(message.rows, message.client_dim, self._limits)
        self._policy.check_noise(suite.info, message.rows, extra_rows(message.client_dim + 1), self._limits)
        self._charge(message.client_dim + 1)
        self._begin(message, suite, session)
        return m.TrainingAccept(
            accept=accept,
            provider_dim=provider_dim,
            dataset_digest=offer.dataset_digest,
            window=self._limits.upload_window,
            space=offer.space,
            total_squares=self._squares(offer),
            privacy=self._terms(),
        )

    def _squares(self, offer: OfferedRows) -> float:
        """Return the squared norm of the rows, in a pass over them unless it is known; 0 under privacy."""
        if self._policy.privacy is not None:
            return 0.0
        if offer.total_squares is None:
            return float(np.sum(offer.rows.column_norms() ** 2))
        return offer.total_squares

    def _terms(self) -> m.PrivacyTerms | None:
        privacy = self._policy.privacy
        if privacy is None:
            return None
        return m.PrivacyTerms(epsilon=privacy.epsilon, delta=privacy.delta, noise_multiplier=privacy.noise_multiplier)

    def _session_rows(self, columns: int, session: bytes) -> Rows:
        """Return the provider's rows in a session of `columns` columns: Z_A, or Z_A and noise."""
        privacy, own = self._policy.privacy, require(self._offer).rows
        if privacy is None:
            return own
        rows, provider_dim = own.shape
        plan = NoisePlan(rows, provider_dim, columns, privacy.row_norm, privacy.noise_multiplier)
        if not self._noise_seed:
            self._noise_seed = self._entropy.octets(SEED_BYTES).tobytes()
            self.record.keep("noise", self._noise_seed)
        return private_rows(own, plan, self._noise_seed, session)

    def _begin(self, hello: m.TrainingHello, suite: Suite, session: bytes) -> CovarianceEvaluator:
        """Make this side of the suite and expect the key."""
        self._client_dim, columns = hello.client_dim, hello.client_dim + 1
        count, provider_dim = require(self._offer).rows.shape
        self._expected_rows = count + (extra_rows(columns) if self._policy.privacy is not None else 0)
        shape = CovarianceShape(rows=self._expected_rows, provider_dim=provider_dim, columns=columns)
        sizes = suite.covariance_sizes(shape)
        self._expect_key(sizes.key, sizes.memory + (noise_bytes(provider_dim, columns) if self._policy.privacy else 0))
        rows = self._session_rows(columns, session)
        self._evaluator = suite.covariance_evaluator(shape, session, rows, self._entropy)
        return self._evaluator

    def _charge(self, columns: int) -> None:
        """Charge the session to the peer's accounts, to all or to none."""
        offer = require(self._offer)
        if offer.account is not None:
            offer.account.charge(columns, offer.rows.shape[0], self._policy.max_rank_fraction)
        self._charged = self._columns = columns
        if offer.privacy_account is not None and self._policy.privacy is not None:
            try:
                offer.privacy_account.charge(self._policy.privacy)
            except RemoteProtocolError:
                self._charged = 0
                if offer.account is not None:
                    offer.account.refund(columns, offer.rows.shape[0])
                raise

    def _refund(self, columns: int) -> None:
        offer = require(self._offer)
        if offer.account is not None:
            offer.account.refund(columns, offer.rows.shape[0])
        if offer.privacy_account is not None and self._policy.privacy is not None:
            offer.privacy_account.refund(self._policy.privacy)

    def _on_rows(self, message: m.RowBatch) -> m.UploadAck:
        receiver = require(self._receiver)
        receiver.require_key()
        if message.first != self._rows_received:
            raise RemoteProtocolError(
                f"Row {message.first} follows row {self._rows_received - 1}.", code=ErrorCode.SEQUENCE_BROKEN
            )
        if message.first + message.count > self._expected_rows:
            raise RemoteProtocolError("More rows arrive than the handshake named.", code=ErrorCode.SHAPE_MISMATCH)
        with self._compute_slot:
            require(self._evaluator).absorb(EncryptedRows(message.first, message.count, message.data))
        self._rows_received += message.count
        self.record.needs_snapshot |= self._rows_received - self._rows_recorded >= self._limits.rows_between_records
        return receiver.acknowledge()

    def _on_finish(self) -> Iterator[m.ResultChunk]:
        if self._rows_received != self._expected_rows:
            raise RemoteProtocolError(
                f"The client finishes after {self._rows_received} of {self._expected_rows} rows.",
                code=ErrorCode.SEQUENCE_BROKEN,
            )
        # From here on the peer may see the product, however the session ends.
        self._charged = 0
        evaluator = require(self._evaluator)
        with self._compute_slot:
            result = evaluator.finish()
        evaluator.close()
        yield from chunks(m.ResultChunk, result)
