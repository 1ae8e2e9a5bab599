"""The experiment on how alike encoders see texts: what it finds, says, draws and keeps."""

import pytest
from support.experiments import FakeEncoder, fake_config, measure, one_that_sees_nothing

from securealign.data import TextDataset
from securealign.errors import InputError
from securealign.lab.experiments.corpora import Corpora
from securealign.lab.experiments.page import section
from securealign.lab.experiments.similarity.values import means, summary


def mean(result, measure, encoder="a", other="b"):
    return means(result).filter(encoder=encoder, other=other)[measure].item()


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    folder = tmp_path_factory.mktemp("similarity")
    config = fake_config(folder, *one_that_sees_nothing())
    return measure("similarity", folder, config, components=(8, 64), command="the command")


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
    config = fake_config(tmp_path, FakeEncoder("a"), FakeEncoder("b"))
    text = section(measure("similarity", tmp_path, config, components=(4,), subsamples=1))
    row = next(line for line in text.splitlines() if line.startswith("| a / b |"))
    assert "±" not in row
    assert "instead of" not in text


def test_too_few_texts_are_refused(tmp_path):
    few = TextDataset(name="few", texts=tuple(f"text {row}" for row in range(9)))
    encoders = FakeEncoder("a"), FakeEncoder("b")
    corpora = Corpora(public=9, public_sets=("few",), load=lambda _name: few)
    with pytest.raises(InputError, match="9 texts of 'public' are too few") as caught:
        measure("similarity", tmp_path, fake_config(tmp_path, *encoders, tasks=(), corpora=corpora))
    assert caught.value.hint
    assert not any(encoder.encoded for encoder in encoders)
