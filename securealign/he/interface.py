"""What a suite is: two jobs, each split between a party that holds keys and a party that evaluates.

A **covariance** multiplies the provider's public-data embeddings with the client's encrypted ones. A **head** applies
the provider's linear layer to encrypted queries in slots that are used once. An evaluator is made without any secret
key and has no way to receive one. All byte strings are opaque to the protocol, which only knows their largest sizes; a
suite checks what a peer sent before it uses it and raises `CiphertextError`.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from securealign.errors import CiphertextError, ErrorCode, LocalProtocolError, SuiteError
from securealign.he.entropy import Entropy
from securealign.he.forecast import CovarianceForecast, HeadForecast
from securealign.matrices import FloatMatrix, Rows

#: What a float64 holds; the most that a logit does in a suite that has no smaller bound.
NUMBER_BITS = 64


@dataclass(frozen=True, kw_only=True)
class SuiteInfo:
    """What a suite offers and promises."""

    #: Name in configurations and in the handshake, such as "lwe".
    name: str
    #: Name of the parameter set, such as "lwe-128".
    parameter_set: str
    #: SHA-256 of all parameters, 32 bytes.
    parameter_digest: bytes
    #: Estimated security in bits, classical and post-quantum; 0 means none.
    classical_bits: int
    quantum_bits: int
    #: Whether results are exact up to the rounding of inputs, without approximation noise that depends on the data.
    exact: bool
    #: Whether an answer hides everything about the provider's operand except the product itself.
    function_private: bool
    #: Whether a client's side can be made again from the same entropy, after its process has died.
    restorable: bool
    #: Whether work before the query is known makes the online phase cheaper.
    offline_phase: bool
    #: Whether an answer can be a label that shows nothing else of the logits.
    label_only: bool = False

    @property
    def encrypts(self) -> bool:
        """Whether the suite protects anything at all."""
        return self.classical_bits > 0


@dataclass(frozen=True, kw_only=True)
class CovarianceShape:
    """Dimensions of one training session; `columns` counts the constant column."""

    rows: int
    provider_dim: int
    columns: int


@dataclass(frozen=True, kw_only=True)
class LabelTerms:
    """How label-only answers are computed: docs/label-spec.md."""

    #: t, the top bits of each difference of logits that take part.
    bits: int = 16
    #: Parts of a comparison that run side by side.
    segments: int = 4
    #: Thresholds that the largest difference is compared with; each shows one more bit.
    buckets: int = 0


@dataclass(frozen=True, kw_only=True)
class HeadShape:
    """Dimensions of one inference session; `slots` queries fit in a pool."""

    provider_dim: int
    classes: int
    slots: int
    #: Bits that the provider lets a logit hold at most; None for what the suite gives.
    logit_bits: int | None = None
    #: Set where answers are labels and no logits; `classes` then counts the class that stands for no answer.
    labels: LabelTerms | None = None

    @property
    def answer_columns(self) -> int:
        """Numbers of an answer: a logit for each class, or the label and the bucket."""
        return self.classes if self.labels is None else 2

    def require_full_logits(self, suite: str) -> None:
        """Raise `SuiteError` when less than full logits are asked of a suite that cannot give less."""
        if self.labels is not None:
            raise SuiteError(
                f"Policy asks for labels without logits, which the suite {suite!r} cannot give.",
                hint='Use the suite lwe, or set output = "logits".',
                code=ErrorCode.OUTPUT_REFUSED,
            )
        if self.logit_bits is not None:
            raise SuiteError(
                f"Policy asks for logits of {self.logit_bits} bits, and the suite {suite!r} gives all of them or none.",
                hint="Use the suite lwe, or set no output_bits.",
                code=ErrorCode.OUTPUT_REFUSED,
            )


@dataclass(frozen=True, kw_only=True)
class LabelSecrets:
    """What the provider's side needs besides its head for label-only answers."""

    #: 32 secret bytes from which the transfer derives, so that it can be made again.
    transfer_seed: bytes = field(repr=False)
    #: Thresholds of the buckets, ascending, in the unit of logits.
    thresholds: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class CovarianceSizes:
    """Largest sizes in bytes of what travels in training; the receiver refuses more before it allocates."""

    key: int
    result: int
    #: What the provider's side holds at most while the session runs.
    memory: int


@dataclass(frozen=True, kw_only=True)
class HeadSizes:
    """Largest sizes in bytes of what travels in inference; `batch` is the number of queries that fit in one chunk."""

    key: int
    pool: int
    batch: int
    #: The answer to `batch` queries.
    answer: int
    #: Bits that the logits of one query can hold together, whatever the query is. What an answer of a suite that is
    #: not function private shows beside its logits is not counted.
    answer_bits: int
    #: What the provider's side holds at most while the session runs.
    memory: int
    #: The provider's offer of a transfer, and of each pool the client's choices and, exactly, the provider's tables: 0
    #: without label-only answers.
    offer: int = 0
    choices: int = 0
    tables: int = 0


@dataclass(frozen=True)
class EncryptedRows:
    """`count` encrypted rows starting at row `first`."""

    first: int
    count: int
    data: bytes

    def require_next(self, absorbed: int, total: int) -> None:
        """Raise `CiphertextError` unless these rows follow the first `absorbed` of `total`."""
        if self.first != absorbed or not 0 < self.count <= total - self.first:
            raise CiphertextError(f"Rows {self.first} to {self.first + self.count} are not the next ones.")


class WithoutLabelsClient:
    """The client's side of a head whose answers are logits."""

    def choose(self, pool: int) -> bytes:
        """Raise `LocalProtocolError`: the suite has no label-only answers."""
        raise no_labels()

    def load_tables(self, pool: int, data: bytes, *, last: bool = True) -> None:
        """Raise `LocalProtocolError`: the suite has no label-only answers."""
        raise no_labels()


class WithoutLabelsProvider:
    """The provider's side of a head whose answers are logits."""

    def offer(self) -> bytes:
        """Return nothing: the suite has no label-only answers."""
        return b""

    def garble(self, pool: int, choices: bytes) -> Iterator[bytes]:
        """Raise `LocalProtocolError`: the suite has no label-only answers."""
        raise no_labels()


def no_labels() -> LocalProtocolError:
    """Return the error of a call that only label-only answers have."""
    return LocalProtocolError("This session's answers are logits; it has neither choices nor tables.")


class CovarianceEncryptor(Protocol):
    """The client's side of a covariance: owns the secret key and its rows."""

    def key_material(self) -> bytes:
        """Return the public part of the key."""

    def encrypt(self, max_bytes: int, first_row: int = 0) -> Iterator[EncryptedRows]:
        """Yield the rows from `first_row` on in order, encrypted, in pieces of at most `max_bytes`.

        Beyond row 0 it goes on where an encryptor of the same session and entropy ended; a restorable suite can.
        """

    def decrypt(self, result: bytes) -> FloatMatrix:
        """Return Z_A^T Z_B, shape (provider_dim, columns); raises `CiphertextError` for malformed bytes."""

    def close(self) -> None:
        """Give back keys, memory and processes; idempotent, and nothing else is called afterwards."""


class CovarianceEvaluator(Protocol):
    """The provider's side of a covariance: owns its rows and sees ciphertexts only."""

    def accept_key(self, key: bytes) -> None:
        """Take the public part of the client's key; raises `CiphertextError` for malformed bytes."""

    def absorb(self, rows: EncryptedRows) -> None:
        """Multiply the next rows with the provider's own; raises `CiphertextError` for malformed bytes."""

    def finish(self) -> bytes:
        """Return the encrypted product of all rows, sanitised; call once."""

    def checkpoint(self) -> bytes | None:
        """Return the sums so far, for `restore`; None if the suite cannot export them. Secret: they show the rows."""

    def restore(self, state: bytes, absorbed: int) -> None:
        """Go on after `absorbed` rows from a checkpoint, with the same key; raises `KeyStoreError` for another one."""

    def close(self) -> None:
        """Give back keys, memory and processes; idempotent, and nothing else is called afterwards."""


class HeadEncryptor(Protocol):
    """The client's side of a head: owns the secret key and the queries."""

    def key_material(self) -> bytes:
        """Return the public part of the key."""

    def load_pool(self, pool: int, data: bytes, nonce: bytes) -> None:
        """Take the provider's offline material of a pool that was asked for with a nonce of 32 bytes.

        Raises `CiphertextError` for malformed bytes.
        """

    def choose(self, pool: int) -> bytes:
        """Return the choices of a loaded pool, once; for label-only answers."""

    def load_tables(self, pool: int, data: bytes, *, last: bool = True) -> None:
        """Take the next piece of the tables for the choices of a pool, whose slots are free after the `last`.

        Raises `CiphertextError` for malformed bytes and for too few or too many.
        """

    @property
    def head_norm(self) -> float:
        """Norm of the provider's classes, weight and bias, as far as their scale shows it; 0 before it has."""

    def encrypt(self, pool: int, first_slot: int, queries: FloatMatrix) -> bytes:
        """Encrypt queries of shape (count, provider_dim) into consecutive slots that were never used before."""

    def decrypt(self, pool: int, first_slot: int, answer: bytes) -> FloatMatrix:
        """Return the logits of the queries in these slots, shape (count, classes).

        For label-only answers, shape (count, 2): the index of the class, NaN where none is known, and the number of
        thresholds that the largest difference exceeds.
        """

    def query_scales(self, pool: int, first_slot: int) -> bytes:
        """Return what `decrypt` needs for the queries in these slots beyond the key and the pool."""

    def restore_pool(self, pool: int, data: bytes, nonce: bytes, query_scales: Mapping[int, bytes]) -> None:
        """Take a pool again for answers that are outstanding, by first slot; it encrypts no query any more.

        For label-only answers `load_tables` follows.
        """

    def retire(self, pool: int) -> None:
        """Forget a pool whose queries are all answered; idempotent."""

    def close(self) -> None:
        """Give back keys, memory and processes; idempotent, and nothing else is called afterwards."""


class HeadEvaluator(Protocol):
    """The provider's side of a head: owns weight and bias and sees ciphertexts only."""

    def accept_key(self, key: bytes) -> None:
        """Take the public part of the client's key; raises `CiphertextError` for malformed bytes."""

    def offer(self) -> bytes:
        """Return the offer of a transfer that the client's key answers; empty without label-only answers."""

    def prepare(self, pool: int, nonce: bytes) -> bytes:
        """Return the offline material of a pool asked for with a nonce; empty for a suite without an offline phase."""

    def garble(self, pool: int, choices: bytes) -> Iterator[bytes]:
        """Return the tables for a client's choices in pieces, `HeadSizes.tables` bytes in all, once for each pool.

        A restored pool gives the same tables again for the same choices. Its slots answer once the last piece is made.
        Raises `CiphertextError` for malformed choices before there is a piece.
        """

    def evaluate(self, pool: int, first_slot: int, count: int, query: bytes) -> bytes:
        """Return the encrypted logits of `count` queries, sanitised; raises `CiphertextError` for malformed bytes."""

    def retire(self, pool: int) -> None:
        """Forget a pool."""

    def checkpoint(self, pool: int) -> bytes:
        """Return what `evaluate` needs of a pool, for `restore_pool`. Secret: it unmasks answers."""

    def restore_pool(self, pool: int, state: bytes) -> None:
        """Take a pool again, with the same key; raises `KeyStoreError` for bytes that are none of it."""

    def close(self) -> None:
        """Give back keys, memory and processes; idempotent, and nothing else is called afterwards."""


class Suite(Protocol):
    """A suite under one parameter set: makes the four parties of its two jobs."""

    @property
    def info(self) -> SuiteInfo:
        """What the suite offers."""

    def covariance_sizes(self, shape: CovarianceShape) -> CovarianceSizes:
        """Return the largest sizes of a covariance's key and result."""

    def head_sizes(self, shape: HeadShape) -> HeadSizes:
        """Return the largest sizes of a head's key and pool, and how many queries fit in one chunk."""

    def covariance_forecast(self, shape: CovarianceShape) -> CovarianceForecast:
        """Return the messages and the work of a covariance; raises `SuiteError` when the suite cannot hold it."""

    def head_forecast(self, shape: HeadShape) -> HeadForecast:
        """Return the messages and the work of a head; raises `SuiteError` when the suite cannot hold it."""

    def covariance_encryptor(
        self, shape: CovarianceShape, session: bytes, rows: Rows, entropy: Entropy
    ) -> CovarianceEncryptor:
        """Make the client's side for `rows` of shape (shape.rows, shape.columns)."""

    def covariance_evaluator(
        self, shape: CovarianceShape, session: bytes, rows: Rows, entropy: Entropy
    ) -> CovarianceEvaluator:
        """Make the provider's side for `rows` of shape (shape.rows, shape.provider_dim)."""

    def head_encryptor(self, shape: HeadShape, session: bytes, entropy: Entropy, offer: bytes = b"") -> HeadEncryptor:
        """Make the client's side; `offer` is the provider's offer of a transfer."""

    def head_evaluator(
        self,
        shape: HeadShape,
        session: bytes,
        weight: FloatMatrix,
        bias: FloatMatrix,
        entropy: Entropy,
        *,
        labels: LabelSecrets | None = None,
    ) -> HeadEvaluator:
        """Make the provider's side for `weight` of shape (provider_dim, classes) and `bias` of shape (classes,).

        `labels` is given exactly where the shape asks for labels.
        """


@dataclass(frozen=True)
class Entry:
    """A suite in a catalogue: how to make it, and whether it can run here."""

    make: Callable[[], Suite]
    summary: str
    #: Returns what is missing and what to do about it, or nothing.
    unavailable: Callable[[], str] = lambda: ""
