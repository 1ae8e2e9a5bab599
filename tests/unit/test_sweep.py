"""Sweeps over suites, networks and sizes: which runs there are, what is computed once, and how results are shown."""

from __future__ import annotations

import csv
import io
import json

import pytest
from support.tiers import first_quick

from securealign.errors import ConfigurationError, ErrorCode, SuiteError
from securealign.harness.bench import sweep as module
from securealign.harness.bench.sweep import combinations, points_as_csv, run_once, sweep
from securealign.harness.bench.sweep_figure import draw_growth
from securealign.harness.simulation import Conditions, built_in_networks
from securealign.transport.stats import FIGURES

LAN, WAN = built_in_networks()["lan"], built_in_networks()["wan"]


def over(*networks, **options):
    return [Conditions(network=network, **options) for network in networks]


def sizes(**changes):
    lists = {"samples": [40], "dim_a": [6], "dim_b": [4], "classes": [3], "queries": [5]} | changes
    return combinations(**lists, batch=2)


@pytest.fixture
def computed(monkeypatch):
    """What was computed, in order; everything else is as it is."""
    runs = []

    def spy(suite, chosen, output):
        runs.append((suite, chosen))
        return run_once(suite, chosen, output)

    monkeypatch.setattr(module, "run_once", spy)
    return runs


class TestSizes:
    def test_every_combination_is_there_once_and_the_smallest_comes_first(self):
        made = sizes(samples=[80, 40, 80], dim_b=[8, 4])
        assert [(chosen.samples, chosen.dim_b) for chosen in made] == [(40, 4), (40, 8), (80, 4), (80, 8)]
        assert {(chosen.dim_a, chosen.classes, chosen.queries, chosen.batch) for chosen in made} == {(6, 3, 5, 2)}

    def test_every_size_can_vary(self):
        varied = {name: [10, 20] for name in ("samples", "dim_a", "dim_b", "classes", "queries")}
        assert len(sizes(**varied)) == 32


class TestSweep:
    def test_sizes_change_slowest_and_networks_fastest(self):
        points = sweep(["plaintext", "lwe"], over(WAN, LAN), sizes(samples=[40, 50]))
        assert [(point.sizes.samples, point.suite, point.network) for point in points] == [
            (rows, suite, network) for rows in (40, 50) for suite in ("plaintext", "lwe") for network in ("wan", "lan")
        ]

    def test_a_suite_computes_once_for_each_combination_of_sizes_and_not_for_each_network(self, computed):
        networks = list(built_in_networks().values())
        points = sweep(["plaintext", "lwe"], over(*networks), sizes(queries=[2, 3]))
        assert [(suite, chosen.queries) for suite, chosen in computed] == [
            ("plaintext", 2),
            ("lwe", 2),
            ("plaintext", 3),
            ("lwe", 3),
        ]
        assert len(points) == len(computed) * len(networks)

    def test_over_every_network_the_same_travels_and_the_same_comes_out(self):
        near, far = sweep(["lwe"], over(LAN, WAN), sizes())
        assert near.results == far.results
        for one, other in ((near.training, far.training), (near.inference, far.inference)):
            assert one.messages == other.messages
            assert (one.bytes_up, one.bytes_down, one.rounds) == (other.bytes_up, other.bytes_down, other.rounds)
            assert one.total_seconds < other.total_seconds

    def test_progress_counts_what_is_computed(self):
        told = []
        sweep(["plaintext"], over(LAN, WAN), sizes(samples=[40, 50]), progress=lambda *counts: told.append(counts))
        assert told == [(0, 2), (1, 2), (2, 2)]

    def test_each_result_is_told_as_it_is_known(self, computed):
        told = []
        points = sweep(
            ["plaintext"],
            over(LAN, WAN, seed=3),
            sizes(samples=[40, 50]),
            done=lambda run, conditions: told.append((len(computed), run.sizes.samples, conditions)),
        )
        assert [(count, rows) for count, rows, _ in told] == [(1, 40), (1, 40), (2, 50), (2, 50)]
        assert [conditions.network for *_, conditions in told] == [LAN, WAN, LAN, WAN]
        assert {conditions.seed for *_, conditions in told} == {3}
        assert [run.network for run in points] == ["lan", "wan", "lan", "wan"]

    def test_an_unknown_suite_is_refused_before_anything_is_computed(self, computed):
        with pytest.raises(SuiteError):
            sweep(["plaintext", "rot13"], over(LAN), sizes())
        assert computed == []

    def test_conditions_reach_every_run(self):
        plain, slow = (
            sweep(["plaintext"], over(LAN, client_factor=client, provider_factor=provider), sizes())[0]
            for client, provider in ((1.0, 1.0), (0.0, 1000.0))
        )
        assert (slow.conditions.client_factor, slow.conditions.provider_factor) == (0.0, 1000.0)
        assert plain.training.client_seconds > 0
        assert slow.training.client_seconds == slow.inference.client_seconds == 0
        assert slow.training.provider_seconds > plain.training.provider_seconds

    @pytest.mark.parametrize("batch", [1, 2, 5, 100])
    def test_a_batch_is_what_one_round_trip_carries(self, batch):
        lists = combinations(samples=[40], dim_a=[6], dim_b=[4], classes=[3], queries=[5], batch=batch)
        (point,) = sweep(["plaintext"], over(LAN), lists)
        assert point.inference.phases["online"].rounds == -(-5 // batch)

    def test_a_point_survives_json(self):
        (point,) = sweep(["plaintext"], over(LAN), sizes())
        described = json.loads(json.dumps(point.as_dict(), allow_nan=False))
        assert set(described) == {
            *("suite", "network", "seed", "client_factor", "provider_factor"),
            *("samples", "dim_a", "dim_b", "classes", "queries", "batch"),
            *("training", "inference", "label_agreement", "alignment_r2", "map_error"),
        }
        assert described["label_agreement"] == 1
        assert 0 < described["alignment_r2"] <= 1


@pytest.fixture(scope="module")
def points():
    """Two suites over two networks, with rows and queries that vary."""
    return sweep(["plaintext", "lwe"], over(LAN, WAN, seed=5), sizes(samples=[40, 80], queries=[3, 6]))


@pytest.mark.thorough
class TestCsv:
    @pytest.fixture
    def lines(self, points):
        return list(csv.DictReader(io.StringIO(points_as_csv(points).decode())))

    def test_the_first_line_names_the_columns(self, points):
        header = points_as_csv(points).decode().splitlines()[0].split(",")
        assert header == [
            *("suite", "network", "seed", "samples", "dim_a", "dim_b", "classes", "queries", "batch"),
            *("session", "phase", *FIGURES, "label_agreement", "alignment_r2", "map_error"),
        ]

    def test_there_is_a_line_for_every_phase_and_a_total_for_every_session(self, points, lines):
        expected = [
            (point.suite, point.network, str(point.sizes.samples), str(point.sizes.queries), session, phase)
            for point in points
            for session, stats in (("training", point.training), ("inference", point.inference))
            for phase in (*stats.phases, "total")
        ]
        assert [
            tuple(line[name] for name in ("suite", "network", "samples", "queries", "session", "phase"))
            for line in lines
        ] == expected

    def test_phases_add_up_to_the_total(self, lines):
        sums = dict.fromkeys(FIGURES, 0.0)
        for line in lines:
            if line["phase"] != "total":
                sums = {name: value + float(line[name]) for name, value in sums.items()}
                continue
            assert sums == pytest.approx({name: float(line[name]) for name in FIGURES})
            sums = dict.fromkeys(FIGURES, 0.0)

    def test_figures_are_exact(self, points, lines):
        first = next(line for line in lines if line["phase"] == "total")
        assert float(first["total_seconds"]) == points[0].training.total_seconds
        assert int(first["bytes_up"]) == points[0].training.bytes_up
        assert int(first["seed"]) == 5

    def test_a_name_with_a_comma_stays_in_its_column(self):
        (point,) = sweep(["plaintext"], over(LAN.model_copy(update={"name": 'a "fast", line'})), sizes())
        lines = list(csv.DictReader(io.StringIO(points_as_csv([point]).decode())))
        assert {line["network"] for line in lines} == {'a "fast", line'}


@pytest.mark.thorough
class TestFigure:
    def drawing(self, points, tmp_path):
        """Return what a picture says, as text: matplotlib leaves each text as a comment beside its shapes."""
        return draw_growth(points, tmp_path / "growth.svg").decode()

    def test_panels_have_titles_and_axes_have_units(self, points, tmp_path):
        text = self.drawing(points, tmp_path)
        assert "<svg" in text
        for words in (
            *("Training, begin to end", "Training, bytes both ways", "Inference, for each query"),
            *("seconds, logarithmic scale", "megabytes, logarithmic scale", "milliseconds, logarithmic scale"),
            *("public rows N", "queries"),
        ):
            assert words in text, words

    def test_the_legend_names_suites_and_networks(self, points, tmp_path):
        text = self.drawing(points, tmp_path)
        for suite in ("plaintext", "lwe"):
            for network in ("lan", "wan"):
                assert f"<!-- {suite} over {network} -->" in text
            assert f"<!-- {suite} -->" in text

    def test_a_size_that_does_not_vary_has_no_panel(self, points, tmp_path):
        text = self.drawing(points, tmp_path)
        for words in ("dimension of the provider", "dimension of the client", "classes K"):
            assert words not in text

    def test_a_cost_that_does_not_depend_on_a_size_has_no_panel_for_it(self, tmp_path):
        points = sweep(["plaintext"], over(LAN), sizes(classes=[2, 4]))
        text = self.drawing(points, tmp_path)
        assert "Inference, for each query" in text
        assert "Training" not in text

    def test_the_sizes_are_on_the_axis(self, points, tmp_path):
        text = self.drawing(points, tmp_path)
        for size in (40, 80, 3, 6):
            assert f"<!-- {size} -->" in text

    @pytest.mark.parametrize(
        ("name", "begin"), first_quick([("a.PNG", b"\x89PNG"), ("a.png", b"\x89PNG"), ("a.pdf", b"%PDF")])
    )
    def test_the_name_of_the_file_asks_for_the_format(self, points, tmp_path, name, begin):
        assert draw_growth(points, tmp_path / name).startswith(begin)

    @pytest.mark.thorough
    def test_many_sizes_and_a_wide_range_are_drawn_too(self, tmp_path):
        points = sweep(
            ["plaintext"], over(LAN, WAN), sizes(samples=[40, 4000], dim_a=[2, 6], dim_b=[1, 4], classes=[2, 9])
        )
        text = self.drawing(points, tmp_path)
        assert text.count("<!-- Training, begin to end -->") == 3
        assert text.count("<!-- Inference, for each query -->") == 2

    def test_where_nothing_varies_nothing_grows(self, tmp_path):
        points = sweep(["plaintext"], over(LAN, WAN), sizes())
        with pytest.raises(ConfigurationError, match="No size varies") as caught:
            draw_growth(points, tmp_path / "growth.svg")
        assert caught.value.code is ErrorCode.CONFIGURATION_INVALID
        assert "--samples 500,1000,2000" in caught.value.hint

    def test_a_line_holds_the_smallest_of_all_other_sizes(self, tmp_path):
        """One line for each suite and network, not a cloud: the steepness of bytes in rows is that of the smallest."""
        points = sweep(["plaintext"], over(LAN), sizes(samples=[1000, 2000], dim_b=[4, 8]))
        assert "^{1.0}" in self.drawing(points, tmp_path)
