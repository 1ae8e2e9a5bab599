"""securealign head import: from a file that somebody else made to a head that a provider serves."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import save_file
from sklearn.feature_selection import VarianceThreshold
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from support.optional import later
from typer.testing import CliRunner

from securealign.alignment.head import LinearHead
from securealign.cli import app, head
from securealign.errors import ExitCode

skops_io = later("skops.io")
RANDOM = np.random.default_rng(6)
TRUE = RANDOM.integers(0, 3, size=40)
ROWS = 3 * RANDOM.normal(size=(3, 4))[TRUE] + RANDOM.normal(size=(40, 4))
CLASSES = np.array(["art", "law", "sea"])


def run(*arguments):
    return CliRunner().invoke(app, ["head", "import", *map(str, arguments)])


def error_of(done, code):
    assert done.exit_code == code, done.output
    return json.loads(done.stdout)


class Encoder:
    """An encoder of four dimensions."""

    name, dimension, fingerprint, max_tokens = "four", 4, "f" * 64, 128


@pytest.fixture
def site(tmp_path, monkeypatch):
    """Two models of scikit-learn and a layer of torch, in the working folder."""
    monkeypatch.chdir(tmp_path)
    skops_io.dump(LogisticRegression().fit(ROWS, CLASSES[TRUE]), tmp_path / "topics.skops")
    skops_io.dump(RidgeClassifier().fit(ROWS, CLASSES[TRUE]), tmp_path / "ridge.skops")
    weight = RANDOM.normal(size=(3, 4)).astype(np.float32)
    save_file({"weight": weight, "bias": weight[:, 0].copy()}, tmp_path / "layer.safetensors")
    return tmp_path


def test_a_head_is_saved_under_the_name_of_its_file(site):
    done = run("topics.skops")
    assert done.exit_code == ExitCode.OK, done.output
    assert done.stdout == "head with 3 classes and 4 dimensions saved in topics (probabilities by softmax)\n"
    assert done.stderr.startswith("warning: the head does not say which encoder it was fitted on")
    saved = LinearHead.from_pretrained(site / "topics")
    assert saved.class_names == tuple(CLASSES)
    assert saved.metadata == {"imported_from": "topics.skops"}


def test_margins_are_called_margins(site):
    done = run("ridge.skops", "--encoder-fingerprint", "a" * 64, "-o", "head")
    assert done.stdout == "head with 3 classes and 4 dimensions saved in head (margins, no probabilities)\n"
    assert done.stderr == ""
    assert run("ridge.skops", "--link", "ovr", "-o", "head").stdout.endswith("(probabilities by ovr)\n")
    assert LinearHead.from_pretrained(site / "head").link == "ovr"


def test_weights_of_a_column_that_hardly_varies_are_pointed_out(site):
    dead = np.hstack([ROWS, 1e-20 * ROWS[:, :1]])
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(dead, CLASSES[TRUE])
    skops_io.dump(model, site / "dead.skops")
    done = run("dead.skops", "--encoder-fingerprint", "a" * 64)
    assert done.exit_code == ExitCode.OK, done.output
    assert "warning: The weights of 1 of 5 dimensions" in done.stderr
    model = make_pipeline(VarianceThreshold(1e-8), StandardScaler(), LogisticRegression()).fit(dead, CLASSES[TRUE])
    skops_io.dump(model, site / "alive.skops")
    assert run("alive.skops", "--encoder-fingerprint", "a" * 64).stderr == ""


def test_what_is_known_of_the_encoder_is_kept(site, monkeypatch):
    given = []
    monkeypatch.setattr(head, "open_encoder", lambda *names, **options: given.append((names, options)) or Encoder())
    done = run("topics.skops", "--encoder", "four", "--max-tokens", 128, "--prompt", "query: ", "--json")
    assert json.loads(done.stdout) == {
        "head": "topics",
        "classes": list(CLASSES),
        "dimension": 4,
        "link": "softmax",
        "encoder_fingerprint": Encoder.fingerprint,
    }
    assert given == [(("four",), {"max_tokens": 128, "prompt": "query: "})]
    expected = {"encoder": "four", "encoder_fingerprint": "f" * 64, "max_tokens": 128}
    assert LinearHead.from_pretrained(site / "topics").metadata == expected | {"imported_from": "topics.skops"}


def test_a_fingerprint_that_is_given_needs_no_encoder(site, monkeypatch):
    monkeypatch.setattr(head, "open_encoder", None)
    done = run("topics.skops", "--encoder", "four", "--encoder-fingerprint", "e" * 64, "--max-tokens", 64)
    assert done.exit_code == ExitCode.OK, done.output
    expected = {"encoder": "four", "encoder_fingerprint": "e" * 64, "max_tokens": 64, "imported_from": "topics.skops"}
    assert LinearHead.from_pretrained(site / "topics").metadata == expected


def test_an_encoder_of_another_dimension_is_refused(site, monkeypatch):
    monkeypatch.setattr(Encoder, "dimension", 5)
    monkeypatch.setattr(head, "open_encoder", lambda *_, **__: Encoder())
    error = error_of(run("topics.skops", "--encoder", "four", "--json"), ExitCode.REFUSED)
    assert error["error"] == "SHAPE_MISMATCH"
    assert "takes 4 dimensions and the encoder gives 5" in error["message"]
    assert not (site / "topics").exists()


@pytest.mark.usefixtures("site")
def test_a_prompt_without_an_encoder_is_refused_rather_than_ignored():
    error = error_of(run("topics.skops", "--prompt", "query: ", "--json"), ExitCode.USAGE)
    assert "--prompt needs an encoder" in error["message"]


def test_the_classes_of_a_layer_are_named(site):
    error = error_of(run("layer.safetensors", "--json"), ExitCode.INPUT)
    assert "--classes" in error["hint"]
    assert run("layer.safetensors", "--classes", "a,b,c").exit_code == ExitCode.OK
    assert LinearHead.from_pretrained(site / "layer").class_names == ("a", "b", "c")
    assert error_of(run("layer.safetensors", "--classes", "a,b", "--json"), ExitCode.REFUSED)["message"]
    assert (
        "holds no linear layer 'out'"
        in error_of(run("layer.safetensors", "--layer", "out", "--json"), ExitCode.INPUT)["message"]
    )


def test_a_folder_of_something_else_is_left_alone(site):
    (site / "topics").mkdir()
    (site / "topics" / "notes.txt").write_text("mine", encoding="utf-8")
    error = error_of(run("topics.skops", "--json"), ExitCode.INPUT)
    assert "holds something else than a head" in error["message"]
    assert [path.name for path in (site / "topics").iterdir()] == ["notes.txt"]


@pytest.mark.usefixtures("site")
def test_a_file_that_is_not_there_is_named():
    assert "nowhere.skops is no file" in error_of(run("nowhere.skops", "--json"), ExitCode.INPUT)["message"]
