"""securealign head fit: from labelled texts and their embeddings to a head that a provider serves."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from securealign.alignment.head import LinearHead
from securealign.cli import app, head
from securealign.errors import ExitCode

CLASSES = ("politics", "sports", "weather")
ROWS, DIM = 60, 5


pytestmark = pytest.mark.usefixtures("no_progress_lines")


def run(*arguments):
    return CliRunner().invoke(app, ["head", "fit", *map(str, arguments)])


def error_of(done, code):
    assert done.exit_code == code, done.output
    assert done.stderr == ""
    return json.loads(done.stdout)


def labels():
    return [CLASSES[index % 3] for index in range(ROWS)]


@pytest.fixture
def matrix():
    """Three clouds that a line separates."""
    rng = np.random.default_rng(0)
    centres = 3 * rng.normal(size=(3, DIM))
    return centres[np.arange(ROWS) % 3] + 0.3 * rng.normal(size=(ROWS, DIM))


@pytest.fixture
def site(tmp_path, matrix):
    """Labelled texts, their embeddings, and texts without labels."""
    records = [{"text": f"text {index}", "label": label} for index, label in enumerate(labels())]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    lines = "".join(json.dumps({"text": record["text"]}) + "\n" for record in records)
    (tmp_path / "unlabelled.jsonl").write_text(lines, encoding="utf-8")
    np.save(tmp_path / "embeddings.npy", matrix.astype(np.float32))
    np.save(tmp_path / "short.npy", matrix[:-1])
    return tmp_path


def required(site, data="data.jsonl"):
    return "--data", site / data, "--output", site / "head"


def test_a_head_from_embeddings_made_elsewhere(site, matrix):
    done = run(*required(site), "--embeddings", site / "embeddings.npy", "--json")
    assert done.exit_code == ExitCode.OK, done.output
    assert done.stderr == ""
    result = json.loads(done.stdout)
    assert result.pop("fit_accuracy") > 0.95
    saved = LinearHead.from_pretrained(site / "head")
    chosen = {name: result.pop(name) for name in ("inverse_penalty", "cross_validated_accuracy")}
    assert chosen["inverse_penalty"] > 0
    assert 0.9 < chosen["cross_validated_accuracy"] <= 1
    assert saved.metadata == {**chosen, "samples": ROWS, "encoder": str(site / "embeddings.npy")}
    assert result == {"head": str(site / "head"), "classes": list(CLASSES), "samples": ROWS}
    assert saved.class_names == CLASSES
    assert saved.weight.shape == (DIM, 3)
    assert np.mean(np.array(saved.predict(matrix)) == np.array(labels())) > 0.95


def test_in_words(site):
    done = run(*required(site), "--embeddings", site / "embeddings.npy")
    start = f"head with 3 classes from 60 texts saved in {site / 'head'} (C = "
    assert done.stdout.startswith(start)
    assert done.stdout.endswith("of held-out texts right)\n")
    done = run(*required(site), "--embeddings", site / "embeddings.npy", "--inverse-penalty", 0.5)
    assert done.stdout == f"{start}0.5)\n"


@pytest.mark.parametrize(("arguments", "rows"), [([], ROWS), (["--samples", 40], 40)])
def test_a_head_from_an_encoder(site, matrix, monkeypatch, arguments, rows):
    class Table:
        """An encoder that knows the texts."""

        name, dimension = "table", DIM
        fingerprint = hashlib.sha256(b"table").hexdigest()

        def encode(self, texts, *, progress=None):
            return np.float32([matrix[int(text.split()[1])] for text in texts])

    asked = []
    monkeypatch.setattr(
        head, "open_encoder", lambda *name, max_tokens, **_: asked.append((*name, max_tokens)) or Table()
    )
    monkeypatch.setenv("SECUREALIGN_CACHE", str(site / "cache"))
    done = run(*required(site), "--encoder", "table", "--max-tokens", 9, *arguments, "--json")
    assert json.loads(done.stdout)["samples"] == rows
    assert asked == [("table", 9)]
    assert np.mean(np.array(LinearHead.from_pretrained(site / "head").predict(matrix)) == np.array(labels())) > 0.9


def test_a_stronger_penalty_gives_smaller_weights(site):
    norms = []
    for penalty in (0.001, 10):
        run(*required(site), "--embeddings", site / "embeddings.npy", "--inverse-penalty", penalty)
        norms.append(np.linalg.norm(LinearHead.from_pretrained(site / "head").weight))
    assert norms[0] < norms[1]


@pytest.mark.parametrize("penalty", ["0", "-1", "nan", "inf", "some"])
def test_a_penalty_that_makes_no_sense_is_refused(site, penalty):
    done = run(*required(site), "--embeddings", site / "embeddings.npy", "--inverse-penalty", penalty, "--json")
    assert "--inverse-penalty" in error_of(done, ExitCode.USAGE)["message"]


def test_texts_without_labels_are_refused(site):
    done = run(*required(site, "unlabelled.jsonl"), "--embeddings", site / "embeddings.npy", "--json")
    error = error_of(done, ExitCode.INPUT)
    assert "has no labels" in error["message"]
    assert "label" in error["hint"]


def test_another_number_of_rows_is_refused(site):
    error = error_of(run(*required(site), "--embeddings", site / "short.npy", "--json"), ExitCode.REFUSED)
    assert error["error"] == "SHAPE_MISMATCH"
    assert "59 rows for 60 texts" in error["message"]


@pytest.mark.parametrize("sources", [[], ["--encoder", "minilm", "--embeddings", "embeddings.npy"]])
def test_one_source_of_embeddings_is_needed(site, sources):
    error = error_of(run(*required(site), *sources, "--json"), ExitCode.INPUT)
    assert "one of --encoder, --config and --embeddings" in error["hint"]


def test_a_sample_of_embeddings_made_elsewhere_is_refused_rather_than_ignored(site):
    done = run(*required(site), "--embeddings", site / "embeddings.npy", "--samples", 10, "--json")
    assert "--samples" in error_of(done, ExitCode.USAGE)["message"]


def test_embeddings_that_are_not_finite_are_refused(site, matrix):
    matrix[3, 1] = np.nan
    np.save(site / "bad.npy", matrix)
    error = error_of(run(*required(site), "--embeddings", site / "bad.npy", "--json"), ExitCode.INPUT)
    assert error["error"] == "NON_FINITE_INPUT"
    assert not (site / "head").exists()


def test_one_class_fits_no_head(site):
    (site / "one.jsonl").write_text('{"text": "a", "label": "x"}\n' * ROWS, encoding="utf-8")
    done = run(*required(site, "one.jsonl"), "--embeddings", site / "embeddings.npy", "--json")
    assert "of 1 classes" in error_of(done, ExitCode.INPUT)["message"]


def test_an_encoder_that_is_not_there_is_refused_in_words(site):
    done = run(*required(site), "--encoder", "./nowhere")
    assert done.exit_code in {ExitCode.USAGE, ExitCode.INPUT}
    assert done.stderr.startswith("error ")
    assert "nowhere" in done.stderr
    assert done.stdout == ""


@pytest.fixture
def no_work(monkeypatch):
    """Nothing is embedded or fitted: an error is found before."""
    monkeypatch.setattr(head, "load_paired", None)
    monkeypatch.setattr(head, "open_encoder", None)


def occupied(folder, name, text=""):
    folder.mkdir()
    (folder / name).write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    ("occupy", "message"),
    [
        (lambda folder: folder.touch(), "is a file"),
        (lambda folder: occupied(folder, "notes.txt"), "holds something else than a head"),
        (lambda folder: occupied(folder, "model.safetensors"), "holds something else than a head"),
        (lambda folder: occupied(folder, "manifest.json", '{"kind": "alignment"}'), "holds something else than a head"),
        (lambda folder: occupied(folder, "manifest.json", "[]"), "holds something else than a head"),
    ],
    ids=["a file", "notes", "a model", "a map", "no manifest"],
)
@pytest.mark.usefixtures("no_work")
def test_an_output_that_holds_something_else_is_refused_before_any_work_and_left_alone(site, occupy, message):
    occupy(site / "head")
    before = {path.name: path.read_bytes() for path in site.glob("head/*")}
    error = error_of(run(*required(site), "--embeddings", site / "embeddings.npy", "--json"), ExitCode.INPUT)
    assert error["error"] == "FILE_INVALID"
    assert message in error["message"]
    assert before == {path.name: path.read_bytes() for path in site.glob("head/*")}


def test_an_output_below_a_file_is_refused(site):
    (site / "file").touch()
    done = run("--data", site / "data.jsonl", "--output", site / "file" / "head", "--encoder", "minilm", "--json")
    assert f"{site / 'file'} is a file" in error_of(done, ExitCode.INPUT)["message"]


def test_a_model_beside_a_head_is_not_deleted(site):
    run(*required(site), "--embeddings", site / "embeddings.npy")
    (site / "head" / "model.safetensors").touch()
    error = error_of(run(*required(site), "--embeddings", site / "embeddings.npy", "--json"), ExitCode.INPUT)
    assert "something else" in error["message"]
    assert (site / "head" / "model.safetensors").exists()


def test_a_head_is_replaced(site):
    for penalty in ("0.001", "1"):
        done = run(*required(site), "--embeddings", site / "embeddings.npy", "--inverse-penalty", penalty)
        assert done.exit_code == ExitCode.OK, done.output
    assert LinearHead.from_pretrained(site / "head").metadata["inverse_penalty"] == 1
    assert len(list((site / "head").glob("*.safetensors"))) == 1


@pytest.mark.parametrize("name", ["x" * 300, "up\u202edown", "bell\u0007"], ids=["long", "reordering", "control"])
@pytest.mark.usefixtures("no_work")
def test_class_names_that_cannot_be_shown_are_refused_before_any_work(site, name):
    records = [{"text": str(index), "label": name if index % 2 else "fine"} for index in range(ROWS)]
    (site / "names.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    done = run(*required(site, "names.jsonl"), "--embeddings", site / "embeddings.npy", "--json")
    error = error_of(done, ExitCode.INPUT)
    assert "names.jsonl, line 2: the label h" in error["message"]
    assert error["message"].isprintable()


@pytest.mark.usefixtures("no_work")
def test_a_sample_of_one_class_is_refused_before_any_work(site):
    rare = ['{"text": "a", "label": "x"}\n'] * ROWS + ['{"text": "b", "label": "y"}\n']
    (site / "rare.jsonl").write_text("".join(rare), encoding="utf-8")
    error = error_of(
        run(*required(site, "rare.jsonl"), "--encoder", "minilm", "--samples", 2, "--json"), ExitCode.INPUT
    )
    assert "2 texts of 1 classes" in error["message"]
    assert "--samples" in error["hint"]
