"""A stand-in for a suite: its messages have the right sizes and hold zeros; the time of its work goes to a clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from securealign.harness.planning.speeds import Speeds
from securealign.he import interface as he
from securealign.he.entropy import Entropy
from securealign.he.forecast import CovarianceForecast, HeadForecast, Work
from securealign.matrices import FloatMatrix, Rows


class ChargedClock:
    """Real time plus the charged seconds: the protocol machines are measured, the work of a suite is charged."""

    def __init__(self) -> None:
        self._charged = 0.0

    def __call__(self) -> float:
        """Return a reading in seconds."""
        return time.perf_counter() + self._charged

    def charge(self, seconds: float) -> None:
        """Add seconds to every later reading."""
        self._charged += seconds


class PhantomSuite:
    """Stands in for a suite; only the protocol machines of a plan are given one."""

    def __init__(self, suite: he.Suite, speeds: Speeds, clock: ChargedClock) -> None:
        self._speeds = speeds
        self._clock = clock
        self.info = suite.info
        self.covariance_sizes, self.covariance_forecast = suite.covariance_sizes, suite.covariance_forecast
        self.head_sizes, self.head_forecast = suite.head_sizes, suite.head_forecast

    def covariance_encryptor(
        self, shape: he.CovarianceShape, session: bytes, rows: Rows, entropy: Entropy
    ) -> _Covariance:
        """Make the client's side of a covariance."""
        return self._covariance(shape, "key")

    def covariance_evaluator(
        self, shape: he.CovarianceShape, session: bytes, rows: Rows, entropy: Entropy
    ) -> _Covariance:
        """Make the provider's side of a covariance."""
        return self._covariance(shape, "make")

    def head_encryptor(self, shape: he.HeadShape, session: bytes, entropy: Entropy, offer: bytes = b"") -> _Head:
        """Make the client's side of a head."""
        return self._head(shape, "key")

    def head_evaluator(
        self,
        shape: he.HeadShape,
        session: bytes,
        weight: FloatMatrix,
        bias: FloatMatrix,
        entropy: Entropy,
        *,
        labels: he.LabelSecrets | None = None,
    ) -> _Head:
        """Make the provider's side of a head."""
        return self._head(shape, "make")

    def _covariance(self, shape: he.CovarianceShape, call: str) -> _Covariance:
        forecast = self.covariance_forecast(shape)
        charge = self._charged("covariance", forecast.work, call)
        return _Covariance(shape, self.covariance_sizes(shape), forecast, charge)

    def _head(self, shape: he.HeadShape, call: str) -> _Head:
        forecast = self.head_forecast(shape)
        job = "head" if shape.labels is None else "label"
        return _Head(shape, self.head_sizes(shape), forecast, self._charged(job, forecast.work, call))

    def _charged(self, job: str, work: Mapping[str, Work], first: str) -> Callable[..., None]:
        """Charge a job for its first call, and return what charges it for others, each so many times."""

        def charge(call: str, times: float = 1) -> None:
            self._clock.charge(self._speeds.seconds(job, call, work[call]) * times)

        charge(first)
        return charge


class _Phantom:
    """What both jobs have in common: a call charges its work, and returns zeros of the right size."""

    _sizes: he.CovarianceSizes | he.HeadSizes
    _charge: Callable[..., None]

    def key_material(self) -> bytes:
        return bytes(self._sizes.key)

    def accept_key(self, key: bytes) -> None:
        self._charge("accept_key")

    def close(self) -> None:
        pass


@dataclass
class _Covariance(_Phantom):
    """Either side of a covariance."""

    _shape: he.CovarianceShape
    _sizes: he.CovarianceSizes
    _forecast: CovarianceForecast
    _charge: Callable[..., None]

    def encrypt(self, max_bytes: int, first_row: int = 0) -> Iterator[he.EncryptedRows]:
        forecast, total = self._forecast, self._shape.rows
        piece = (max_bytes - forecast.header_bytes) // forecast.row_bytes
        for start in range(0, total, forecast.tile):
            stop = min(start + forecast.tile, total)
            if stop <= first_row:
                continue
            self._charge("encrypt", stop - start)
            for first in range(max(first_row, start), stop, piece):
                count = min(piece, stop - first)
                yield he.EncryptedRows(first, count, bytes(forecast.header_bytes + count * forecast.row_bytes))

    def decrypt(self, result: bytes) -> FloatMatrix:
        self._charge("decrypt")
        return np.zeros((self._shape.provider_dim, self._shape.columns))

    def absorb(self, rows: he.EncryptedRows) -> None:
        self._charge("absorb", rows.count)

    def finish(self) -> bytes:
        self._charge("finish")
        return bytes(self._sizes.result)

    def checkpoint(self) -> None:
        pass

    def restore(self, state: bytes, absorbed: int) -> None:
        raise NotImplementedError


@dataclass
class _Head(_Phantom):
    """Either side of a head."""

    _shape: he.HeadShape
    _sizes: he.HeadSizes
    _forecast: HeadForecast
    _charge: Callable[..., None]
    _asked: dict[tuple[int, int], int] = field(default_factory=dict)
    #: A phantom has no weights, so their norm is 0.
    head_norm: float = 0.0

    def load_pool(self, pool: int, data: bytes, nonce: bytes) -> None:
        self._charge("load_pool")

    def choose(self, pool: int) -> bytes:
        self._charge("choose")
        return bytes(self._sizes.choices)

    def load_tables(self, pool: int, data: bytes, *, last: bool = True) -> None:
        if last:
            self._charge("load_tables")

    def offer(self) -> bytes:
        return bytes(self._sizes.offer)

    def garble(self, pool: int, choices: bytes) -> Iterator[bytes]:
        self._charge("garble")
        yield bytes(self._sizes.tables)

    def encrypt(self, pool: int, first_slot: int, queries: FloatMatrix) -> bytes:
        self._charge("encrypt", len(queries))
        self._asked[pool, first_slot] = len(queries)
        return bytes(self._forecast.query_header_bytes + len(queries) * self._forecast.query_bytes)

    def decrypt(self, pool: int, first_slot: int, answer: bytes) -> FloatMatrix:
        count = self._asked[pool, first_slot]
        self._charge("decrypt", count)
        return np.zeros((count, self._shape.answer_columns))

    def prepare(self, pool: int, nonce: bytes) -> bytes:
        self._charge("prepare")
        return bytes(self._sizes.pool)

    def evaluate(self, pool: int, first_slot: int, count: int, query: bytes) -> bytes:
        self._charge("evaluate", count)
        return bytes(self._forecast.answer_header_bytes + count * self._forecast.answer_bytes)

    def query_scales(self, pool: int, first_slot: int) -> bytes:
        return b""

    def retire(self, pool: int) -> None:
        pass

    def checkpoint(self, pool: int) -> bytes:
        return b""

    def restore_pool(
        self, pool: int, data: bytes, nonce: bytes = b"", query_scales: Mapping[int, bytes] | None = None
    ) -> None:
        raise NotImplementedError
