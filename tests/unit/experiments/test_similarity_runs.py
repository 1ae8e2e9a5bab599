"""The experiment on how alike encoders see texts: what it finds, says, draws and keeps."""

import json

import pytest
from support.experiments import FakeEncoder, FakeModels, fake_corpora, let_commands_use_fakes
from typer.testing import CliRunner

from securealign.cli import app
from securealign.data import TextDataset
from securealign.errors import ExitCode, InputError
from securealign.lab.experiments.embeddings import Embeddings
from securealign.lab.experiments.page import section
from securealign.lab.experiments.result import write_result
from securealign.lab.experiments.run import run_experiment
from securealign.lab.experiments.setting import PairsConfig
from securealign.lab.experiments.similarity.figures import figures
from securealign.lab.experiments.similarity.values import means, summary
from securealign.lab.experiments.store import Store

TASK = "colours/train:colours/test"


def make(folder, *encoders):
    models = FakeModels(*encoders)
    embeddings = Embeddings(folder=folder / "vectors", opener=models.open)
    return PairsConfig(tuple(models.encoders), (TASK,), fake_corpora(), embeddings), models


def mean(result, measure, encoder="a", other="b"):
    return means(result).filter(encoder=encoder, other=other)[measure].item()


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    folder = tmp_path_factory.mktemp("similarity")
    encoders = FakeEncoder("a"), FakeEncoder("b", dimension=20), FakeEncoder("odd", unrelated=True)
    setting, _ = make(folder, *encoders)
    return run_experiment("similarity", setting, Store(folder / "cells"), components=(8, 64), command="the command")


def test_encoders_that_see_the_same_are_alike(result):
    assert mean(result, "cka_debiased") > 0.5
    assert mean(result, "svcca_8") > 0.6


def test_an_encoder_that_sees_nothing_is_like_none(result):
    """The plain CKA does not show it with so few rows: it is as high as for shuffled ones."""
    assert abs(mean(result, "cka_debiased", "a", "odd")) < 0.1
    assert mean(result, "cka", "a", "odd") > 0.1
    assert mean(result, "cka", "a", "odd") == pytest.approx(mean(result, "cka_shuffled", "a", "odd"), abs=0.1)
    assert abs(mean(result, "svcca_8", "a", "odd")) < 0.25


def test_the_control_takes_away_what_encoders_share(result):
    assert means(result)["svcca_8_shuffled"].abs().max() < 0.3
    assert mean(result, "svcca_8_trained_shuffled") > mean(result, "svcca_8_shuffled")


def test_every_pair_has_every_corpus_and_subsample(result):
    cells = {(row["corpus"], row["encoder"], row["other"], row["subsample"]) for row in result.table("pairs")}
    assert len(cells) == len(result.table("pairs")) == 2 * 3 * 3
    public = result.table("pairs")[0]
    assert (public["train"], public["test"]) == (72, 28)
    rows = result.frame("pairs").filter(corpus="public", encoder="a", other="b")
    assert rows["svcca_64_components"].to_list() == [16, 16, 16]
    assert rows["svcca_8_components"].to_list() == [8, 8, 8]


def test_the_section_says_what_the_table_says(result):
    text, cka = section(result), means(result)["cka"]
    assert text.startswith("## ")
    assert "the command" in text
    assert "similarity-public.svg" in text
    assert f"from {cka.min():.3f} (" in text
    assert "0.595 to 0.881" in text
    assert "16 instead of 64 for a / b, a / odd, b / odd" in text
    assert "instead of 8" not in text
    title, rows = summary(result)
    assert "public" in title
    assert rows["CKA"].to_list() == cka.to_list()


def test_one_subsample_has_no_spread(tmp_path):
    setting, _ = make(tmp_path, FakeEncoder("a"), FakeEncoder("b"))
    text = section(run_experiment("similarity", setting, Store(tmp_path / "cells"), components=(4,), subsamples=1))
    row = next(line for line in text.splitlines() if line.startswith("| a / b |"))
    assert "±" not in row
    assert "instead of" not in text


def test_files_are_written(result, tmp_path):
    files = {file.name for file in write_result(result, tmp_path, figures)}
    assert files == {"similarity.json", "similarity-pairs.csv", "similarity-public.svg"}


def test_a_killed_run_goes_on_where_it_was(tmp_path, monkeypatch):
    setting, _ = make(tmp_path, FakeEncoder("a"), FakeEncoder("b"), FakeEncoder("c"))
    store, kept = Store(tmp_path / "cells"), []
    rows = store.rows

    def killed_after_two(*cell):
        if len(kept) == 2:
            raise KeyboardInterrupt
        kept.append(cell[0])
        return rows(*cell)

    monkeypatch.setattr(store, "rows", killed_after_two)
    with pytest.raises(KeyboardInterrupt):
        run_experiment("similarity", setting, store, components=(4,))
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "cells").rglob("*.json")}
    again, models = make(tmp_path, FakeEncoder("a"), FakeEncoder("b"), FakeEncoder("c"))
    result = run_experiment("similarity", again, Store(tmp_path / "cells"), components=(4,))
    assert len(before) == 2
    assert all(file.stat().st_mtime_ns == time for file, time in before.items())
    assert models.encoded == 0
    assert run_experiment("similarity", again, Store(tmp_path / "cells"), components=(4,)) == result


def test_too_few_texts_are_refused(tmp_path):
    few = TextDataset(name="few", texts=tuple(f"text {row}" for row in range(9)))
    setting, models = make(tmp_path, FakeEncoder("a"), FakeEncoder("b"))
    corpora = type(setting.corpora)(public=9, public_sets=("few",), load=lambda _name: few)
    with pytest.raises(InputError, match="9 texts of 'public' are too few") as caught:
        run_experiment(
            "similarity", PairsConfig(("a", "b"), (), corpora, setting.embeddings), Store(tmp_path / "cells")
        )
    assert caught.value.hint
    assert models.encoded == 0


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """Let the command use fake encoders and texts."""
    let_commands_use_fakes(monkeypatch, tmp_path, fake_corpora())


def run(*options):
    given = ["experiment", "similarity", "--data", TASK, "--components", "8,4,8", *map(str, options)]
    return CliRunner().invoke(app, given, env={"COLUMNS": "200", "TERM": "dumb"})


def test_the_command_prints_json_and_nothing_else(offline):
    done = run("--encoders", "a,b", "--json")
    assert done.exit_code == ExitCode.OK, done.output
    assert done.stdout.count("\n") == 1
    found = json.loads(done.stdout)
    assert found["experiment"] == "similarity"
    assert found["settings"]["components"] == [4, 8]


def test_the_command_prints_a_table_and_writes_files(offline, tmp_path):
    done = run("--encoders", "a,b", "--output", tmp_path / "out")
    assert done.exit_code == ExitCode.OK, done.output
    assert "without bias" in done.stdout
    assert (tmp_path / "out" / "similarity-public.svg").read_bytes().startswith(b"<?xml")


def test_one_encoder_is_no_pair(offline):
    done = run("--encoders", "a", "--json")
    assert done.exit_code == ExitCode.USAGE
    assert json.loads(done.stdout)["error"] == "CONFIGURATION_INVALID"
