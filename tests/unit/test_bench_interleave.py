"""Contenders take turns, slow ones once, and suites are chosen before anything is measured."""

from __future__ import annotations

import pytest

from securealign.errors import SuiteError
from securealign.harness.bench.measurements import affordable, interleave, rotated
from securealign.harness.cli.options import selected
from securealign.he import registry
from securealign.he.registry import REGISTRY, Entry


class Track:
    """Contenders that note their runs and take as long as they are told."""

    def __init__(self, **durations):
        self.now = 0.0
        self.seen = []
        self.runs = {name: self._contender(name, duration) for name, duration in durations.items()}

    def _contender(self, name, duration):
        def run(repetition):
            self.seen.append((repetition, name))
            self.now += duration
            return f"{name}{repetition}"

        return run

    def race(self, **options):
        return interleave(self.runs, clock=lambda: self.now, **options)


def test_every_repetition_has_each_in_turn_and_in_another_order():
    track = Track(a=1, b=1, c=1)
    kept = track.race(repetitions=2, budget_seconds=5)
    orders = ["".join(name for number, name in track.seen if number == repetition) for repetition in range(3)]
    assert orders == ["abc", "bca", "cab"]
    assert kept["b"] == {1: "b1", 2: "b2"}


def test_one_that_is_slower_than_the_budget_runs_once_and_that_run_counts():
    track = Track(fast=1, slow=100)
    kept = track.race(repetitions=3, budget_seconds=60)
    assert kept == {"fast": {1: "fast1", 2: "fast2", 3: "fast3"}, "slow": {0: "slow0"}}
    assert track.seen.count((0, "slow")) == 1


def test_one_that_takes_exactly_the_budget_is_not_slow():
    assert Track(a=60).race(repetitions=1, budget_seconds=60) == {"a": {1: "a1"}}


def test_progress_ends_at_its_total_when_a_slow_one_drops_out():
    calls = []
    Track(fast=1, slow=100).race(
        repetitions=2, budget_seconds=60, progress=lambda done, total: calls.append((done, total))
    )
    assert calls == [(1, 6), (2, 4), (3, 4), (4, 4)]


def test_rotation_goes_round():
    assert [rotated("abc", places) for places in (0, 1, 4)] == [["a", "b", "c"], ["b", "c", "a"], ["b", "c", "a"]]
    assert rotated([], 3) == []


@pytest.mark.parametrize(("each", "expected"), [(0.0, 64), (0.5, 64), (5.0, 12), (59.0, 1), (61.0, 1), (1e6, 1)])
def test_a_block_fits_in_the_budget_but_is_never_empty(each, expected):
    assert affordable(60.0, each, 64) == expected


def test_all_are_those_that_encrypt_each_parameter_set_once(monkeypatch):
    broken = Entry(REGISTRY["lwe"].make, "a suite", unavailable=lambda: "its wheel is missing")
    monkeypatch.setattr(registry, "REGISTRY", {"first": broken, **REGISTRY})
    chosen = selected("all")
    assert chosen[0] == "lwe"
    assert not {"first", "lwe-128", "plaintext"} & set(chosen)
    assert selected("plaintext, all")[:2] == ["plaintext", "lwe"]


def test_a_suite_named_twice_is_measured_once():
    assert selected("lwe, plaintext,lwe") == ["lwe", "plaintext"]


def test_a_name_that_is_wrong_or_cannot_run_is_an_error(monkeypatch):
    broken = Entry(REGISTRY["lwe"].make, "a suite", unavailable=lambda: "its wheel is missing")
    monkeypatch.setattr(registry, "REGISTRY", {**REGISTRY, "other": broken})
    with pytest.raises(SuiteError, match="its wheel is missing"):
        selected("lwe,other")
    with pytest.raises(SuiteError, match="rot13"):
        selected("all,rot13")
