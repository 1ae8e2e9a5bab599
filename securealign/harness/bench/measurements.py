"""Repeated measurements: runs of contenders in turn, their summaries and ratios, and the machine they depend on."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from securealign import __version__

T = TypeVar("T")


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
    """Return the ratio of values to base, by repetition: of pairs if they share repetitions, else of the extremes."""
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


def interleave(
    runs: Mapping[str, Callable[[int], T]],
    *,
    repetitions: int,
    budget_seconds: float,
    progress: Callable[[int, int], None] = lambda done, total: None,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, dict[int, T]]:
    """Run contenders in turn, and return what each returned by repetition, whose number a run is given.

    In turn, so that a machine that becomes slower slows all of them. Repetition 0 warms up and is dropped; a contender
    that needs longer than the budget for it is measured by that run alone.
    """
    kept: dict[str, dict[int, T]] = {name: {} for name in runs}
    done, total = 0, len(runs) * (repetitions + 1)
    for repetition in range(repetitions + 1):
        active = [name for name in runs if repetition == 0 or 0 not in kept[name]]
        for name in rotated(active, repetition):
            start = clock()
            outcome = runs[name](repetition)
            slow = repetition == 0 and clock() - start > budget_seconds
            if repetition or slow:
                kept[name][repetition] = outcome
            done, total = done + 1, total - slow * repetitions
            progress(done, total)
    return kept


def rotated(names: Sequence[str], places: int) -> list[str]:
    """Return the names in an order that starts `places` later, so that none always follows the same one."""
    start = places % max(1, len(names))
    return [*names[start:], *names[:start]]


def affordable(budget_seconds: float, seconds_each: float, most: int) -> int:
    """Return how many pieces of work fit in the budget: at least one, and at most `most`."""
    if seconds_each * most <= budget_seconds:
        return most
    return max(1, int(budget_seconds / seconds_each))


#: Facts about this machine and its libraries, by name; "cpus" are the processors that this process may use.
Environment = dict[str, int | str]


def environment() -> Environment:
    """Return the facts of this process."""
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return {
        "cpus": len(os.sched_getaffinity(0)),
        "machine": platform.machine(),
        "system": platform.system(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "blas": f"{blas['name']} {blas['version']}",
        "securealign": __version__,
    }
