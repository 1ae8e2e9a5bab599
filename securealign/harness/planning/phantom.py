"""A suite whose messages have the right sizes and hold zeros, and whose work is charged to a clock instead of done."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from securealign.harness.planning.speeds import Speeds
from securealign.he.entropy import Entropy
from securealign.he.forecast import CovarianceForecast, HeadForecast, Work
from securealign.he.interface import (
    CovarianceShape,
    CovarianceSizes,
    EncryptedRows,
    HeadShape,
    HeadSizes,
    Suite,
    SuiteInfo,
)
from securealign.matrices import FloatMatrix, Rows


class ChargedClock:
    """Real time, plus what was charged: what the machines do is measured, what a suite would do is added."""

    def __init__(self) -> None:
        self._charged = 0.0

    def __call__(self) -> float:
        """Return a reading in seconds."""
        return time.perf_counter() + self._charged

    def charge(self, seconds: float) -> None:
        """Let time pass."""
        self._charged += seconds


@dataclass(frozen=True)
class Till:
    """Charges the calls of one job."""

    clock: ChargedClock
    speeds: Speeds
    job: str
    work: Mapping[str, Work]

    def charge(self, call: str, times: float = 1) -> None:
        """Charge a call, so many times."""
        self.clock.charge(self.speeds.seconds(self.job, call, self.work[call]) * times)


class PhantomSuite:
    """Stands in for a suite; only the protocol machines of a plan are given one."""

    def __init__(self, suite: Suite, speeds: Speeds, clock: ChargedClock) -> None:
        self._suite = suite
        self._speeds = speeds
        self._clock = clock

    @property
    def info(self) -> SuiteInfo:
        """What the suite offers."""
        return self._suite.info

    def covariance_sizes(self, shape: CovarianceShape) -> CovarianceSizes:
        """Return the sizes of the suite."""
        return self._suite.covariance_sizes(shape)

    def head_sizes(self, shape: HeadShape) -> HeadSizes:
        """Return the sizes of the suite."""
        return self._suite.head_sizes(shape)

    def covariance_forecast(self, shape: CovarianceShape) -> CovarianceForecast:
        """Return the forecast of the suite."""
        return self._suite.covariance_forecast(shape)

    def head_forecast(self, shape: HeadShape) -> HeadForecast:
        """Return the forecast of the suite."""
        return self._suite.head_forecast(shape)

    def covariance_encryptor(
        self, shape: CovarianceShape, session: bytes, rows: Rows, entropy: Entropy
    ) -> PhantomCovariance:
        """Make the client's side of a covariance."""
        covariance = self._covariance(shape)
        covariance.till.charge("key")
        return covariance

    def covariance_evaluator(
        self, shape: CovarianceShape, session: bytes, rows: Rows, entropy: Entropy
    ) -> PhantomCovariance:
        """Make the provider's side of a covariance."""
        covariance = self._covariance(shape)
        covariance.till.charge("make")
        return covariance

    def head_encryptor(self, shape: HeadShape, session: bytes, entropy: Entropy) -> PhantomHead:
        """Make the client's side of a head."""
        head = self._head(shape)
        head.till.charge("key")
        return head

    def head_evaluator(
        self, shape: HeadShape, session: bytes, weight: FloatMatrix, bias: FloatMatrix, entropy: Entropy
    ) -> PhantomHead:
        """Make the provider's side of a head."""
        head = self._head(shape)
        head.till.charge("make")
        return head

    def _covariance(self, shape: CovarianceShape) -> PhantomCovariance:
        forecast = self._suite.covariance_forecast(shape)
        till = Till(self._clock, self._speeds, "covariance", forecast.work)
        return PhantomCovariance(shape, self._suite.covariance_sizes(shape), forecast, till)

    def _head(self, shape: HeadShape) -> PhantomHead:
        forecast = self._suite.head_forecast(shape)
        till = Till(self._clock, self._speeds, "head", forecast.work)
        return PhantomHead(shape, self._suite.head_sizes(shape), forecast, till)


class PhantomCovariance:
    """Either side of a covariance."""

    def __init__(
        self, shape: CovarianceShape, sizes: CovarianceSizes, forecast: CovarianceForecast, till: Till
    ) -> None:
        self._shape = shape
        self._sizes = sizes
        self._forecast = forecast
        self.till = till

    def key_material(self) -> bytes:
        """Return a key's size of zeros."""
        return bytes(self._sizes.key)

    def encrypt(self, max_bytes: int, first_row: int = 0) -> Iterator[EncryptedRows]:
        """Yield the rows from `first_row` on, tile by tile, in pieces of at most `max_bytes`."""
        forecast, total = self._forecast, self._shape.rows
        piece = (max_bytes - forecast.header_bytes) // forecast.row_bytes
        for start in range(0, total, forecast.tile):
            stop = min(start + forecast.tile, total)
            if stop <= first_row:
                continue
            self.till.charge("encrypt", stop - start)
            for first in range(max(first_row, start), stop, piece):
                count = min(piece, stop - first)
                yield EncryptedRows(first, count, bytes(forecast.header_bytes + count * forecast.row_bytes))

    def decrypt(self, result: bytes) -> FloatMatrix:
        """Return zeros."""
        self.till.charge("decrypt")
        return np.zeros((self._shape.provider_dim, self._shape.client_dim))

    def accept_key(self, key: bytes) -> None:
        """Take a key."""
        self.till.charge("accept_key")

    def absorb(self, rows: EncryptedRows) -> None:
        """Take rows."""
        self.till.charge("absorb", rows.count)

    def finish(self) -> bytes:
        """Return a result's size of zeros."""
        self.till.charge("finish")
        return bytes(self._sizes.result)

    def checkpoint(self) -> None:
        """Return that nothing can be kept."""

    def restore(self, state: bytes, absorbed: int) -> None:
        """Raise: nothing was kept."""
        raise NotImplementedError

    def close(self) -> None:
        """Do nothing."""


class PhantomHead:
    """Either side of a head."""

    #: No head has a scale here.
    head_norm = 0.0

    def __init__(self, shape: HeadShape, sizes: HeadSizes, forecast: HeadForecast, till: Till) -> None:
        self._shape = shape
        self._sizes = sizes
        self._forecast = forecast
        self.till = till
        self._asked: dict[tuple[int, int], int] = {}

    def key_material(self) -> bytes:
        """Return a key's size of zeros."""
        return bytes(self._sizes.key)

    def load_pool(self, pool: int, data: bytes) -> None:
        """Take the material of a pool."""
        self.till.charge("load_pool")

    def encrypt(self, pool: int, first_slot: int, queries: FloatMatrix) -> bytes:
        """Return the queries' size of zeros."""
        self.till.charge("encrypt", len(queries))
        self._asked[pool, first_slot] = len(queries)
        return bytes(self._forecast.query_header_bytes + len(queries) * self._forecast.query_bytes)

    def decrypt(self, pool: int, first_slot: int, answer: bytes) -> FloatMatrix:
        """Return zeros."""
        count = self._asked[pool, first_slot]
        self.till.charge("decrypt", count)
        return np.zeros((count, self._shape.classes))

    def accept_key(self, key: bytes) -> None:
        """Take a key."""
        self.till.charge("accept_key")

    def prepare(self, pool: int) -> bytes:
        """Return a pool's size of zeros."""
        self.till.charge("prepare")
        return bytes(self._sizes.pool)

    def evaluate(self, pool: int, first_slot: int, count: int, query: bytes) -> bytes:
        """Return the answers' size of zeros."""
        self.till.charge("evaluate", count)
        return bytes(self._forecast.answer_header_bytes + count * self._forecast.answer_bytes)

    def query_scales(self, pool: int, first_slot: int) -> bytes:
        """Return nothing."""
        return b""

    def retire(self, pool: int) -> None:
        """Do nothing."""

    def checkpoint(self, pool: int) -> bytes:
        """Return nothing."""
        return b""

    def restore_pool(self, pool: int, data: bytes, query_scales: Mapping[int, bytes] | None = None) -> None:
        """Raise: nothing was kept."""
        raise NotImplementedError

    def close(self) -> None:
        """Do nothing."""
