"""Repeated measurements: their summaries and their ratios."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Spread:
    """Median, minimum and maximum of repeated measurements."""

    median: float
    minimum: float
    maximum: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """Summarise at least one value."""
        known = list(values)
        return cls(statistics.median(known), min(known), max(known))

    def __add__(self, other: Spread) -> Spread:
        """Return the spread of a sum of two measurements that do not depend on each other."""
        return Spread(self.median + other.median, self.minimum + other.minimum, self.maximum + other.maximum)


def ratio(values: Mapping[int, float], base: Mapping[int, float]) -> Spread:
    """Return values over base, both by repetition: paired where they share repetitions, or else with all extremes."""
    shared = values.keys() & base.keys()
    if shared:
        return Spread.of(values[repetition] / base[repetition] for repetition in shared)
    above, below = Spread.of(values.values()), Spread.of(base.values())
    return Spread(above.median / below.median, above.minimum / below.maximum, above.maximum / below.minimum)


def seconds(work: Callable[[], object]) -> float:
    """Return how long one call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def shown(value: float, *, digits: int = 3) -> str:
    """Return a number with few digits: all before the point and at most `digits`, or two of a tiny one."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    if value and abs(value) < 0.001:
        leading, _, power = f"{value:.1e}".partition("e")
        return f"{leading}e{int(power)}"
    return f"{value:.{digits}g}"
