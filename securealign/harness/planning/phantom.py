"""A stand-in for a suite: its messages have the right sizes and hold zeros; the time of its work goes to a clock."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

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
    LabelSecrets,
    Suite,
    SuiteInfo,
)
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


@dataclass(frozen=True)
class CostMeter:
    """Charges the calls of one job to a clock."""

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
        self._speeds = speeds
        self._clock = clock
        self.info: SuiteInfo = suite.info
        self.covariance_sizes, self.covariance_forecast = suite.covariance_sizes, suite.covariance_forecast
        self.head_sizes, self.head_forecast = suite.head_sizes, suite.head_forecast

    def covariance_encryptor(
        self, shape: CovarianceShape, session: bytes, rows: Rows, entropy: Entropy
    ) -> PhantomCovariance:
        """Make the client's side of a covariance."""
        return self._covariance(shape, "key")

    def covariance_evaluator(
        self, shape: CovarianceShape, session: bytes, rows: Rows, entropy: Entropy
    ) -> PhantomCovariance:
        """Make the provider's side of a covariance."""
        return self._covariance(shape, "make")

    def head_encryptor(self, shape: HeadShape, session: bytes, entropy: Entropy, offer: bytes = b"") -> PhantomHead:
        """Make the client's side of a head."""
        return self._head(shape, "key")

    def head_evaluator(
        self,
        shape: HeadShape,
        session: bytes,
        weight: FloatMatrix,
        bias: FloatMatrix,
        entropy: Entropy,
        *,
        labels: LabelSecrets | None = None,
    ) -> PhantomHead:
        """Make the provider's side of a head."""
        return self._head(shape, "make")

    def _covariance(self, shape: CovarianceShape, call: str) -> PhantomCovariance:
        forecast = self.covariance_forecast(shape)
        meter = self._charged("covariance", forecast.work, call)
        return PhantomCovariance(shape, self.covariance_sizes(shape), forecast, meter)

    def _head(self, shape: HeadShape, call: str) -> PhantomHead:
        forecast = self.head_forecast(shape)
        job = "head" if shape.labels is None else "label"
        return PhantomHead(shape, self.head_sizes(shape), forecast, self._charged(job, forecast.work, call))

    def _charged(self, job: str, work: Mapping[str, Work], call: str) -> CostMeter:
        """Return the meter of a job that has been charged its first call."""
        meter = CostMeter(self._clock, self._speeds, job, work)
        meter.charge(call)
        return meter


class _Phantom:
    """What both jobs have in common."""

    _sizes: CovarianceSizes | HeadSizes
    _meter: CostMeter

    def key_material(self) -> bytes:
        """Return a key's size of zeros."""
        return bytes(self._sizes.key)

    def accept_key(self, key: bytes) -> None:
        """Charge what a key costs its receiver."""
        self._meter.charge("accept_key")

    def close(self) -> None:
        """Do nothing."""


@dataclass
class PhantomCovariance(_Phantom):
    """Either side of a covariance."""

    _shape: CovarianceShape
    _sizes: CovarianceSizes
    _forecast: CovarianceForecast
    _meter: CostMeter

    def encrypt(self, max_bytes: int, first_row: int = 0) -> Iterator[EncryptedRows]:
        """Yield the rows from `first_row` on, tile by tile, in pieces of at most `max_bytes`."""
        forecast, total = self._forecast, self._shape.rows
        piece = (max_bytes - forecast.header_bytes) // forecast.row_bytes
        for start in range(0, total, forecast.tile):
            stop = min(start + forecast.tile, total)
            if stop <= first_row:
                continue
            self._meter.charge("encrypt", stop - start)
            for first in range(max(first_row, start), stop, piece):
                count = min(piece, stop - first)
                yield EncryptedRows(first, count, bytes(forecast.header_bytes + count * forecast.row_bytes))

    def decrypt(self, result: bytes) -> FloatMatrix:
        """Return zeros."""
        self._meter.charge("decrypt")
        return np.zeros((self._shape.provider_dim, self._shape.columns))

    def absorb(self, rows: EncryptedRows) -> None:
        """Take rows."""
        self._meter.charge("absorb", rows.count)

    def finish(self) -> bytes:
        """Return a result's size of zeros."""
        self._meter.charge("finish")
        return bytes(self._sizes.result)

    def checkpoint(self) -> None:
        """Return None: a phantom has no checkpoints."""

    def restore(self, state: bytes, absorbed: int) -> None:
        """Raise `NotImplementedError`: a phantom has no checkpoints."""
        raise NotImplementedError


@dataclass
class PhantomHead(_Phantom):
    """Either side of a head."""

    _shape: HeadShape
    _sizes: HeadSizes
    _forecast: HeadForecast
    _meter: CostMeter
    _asked: dict[tuple[int, int], int] = field(default_factory=dict)
    #: A phantom has no weights, so their norm is 0.
    head_norm: float = 0.0

    def load_pool(self, pool: int, data: bytes, nonce: bytes) -> None:
        """Take the material of a pool."""
        self._meter.charge("load_pool")

    def choose(self, pool: int) -> bytes:
        """Return the choices' size of zeros."""
        self._meter.charge("choose")
        return bytes(self._sizes.choices)

    def load_tables(self, pool: int, data: bytes, *, last: bool = True) -> None:
        """Take a piece of the tables of a pool."""
        if last:
            self._meter.charge("load_tables")

    def offer(self) -> bytes:
        """Return an offer's size of zeros."""
        return bytes(self._sizes.offer)

    def garble(self, pool: int, choices: bytes) -> Iterator[bytes]:
        """Yield the tables' size of zeros."""
        self._meter.charge("garble")
        yield bytes(self._sizes.tables)

    def encrypt(self, pool: int, first_slot: int, queries: FloatMatrix) -> bytes:
        """Return the queries' size of zeros."""
        self._meter.charge("encrypt", len(queries))
        self._asked[pool, first_slot] = len(queries)
        return bytes(self._forecast.query_header_bytes + len(queries) * self._forecast.query_bytes)

    def decrypt(self, pool: int, first_slot: int, answer: bytes) -> FloatMatrix:
        """Return zeros."""
        count = self._asked[pool, first_slot]
        self._meter.charge("decrypt", count)
        return np.zeros((count, self._shape.answer_columns))

    def prepare(self, pool: int, nonce: bytes) -> bytes:
        """Return a pool's size of zeros."""
        self._meter.charge("prepare")
        return bytes(self._sizes.pool)

    def evaluate(self, pool: int, first_slot: int, count: int, query: bytes) -> bytes:
        """Return the answers' size of zeros."""
        self._meter.charge("evaluate", count)
        return bytes(self._forecast.answer_header_bytes + count * self._forecast.answer_bytes)

    def query_scales(self, pool: int, first_slot: int) -> bytes:
        """Return nothing."""
        return b""

    def retire(self, pool: int) -> None:
        """Do nothing."""

    def checkpoint(self, pool: int) -> bytes:
        """Return nothing."""
        return b""

    def restore_pool(
        self, pool: int, data: bytes, nonce: bytes = b"", query_scales: Mapping[int, bytes] | None = None
    ) -> None:
        """Raise `NotImplementedError`: a phantom has no checkpoints."""
        raise NotImplementedError
