"""The comparison of tokenizers on small ones made here."""

import numpy as np
import pytest
from safetensors.numpy import save_file
from support.causal_lms import SENTENCES, byte_fallback_tokenizer, byte_level_tokenizer
from support.optional import needs

from securealign.errors import InputError
from securealign.lab.experiments.page import section
from securealign.lab.experiments.run import Store, read_result, run_experiment, write_result
from securealign.lab.experiments.tokenizers.measure import count_weights, open_tokenizer
from securealign.lab.experiments.tokenizers.values import figures, summary

pytestmark = [pytest.mark.models, needs("transformers", "matplotlib", extra="models")]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("tokenizers")
    byte_level_tokenizer().save_pretrained(root / "bytes")
    byte_fallback_tokenizer().save_pretrained(root / "marked")
    save_file({"a": np.zeros((3, 4), np.float32), "b": np.zeros(5, np.float32)}, root / "bytes" / "model.safetensors")
    return root


@pytest.fixture(scope="module")
def result(folders, tmp_path_factory):
    names = [str(folders / "bytes"), str(folders / "marked")]
    return run_experiment(
        "tokenizers", names, Store(tmp_path_factory.mktemp("cells")), SENTENCES, data="sentences", command="the command"
    )


@pytest.mark.thorough
def test_tokenizers_come_from_folders_and_files(folders):
    by_folder, by_file = (open_tokenizer(str(folders / "bytes" / part)) for part in ("", "tokenizer.json"))
    assert by_folder.fingerprint == by_file.fingerprint
    assert (by_folder.parameters, by_file.parameters) == (17, None)
    assert by_file.name == "bytes"
    assert count_weights(folders / "marked") is None


def test_what_is_no_tokenizer_is_reported(tmp_path):
    with pytest.raises(InputError, match=r"has no tokenizer\.json"):
        open_tokenizer(str(tmp_path))
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(InputError, match="is no tokenizer"):
        open_tokenizer(str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(b"xx")
    with pytest.raises(InputError, match="is no safetensors file"):
        count_weights(tmp_path)


def test_a_pair_is_compared_in_both_directions(result):
    one, other = result.table("pairs")
    assert (one["source"], one["target"]) == (other["target"], other["source"])
    assert one["jaccard"] == other["jaccard"]
    assert one["exact"] == other["exact"]
    assert 0 < one["jaccard"] < 1
    assert one["aligned"] <= one["boundaries"] <= 1
    assert one["outlook"] in {"poor", "uncertain"}


def test_a_tokenizer_is_its_own_twin(folders, tmp_path):
    (tmp_path / "twin").mkdir()
    (tmp_path / "twin" / "tokenizer.json").write_bytes((folders / "bytes" / "tokenizer.json").read_bytes())
    names = [str(folders / "bytes" / "tokenizer.json"), str(tmp_path / "twin" / "tokenizer.json")]
    # The pieces of a character that is none of the tokens all end where it ends, and cannot be told apart by that.
    ascii_texts = [sentence for sentence in SENTENCES if sentence.isascii()]
    found = run_experiment("tokenizers", names, Store(tmp_path / "cells"), ascii_texts, data="sentences").table(
        "pairs"
    )[0]
    assert (found["jaccard"], found["exact"], found["aligned"], found["boundaries"]) == (1, 1, 1, 1)


def test_two_of_one_name_are_refused(folders, tmp_path):
    name = str(folders / "bytes" / "tokenizer.json")
    with pytest.raises(InputError, match="have the same name"):
        run_experiment("tokenizers", [name, name], Store(tmp_path), SENTENCES, data="sentences")


def test_text_and_picture_are_made_from_the_result_alone(result, tmp_path):
    files = write_result(result, tmp_path, figures)
    assert {file.suffix for file in files} == {".svg", ".csv", ".json"}
    text = section(read_result(tmp_path / "tokenizers.json"))
    assert text == section(result)
    assert f"{result.table('pairs')[0]['jaccard']:.3f}" in text
    assert "of 2 pairs" in text
    assert len(summary(result)[1]) == 2
