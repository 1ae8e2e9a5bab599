"""Measurements: their summaries, their inputs, and figures that add up."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import pytest

from securealign.errors import SuiteError
from securealign.harness.bench import inference, training
from securealign.harness.bench.inference import bench_inference
from securealign.harness.bench.inputs import synthetic_embeddings, synthetic_head
from securealign.harness.bench.measurements import Spread, ratio, seconds
from securealign.harness.bench.separate import Server
from securealign.harness.bench.training import bench_training
from securealign.harness.report.units import brief


def test_a_spread_is_median_minimum_and_maximum():
    assert Spread.of([5.0, 1.0, 2.0]) == Spread(2.0, 1.0, 5.0)
    assert Spread.of([3.0]) == Spread(3.0, 3.0, 3.0)


def test_the_spread_of_a_sum_is_the_sum_of_spreads():
    assert Spread(2.0, 1.0, 5.0) + Spread(1.0, 0.5, 2.0) == Spread(3.0, 1.5, 7.0)


def test_a_ratio_is_paired_within_the_repetitions_that_both_have():
    assert ratio({1: 2.0, 2: 40.0, 3: 9.0}, {1: 1.0, 2: 20.0}) == Spread(2.0, 2.0, 2.0)


def test_a_ratio_without_shared_repetitions_spans_the_extremes():
    assert ratio({0: 60.0}, {1: 1.0, 2: 2.0, 3: 3.0}) == Spread(30.0, 20.0, 60.0)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (1.5, "1.5"), (0.01234, "0.0123"), (0.00012345, "1.2e-4"), (99.4, "99.4"), (12345.6, "12,346")],
)
def test_numbers_are_shown_with_few_digits(value, text):
    assert brief(value) == text


def test_seconds_are_those_of_the_call():
    done = []
    assert seconds(lambda: done.append(1)) >= 0
    assert done == [1]


def test_synthetic_embeddings_are_unit_rows_that_share_their_factors():
    z_a, z_b = synthetic_embeddings(200, 12, 8)
    assert (z_a.shape, z_b.shape) == ((200, 12), (200, 8))
    assert np.allclose(np.linalg.norm(z_a, axis=1), 1)
    assert np.allclose(np.linalg.norm(z_b, axis=1), 1)
    predicted = z_b @ np.linalg.lstsq(z_b, z_a, rcond=None)[0]
    unrelated = np.random.default_rng(9).permutation(z_b)
    chance = unrelated @ np.linalg.lstsq(unrelated, z_a, rcond=None)[0]
    assert np.linalg.norm(z_a - predicted) < 0.97 * np.linalg.norm(z_a - chance)


def test_inputs_depend_on_their_seed_alone():
    for make in (lambda seed: synthetic_embeddings(5, 4, 3, seed=seed), lambda seed: synthetic_head(4, 3, seed=seed)):
        first, again, other = make(3), make(3), make(4)
        assert all(np.array_equal(left, right) for left, right in zip(first, again, strict=True))
        assert not any(np.array_equal(left, right) for left, right in zip(first, other, strict=True))


def test_training_figures_add_up():
    calls = []
    report = bench_training(
        ["plaintext"],
        samples=60,
        dim_a=6,
        dim_b=4,
        repetitions=2,
        memory=False,
        progress=lambda done, total: calls.append((done, total)),
    )
    (figures,) = report.suites
    assert (report.samples, report.dim_a, report.dim_b, report.repetitions) == (60, 6, 4, 2)
    assert calls == [(number, 6) for number in range(1, 7)]
    assert figures["runs"] == 2
    assert figures["peak_memory"] is None
    assert figures["key_bytes"] > 0
    assert figures["bytes_up"] > 60 * 4 * 8
    assert figures["upload_times_float32"] == figures["bytes_up"] / (60 * 4 * 4)
    assert figures["weight_error"] < 1e-9
    assert (
        figures["total_seconds"].median
        <= figures["client_seconds"].maximum + figures["provider_seconds"].maximum + 1e-3
    )
    assert figures["times_clear"].minimum > 0
    assert {"handshake", "keys", "upload", "result"} <= set(figures["phase_seconds"])
    assert report.clear_seconds.minimum > 0


def test_a_suite_slower_than_the_budget_is_measured_once():
    report = bench_training(["plaintext"], samples=60, dim_a=6, dim_b=4, repetitions=3, budget_seconds=0, memory=False)
    assert report.suites[0]["runs"] == 1
    assert {name: list(runs) for name, runs in report.measurements.items()} == {"clear": [0], "plaintext": [0]}


def test_the_rows_of_training_hold_every_figure_of_every_suite_and_of_the_product_in_clear():
    report = bench_training(["plaintext", "lwe"], samples=60, dim_a=6, dim_b=4, repetitions=1, memory=False)
    rows = {(row.suite, row.figure): row for row in report.figures}
    assert rows["clear", "client compute"].value.maximum == 0
    assert rows["clear", "provider compute"].value == report.clear_seconds
    assert rows["clear", "upload to provider"].value.median == 60 * 4 * 4 / 1e6
    assert rows["clear", "result to client"].value.median == 6 * 4 * 4 / 1e6
    assert rows["clear", "error of W"].value.median == 0
    assert ("clear", "compute / clear") not in rows
    assert rows["lwe", "compute / clear"].value == report.suites[1]["times_clear"]
    figures = report.suites[0]
    assert rows["plaintext", "bytes / clear"].value.median == (figures["bytes_up"] + figures["bytes_down"]) / (
        60 * 4 * 4 + 6 * 4 * 4
    )


@pytest.fixture
def made_up_trips(monkeypatch):
    """Round trips of a provider that is not there; the command line's own test measures them between processes."""

    class Instant(Server):
        def round_trips(self, queries, pool_slots):
            assert 0 < len(queries) <= pool_slots
            return [float(number) for number in range(1, len(queries) + 1)]

    @contextmanager
    def serving(suite, features, classes, output="logits"):
        yield Instant(suite, "", None)

    monkeypatch.setattr(inference, "serving", serving)


SIZES = {"features": 6, "classes": 3, "pool_slots": 2, "memory": False}


@pytest.mark.usefixtures("made_up_trips")
class TestInference:
    def test_figures_add_up(self):
        report = bench_inference(["plaintext"], queries=5, **SIZES)
        (figures,) = report.suites
        assert (figures["runs"], figures["queries"]) == (3, 5)
        assert figures["round_trip_ms"] == Spread(1.0, 1.0, 2.0)
        assert figures["round_trip_ms_p95"] == 2
        assert figures["label_agreement"] == 1
        assert figures["logit_error"] < 1e-12
        assert figures["online_bytes"] > (6 + 3) * 8
        assert 0 < figures["offline_bytes"] < figures["online_bytes"]
        assert figures["peak_memory"] is None
        assert report.clear_ms > 0

    def test_a_pool_is_shared_by_all_its_slots_even_when_few_are_used(self):
        """The cost of a query must not depend on where the benchmark happens to stop."""
        one, two = (bench_inference(["lwe"], queries=queries, **SIZES).suites[0]["offline_bytes"] for queries in (1, 2))
        assert one == pytest.approx(two, rel=0.01)

    def test_a_suite_slower_than_the_budget_is_measured_by_one_query(self):
        report = bench_inference(["plaintext"], queries=6, budget_seconds=0, **SIZES)
        assert (report.suites[0]["runs"], report.suites[0]["queries"]) == (1, 1)

    def test_the_rows_hold_the_head_in_clear(self):
        report = bench_inference(["plaintext"], queries=4, **SIZES)
        rows = {(row.suite, row.figure): row for row in report.figures}
        assert rows["clear", "online to provider"].value.median == 6 * 4 / 1e3
        assert rows["clear", "online to client"].value.median == 3 * 4 / 1e3
        assert rows["clear", "equal labels"].value.median == 100
        assert ("clear", "round trip over gRPC") not in rows
        assert rows["plaintext", "queries"].value.median == 4
        assert (
            rows["plaintext", "compute / clear"].value.median
            >= rows["plaintext", "online compute / clear"].value.minimum
        )

    def test_labels_are_compared_with_logits_run_by_run(self):
        report = bench_inference(["plaintext"], queries=4, outputs=["logits", "label"], **SIZES)
        assert [(figures["suite"], figures["output"]) for figures in report.suites] == [
            ("plaintext", "logits"),
            ("plaintext", "label"),
        ]
        assert set(report.measurements) == {"clear", "plaintext", "plaintext label"}
        rows = {(row.suite, row.figure): row for row in report.figures}
        runs = zip(*(report.measurements[name].values() for name in ("plaintext label", "plaintext")), strict=True)
        expected = Spread.of(label.compute("online") / logits.compute("online") for label, logits in runs)
        assert rows["plaintext label", "online compute / logits"].value == expected
        assert rows["plaintext label", "bytes / logits"].runs == 2
        assert ("plaintext", "online compute / logits") not in rows

    def test_labels_alone_are_compared_with_nothing(self):
        report = bench_inference(["plaintext"], queries=2, outputs=["label"], **SIZES)
        assert set(report.measurements) == {"clear", "plaintext label"}
        assert not [row for row in report.figures if row.figure.endswith("/ logits")]
        assert "labels alone" in report.title


def unreachable(*_arguments, **_options):
    raise AssertionError("nothing may be measured")


def test_an_unknown_suite_is_named_before_anything_is_measured(monkeypatch):
    monkeypatch.setattr(training, "align_in_process", unreachable)
    monkeypatch.setattr(inference, "classify_in_process", unreachable)
    with pytest.raises(SuiteError, match="rot13"):
        bench_training(["plaintext", "rot13"], samples=9, dim_a=2, dim_b=2, repetitions=1, memory=False)
    with pytest.raises(SuiteError, match="rot13"):
        bench_inference(["plaintext", "rot13"], features=2, classes=2, queries=1, pool_slots=1)
