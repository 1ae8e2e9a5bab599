"""securealign compat: what it prints, writes and refuses."""

from __future__ import annotations

import hashlib
import json
from functools import partial

import numpy as np
import pytest
from typer.testing import CliRunner

from securealign.alignment import LinearHead
from securealign.cli import app
from securealign.data import TextDataset
from securealign.errors import ExitCode
from securealign.harness.planning.speeds import Speeds
from securealign.he.forecast import COVARIANCE_CALLS, HEAD_CALLS
from securealign.lab.experiments.corpora import Corpora, Embeddings
from securealign.lab.experiments.run import Store

CLASSES = ("red", "green", "blue")
#: Encoders that share nothing, and few texts, are what these tests are about.
pytestmark = pytest.mark.filterwarnings("ignore:The public embeddings may not belong together")


class Words:
    """A text as random numbers of its first word, and a little of the rest."""

    dimension = 8

    def __init__(self, name):
        self.name, self.fingerprint = name, hashlib.sha256(name.encode()).hexdigest()

    def encode(self, texts, *, progress=None):
        def numbers(text):
            return np.random.default_rng(list(hashlib.sha256(text.encode()).digest())).normal(size=self.dimension)

        return np.asarray([3 * numbers(text.split()[0]) + numbers(text) for text in texts], dtype=np.float32)


def load(name):
    texts = tuple(f"{CLASSES[row % 3]} {name} {row}" for row in range(90))
    return TextDataset(name=name, texts=texts, labels=tuple(row % 3 for row in range(90)), class_names=CLASSES)


@pytest.fixture(autouse=True)
def small(monkeypatch, tmp_path):
    """Fake encoders and data sets, a machine that was timed, and a cache of one's own."""
    kinds = ("call", "expanded", "multiplied", "moved", "whitened", "products", "read", "factors")
    rates = dict.fromkeys(kinds, 1e-9)
    known = Speeds(
        dict.fromkeys(COVARIANCE_CALLS, rates),
        dict.fromkeys(HEAD_CALLS, rates),
        dict.fromkeys(("problem", "solution"), rates),
    )
    monkeypatch.setattr("securealign.lab.experiments.compat.assess.speeds_of", lambda suite, *, progress: known)
    # The choice of a penalty fits each head sixty times, and no test here is about it.
    fixed = partial(LinearHead.fit, inverse_penalty=1.0)
    monkeypatch.setattr("securealign.lab.experiments.compat.probes.fit_head", fixed)
    monkeypatch.setattr(
        "securealign.lab.cli.compat.Embeddings", partial(Embeddings, folder=tmp_path / "v", opener=Words)
    )
    monkeypatch.setattr("securealign.lab.cli.compat.Store", partial(Store, tmp_path / "cells"))
    monkeypatch.setattr("securealign.lab.cli.compat.Corpora", partial(Corpora, load=load))
    monkeypatch.chdir(tmp_path)
    lines = [json.dumps({"text": f"plain{row} public {row}"}) for row in range(60)]
    (tmp_path / "public.jsonl").write_text("\n".join(lines))


def run(*arguments):
    return CliRunner().invoke(app, ["compat", *map(str, arguments)], env={"COLUMNS": "200", "TERM": "dumb"})


def test_it_prints_what_to_do_and_writes_a_page(tmp_path):
    done = run("one", "two", "public.jsonl", "--probes", "a:b", "-o", "page.html")
    assert done.exit_code == ExitCode.OK, done.output
    assert done.stdout.startswith("one for two: ")
    assert "a:b: own" in done.stdout
    page = (tmp_path / "page.html").read_text()
    assert "one for two" in page
    assert "public.jsonl" in page
    assert "plain1 public" not in page


def test_json_is_one_object_with_everything(tmp_path):
    done = run("one", "two", "public.jsonl", "--probes", "a:b,c:d", "--texts", 50, "--network", "lan", "--json")
    assert done.exit_code == ExitCode.OK, done.output
    found = json.loads(done.stdout)
    assert (found["rows"], found["in_file"], found["cost"]["network"]) == (50, 60, "lan")
    assert [probe["name"] for probe in found["probes"]] == ["a:b", "c:d"]
    assert found["recommendation"]["advice"] in {"align", "align with shots", "try, with care", "do not align"}
    assert (tmp_path / "compat.html").stat().st_size == found["bytes"]


def test_the_paper_s_map_is_tried_when_asked_for():
    found = json.loads(run("one", "two", "public.jsonl", "--probes", "a:b", "--map", "ridge", "--json").stdout)
    assert (found["map"], found["other_map"]) == ("ridge", "soft")
    assert run("one", "two", "public.jsonl", "--map", "rotation").exit_code == 2


def test_no_probes_are_no_mistake():
    done = run("one", "one", "public.jsonl", "--probes", "", "--json")
    assert json.loads(done.stdout)["probes"] == []


@pytest.mark.parametrize(
    ("arguments", "code", "hint"),
    [
        (("one", "two", "public.jsonl", "-o", "page.pdf"), "CONFIGURATION_INVALID", ".html"),
        (("one", "two", "nowhere.jsonl"), "INPUT_INVALID", "20ng"),
        (("one", "two", "public.jsonl", "--network", "carrier"), "CONFIGURATION_INVALID", "wan"),
        (("one", "two", "public.jsonl", "--suite", "rot13"), "SUITE_UNKNOWN", "lwe"),
        (("one", "two", "public.jsonl", "--texts", "9"), "TOO_FEW_ROWS", "Raise --texts"),
        (("one", "two", "public.jsonl", "--probes", "cooking"), "INPUT_INVALID", "20ng"),
        (("none.npy", "two", "public.jsonl"), "FILE_INVALID", ""),
    ],
)
def test_mistakes_are_told_with_what_to_do(arguments, code, hint):
    done = run(*arguments, "--json")
    assert done.exit_code != ExitCode.OK
    said = json.loads(done.stdout)
    assert said["error"] == code
    assert hint in said["hint"]


def test_rows_that_are_not_those_of_the_texts_are_refused(tmp_path):
    np.save(tmp_path / "rows.npy", np.ones((3, 8), dtype=np.float32))
    said = json.loads(run("rows.npy", "two", "public.jsonl", "--json").stdout)
    assert said["error"] == "SHAPE_MISMATCH"
    assert "3 rows for 60 texts" in said["message"]
