"""securealign plan: what it prints for machines and for people."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from securealign.alignment import LinearHead
from securealign.cli import app
from securealign.errors import ExitCode
from securealign.harness.planning.speeds import Speeds
from securealign.he.forecast import COVARIANCE_CALLS, HEAD_CALLS, LABEL_CALLS

SIZES = ("--samples", "60", "--dim-a", "8", "--dim-b", "5", "--classes", "3", "--queries", "9", "--batch", "2")


@pytest.fixture(autouse=True)
def speeds(monkeypatch):
    """A machine that was timed: every kind of work takes a nanosecond."""
    rates = dict.fromkeys(
        ("call", "expanded", "multiplied", "moved", "whitened", "products", "read", "factors"), 1e-9
    )  # fmt: skip
    known = Speeds(
        dict.fromkeys(COVARIANCE_CALLS, rates),
        dict.fromkeys(HEAD_CALLS, rates),
        dict.fromkeys(("problem", "solution"), rates),
        dict.fromkeys(HEAD_CALLS + LABEL_CALLS, rates),
    )
    renewed = []
    monkeypatch.setattr(
        "securealign.harness.cli.plan.speeds_of", lambda suite, *, progress, renew: renewed.append(renew) or known
    )
    return renewed


def run(*arguments):
    return CliRunner().invoke(app, ["plan", *map(str, arguments)], env={"COLUMNS": "200", "TERM": "dumb"})


def run_json(*arguments):
    done = run(*arguments, "--json")
    assert done.exit_code == ExitCode.OK, done.output
    assert done.stdout.count("\n") == 1
    return json.loads(done.stdout)


def test_one_plan_is_one_object():
    planned = run_json(*SIZES, "--suite", "plaintext", "--network", "lan")
    assert (planned["suite"], planned["network"], planned["samples"], planned["batch"]) == ("plaintext", "lan", 60, 2)
    assert planned["training"]["bytes_up"] > 60 * 6 * 8
    assert planned["inference"]["phases"]["online"]["rounds"] == 6


def test_lists_of_suites_and_networks_are_combined():
    plans = run_json(*SIZES, "--suite", "plaintext,lwe", "--network", "lan,wan")["plans"]
    assert [(one["suite"], one["network"]) for one in plans] == [
        ("plaintext", "lan"), ("plaintext", "wan"), ("lwe", "lan"), ("lwe", "wan")
    ]  # fmt: skip
    lan, wan = plans[2:]
    assert lan["training"]["bytes_up"] == wan["training"]["bytes_up"]
    assert lan["training"]["total_seconds"] < wan["training"]["total_seconds"]


def test_a_plan_is_the_one_of_a_simulation_with_the_same_sizes():
    planned = run_json(*SIZES, "--suite", "plaintext", "--network", "wan")
    done = CliRunner().invoke(app, ["simulate", *SIZES, "--suite", "plaintext", "--network", "wan", "--json"])
    simulated = json.loads(done.stdout)
    for job in ("training", "inference"):
        assert planned[job]["messages"] == simulated[job]["messages"]
        assert planned[job]["rounds"] == simulated[job]["rounds"]


def test_the_table_names_every_figure_and_the_leak():
    done = run(*SIZES, "--suite", "lwe", "--network", "lan,mobile")
    assert done.exit_code == ExitCode.OK
    lines = [line.split("  ")[0].strip() or line.strip().split("  ")[0] for line in done.stdout.splitlines()]
    for name in ("training, s", "of client", "error of the map", "each query, ms", "security, bits", "hides the head"):
        assert name in lines
    assert "training: 60 public rows, 5 -> 8 dimensions" in done.stdout
    assert "The client learns 6 directions of 60 rows: 10.0% of the provider's public embeddings" in done.stdout
    assert "A training session is charged 14 of 29 that 60 texts allow" in done.stdout
    assert "enough for 2 sessions" in done.stdout
    assert "9 queries that are answered in logits determine the head, and these are 1 times as many." in done.stdout


def test_what_a_forged_key_reads_is_told_for_logits_labels_and_suites_that_do_not_hide_the_head():
    sizes = ("--samples", "60", "--dim-a", "8", "--dim-b", "5", "--classes", "20", "--queries", "9", "--suite", "lwe")
    said = run(*sizes, "--pool-slots", "1024", "--network", "lan,wan").stdout
    logits = (
        "lwe-128: whatever key the client sends, an answer holds 360 bits of the head at most. After 1,024 slots of "
        "one pool, reading more from it takes 2^149 operations (core-SVP 2^118): an estimate, not a proof."
    )
    assert said.count(logits) == 1
    said = run(*sizes, "--output", "label").stdout
    label = "lwe-128: whatever key the client sends, an answer holds 5 bits of the head at most: its label"
    assert label in said
    assert "core-SVP" not in said
    clear = run(*SIZES, "--suite", "plaintext").stdout
    assert "whatever key" not in clear
    assert "an answer holds 192 bits in its logits" in clear


@pytest.mark.parametrize(("flags", "renewed"), [((), False), (("--calibrate",), True)])
def test_the_machine_is_timed_anew_when_asked(speeds, flags, renewed):
    run_json(*SIZES, *flags)
    assert speeds == [renewed]


ERRORS = {
    "an unknown suite": (("--suite", "rot13"), ExitCode.REFUSED, "SUITE_UNKNOWN"),
    "an unknown network": (("--network", "pigeon"), ExitCode.USAGE, "CONFIGURATION_INVALID"),
    "too few rows": (("--samples", "5"), ExitCode.REFUSED, "TOO_FEW_ROWS"),
    "too many rows": (("--samples", "2000000"), ExitCode.USAGE, "PLAN_INFEASIBLE"),
}


@pytest.mark.parametrize(("flags", "code", "error"), ERRORS.values(), ids=ERRORS)
def test_what_cannot_be_planned_is_an_error(flags, code, error):
    done = run(*SIZES, *flags, "--json")
    assert done.exit_code == code
    assert json.loads(done.stdout)["error"] == error


@pytest.fixture
def owned(tmp_path):
    """A head over 8 dimensions with 3 classes, the same head with a large weight that all classes share, and rows."""
    rng = np.random.default_rng(0)
    weight, bias = rng.normal(size=(8, 3)), rng.normal(size=3)
    LinearHead(weight, bias, ("a", "b", "c")).save_pretrained(tmp_path / "head")
    LinearHead(weight + 1e4 * rng.normal(size=(8, 1)), bias, ("a", "b", "c")).save_pretrained(tmp_path / "heavy")
    np.save(tmp_path / "public.npy", rng.normal(size=(300, 8)))
    return tmp_path


@pytest.mark.parametrize(("head", "uncertain"), [("head", False), ("heavy", True)])
def test_labels_that_encryption_would_make_uncertain_are_told_beforehand(owned, head, uncertain):
    options = ("--suite", "lwe", "--head", owned / head, "--embeddings", owned / "public.npy", "--dim-a", "99")
    planned = run_json("--samples", "60", "--dim-b", "5", *options)
    assert (planned["dim_a"], planned["classes"]) == (8, 3)
    assert (planned["inference"]["uncertain_share"] > 0.01) is uncertain
    done = run("--samples", "60", "--dim-b", "5", *options)
    assert ("of the labels cannot be trusted" in done.output) is uncertain


@pytest.mark.parametrize("option", ["--head", "--embeddings"])
def test_a_head_is_judged_on_embeddings(owned, option):
    done = run(*SIZES, option, owned / ("head" if option == "--head" else "public.npy"))
    assert done.exit_code == ExitCode.USAGE
    assert "Give --head with --embeddings" in done.output
