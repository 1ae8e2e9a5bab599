"""securealign suites, simulate and bench: what they print for machines and for people."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from securealign.cli import app
from securealign.errors import ExitCode
from securealign.he import registry
from securealign.he.registry import DEFAULT_SUITE, REGISTRY, Entry

STATS = {
    *("bytes_up", "bytes_down", "wire_up", "wire_down", "messages_up", "messages_down", "rounds"),
    *("client_seconds", "provider_seconds", "network_seconds", "total_seconds"),
}
TINY = ("--samples", "40", "--dim-a", "6", "--dim-b", "4")


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
                *("classical_bits", "quantum_bits", "exact", "function_private", "restorable", "offline_phase"),
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
    @pytest.mark.parametrize("suite", ["plaintext", "lwe"])
    def test_json_holds_the_figures_of_both_phases(self, suite):
        result = run_json("simulate", "--suite", suite, *TINY, "--classes", 3, "--queries", 5)
        assert set(result) == {
            *("suite", "network", "seed", "client_factor", "provider_factor"),
            *("samples", "dim_a", "dim_b", "classes", "queries", "batch"),
            *("training", "inference", "label_agreement", "alignment_r2"),
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

    def test_an_unknown_network_is_refused(self):
        code, error = error_of("simulate", "--suite", "plaintext", "--network", "pigeon", *TINY)
        assert code == ExitCode.USAGE
        assert error["error"] == "CONFIGURATION_INVALID"
        assert "'pigeon'" in error["message"]
        assert "loopback" in error["hint"]

    def test_an_unknown_suite_is_refused(self):
        code, error = error_of("simulate", "--suite", "rot13", *TINY)
        assert code == ExitCode.REFUSED
        assert error["error"] == "SUITE_UNKNOWN"
        assert "plaintext" in error["hint"]

    def test_too_few_rows_are_refused(self):
        code, error = error_of("simulate", "--suite", "plaintext", "--samples", 4, "--dim-a", 6, "--dim-b", 8)
        assert code == ExitCode.REFUSED
        assert error["error"] == "TOO_FEW_ROWS"

    @pytest.mark.parametrize("option", ["--samples", "--dim-a", "--dim-b", "--classes", "--queries"])
    @pytest.mark.parametrize("value", ["0", "x"])
    def test_a_number_that_makes_no_sense_is_a_usage_error(self, option, value):
        done = run("simulate", "--json", option, value)
        assert done.exit_code == ExitCode.USAGE
        assert option in done.stderr
        assert done.stdout == ""


SPREAD = {"median", "minimum", "maximum"}


class TestBenchTraining:
    def test_json_of_several_suites(self):
        report = run_json("bench", "training", "--suites", "plaintext, lwe", *TINY, "--repetitions", 1, "--no-memory")
        assert set(report) == {
            *("samples", "dim_a", "dim_b", "repetitions", "budget_seconds", "clear_seconds", "suites"),
            *("environment", "figures", "measurements"),
        }
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

    def test_memory_of_both_parties_is_measured_in_processes_of_their_own(self):
        report = run_json("bench", "training", "--suites", "plaintext", *TINY, "--repetitions", 1)
        (figures,) = report["suites"]
        assert set(figures["peak_memory"]) == {"client", "provider"}
        assert all(10 << 20 < peak < 10 << 30 for peak in figures["peak_memory"].values())

    @pytest.mark.parametrize(("flag", "shown"), [("--memory", True), ("--no-memory", False)])
    def test_the_table_names_the_figures(self, monkeypatch, flag, shown):
        from securealign.bench import training
        from securealign.bench.memory import PeakMemory

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

    def test_figures_are_also_written_to_files(self, tmp_path):
        files = tmp_path / "new" / "figures.csv", tmp_path / "new" / "figures.svg"
        sizes = (*TINY, "--repetitions", 1, "--no-memory")
        run_json("bench", "training", "--suites", "plaintext", *sizes, "--csv", files[0], "--figure", files[1])
        header, *lines = files[0].read_text().splitlines()
        assert header == "phase,suite,figure,unit,value,min,max,runs"
        assert any(line.startswith("training,plaintext,compute / clear,ratio,") for line in lines)
        assert "<svg" in files[1].read_text()

    def test_a_figure_that_cannot_be_drawn_is_refused_before_anything_is_measured(self, monkeypatch):
        monkeypatch.setattr("securealign.cli.bench.bench_training", None)
        code, error = error_of("bench", "training", "--suites", "plaintext", *TINY, "--figure", "figure.bmp")
        assert (code, error["error"]) == (ExitCode.USAGE, "CONFIGURATION_INVALID")

    def test_a_file_that_cannot_be_written_is_refused_before_anything_is_measured(self, monkeypatch, tmp_path):
        monkeypatch.setattr("securealign.cli.bench.bench_training", None)
        (tmp_path / "file").touch()
        code, error = error_of("bench", "training", "--suites", "plaintext", *TINY, "--csv", tmp_path / "file" / "x")
        assert (code, error["error"]) == (ExitCode.INPUT, "FILE_INVALID")

    def test_a_suite_that_is_slower_than_the_budget_is_measured_once(self):
        budget = ("--repetitions", 2, "--budget", 0, "--no-memory")
        report = run_json("bench", "training", "--suites", "plaintext", *TINY, *budget)
        assert report["suites"][0]["runs"] == 1

    def test_an_unknown_suite_is_refused(self):
        code, error = error_of("bench", "training", "--suites", "plaintext,rot13", *TINY)
        assert (code, error["error"]) == (ExitCode.REFUSED, "SUITE_UNKNOWN")

    def test_too_few_rows_are_refused(self):
        sizes = ("--samples", 4, "--dim-a", 6, "--dim-b", 8)
        code, error = error_of("bench", "training", "--suites", "plaintext", *sizes, "--no-memory")
        assert (code, error["error"]) == (ExitCode.REFUSED, "TOO_FEW_ROWS")


class TestBenchInference:
    ARGUMENTS = ("bench", "inference", "--dim-a", "6", "--classes", "3", "--queries", "5", "--pool-slots", "2")

    def test_json_of_several_suites_with_round_trips_between_processes(self):
        report = run_json(*self.ARGUMENTS, "--suites", "plaintext,lwe")
        assert set(report) == {
            *("features", "classes", "queries", "pool_slots", "budget_seconds", "clear_ms", "suites"),
            *("environment", "figures", "measurements"),
        }
        assert [report[name] for name in ("features", "classes", "queries", "pool_slots")] == [6, 3, 5, 2]
        for figures in report["suites"]:
            assert set(figures) == {
                *("suite", "online_client_ms", "online_provider_ms", "offline_client_ms", "offline_provider_ms"),
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

    def test_the_table_names_the_figures(self, monkeypatch):
        from securealign.bench.round_trips import Server

        monkeypatch.setattr(Server, "round_trips", lambda _self, queries, _slots: [1.0, 2.0][: len(queries)])
        done = run(*self.ARGUMENTS, "--suites", "plaintext", "--no-memory")
        assert done.exit_code == ExitCode.OK
        assert "Inference: 6 dimensions, 3 classes, pools of 2; figures for each query" in done.stdout
        lines = {line[:24].strip(): line for line in done.stdout.splitlines()}
        assert lines["queries"].split() == ["queries", "5"]
        assert "1 (1..2)" in lines["round trip over gRPC, ms"]
        for row in ("client online, ms", "offline to client, KB", "equal labels, %", "online compute / clear"):
            assert row in lines

    def test_an_unknown_suite_is_refused(self):
        code, error = error_of(*self.ARGUMENTS, "--suites", "rot13")
        assert (code, error["error"]) == (ExitCode.REFUSED, "SUITE_UNKNOWN")
