"""Measurements: their summaries, their inputs, and figures that add up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from securealign.bench import inference, training
from securealign.bench.figures import Spread, peak_memory, seconds
from securealign.bench.inference import bench_inference
from securealign.bench.inputs import synthetic_embeddings, synthetic_head
from securealign.bench.training import bench_training
from securealign.errors import SuiteError


def test_a_spread_is_median_minimum_and_maximum():
    assert Spread.of([5.0, 1.0, 2.0]) == Spread(2.0, 1.0, 5.0)
    assert Spread.of([3.0]) == Spread(3.0, 3.0, 3.0)


def test_seconds_are_those_of_the_call():
    done = []
    assert 0 <= seconds(lambda: done.append(1)) < 1
    assert done == [1]


def test_peak_memory_is_in_bytes_and_does_not_fall():
    before = peak_memory()
    assert 1 << 20 < before < 1 << 40
    assert peak_memory() >= before


def test_a_system_that_does_not_say_its_peak_memory_is_an_error(monkeypatch):
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: "Name: python\n")
    with pytest.raises(OSError, match="VmHWM"):
        peak_memory()


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
    assert calls == [(1, 3), (2, 3), (3, 3)]
    assert figures.peak_memory is None
    assert figures.key_bytes > 0
    assert figures.bytes_up > 60 * 4 * 8
    assert figures.upload_times_float32 == figures.bytes_up / (60 * 4 * 4)
    assert figures.weight_error < 1e-9
    assert figures.total_seconds.median <= figures.client_seconds.maximum + figures.provider_seconds.maximum + 1e-3
    assert figures.times_clear.minimum > 0
    assert {"handshake", "keys", "upload", "result"} <= set(figures.phase_seconds)
    assert report.clear_seconds.minimum > 0


def test_inference_figures_add_up(monkeypatch):
    """The round trips are made up here; the command line's own test measures them between processes."""
    trips = [float(number) for number in range(1, 101)]
    monkeypatch.setattr(inference, "_round_trips", lambda *arguments: trips)
    report = bench_inference(["plaintext"], features=6, classes=3, queries=5, pool_slots=2)
    (figures,) = report.suites
    assert figures.round_trip_ms == Spread(50.5, 1.0, 100.0)
    assert 94 < figures.round_trip_ms_p95 < 97
    assert figures.label_agreement == 1
    assert figures.logit_error < 1e-12
    assert figures.online_bytes > (6 + 3) * 8
    assert 0 < figures.offline_bytes < figures.online_bytes
    assert report.clear_ms > 0


def unreachable(*_arguments, **_options):
    raise AssertionError("nothing may be measured")


def test_an_unknown_suite_is_named_before_anything_is_measured(monkeypatch):
    monkeypatch.setattr(training, "align_in_process", unreachable)
    monkeypatch.setattr(inference, "classify_in_process", unreachable)
    with pytest.raises(SuiteError, match="rot13"):
        bench_training(["plaintext", "rot13"], samples=9, dim_a=2, dim_b=2, repetitions=1, memory=False)
    with pytest.raises(SuiteError, match="rot13"):
        bench_inference(["plaintext", "rot13"], features=2, classes=2, queries=1, pool_slots=1)
