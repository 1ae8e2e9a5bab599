"""The experiment on tiny random models: cells, tables, pictures and text, all from the same result."""

import json
from dataclasses import replace

import pytest
from support.causal_lms import (
    SENTENCES,
    byte_fallback_tokenizer,
    byte_level_tokenizer,
    save_gemma,
    save_llama,
)
from support.experiments import FakeEncoder, fake_embeddings
from support.optional import needs

from securealign.data import TextDataset
from securealign.errors import InputError
from securealign.lab.experiments.generation.setting import GenerationConfig
from securealign.lab.experiments.generation.streaming import measure_stream, stream
from securealign.lab.experiments.generation.values import (
    figures,
    summary,
    usual,
)
from securealign.lab.experiments.page import section
from securealign.lab.experiments.run import Result, Store, read_result, run_experiment, write_result
from securealign.lab.generation.causal import CausalModel

pytestmark = [pytest.mark.thorough, pytest.mark.models, needs("torch", "transformers", "matplotlib", extra="models")]

NAMES = ("act", "animal", "food", "plant")
DEPTHS = ("post-norm", "h[-1]", "L/2")


def load(name):
    if name == "glosses":
        return TextDataset(name=name, texts=tuple(SENTENCES), labels=(0, 1, 2, 3), class_names=NAMES)
    texts = tuple(f"{one}, {other} {number}." for number in range(4) for one in SENTENCES for other in SENTENCES)
    return TextDataset(name=name, texts=texts)


@pytest.fixture(scope="module")
def setting(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    models = {
        "llama": CausalModel(save_llama(root / "llama", byte_level_tokenizer(chat=True)), name="llama"),
        "gemma": CausalModel(save_gemma(root / "gemma", byte_fallback_tokenizer()), name="gemma"),
    }
    return GenerationConfig(
        models=("llama", "gemma"), data="texts", pairs=300, test=60, sweep=30, depths=DEPTHS, samples=3,
        max_new_tokens=5, questions=3, question_data="glosses", encoder="fake", load=load,
        open_model=models.__getitem__,
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def result(setting, folder):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SECUREALIGN_CACHE", str(folder))
        embeddings = fake_embeddings(folder / "vectors", FakeEncoder("fake"))
        return run_experiment(
            "generation", setting, Store(folder / "cells"), embeddings, command="securealign experiment generation"
        )


def test_every_ordered_pair_is_scored_and_controlled(result):
    found = usual(result)
    assert found["name"].to_list() == ["llama → gemma", "gemma → llama", "llama → llama", "gemma → gemma"]
    assert set(found["count"]) == {60}
    assert set(found["fitted_on"]) == {300}
    assert (usual(result, kind="shuffled")["r2"] < found["r2"]).all()
    same = found.row(2, named=True)
    assert same["r2"] > 0.98
    assert same["agreement"] > 0.9
    assert abs(same["nll_mapped"] - same["nll_native"]) < 0.1


def test_depths_lead_to_the_head_and_between_models_to_their_like(result):
    found = {
        (row["depth"], row["landing"])
        for row in result.table("scores")
        if (row["source"], row["target"]) == ("llama", "gemma")
    }
    assert found == {
        ("post-norm", "post-norm"), ("h[-1]", "post-norm"), ("L/2", "post-norm"), ("h[-1]", "h[-1]"), ("L/2", "L/2")
    }  # fmt: skip
    own = {row["landing"] for row in result.table("scores") if row["source"] == row["target"]}
    assert own == {"post-norm"}


def test_two_models_of_one_name_are_refused(setting):
    with pytest.raises(InputError, match="have the same name"):
        _ = replace(setting, models=("llama", "llama")).ordered_pairs


def test_positions_with_the_same_end_are_a_part_of_all(result):
    exact = usual(result, positions="exact")["count"]
    assert len(exact) == 4
    assert (exact > 0).all()
    assert (exact <= usual(result)["count"]).all()


def test_texts_answers_and_likeness_have_a_row_for_each(result):
    assert len(result.table("texts")) == 3 * 6
    assert [row["questions"] for row in result.table("questions")] == [3] * 6
    assert all(row["chance"] == 0.25 for row in result.table("questions"))
    likeness = {(row["source"], row["target"]): row for row in result.table("likeness")}
    assert likeness["llama", "llama"]["natives"] == pytest.approx(1.0)


def test_a_second_run_reads_its_cells(setting, folder, result, monkeypatch):
    monkeypatch.setenv("SECUREALIGN_CACHE", str(folder))
    monkeypatch.setattr("securealign.lab.generation.fitting.fit_stitches", None)
    monkeypatch.setattr("securealign.lab.generation.causal.CausalModel.run", None)
    embeddings = fake_embeddings(folder / "vectors", FakeEncoder("fake"))
    again = run_experiment("generation", setting, Store(folder / "cells"), embeddings, command=result.command)
    assert again == result


def test_the_result_survives_its_file_and_gives_the_same_text(result, tmp_path):
    files = write_result(result, tmp_path, figures)
    assert {file.name for file in files} >= {"generation-depths.svg", "generation-loss.svg", "generation-scores.csv"}
    assert section(read_result(tmp_path / "generation.json")) == section(result)


def test_the_section_says_what_the_tables_hold(result):
    text = section(result)
    for row in usual(result).to_dicts():
        assert f"- {row['name']}: the map explains {row['r2'] * 100:.1f}%" in text
    assert "securealign experiment generation" in text
    assert "fake" in text
    title, rows = summary(result)
    assert title.startswith("Next token")
    assert len(rows) == 4


def test_a_run_without_texts_and_questions_says_nothing_of_them(result):
    tables = {name: rows for name, rows in result.tables.items() if name in {"models", "scores"}}
    text = section(Result(experiment="generation", settings=result.settings, tables=tables))
    assert "Multiple choice" not in text
    assert "good or bad" not in text


def test_memory_of_a_fit_does_not_grow_with_its_pairs():
    few, many = measure_stream(8_000, 64), measure_stream(64_000, 64)
    assert (few["pairs"], many["pairs"]) == (8_000, 64_000)
    # All rows of the larger one alone would take 31 MiB of float32.
    assert many["peak_bytes"] - few["peak_bytes"] < 8 << 20


def test_a_stream_counts_the_pairs_of_a_last_short_batch():
    assert stream(2_001, 3)["pairs"] == 2_001


def test_memory_is_part_of_the_section_when_measured(result):
    row = {"pairs": 500_000, "dimension": 960, "seconds": 60.0, "peak_bytes": 300 << 20}
    changed = Result(experiment="generation", settings=result.settings, tables={**result.tables, "streaming": [row]})
    assert "| 500,000 | 960 | 300 | 60 |" in section(changed)
    assert json.loads(changed.as_json())["tables"]["streaming"] == [row]
