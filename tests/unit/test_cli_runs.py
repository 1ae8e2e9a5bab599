"""securealign suites, simulate and bench: what they print for machines and for people."""

from __future__ import annotations

import json
from contextlib import nullcontext

import pytest
from typer.testing import CliRunner

from securealign.cli import app
from securealign.errors import ExitCode
from securealign.harness.runs.reading import read_run
from securealign.he import registry
from securealign.he.registry import DEFAULT_SUITE, REGISTRY, Entry

STATS = {
    *("bytes_up", "bytes_down", "wire_up", "wire_down", "messages_up", "messages_down", "rounds"),
    *("client_seconds", "provider_seconds", "network_seconds", "total_seconds"),
}
TINY = ("--samples", "40", "--dim-a", "6", "--dim-b", "4")


pytestmark = pytest.mark.usefixtures("no_progress_lines")


def run(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments)), env={"COLUMNS": "300", "TERM": "dumb"})


def run_json(*arguments):
    done = run(*arguments, "--json")
    assert done.exit_code == ExitCode.OK, done.output
    assert done.stderr == ""
    assert done.stdout.count("\n") == 1
    return json.loads(done.stdout)


def error_of(*arguments):
    """Return the exit code and the error that a command prints as JSON and, without the flag, in words."""
    in_words = run(*arguments)
    assert in_words.stdout == ""
    done = run(*arguments, "--json")
    assert done.stderr == ""
    error = json.loads(done.stdout)
    assert set(error) == {"error", "message", "hint"}
    assert f"error {error['error']} {error['message']}" in in_words.stderr
    assert in_words.exit_code == done.exit_code
    return done.exit_code, error


@pytest.fixture
def with_unavailable(monkeypatch):
    entry = Entry(REGISTRY["plaintext"].make, "another suite", unavailable=lambda: "its wheel is missing")
    changed = {**REGISTRY, "other": entry}
    monkeypatch.setattr(registry, "REGISTRY", changed)
    monkeypatch.setattr("securealign.cli.suites.REGISTRY", changed)


@pytest.mark.usefixtures("with_unavailable")
class TestSuites:
    def test_json_describes_every_suite(self):
        listed = run_json("suites")
        assert listed["default"] == DEFAULT_SUITE
        rows = {row["suite"]: row for row in listed["suites"]}
        assert set(rows) == {*REGISTRY, "other"}
        assert not rows["other"]["available"]
        assert rows["other"]["reason"] == "its wheel is missing"
        for name in (*REGISTRY, "other"):
            assert set(rows[name]) == {
                *("suite", "available", "reason", "summary", "parameter_set", "parameter_digest"),
                *(
                    "classical_bits",
                    "quantum_bits",
                    "exact",
                    "function_private",
                    "restorable",
                    "offline_phase",
                    "label_only",
                ),
                *("training_key_bytes", "inference_key_bytes"),
            }
            assert len(bytes.fromhex(rows[name]["parameter_digest"])) == 32
        assert rows["lwe"]["classical_bits"] >= 128
        assert rows["lwe"]["function_private"]
        assert rows["lwe"]["training_key_bytes"] == 24_608_136
        assert rows["plaintext"]["classical_bits"] == 0

    def test_the_table_has_a_line_for_every_suite(self):
        done = run("suites")
        cells = {line.split()[0]: line.split() for line in done.stdout.splitlines() if "/" in line}
        assert set(cells) >= {*REGISTRY, "other"}
        assert cells["lwe"][1:7] == ["yes", "128", "-", "yes", "yes", "yes"]
        assert cells["plaintext"][1:7] == ["yes", "-", "-", "yes", "no", "no"]
        assert cells["other"][1] == "no"
        assert "other: another suite. Cannot run here: its wheel is missing" in done.stdout
        assert done.stderr == ""

    def test_asking_for_an_unavailable_one_says_why(self):
        code, error = error_of("simulate", "--suite", "other", *TINY)
        assert code == ExitCode.UNAVAILABLE
        assert error["error"] == "SUITE_UNAVAILABLE"
        assert "its wheel is missing" in error["message"]


def assert_stats(stats):
    assert set(stats) == {*STATS, "phases", "messages"}
    for phase in stats["phases"].values():
        assert set(phase) == STATS
    for name in STATS:
        assert stats[name] == pytest.approx(sum(phase[name] for phase in stats["phases"].values()))
    assert stats["bytes_up"] > 0
    assert stats["rounds"] > 0


class TestSimulate:
    @pytest.fixture
    def rough(self, tmp_path):
        """A file with one network that has jitter and losses."""
        file = tmp_path / "rough.toml"
        file.write_text(
            "[rough]\nround_trip_ms = 50\njitter_ms = 20\nup_mbit = 5\ndown_mbit = 5\nloss = 0.05\n", encoding="utf-8"
        )
        return file

    @pytest.mark.parametrize("suite", ["plaintext", "lwe"])
    def test_json_holds_the_figures_of_both_phases(self, suite):
        result = run_json("simulate", "--suite", suite, *TINY, "--classes", 3, "--queries", 5)
        assert set(result) == {
            *("suite", "network", "seed", "client_factor", "provider_factor"),
            *("samples", "dim_a", "dim_b", "classes", "queries", "batch"),
            *("training", "inference", "label_agreement", "alignment_r2", "map_error"),
        }
        assert (result["suite"], result["network"]) == (suite, "loopback")
        assert result["label_agreement"] == 1
        for phase in ("training", "inference"):
            assert_stats(result[phase])
        assert {"handshake", "keys", "upload", "result"} <= set(result["training"]["phases"])
        assert {"handshake", "keys", "offline", "online"} <= set(result["inference"]["phases"])

    def test_as_many_queries_are_classified_as_were_asked_for(self):
        few, many = (
            run_json("simulate", "--suite", "plaintext", *TINY, "--queries", count)["inference"]["phases"]["online"]
            for count in (1, 200)
        )
        assert many["bytes_up"] > 200 * 6 * 8 > few["bytes_up"]

    def test_the_tables_show_every_phase_and_the_total(self):
        done = run("simulate", "--suite", "plaintext", *TINY, "--queries", 5)
        assert done.exit_code == ExitCode.OK
        assert "training: 40 rows, 4 -> 6 dimensions, over loopback" in done.stdout
        assert "inference: 5 queries, 10 classes, 64 in a round trip" in done.stdout
        assert done.stdout.count("total") == 2
        assert "labels equal to those in clear: 100.0%" in done.stdout

    @pytest.mark.parametrize("option", ["--samples", "--dim-a", "--dim-b", "--classes", "--queries"])
    @pytest.mark.parametrize("value", ["0", "x"])
    def test_a_number_that_makes_no_sense_is_a_usage_error(self, option, value):
        done = run("simulate", "--json", option, value)
        assert done.exit_code == ExitCode.USAGE
        assert option in done.stderr
        assert done.stdout == ""

    @pytest.mark.parametrize("option", ["--client-factor", "--provider-factor"])
    @pytest.mark.parametrize("value", ["-1", "nan", "inf", "2000000", "x"])
    def test_a_factor_that_makes_no_sense_is_a_usage_error(self, option, value):
        done = run("simulate", *TINY, option, value)
        assert done.exit_code == ExitCode.USAGE
        assert option in done.stderr
        assert done.stdout == ""

    def test_factors_scale_the_compute_of_their_party(self):
        result = run_json("simulate", "--suite", "plaintext", *TINY, "--client-factor", 0, "--provider-factor", 1000)
        assert (result["client_factor"], result["provider_factor"]) == (0, 1000)
        for phase in ("training", "inference"):
            assert result[phase]["client_seconds"] == 0
            assert result[phase]["provider_seconds"] > 0

    def test_another_seed_is_other_luck(self, rough):
        """Where a network has jitter and losses; without compute nothing else differs."""
        options = ("--suite", "plaintext", *TINY, "--client-factor", 0, "--provider-factor", 0)

        def seconds(network, seed):
            result = run_json("simulate", *options, "--network", network, "--seed", seed)
            assert result["seed"] == seed
            return result["training"]["total_seconds"]

        assert seconds(rough, 1) == seconds(rough, 1)
        assert len({seconds(rough, seed) for seed in range(4)}) > 1

    def test_a_network_of_a_file_of_ones_own(self, rough):
        result = run_json("simulate", "--suite", "plaintext", *TINY, "--network", f"{rough}:rough")
        assert result["network"] == "rough"
        assert result["training"]["network_seconds"] > 3 * 0.05

    @pytest.mark.parametrize(
        ("content", "named"),
        [
            (None, "cannot be read"),
            ("", "holds no network"),
            ("[rough]\nround_trip_ms = -1\nup_mbit = 1\ndown_mbit = 1\n", "rough.round_trip_ms"),
            ("[other]\nround_trip_ms = 1\nup_mbit = 1\ndown_mbit = 1\n", "'rough'"),
        ],
        ids=["missing", "empty", "a bad value", "another name"],
    )
    def test_a_bad_file_of_networks_is_named_before_anything_is_computed(self, monkeypatch, tmp_path, content, named):
        monkeypatch.setattr("securealign.harness.cli.simulate.sweep", None)
        file = tmp_path / "lines.toml"
        if content is not None:
            file.write_text(content, encoding="utf-8")
        code, error = error_of("simulate", "--suite", "plaintext", *TINY, "--network", f"{file}:rough")
        assert code in {ExitCode.USAGE, ExitCode.INPUT}
        assert named in error["message"]
        assert error["hint"]

    @pytest.mark.thorough
    def test_a_run_is_recorded_and_can_be_reported(self, tmp_path):
        file, page = tmp_path / "new" / "run.jsonl", tmp_path / "page.html"
        result = run_json("simulate", "--suite", "lwe", *TINY, "--queries", 5, "--network", "wan", "--record", file)
        recorded = read_run(file)
        assert (recorded.about.command, recorded.about.network.name) == ("simulate", "wan")
        assert [session.about.kind for session in recorded.sessions] == ["training", "inference"]
        for session in recorded.sessions:
            assert session.stats.model_dump() == result[session.about.kind]
        named = ("label_agreement", "alignment_r2", "map_error")
        assert recorded.results == {name: result[name] for name in named}
        assert run("report", file, "--output", page).exit_code == ExitCode.OK
        assert "<html" in page.read_text(encoding="utf-8")

    def test_without_being_asked_nothing_is_written(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        run_json("simulate", "--suite", "plaintext", *TINY)
        assert list(tmp_path.iterdir()) == []

    def test_a_recording_that_has_no_place_is_refused_before_anything_is_computed(self, monkeypatch, tmp_path):
        monkeypatch.setattr("securealign.harness.cli.simulate.sweep", None)
        (tmp_path / "file").touch()
        for place in (tmp_path, tmp_path / "file" / "run.jsonl"):
            code, error = error_of("simulate", "--suite", "plaintext", *TINY, "--record", place)
            assert (code, error["error"]) == (ExitCode.INPUT, "FILE_INVALID")
            assert str(tmp_path) in error["message"]


SWEEP = ("simulate", "--suites", "plaintext", "--samples", "40,50", "--dim-a", "6", "--dim-b", "4", "--queries", "5")


class TestSweep:
    @pytest.mark.thorough
    def test_json_holds_every_combination_as_a_single_run_would_be(self):
        arguments = ("--suites", "plaintext,lwe", "--networks", "wan,lan", *TINY, "--queries", "2,3")
        result = run_json("simulate", *arguments)
        assert set(result) == {"runs"}
        assert [(one["queries"], one["suite"], one["network"]) for one in result["runs"]] == [
            (queries, suite, network)
            for queries in (2, 3)
            for suite in ("plaintext", "lwe")
            for network in ("wan", "lan")
        ]
        single = run_json("simulate", "--suite", "plaintext", *TINY)
        for one in result["runs"]:
            assert set(one) == set(single)
            assert_stats(one["training"])
            assert_stats(one["inference"])

    def test_one_of_each_is_a_single_run(self):
        assert "runs" not in run_json("simulate", "--suites", "plaintext", "--samples", "40,40", *TINY[2:])

    def test_the_table_has_a_line_for_every_run_and_what_is_the_same_in_its_title(self):
        done = run(*SWEEP, "--networks", "lan,wan")
        assert done.exit_code == ExitCode.OK
        title, header, *lines = done.stdout.splitlines()
        assert title.split(";")[0] == "4 runs"
        assert "dim_a 6, dim_b 4, classes 10, queries 5" in title
        assert header.split()[:3] == ["suite", "network", "samples"]
        assert [line.split()[:3] for line in lines] == [
            ["plaintext", network, rows] for rows in ("40", "50") for network in ("lan", "wan")
        ]

    @pytest.mark.parametrize("option", ["--samples", "--dim-a", "--dim-b", "--classes", "--queries"])
    @pytest.mark.parametrize("value", ["4,x", "4,0", "4,,5", "4,", "-4", "4;5", "4.5", ""])
    def test_a_bad_list_is_a_usage_error_that_names_the_option(self, option, value):
        done = run("simulate", option, value)
        assert done.exit_code == ExitCode.USAGE
        assert option in done.stderr
        assert done.stdout == ""

    def test_digits_may_be_grouped(self):
        assert run_json("simulate", "--suite", "plaintext", *TINY[2:], "--samples", "1_000")["samples"] == 1000

    def test_all_figures_are_written_to_a_table(self, tmp_path):
        file = tmp_path / "new" / "sweep.csv"
        result = run_json(*SWEEP, "--csv", file)
        header, *lines = file.read_text(encoding="utf-8").splitlines()
        assert header.startswith("suite,network,seed,samples,dim_a,dim_b,classes,queries,batch,session,phase,bytes_up,")
        phases = sum(len(one[phase]["phases"]) + 1 for one in result["runs"] for phase in ("training", "inference"))
        assert len(lines) == phases

    def test_growth_is_drawn(self, tmp_path):
        file = tmp_path / "new" / "growth.svg"
        run_json(*SWEEP, "--figure", file)
        text = file.read_text(encoding="utf-8")
        for words in ("<svg", "Training, begin to end", "seconds, logarithmic scale", "public rows N"):
            assert words in text

    @pytest.mark.parametrize("lists", [(), ("--networks", "lan,wan"), ("--suites", "plaintext,lwe")])
    def test_where_no_size_varies_a_figure_is_refused_before_anything_is_computed(self, monkeypatch, tmp_path, lists):
        monkeypatch.setattr("securealign.harness.cli.simulate.sweep", None)
        suite = () if "--suites" in lists else ("--suite", "plaintext")
        code, error = error_of("simulate", *suite, *TINY, *lists, "--figure", tmp_path / "growth.svg")
        assert (code, error["error"]) == (ExitCode.USAGE, "CONFIGURATION_INVALID")
        assert "--samples 500,1000,2000" in error["hint"]
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("option", ["--csv", "--figure", "--record"])
    def test_a_place_that_cannot_be_written_is_refused_before_anything_is_computed(self, monkeypatch, tmp_path, option):
        monkeypatch.setattr("securealign.harness.cli.simulate.sweep", None)
        (tmp_path / "file").touch()
        code, error = error_of(*SWEEP, option, tmp_path / "file" / "x.svg")
        assert (code, error["error"]) == (ExitCode.INPUT, "FILE_INVALID")

    def test_every_run_is_recorded_in_a_folder(self, tmp_path):
        folder, page = tmp_path / "new" / "runs", tmp_path / "page.html"
        result = run_json(*SWEEP, "--networks", "lan,wan", "--record", folder)
        runs = [read_run(file) for file in folder.iterdir()]
        found = {(one.about.network.name, one.sessions[0].about.facts["rows"]): one for one in runs}
        assert set(found) == {(network, rows) for network in ("lan", "wan") for rows in (40, 50)}
        for one in result["runs"]:
            recorded = found[one["network"], one["samples"]]
            assert recorded.sessions[0].stats.model_dump() == one["training"]
            assert recorded.sessions[1].stats.model_dump() == one["inference"]
        assert run("report", *folder.iterdir(), "-o", page).exit_code == ExitCode.OK

    def test_a_network_cannot_name_a_file_outside_the_folder(self, tmp_path):
        networks, folder = tmp_path / "lines.toml", tmp_path / "runs"
        networks.write_text('["/../../x y"]\nround_trip_ms = 1\nup_mbit = 1\ndown_mbit = 1\n', encoding="utf-8")
        run_json(*SWEEP, "--network", networks, "--record", folder)
        assert len(list(folder.iterdir())) == 2
        assert {file.name for file in tmp_path.iterdir()} == {"lines.toml", "runs"}


SPREAD = {"median", "minimum", "maximum"}


class TestBenchTraining:
    @pytest.mark.thorough
    def test_json_of_several_suites(self):
        report = run_json("bench", "training", "--suites", "plaintext, lwe", *TINY, "--repetitions", 1, "--no-memory")
        assert set(report) == {
            *("samples", "dim_a", "dim_b", "repetitions", "budget_seconds", "clear_seconds", "suites"),
            *("space_seconds", "environment", "figures", "measurements"),
        }
        assert set(report["space_seconds"]) == SPREAD
        assert set(report["measurements"]) == {"clear", "plaintext", "lwe"}
        assert report["environment"]["cpus"] > 0
        assert set(report["figures"][0]) == {"phase", "suite", "figure", "unit", "value", "runs"}
        assert [report[name] for name in ("samples", "dim_a", "dim_b", "repetitions")] == [40, 6, 4, 1]
        assert set(report["clear_seconds"]) == SPREAD
        assert [figures["suite"] for figures in report["suites"]] == ["plaintext", "lwe"]
        for figures in report["suites"]:
            assert set(figures) == {
                *("suite", "client_seconds", "provider_seconds", "total_seconds", "times_clear", "key_bytes"),
                *("bytes_up", "bytes_down", "upload_times_float32", "weight_error", "phase_seconds", "peak_memory"),
                "runs",
            }
            assert figures["peak_memory"] is None
            assert set(figures["times_clear"]) == SPREAD
            assert figures["weight_error"] < 1e-3

    @pytest.mark.thorough
    def test_memory_of_both_parties_is_measured_in_processes_of_their_own(self):
        report = run_json("bench", "training", "--suites", "plaintext", *TINY, "--repetitions", 1)
        (figures,) = report["suites"]
        assert set(figures["peak_memory"]) == {"client", "provider"}
        assert all(10 << 20 < peak < 10 << 30 for peak in figures["peak_memory"].values())

    @pytest.mark.thorough
    @pytest.mark.parametrize(("flag", "shown"), [("--memory", True), ("--no-memory", False)])
    def test_the_table_names_the_figures(self, monkeypatch, flag, shown):
        from securealign.harness.bench import training
        from securealign.harness.bench.processes import PeakMemory

        monkeypatch.setattr(training, "training_memory", lambda *_: PeakMemory(client=50 << 20, provider=60 << 20))
        done = run("bench", "training", "--suites", "plaintext", *TINY, "--repetitions", 1, flag)
        assert done.exit_code == ExitCode.OK
        lines = {line[:24].strip(): line for line in done.stdout.splitlines()}
        assert "Training: 40 rows, 4 to 6 dimensions" in done.stdout
        assert "clear" in done.stdout
        for row in ("client compute, s", "upload to provider, MB", "error of W", "compute / clear", "bytes / clear"):
            assert row in lines
        assert lines["runs"].split() == ["runs", "1", "1"]
        assert "keys to client, MB" not in lines
        assert ("provider peak memory, MiB" in done.stdout) is shown

    @pytest.mark.thorough
    def test_figures_are_also_written_to_files(self, tmp_path):
        files = tmp_path / "new" / "figures.csv", tmp_path / "new" / "figures.svg"
        sizes = (*TINY, "--repetitions", 1, "--no-memory")
        run_json("bench", "training", "--suites", "plaintext", *sizes, "--csv", files[0], "--figure", files[1])
        header, *lines = files[0].read_text().splitlines()
        assert header == "phase,suite,figure,unit,value,min,max,runs"
        assert any(line.startswith("training,plaintext,compute / clear,ratio,") for line in lines)
        assert "<svg" in files[1].read_text()

    @pytest.mark.thorough
    def test_a_history_grows_by_the_ratios_of_a_run(self, tmp_path):
        file = tmp_path / "history.jsonl"
        for _ in range(2):
            run_json(
                "bench", "training", "--suites", "lwe", *TINY, "--repetitions", 1, "--no-memory", "--history", file
            )
        first, second = map(json.loads, file.read_text().splitlines())
        assert first["kind"] == "training"
        assert first["sizes"] == {"samples": 40, "dim_a": 6, "dim_b": 4}
        assert first["environment"]["cpus"] > 0
        assert first["runs"] == {"lwe": 1}
        assert set(first["figures"]) == {"lwe"}
        median, least, most = first["figures"]["lwe"]["compute / clear"]
        assert 0 < least <= median <= most
        assert first["figures"]["lwe"]["upload to provider, MB"] == second["figures"]["lwe"]["upload to provider, MB"]

    @pytest.mark.parametrize("content", ["[]\n", "no JSON\n", "7\n"])
    def test_a_file_that_is_no_history_is_refused_before_anything_is_measured(self, monkeypatch, tmp_path, content):
        monkeypatch.setattr("securealign.harness.cli.bench.bench_training", pytest.fail)
        (tmp_path / "notes").write_text(content)
        code, error = error_of("bench", "training", "--suites", "lwe", *TINY, "--history", tmp_path / "notes")
        assert (code, error["error"]) == (ExitCode.INPUT, "FILE_INVALID")
        assert (tmp_path / "notes").read_text() == content

    def test_a_file_that_cannot_be_written_is_refused_before_anything_is_measured(self, monkeypatch, tmp_path):
        monkeypatch.setattr("securealign.harness.cli.bench.bench_training", pytest.fail)
        (tmp_path / "file").touch()
        code, error = error_of("bench", "training", "--suites", "plaintext", *TINY, "--csv", tmp_path / "file" / "x")
        assert (code, error["error"]) == (ExitCode.INPUT, "FILE_INVALID")

    def test_a_suite_that_is_slower_than_the_budget_is_measured_once(self):
        budget = ("--repetitions", 2, "--budget", 0, "--no-memory")
        report = run_json("bench", "training", "--suites", "plaintext", *TINY, *budget)
        assert report["suites"][0]["runs"] == 1


class TestBenchInference:
    ARGUMENTS = ("bench", "inference", "--dim-a", "6", "--classes", "3", "--queries", "5", "--pool-slots", "2")

    @pytest.mark.thorough
    def test_json_of_several_suites_with_round_trips_between_processes(self):
        report = run_json(*self.ARGUMENTS, "--suites", "plaintext,lwe")
        assert set(report) == {
            *("features", "classes", "queries", "pool_slots", "outputs", "budget_seconds", "clear_ms"),
            *("suites", "environment", "figures", "measurements"),
        }
        assert [report[name] for name in ("features", "classes", "queries", "pool_slots")] == [6, 3, 5, 2]
        for figures in report["suites"]:
            assert set(figures) == {
                *(
                    "suite",
                    "output",
                    "online_client_ms",
                    "online_provider_ms",
                    "offline_client_ms",
                    "offline_provider_ms",
                ),
                *("round_trip_ms", "round_trip_ms_p95", "key_bytes", "online_bytes", "offline_bytes"),
                *("logit_error", "label_agreement", "runs", "queries", "peak_memory"),
            }
            assert set(figures["round_trip_ms"]) == SPREAD
            assert 0 < figures["round_trip_ms"]["minimum"] <= figures["round_trip_ms_p95"]
            assert figures["label_agreement"] == 1
            assert figures["queries"] == 5
            assert all(10 << 20 < peak < 10 << 30 for peak in figures["peak_memory"].values())
        plaintext, lwe = report["suites"]
        assert lwe["offline_bytes"] > plaintext["offline_bytes"]

    @pytest.mark.thorough
    def test_the_table_names_the_figures(self, monkeypatch):
        from securealign.harness.bench.separate import Server

        monkeypatch.setattr(Server, "round_trips", lambda _self, queries, _slots: [1.0, 2.0][: len(queries)])
        done = run(*self.ARGUMENTS, "--suites", "plaintext", "--no-memory")
        assert done.exit_code == ExitCode.OK
        assert "Inference: 6 dimensions, 3 classes, pools of 2; figures for each query" in done.stdout
        lines = {line[:24].strip(): line for line in done.stdout.splitlines()}
        assert lines["queries"].split() == ["queries", "5"]
        assert "1 (1..2)" in lines["round trip over gRPC, ms"]
        for row in ("client online, ms", "offline to client, KB", "equal labels, %", "online compute / clear"):
            assert row in lines

    def test_a_history_keeps_what_labels_cost_over_logits(self, monkeypatch, tmp_path):
        from securealign.harness.bench import inference
        from securealign.harness.bench.separate import Server

        monkeypatch.setattr(inference, "serving", lambda suite, *_: nullcontext(Server(suite, "", None)))
        monkeypatch.setattr(Server, "round_trips", lambda _self, queries, _slots: [1.0, 2.0][: len(queries)])
        file = tmp_path / "history.jsonl"
        more = ("--suites", "plaintext", "--no-memory", "--output", "logits,label", "--history", file)
        assert run(*self.ARGUMENTS, *more).exit_code == ExitCode.OK
        figures = json.loads(file.read_text())["figures"]
        assert set(figures) == {"plaintext", "plaintext label"}
        median, least, most = figures["plaintext label"]["online compute / logits"]
        assert 0 < least <= median <= most


SIMULATE, BENCH = ("simulate", "--suite", "plaintext"), ("bench", "training", "--suites", "plaintext")
FEW = ("--samples", 4, "--dim-a", 6, "--dim-b", 8)
REFUSALS = [
    ((*SIMULATE, "--network", "pigeon", *TINY), ExitCode.USAGE, "CONFIGURATION_INVALID", ("'pigeon'", "loopback")),
    (("simulate", "--suite", "rot13", *TINY), ExitCode.REFUSED, "SUITE_UNKNOWN", ("", "plaintext")),
    ((*SIMULATE, *FEW), ExitCode.REFUSED, "TOO_FEW_ROWS", ("", "")),
    (("bench", "training", "--suites", "plaintext,rot13", *TINY), ExitCode.REFUSED, "SUITE_UNKNOWN", ("", "")),
    ((*BENCH, *FEW, "--no-memory"), ExitCode.REFUSED, "TOO_FEW_ROWS", ("", "")),
    ((*TestBenchInference.ARGUMENTS, "--suites", "rot13"), ExitCode.REFUSED, "SUITE_UNKNOWN", ("", "")),
]


@pytest.mark.parametrize(("arguments", "code", "name", "said"), REFUSALS)
def test_what_cannot_be_run_is_refused(arguments, code, name, said):
    found, error = error_of(*arguments)
    assert (found, error["error"]) == (code, name)
    assert said[0] in error["message"]
    assert said[1] in error["hint"]


@pytest.mark.parametrize("arguments", [SWEEP, (*BENCH, *TINY)])
def test_a_picture_that_cannot_be_drawn_is_refused_before_anything_is_computed(monkeypatch, arguments):
    monkeypatch.setattr("securealign.harness.cli.simulate.sweep", None)
    monkeypatch.setattr("securealign.harness.cli.bench.bench_training", pytest.fail)
    code, error = error_of(*arguments, "--figure", "growth.bmp")
    assert (code, error["error"]) == (ExitCode.USAGE, "CONFIGURATION_INVALID")
