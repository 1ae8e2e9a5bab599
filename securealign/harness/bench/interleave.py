"""Runs contenders in turn, so that a machine that slows down slows all of them down."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

T = TypeVar("T")


def interleave(
    runs: Mapping[str, Callable[[int], T]],
    *,
    repetitions: int,
    budget_seconds: float,
    progress: Callable[[int, int], None] = lambda done, total: None,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, dict[int, T]]:
    """Return what each contender's runs returned, by repetition; a run is told the number of its repetition.

    Repetition 0 warms up and is dropped, except of a contender that it took longer than the budget: that one is done.
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
