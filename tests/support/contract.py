"""Sessions of any suite, whose blobs a test may keep, alter or swap, and the measures of what they give."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import NamedTuple

import numpy as np

from securealign.errors import SecurealignError
from securealign.he.entropy import SystemEntropy
from securealign.he.interface import CovarianceEvaluator, CovarianceShape, EncryptedRows, HeadShape, Suite
from securealign.limits import MAX_CHUNK_BYTES
from securealign.matrices import FloatMatrix, Rows

from .pools import NONCE

SESSION = bytes(range(32))
OTHER_SESSION = bytes(range(1, 33))

#: Largest error of an entry, relative to the norms of the two vectors that made it: nine times the standard deviation
#: of 1.06e-5 that a plan of lwe promises for the worst data; the other suites stay well below.
TOLERANCE = 1e-4
#: What counts as zero where a vector of zeros makes the norms zero.
NOTHING = 1e-80

#: Every blob that travels, in the order of the protocol.
KINDS = ("covariance key", "rows", "result", "head key", "pool", "query", "answer")

Alter = Callable[[bytes], bytes]


def product_error(decrypted: FloatMatrix, left: FloatMatrix, right: FloatMatrix) -> float:
    """Return the largest error of an entry of left^T right, relative to the norms of its two columns."""
    norms = np.linalg.norm(left, axis=0)[:, None] * np.linalg.norm(right, axis=0)
    return _relative(decrypted - left.T @ right, norms)


def logit_bound(weight: FloatMatrix, bias: FloatMatrix, queries: FloatMatrix) -> FloatMatrix:
    """Return the norm of each [z; 1] times that of the largest [V_k; c_k], shape (count, 1).

    One scale serves all classes, lest it tell the client how large each of them is.
    """
    largest = np.linalg.norm(np.vstack([weight, bias]), axis=0).max()
    return largest * np.linalg.norm(np.hstack([queries, np.ones((len(queries), 1))]), axis=1, keepdims=True)


def logit_error(logits: FloatMatrix, weight: FloatMatrix, bias: FloatMatrix, queries: FloatMatrix) -> float:
    """Return the largest error of a logit, relative to the norms of its query and of the largest class."""
    bound = np.broadcast_to(logit_bound(weight, bias, queries), logits.shape)
    return _relative(logits - (queries @ weight + bias), bound)


def _relative(errors: FloatMatrix, norms: FloatMatrix) -> float:
    excess = np.maximum(np.abs(errors) - NOTHING, 0)
    return float(np.divide(excess, norms, out=np.where(excess > 0, np.inf, excess), where=norms > 0).max())


class CovarianceSession:
    """A client of a covariance, and as many providers as a test asks for, one after the other."""

    def __init__(
        self,
        suite: Suite,
        left: FloatMatrix,
        right: FloatMatrix,
        *,
        session: bytes = SESSION,
        max_bytes: int = MAX_CHUNK_BYTES,
    ) -> None:
        self.suite, self.left, self.right = suite, left, right
        self.shape = CovarianceShape(rows=len(left), provider_dim=left.shape[1], columns=right.shape[1])
        self._session = session
        self.max_bytes = max_bytes
        self.encryptor = suite.covariance_encryptor(self.shape, session, Rows(right), SystemEntropy())
        self.key = self.encryptor.key_material()

    @cached_property
    def pieces(self) -> list[EncryptedRows]:
        """All rows, encrypted."""
        return list(self.encryptor.encrypt(self.max_bytes))

    @contextmanager
    def evaluator(self, key: bytes | None = None) -> Iterator[CovarianceEvaluator]:
        """A fresh provider that holds a key, the client's unless told otherwise."""
        evaluator = self.suite.covariance_evaluator(self.shape, self._session, Rows(self.left), SystemEntropy())
        with closing(evaluator):
            evaluator.accept_key(self.key if key is None else key)
            yield evaluator

    def evaluate(self, *, key: bytes | None = None, pieces: list[EncryptedRows] | None = None) -> bytes:
        """Return what a fresh provider makes of a key and rows, the client's unless told otherwise."""
        with self.evaluator(key) as evaluator:
            for piece in self.pieces if pieces is None else pieces:
                evaluator.absorb(piece)
            return evaluator.finish()

    @cached_property
    def result(self) -> bytes:
        """The encrypted product."""
        return self.evaluate()

    @cached_property
    def product(self) -> FloatMatrix:
        """The product as the client decrypts it."""
        return self.encryptor.decrypt(self.result)

    def close(self) -> None:
        """Close the client."""
        self.encryptor.close()


class Query(NamedTuple):
    """Encrypted queries in consecutive slots of a pool."""

    pool: int
    first_slot: int
    count: int
    data: bytes


class HeadSession:
    """Both parties of a head that hold each other's key material; pools are prepared when slots run out."""

    def __init__(
        self, suite: Suite, weight: FloatMatrix, bias: FloatMatrix, slots: int, *, session: bytes = SESSION
    ) -> None:
        self.suite, self.weight, self.bias = suite, weight, bias
        self.shape = HeadShape(provider_dim=weight.shape[0], classes=weight.shape[1], slots=slots)
        self.sizes = suite.head_sizes(self.shape)
        self._session = session
        self._numbers = count()
        self._pool, self._free = -1, range(0)
        with ExitStack() as stack:
            self.encryptor = stack.enter_context(closing(suite.head_encryptor(self.shape, session, SystemEntropy())))
            self.key = self.encryptor.key_material()
            self.evaluator = stack.enter_context(closing(self.new_evaluator()))
            self.evaluator.accept_key(self.key)
            self._close = stack.pop_all().close

    def new_evaluator(self):
        """Return a fresh provider without a key."""
        return self.suite.head_evaluator(self.shape, self._session, self.weight, self.bias, SystemEntropy())

    def new_pool(self) -> int:
        """Return a number that no pool had before."""
        return next(self._numbers)

    def encrypt(self, queries: FloatMatrix) -> Query:
        """Encrypt queries into slots of a pool that has room for them."""
        if len(queries) > len(self._free):
            self._pool, self._free = self.new_pool(), range(self.shape.slots)
            self.encryptor.load_pool(self._pool, self.evaluator.prepare(self._pool, NONCE), NONCE)
        first, self._free = self._free[0], self._free[len(queries) :]
        return Query(self._pool, first, len(queries), self.encryptor.encrypt(self._pool, first, queries))

    def evaluate(self, query: Query, data: bytes | None = None) -> bytes:
        """Return the answer to a query, or to other bytes in its place."""
        return self.evaluator.evaluate(*query[:3], query.data if data is None else data)

    def decrypt(self, query: Query, answer: bytes) -> FloatMatrix:
        """Return the logits in an answer."""
        return self.encryptor.decrypt(query.pool, query.first_slot, answer)

    def logits(self, queries: FloatMatrix) -> FloatMatrix:
        """Return the logits of any number of queries, in the largest batches that fit."""
        batch = min(self.sizes.batch, self.shape.slots)
        parts = [self.encrypt(queries[first : first + batch]) for first in range(0, len(queries), batch)]
        return np.vstack([self.decrypt(part, self.evaluate(part)) for part in parts])

    def close(self) -> None:
        """Close both parties."""
        self._close()


class Dimensions(NamedTuple):
    """The shapes of an exchange; all differ, so that none is taken for another."""

    rows: int = 5
    provider_dim: int = 3
    client_dim: int = 2
    features: int = 4
    classes: int = 2
    slots: int = 6


DIMENSIONS = Dimensions()


class Exchange:
    """A covariance and a head of one suite: a blob of every kind, and the parties that receive them."""

    def __init__(
        self, suite: Suite, dimensions: Dimensions = DIMENSIONS, *, session: bytes = SESSION, scale: float = 1.0
    ) -> None:
        random = np.random.default_rng(7)
        self.suite = suite
        self.left = random.normal(size=(dimensions.rows, dimensions.provider_dim)) * scale
        self.right = random.normal(size=(dimensions.rows, dimensions.client_dim)) * scale
        self.weight = random.normal(size=(dimensions.features, dimensions.classes)) * scale
        self.bias = random.normal(size=dimensions.classes) * scale
        self.queries = random.normal(size=(1, dimensions.features)) * scale
        self._slots = dimensions.slots
        self._session = session
        self._open()

    def _open(self) -> None:
        with ExitStack() as stack:
            covariance = CovarianceSession(self.suite, self.left, self.right, session=self._session)
            self.covariance = stack.enter_context(closing(covariance))
            head = HeadSession(self.suite, self.weight, self.bias, self._slots, session=self._session)
            self.head = stack.enter_context(closing(head))
            self._query = head.encrypt(self.queries)
            answer = head.evaluate(self._query)
            blobs = (
                covariance.key,
                covariance.pieces[0].data,
                covariance.result,
                head.key,
                b"",
                self._query.data,
                answer,
            )
            self.blobs = dict(zip(KINDS, blobs, strict=True))
            self._prepare_spare()
            self.close = stack.pop_all().close

    def _prepare_spare(self) -> None:
        self._spare = self.head.new_pool()
        self.blobs["pool"] = self.head.evaluator.prepare(self._spare, NONCE)

    @property
    def layout(self) -> dict[str, list[int]]:
        """The sizes of all blobs, by kind."""
        rows = [number for piece in self.covariance.pieces for number in (piece.first, piece.count, len(piece.data))]
        return {kind: [len(data)] for kind, data in self.blobs.items()} | {"rows": rows}

    def receive(self, kind: str, data: bytes) -> FloatMatrix:
        """Hand `data` to a party as a blob of `kind`, honest otherwise, and return what the client decrypts at last."""
        return self._receive_head(kind, data) if kind in KINDS[3:] else self._receive_covariance(kind, data)

    def _receive_covariance(self, kind: str, data: bytes) -> FloatMatrix:
        covariance = self.covariance
        match kind:
            case "covariance key":
                data = covariance.evaluate(key=data)
            case "rows":
                first, *rest = covariance.pieces
                data = covariance.evaluate(pieces=[EncryptedRows(first.first, first.count, data), *rest])
        return covariance.encryptor.decrypt(data)

    def _receive_head(self, kind: str, data: bytes) -> FloatMatrix:
        head = self.head
        match kind:
            case "head key":
                with closing(head.new_evaluator()) as evaluator:
                    evaluator.accept_key(data)
                    pool = head.new_pool()
                    head.encryptor.load_pool(pool, evaluator.prepare(pool, NONCE), NONCE)
                    answer = evaluator.evaluate(pool, 0, 1, head.encryptor.encrypt(pool, 0, self.queries))
                    return head.encryptor.decrypt(pool, 0, answer)
            case "pool":
                pool = self._spare
                head.encryptor.load_pool(pool, data, NONCE)
                self._prepare_spare()
                answer = head.evaluator.evaluate(pool, 0, 1, head.encryptor.encrypt(pool, 0, self.queries))
                return head.encryptor.decrypt(pool, 0, answer)
            case "query":
                data = head.evaluate(self._query, data)
        return head.decrypt(self._query, data)

    def attempt(self, kind: str, alter: Alter) -> FloatMatrix | SecurealignError:
        """Return what comes of an altered blob: numbers of the right shape, or the error that refused it.

        Any other exception passes. Parties that did not survive are replaced.
        """
        try:
            received = self.receive(kind, alter(self.blobs[kind]))
        except SecurealignError as error:
            self._revive()
            return error
        shape = (1, len(self.bias)) if kind in KINDS[3:] else (self.left.shape[1], self.right.shape[1])
        assert received.shape == shape
        # NaN stands for an answer that lies beyond what the head can give.
        assert not np.isinf(received).any()
        return received

    def _revive(self) -> None:
        try:
            for kind in ("result", "query"):
                self.receive(kind, self.blobs[kind])
        except SecurealignError:
            self.close()
            self._open()

    def is_right(self, kind: str, received: FloatMatrix) -> bool:
        """Return whether numbers are the ones that the unaltered blob gives."""
        if kind in KINDS[3:]:
            return logit_error(received, self.weight, self.bias, self.queries) <= TOLERANCE
        return product_error(received, self.left, self.right) <= TOLERANCE


def flip(data: bytes, byte: int, bit: int) -> bytes:
    """Return `data` with one bit turned over."""
    return data[:byte] + bytes([data[byte] ^ (1 << bit)]) + data[byte + 1 :]


def wrong_lengths(data: bytes) -> list[bytes]:
    """Return `data` at lengths that it does not have."""
    shorter = {0, 1, len(data) // 2, len(data) - 1} if data else set()
    return [*(data[:length] for length in sorted(shorter)), data + b"\0", data + data + b"\0"]


def alterations(examples: int, header: int = 96) -> Iterator[Alter]:
    """Yield ways to alter a blob without changing its length: bits of its header and body, and all of either."""
    random = np.random.default_rng(1)
    for number in range(examples):
        place, bit = random.random(), int(random.integers(8))
        span = header if number % 2 else None
        yield lambda data, place=place, bit=bit, span=span: flip(
            data, int(place * min(len(data), span or len(data))), bit
        )
    yield lambda data: flip(data, len(data) - 1, 7)
    yield lambda data: data[:header] + random.bytes(max(0, len(data) - header))
    yield lambda data: data[:header] + bytes(max(0, len(data) - header))
    yield lambda data: random.bytes(len(data))
    yield lambda data: bytes(len(data))


def equal_share(left: bytes, right: bytes) -> float:
    """Return the share of bytes that two strings have in common, place by place, zeros of both aside."""
    first, second = (np.frombuffer(data, np.uint8) for data in (left, right))
    meaningful = (first | second) > 0
    return float((first == second)[meaningful].mean())


def shows(blob: bytes, values: FloatMatrix) -> bool:
    """Return whether a blob holds the last 48 bits of a mantissa, which scaling by powers of two does not change."""
    return any(number.tobytes()[:6] in blob for number in np.ascontiguousarray(values, dtype="<f8").ravel())


def child_processes() -> set[int]:
    """Return the children of this process; none where the system does not tell."""
    tasks = Path("/proc/self/task").glob("*/children")
    return {int(pid) for task in tasks for pid in task.read_text().split()}
