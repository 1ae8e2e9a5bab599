"""No encryption: tests and ablations only. The protocol refuses it outside loopback and simulation."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from securealign.errors import CiphertextError, ErrorCode, LocalProtocolError
from securealign.he.entropy import Entropy
from securealign.he.forecast import CALL, LABEL_CALLS, CovarianceForecast, HeadForecast
from securealign.he.interface import (
    NUMBER_BITS,
    CovarianceShape,
    CovarianceSizes,
    EncryptedRows,
    HeadShape,
    HeadSizes,
    LabelSecrets,
    SuiteInfo,
    no_labels,
)
from securealign.limits import MAX_CHUNK_BYTES, MEBIBYTE
from securealign.matrices import BLOCK_ROWS, FloatMatrix, Rows, require_finite

_KEY = b"plaintext"
_ITEM_BYTES = 8
#: What stands for the transfer of label-only answers; the offer is a digest of the provider's seed.
_OFFER_BYTES = 8
_CHOICES = b"choices"
_TABLES = b"tables"
#: What a checkpoint of a pool holds once its tables exist.
_GARBLED = b"garbled"


def _encode(matrix: FloatMatrix) -> bytes:
    return np.ascontiguousarray(matrix, dtype="<f8").tobytes()


def _decode(data: bytes, rows: int, columns: int) -> FloatMatrix:
    if len(data) != rows * columns * _ITEM_BYTES:
        raise CiphertextError(f"A matrix has {len(data)} bytes, expected {rows * columns * _ITEM_BYTES}.")
    matrix = np.frombuffer(data, dtype="<f8").reshape(rows, columns)
    if not np.isfinite(matrix).all():
        raise CiphertextError("A matrix holds NaN or infinite values.", code=ErrorCode.COEFFICIENT_OUT_OF_RANGE)
    return matrix


class _Party:
    """A party of either job: it has the constant key and nothing to give back."""

    def key_material(self) -> bytes:
        return _KEY

    def accept_key(self, key: bytes) -> None:
        if key != _KEY:
            raise CiphertextError("The key is not the constant of the plaintext suite.")

    def close(self) -> None:
        pass


class _CovarianceClient(_Party):
    def __init__(self, shape: CovarianceShape, rows: Rows) -> None:
        self._shape, self._rows = shape, rows

    def encrypt(self, max_bytes: int, first_row: int = 0) -> Iterator[EncryptedRows]:
        piece = min(BLOCK_ROWS, max_bytes // (self._shape.columns * _ITEM_BYTES))
        for first in range(first_row, self._shape.rows, piece):
            block = self._rows.block(first, min(first + piece, self._shape.rows))
            yield EncryptedRows(first, len(block), _encode(block))

    def decrypt(self, result: bytes) -> FloatMatrix:
        return _decode(result, self._shape.provider_dim, self._shape.columns)


class _CovarianceProvider(_Party):
    def __init__(self, shape: CovarianceShape, rows: Rows) -> None:
        self._shape, self._rows = shape, rows
        self._sum = np.zeros((shape.provider_dim, shape.columns))
        self._absorbed = 0

    def absorb(self, rows: EncryptedRows) -> None:
        rows.require_next(self._absorbed, self._shape.rows)
        block = _decode(rows.data, rows.count, self._shape.columns)
        # What a peer's numbers make overflow is refused by the client.
        with np.errstate(over="ignore", invalid="ignore"):
            self._sum += self._rows.block(rows.first, rows.first + rows.count).T @ block
        self._absorbed += rows.count

    def finish(self) -> bytes:
        if self._absorbed != self._shape.rows:
            raise CiphertextError(f"{self._absorbed} of {self._shape.rows} rows have arrived.")
        return _encode(self._sum)

    def checkpoint(self) -> bytes:
        return _encode(self._sum)

    def restore(self, state: bytes, absorbed: int) -> None:
        self._sum = _decode(state, self._shape.provider_dim, self._shape.columns).copy()
        self._absorbed = absorbed


class _HeadClient(_Party):
    #: Nothing that has a scale is sent.
    head_norm = 0.0

    def __init__(self, shape: HeadShape, offer: bytes) -> None:
        self._shape = shape
        if len(offer) != _offer_bytes(shape):
            raise CiphertextError(f"An offer has {len(offer)} bytes, expected {_offer_bytes(shape)}.")
        self._offer = offer
        self._loaded: set[int] = set()
        self._chosen: set[int] = set()
        #: What has arrived of the tables of a pool.
        self._tables = b""
        #: By pool and first slot: the number of queries that were asked together.
        self._asked: dict[tuple[int, int], int] = {}

    def key_material(self) -> bytes:
        return _KEY + self._offer

    def load_pool(self, pool: int, data: bytes, nonce: bytes) -> None:
        if data:
            raise CiphertextError(f"Pool {pool} holds {len(data)} bytes; this suite has no offline phase.")
        self._loaded.add(pool)

    def choose(self, pool: int) -> bytes:
        if self._shape.labels is None:
            raise no_labels()
        _once(self._chosen, pool, self._loaded)
        return _CHOICES

    def load_tables(self, pool: int, data: bytes, *, last: bool = True) -> None:
        if self._shape.labels is None:
            raise no_labels()
        self._tables += data
        if not _TABLES.startswith(self._tables) or (last and self._tables != _TABLES):
            raise CiphertextError("The tables are not the constant of the plaintext suite.")
        if last:
            self._tables = b""

    def encrypt(self, pool: int, first_slot: int, queries: FloatMatrix) -> bytes:
        require_finite(queries, "The query matrix")
        self._asked[pool, first_slot] = len(queries)
        return _encode(queries)

    def decrypt(self, pool: int, first_slot: int, answer: bytes) -> FloatMatrix:
        matrix = _decode(answer, self._asked[pool, first_slot], self._shape.answer_columns)
        if self._shape.labels is None:
            return matrix
        labels, buckets = matrix.T
        return np.stack([np.where(np.isin(labels, range(self._shape.classes)), labels, np.nan), buckets], axis=1)

    def query_scales(self, pool: int, first_slot: int) -> bytes:
        return self._asked[pool, first_slot].to_bytes(4, "little")

    def restore_pool(self, pool: int, data: bytes, nonce: bytes, query_scales: Mapping[int, bytes]) -> None:
        self.load_pool(pool, data, nonce)
        self._asked.update({(pool, slot): int.from_bytes(count, "little") for slot, count in query_scales.items()})

    def retire(self, pool: int) -> None:
        self._loaded.discard(pool)
        self._chosen.discard(pool)
        self._asked = {place: count for place, count in self._asked.items() if place[0] != pool}


class _HeadProvider(_Party):
    def __init__(
        self, shape: HeadShape, weight: FloatMatrix, bias: FloatMatrix, labels: LabelSecrets | None = None
    ) -> None:
        require_finite(np.vstack([weight, bias]), "The head")
        self._shape, self._weight, self._bias = shape, weight, bias
        self._labels = labels
        self._prepared: set[int] = set()
        self._chosen: set[int] = set()
        self._garbled: set[int] = set()

    def offer(self) -> bytes:
        if self._labels is None:
            return b""
        return hashlib.sha256(self._labels.transfer_seed).digest()[:_OFFER_BYTES]

    def accept_key(self, key: bytes) -> None:
        if key != _KEY + self.offer():
            raise CiphertextError("The key is not the constant of the plaintext suite, or answers another offer.")

    def prepare(self, pool: int, nonce: bytes) -> bytes:
        self._prepared.add(pool)
        return b""

    def garble(self, pool: int, choices: bytes) -> Iterator[bytes]:
        if self._labels is None:
            raise no_labels()
        if choices != _CHOICES:
            raise CiphertextError("The choices are not the constant of the plaintext suite.")
        _once(self._chosen, pool, self._prepared)
        return self._made(pool)

    def _made(self, pool: int) -> Iterator[bytes]:
        yield _TABLES
        self._garbled.add(pool)

    def evaluate(self, pool: int, first_slot: int, count: int, query: bytes) -> bytes:
        queries = _decode(query, count, self._shape.provider_dim)
        with np.errstate(over="ignore", invalid="ignore"):
            logits = queries @ self._weight + self._bias
        if self._labels is None:
            return _encode(logits)
        if pool not in self._garbled:
            raise LocalProtocolError(f"Pool {pool} has no tables.")
        largest = logits[:, :-1].max(axis=1, initial=-np.inf)
        buckets = (largest[:, None] > self._labels.thresholds).sum(axis=1)
        return _encode(np.stack([logits.argmax(axis=1), buckets], axis=1))

    def retire(self, pool: int) -> None:
        for pools in (self._prepared, self._chosen, self._garbled):
            pools.discard(pool)

    def checkpoint(self, pool: int) -> bytes:
        return _GARBLED if pool in self._garbled else b""

    def restore_pool(self, pool: int, state: bytes) -> None:
        self._prepared.add(pool)
        if state == _GARBLED:
            self._garbled.add(pool)


def _offer_bytes(shape: HeadShape) -> int:
    return 0 if shape.labels is None else _OFFER_BYTES


def _once(done: set[int], pool: int, ready: set[int]) -> None:
    """Note what is done with a pool; raises `LocalProtocolError` for one that is not ready or for which it was done."""
    if pool in done or pool not in ready:
        raise LocalProtocolError(f"Pool {pool} is not at the step before its choices.")
    done.add(pool)


def _answer_bits(shape: HeadShape) -> int:
    if shape.labels is None:
        return shape.classes * NUMBER_BITS
    return max(1, (shape.classes - 1).bit_length() + shape.labels.buckets)


@dataclass(frozen=True)
class PlaintextSuite:
    """Matrices in clear, with the message flow of a real suite."""

    @property
    def info(self) -> SuiteInfo:
        """What the suite offers: nothing."""
        return SuiteInfo(
            name="plaintext",
            parameter_set="plaintext",
            parameter_digest=hashlib.sha256(b"securealign/plaintext").digest(),
            classical_bits=0,
            quantum_bits=0,
            exact=True,
            function_private=False,
            restorable=True,
            offline_phase=False,
            label_only=True,
        )

    def covariance_sizes(self, shape: CovarianceShape) -> CovarianceSizes:
        """Return the sizes of the constant key and of a float64 matrix."""
        result = shape.provider_dim * shape.columns * _ITEM_BYTES
        blocks = BLOCK_ROWS * (shape.provider_dim + shape.columns) * _ITEM_BYTES
        return CovarianceSizes(key=len(_KEY), result=result, memory=4 * (result + blocks) + MEBIBYTE)

    def head_sizes(self, shape: HeadShape) -> HeadSizes:
        """Return the sizes of constants; pools are empty."""
        if shape.labels is None:
            shape.require_full_logits(self.info.name)
        batch = MAX_CHUNK_BYTES // (max(shape.provider_dim, shape.classes) * _ITEM_BYTES)
        answer = batch * shape.answer_columns * _ITEM_BYTES
        offer = _offer_bytes(shape)
        kept = 4 * shape.slots * (shape.classes * _ITEM_BYTES + 512)
        return HeadSizes(
            key=len(_KEY) + offer,
            pool=0,
            batch=batch,
            answer=answer,
            answer_bits=_answer_bits(shape),
            memory=4 * (MAX_CHUNK_BYTES + answer) + kept + MEBIBYTE,
            offer=offer,
            choices=len(_CHOICES) if shape.labels else 0,
            tables=len(_TABLES) if shape.labels else 0,
        )

    def covariance_forecast(self, shape: CovarianceShape) -> CovarianceForecast:
        """Return the messages and the work of a product in clear."""
        row = shape.columns * _ITEM_BYTES
        block = BLOCK_ROWS * (shape.provider_dim + shape.columns) * _ITEM_BYTES
        result = shape.provider_dim * shape.columns * _ITEM_BYTES
        return CovarianceForecast(
            tile=min(BLOCK_ROWS, MAX_CHUNK_BYTES // row),
            header_bytes=0,
            row_bytes=row,
            client_memory=2 * block + 3 * result,
            provider_memory=2 * block + 3 * result,
            relative_error=2.0**-52,
            work={
                **{call: {CALL: 1} for call in ("key", "make", "accept_key")},
                **{call: {CALL: 1, "moved": shape.provider_dim * shape.columns} for call in ("decrypt", "finish")},
                "encrypt": {"moved": shape.columns, "whitened": shape.columns**2},
                "absorb": {"multiplied": shape.provider_dim * shape.columns, "moved": shape.columns},
            },
        )

    def head_forecast(self, shape: HeadShape) -> HeadForecast:
        """Return the messages and the work of a layer in clear."""
        query, answer = shape.provider_dim * _ITEM_BYTES, shape.answer_columns * _ITEM_BYTES
        return HeadForecast(
            query_header_bytes=0,
            query_bytes=query,
            answer_header_bytes=0,
            answer_bytes=answer,
            client_memory=shape.slots * (query + answer),
            provider_memory=shape.slots * (query + answer),
            relative_error=2.0**-52,
            work={
                **{call: {CALL: 1} for call in ("key", "load_pool", "make", "accept_key", "prepare")},
                "encrypt": {CALL: 1, "moved": shape.provider_dim},
                "decrypt": {CALL: 1, "moved": shape.classes},
                "evaluate": {CALL: 1, "multiplied": shape.provider_dim * shape.classes},
                **{call: {CALL: 1} for call in (LABEL_CALLS if shape.labels else ())},
            },
        )

    def covariance_encryptor(
        self, shape: CovarianceShape, session: bytes, rows: Rows, entropy: Entropy
    ) -> _CovarianceClient:
        """Make the client's side of a covariance."""
        return _CovarianceClient(shape, rows)

    def covariance_evaluator(
        self, shape: CovarianceShape, session: bytes, rows: Rows, entropy: Entropy
    ) -> _CovarianceProvider:
        """Make the provider's side of a covariance."""
        return _CovarianceProvider(shape, rows)

    def head_encryptor(self, shape: HeadShape, session: bytes, entropy: Entropy, offer: bytes = b"") -> _HeadClient:
        """Make the client's side of a head."""
        return _HeadClient(shape, offer)

    def head_evaluator(
        self,
        shape: HeadShape,
        session: bytes,
        weight: FloatMatrix,
        bias: FloatMatrix,
        entropy: Entropy,
        *,
        labels: LabelSecrets | None = None,
    ) -> _HeadProvider:
        """Make the provider's side of a head."""
        return _HeadProvider(shape, weight, bias, labels)
