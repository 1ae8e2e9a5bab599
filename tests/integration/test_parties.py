"""The two programs as an operator runs them: processes, files, exit codes."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import structlog
from support.peers import embeddings, next_event, stored_space
from support.sites import make_site, provider_process, run_client
from typer.testing import CliRunner

import parties
from securealign.alignment import AlignmentMap, LinearAligner, LinearHead
from securealign.client import __main__ as client_program
from securealign.client.app import Client
from securealign.client.config import ClientSettings
from securealign.errors import ErrorCode, ExitCode, TransportError
from securealign.provider import __main__ as provider_program
from securealign.provider.config import ProviderSettings
from securealign.settings import load_settings

ROWS, DIM_A, DIM_B = 120, 24, 16
CLASSES = ("sports", "politics", "weather")

PROVIDER = """
[server]
address = "127.0.0.1:0"
certificates = "certs/provider"
[public]
texts = "public.jsonl"
embeddings = "public_a.npy"
[head]
folder = "head"
"""

CLIENT = """
[provider]
certificates = "certs/client"
[public]
texts = "public.jsonl"
embeddings = "public_b.npy"
[inference]
pool_slots = 8
"""


@pytest.fixture
def site(tmp_path):
    """A folder with what both organisations have; the client's embeddings are a linear image of the provider's."""
    settings = {"provider.toml": PROVIDER, "client.toml": CLIENT}
    return make_site(tmp_path, settings, (ROWS, DIM_A, DIM_B), CLASSES)


@contextmanager
def provider(site, *arguments):
    """Run the provider as a process and yield it, with the name of its space, and its port."""
    with provider_process(site / "provider.toml", *arguments) as (process, listening):
        process.space = listening["space"]
        yield process, listening["port"]


def client(site, port, command, *arguments, **options):
    """Run the client to its end."""
    return run_client(site / "client.toml", port, command, *arguments, **options)


def assert_is_the_map_in_clear(site, saved):
    """The map leads into the provider's space; out of it, it is what both parties' embeddings give together."""
    weight, bias = stored_space(site).unfold(saved.weight, saved.bias)
    clear = LinearAligner("auto", "soft").fit(np.load(site / "public_b.npy"), np.load(site / "public_a.npy")).map_
    assert np.linalg.norm(weight - clear.weight) < 2e-3 * np.linalg.norm(clear.weight)
    assert np.linalg.norm(bias - clear.bias) < 2e-3 * np.linalg.norm(clear.weight)


@pytest.fixture
def invoke(monkeypatch):
    """Run a program in this process, and set its logging back."""
    for program in (client_program, provider_program):
        monkeypatch.setattr(program, "redact_python_output", lambda: None)
    handlers = logging.root.handlers[:]
    yield lambda program, *arguments: CliRunner().invoke(program.app, arguments, env={"COLUMNS": "500", "TERM": "dumb"})
    structlog.reset_defaults()
    logging.root.handlers[:] = handlers


def save_map(site, space="00" * 16):
    """Save a map that no training made, into a space."""
    AlignmentMap(embeddings(DIM_B, DIM_A, 5), np.zeros(DIM_A), {"space": space}).save_pretrained(site / "alignment")


def test_align_and_classify_between_two_processes(site):
    with provider(site) as (process, port):
        aligned = client(site, port, "align", "--json")
        assert aligned.returncode == 0, aligned.stderr
        trained = next_event(process)
        classified = client(site, port, "classify", "--embeddings", str(site / "private.npy"), "--json")
        assert classified.returncode == 0, classified.stderr
        answered = next_event(process)
        process.send_signal(signal.SIGTERM)
        assert next_event(process)["event"] == "stopping"
        assert process.wait(600) == 0

    figures = json.loads(aligned.stdout)
    saved = AlignmentMap.from_pretrained(site / "alignment")
    assert_is_the_map_in_clear(site, saved)
    assert figures["space"] == saved.metadata["space"] == stored_space(site).identifier.hex() == process.space
    assert {name: figures[name] for name in ("map", "ridge")} == {"map": "soft", "ridge": "auto"}
    assert 0.9 < figures["r2_unseen"] < figures["r2"] < 1
    assert (figures["d_a"], figures["d_b"], figures["rows"]) == (DIM_A, DIM_B, ROWS)
    assert figures["pid"] != trained["stats"]["rounds"] != 0
    assert figures["stats"]["bytes_up"] == trained["stats"]["bytes_up"]

    results = [json.loads(line) for line in classified.stdout.splitlines()]
    (digest,) = {result["head"] for result in results}
    assert len(bytes.fromhex(digest)) == 32
    assert any(bytes.fromhex(digest))
    head = stored_space(site).fold(LinearHead.from_pretrained(site / "head"))
    assert [result["label"] for result in results] == head.predict(saved.apply(np.load(site / "private.npy")))
    assert all(0 < result["score"] <= 1 for result in results)
    assert answered["event"] == "session done"
    assert answered["stats"]["bytes_down"] > 0


@pytest.mark.thorough
def test_public_texts_that_are_repeated_count_once_on_both_sides(site):
    np.savez(site / "both.npz", a=np.load(site / "public_a.npy"), b=np.load(site / "public_b.npy"))
    lines = (site / "public.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    # The client's copy holds one text twice, so its file of embeddings has a row more.
    (site / "longer.jsonl").write_text("".join([*lines[:5], lines[0], "\n", *lines[5:]]), encoding="utf-8")
    np.save(site / "longer.npy", np.insert(np.load(site / "public_b.npy"), 5, 1000.0, axis=0))
    with provider(site, "--set", "public.embeddings=both.npz:a") as (_, port):
        longer = ("--set", "public.texts=longer.jsonl", "--set", "public.embeddings=longer.npy")
        aligned = client(site, port, "align", "--json", *longer)
    assert aligned.returncode == 0, aligned.stderr
    assert json.loads(aligned.stdout)["rows"] == ROWS
    assert_is_the_map_in_clear(site, AlignmentMap.from_pretrained(site / "alignment"))


@pytest.mark.thorough
def test_a_client_that_aligns_too_often_over_the_same_texts_is_told_so(site):
    # 17 columns of 120 rows are charged as 39: one session stays below a half.
    with provider(site) as (process, port):
        aligned = client(site, port, "align", "--quiet")
        assert aligned.returncode == 0, aligned.stderr
        assert next_event(process)["event"] == "session done"
        refused = client(site, port, "align", "--json")
        logged = next_event(process)
    assert refused.returncode == ExitCode.REFUSED
    assert json.loads(refused.stdout)["error"] == "RANK_BUDGET_EXHAUSTED"
    assert (logged["event"], logged["code"]) == ("session refused", "RANK_BUDGET_EXHAUSTED")
    assert "charged 39 before" in logged["reason"]
    assert "max_rank_fraction = 0.5 allows 59" in logged["reason"]


@pytest.mark.thorough
def test_classify_writes_one_index_label_and_score_a_line(site):
    with provider(site) as (process, port):
        save_map(site, process.space)
        to_file = client(
            site, port, "classify", "--embeddings", str(site / "private.npy"), "--batch", "3",
            "--output", str(site / "labels.tsv"), "--stats", str(site / "stats.json"),
        )  # fmt: skip
        to_stdout = client(site, port, "classify", "--embeddings", str(site / "private.npy"), "--quiet")
    assert (to_file.returncode, to_file.stdout) == (0, "")
    assert "20 queries under lwe-128" in to_file.stderr
    assert to_stdout.stderr == ""
    lines = (site / "labels.tsv").read_text(encoding="utf-8").splitlines()
    assert [line.split("\t")[:2] for line in lines] == [row.split("\t")[:2] for row in to_stdout.stdout.splitlines()]
    assert [line.split("\t")[0] for line in lines] == [str(index) for index in range(20)]
    assert len(lines) == 20
    for line in lines:
        _, label, score = line.split("\t")
        assert label in CLASSES
        assert 0 < float(score) <= 1
    stats = json.loads((site / "stats.json").read_text(encoding="utf-8"))
    assert (stats["queries"], stats["checks"]) == (20, 2)
    assert stats["bytes_up_per_query"] > DIM_A * 10


#: Runs the client's program, which kills itself in place of one call of a method, counted from 0.
KILLED = """
import os, signal, sys
from securealign.client import __main__, answering, results, classifying
kind, name, number = eval(sys.argv.pop(1)), sys.argv.pop(1), int(sys.argv.pop(1))
original, calls = getattr(kind, name), []
def instead(*arguments, **options):
    calls.append(None)
    if len(calls) > number:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*arguments, **options)
setattr(kind, name, instead)
__main__.main()
"""


@pytest.mark.thorough
def test_a_client_that_is_killed_three_times_leaves_one_line_for_each_input_and_is_charged_once(site):
    np.save(site / "many.npy", embeddings(300, DIM_B, 7))
    output = site / "labels.jsonl"
    with provider(site, "--set", "policy.max_queries=320") as (process, port):
        save_map(site, process.space)
        command = [
            "classify", "--config", str(site / "client.toml"), "--set", f"provider.address=127.0.0.1:{port}", "--json",
            "--embeddings", str(site / "many.npy"), "--batch", "32", "--output", str(output),
        ]  # fmt: skip
        for point in (
            ("answering.Answering", "ask", "2"),
            ("results.FileResults", "_write", "3"),
            ("results.FileResults", "finish", "0"),
        ):
            killed = subprocess.run([sys.executable, "-c", KILLED, *point, *command], check=False)
            assert killed.returncode == -signal.SIGKILL
            assert not output.exists()
        done = subprocess.run([sys.executable, "-m", "securealign.client", *command], check=False)
        # The budget holds these queries and their checks, and no more.
        refused = client(site, port, "classify", "--json", "--embeddings", str(site / "private.npy"))
    assert done.returncode == 0
    lines = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    assert [line["index"] for line in lines] == list(range(300))
    head = stored_space(site).fold(LinearHead.from_pretrained(site / "head"))
    queries = AlignmentMap.from_pretrained(site / "alignment").apply(np.load(site / "many.npy"))
    assert [line["label"] for line in lines] == head.predict(queries)
    assert json.loads(refused.stdout)["error"] == "QUERY_BUDGET_EXHAUSTED"


def killing(process):
    """Return a report of progress that kills a process once rows are under way."""

    def kill(sent: int, _total: int) -> None:
        if sent:
            process.kill()
            process.wait()

    return kill


@pytest.mark.thorough
def test_a_client_goes_on_with_a_provider_that_was_killed_and_started_again(site):
    with provider(site) as (process, port):
        address, impatient = f"provider.address=127.0.0.1:{port}", "provider.patience_seconds=0"
        settings = load_settings(ClientSettings, site / "client.toml", [address, impatient])
        with pytest.raises(TransportError) as caught:
            Client(settings).align(lambda done, total: None, killing(process))
    assert caught.value.code is ErrorCode.CONNECTION_LOST
    assert caught.value.code.exit_code == ExitCode.NETWORK
    assert "again" in caught.value.hint
    assert not (site / "alignment").exists()
    with provider(site, "--set", f"server.address=127.0.0.1:{port}") as (process, _):
        figures = Client(settings).align(lambda done, total: None, lambda done, total: None)
        logged = next_event(process)
    # The key was sent before, and is not sent again.
    assert figures["stats"]["phases"].get("keys", {"bytes_up": 0})["bytes_up"] == 0
    assert (logged["event"], logged["phase"]) == ("session done", "training")
    assert_is_the_map_in_clear(site, AlignmentMap.from_pretrained(site / "alignment"))


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        (["--set", "server.address=256.0.0.1:5"], ExitCode.USAGE, "Cannot listen"),
        (["--set", "server.certificates=certs/client"], ExitCode.NETWORK, "not for the role provider"),
        (["--set", "server.certificates=nowhere"], ExitCode.INPUT, "certs init"),
        (["--set", "head.folder=nowhere"], ExitCode.INPUT, "not a saved head"),
        (["--set", "public.texts=nowhere.jsonl"], ExitCode.INPUT, "nowhere.jsonl"),
        (["--set", "policy.suites=[\"rot13\"]"], ExitCode.REFUSED, "rot13"),
        (["--set", "nonsense"], ExitCode.USAGE, "section.name=value"),
        (["--set", "server.port=5"], ExitCode.USAGE, "server.port"),
    ],
)  # fmt: skip
def test_a_provider_that_cannot_start_says_why(site, invoke, arguments, code, named):
    done = invoke(provider_program, "--config", str(site / "provider.toml"), *arguments)
    assert done.exit_code == code
    assert named in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.thorough
def test_a_head_for_another_dimension_is_refused_at_the_start(site):
    LinearHead(np.ones((DIM_A + 1, 2)), np.zeros(2), ("a", "b")).save_pretrained(site / "head")
    done = subprocess.run(
        [sys.executable, "-m", "securealign.provider", "--config", str(site / "provider.toml"), "--json"],
        capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    assert json.loads(done.stdout.splitlines()[-1])["error"] == "SHAPE_MISMATCH"


@pytest.mark.thorough
def test_a_client_without_a_provider(site):
    done = client(site, 1, "align", "--json", "--set", "provider.patience_seconds=0.01")
    assert done.returncode == ExitCode.NETWORK
    assert json.loads(done.stdout)["error"] == "PEER_UNREACHABLE"
    assert "provider lost; trying again" in done.stderr
    assert not (site / "alignment").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        ([], ExitCode.INPUT, "INPUT_INVALID"),
        (["--embeddings", "missing.npy"], ExitCode.INPUT, "FILE_INVALID"),
        (["--input", "missing.jsonl"], ExitCode.INPUT, "FILE_INVALID"),
        (["--set", "inference.pool_slots=0", "--input", "-"], ExitCode.USAGE, "CONFIGURATION_INVALID"),
    ],
)
def test_a_client_with_bad_input(site, invoke, arguments, code, error):
    save_map(site)
    done = invoke(client_program, "classify", "--config", str(site / "client.toml"), "--json", *arguments)
    assert done.exit_code == code
    assert json.loads(done.stdout)["error"] == error


@pytest.mark.thorough
def test_a_query_that_is_not_finite_is_refused_before_it_is_sent(site):
    save_map(site)
    bad = embeddings(3, DIM_B)
    bad[1, 2] = np.nan
    np.save(site / "bad.npy", bad)
    done = client(site, 1, "classify", "--json", "--embeddings", str(site / "bad.npy"))
    assert done.returncode == ExitCode.INPUT
    assert json.loads(done.stdout)["error"] == "NON_FINITE_INPUT"


@pytest.mark.thorough
def test_the_environment_overrides_the_file(site):
    environment = {
        **os.environ,
        "SECUREALIGN_CLIENT__PROVIDER__ADDRESS": "127.0.0.1:1",
        "SECUREALIGN_CLIENT__PROVIDER__PATIENCE_SECONDS": "0",
    }
    done = subprocess.run(
        [sys.executable, "-m", "securealign.client", "align", "--config", str(site / "client.toml"), "--json"],
        capture_output=True, text=True, check=False, timeout=600, env=environment,
    )  # fmt: skip
    assert json.loads(done.stdout)["error"] == "PEER_UNREACHABLE"


@pytest.mark.parametrize("party", ["provider", "client"])
def test_the_commented_examples_are_valid(party):
    kind = ProviderSettings if party == "provider" else ClientSettings
    settings = load_settings(kind, Path(parties.__file__).parent / party / "example.toml", [])
    assert settings.public.texts == "public.jsonl"
