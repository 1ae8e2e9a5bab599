import numpy as np
import pytest
from support.experiments import FakeEncoder, FakeModels, fake_embeddings

from securealign.lab.experiments.corpora import Embeddings

TEXTS = [f"text {number} of some" for number in range(600)]


def test_embeddings_are_those_of_the_encoder_in_the_order_of_the_texts(tmp_path):
    encoder = FakeEncoder("a")
    found = fake_embeddings(tmp_path, encoder).of("a", TEXTS)
    np.testing.assert_array_equal(found, FakeEncoder("a").encode(TEXTS))
    assert found.dtype == np.float32


def test_a_text_is_encoded_once_whatever_it_is_combined_with(tmp_path):
    models = FakeModels(FakeEncoder("a"))
    for texts in (TEXTS[:300], TEXTS[200:], [*TEXTS, *TEXTS]):
        assert len(Embeddings(folder=tmp_path, opener=models.open).of("a", texts)) == len(texts)
    assert models.encoded == len(TEXTS)


def test_a_killed_run_loses_a_block_at_most(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        fake_embeddings(tmp_path, FakeEncoder("a", fails_after=550)).of("a", TEXTS)
    again = FakeEncoder("a")
    np.testing.assert_array_equal(fake_embeddings(tmp_path, again).of("a", TEXTS), FakeEncoder("a").encode(TEXTS))
    assert again.encoded == len(TEXTS) - 512


def test_encoders_do_not_share_what_they_keep(tmp_path):
    embeddings = fake_embeddings(tmp_path, FakeEncoder("a"), FakeEncoder("b"))
    assert not np.array_equal(embeddings.of("a", TEXTS[:3]), embeddings.of("b", TEXTS[:3]))
    assert embeddings.fingerprint("a") != embeddings.fingerprint("b")
    assert embeddings.dimension("a") == 16


def test_a_model_is_opened_for_its_fingerprint_and_for_texts_that_are_missing(tmp_path):
    opened = []
    models = FakeModels(FakeEncoder("a"), FakeEncoder("b"))
    embeddings = Embeddings(folder=tmp_path, opener=lambda name: opened.append(name) or models.open(name))
    for name in ("a", "b", "a", "b"):
        embeddings.of(name, TEXTS[:3])
    assert opened == ["a", "b"]
    embeddings.of("a", TEXTS[:4])
    assert opened == ["a", "b", "a"]


def test_progress_is_told(tmp_path):
    told = []
    bars = lambda what: lambda done, total: told.append((what, done, total))  # noqa: E731
    Embeddings(folder=tmp_path, opener=FakeModels(FakeEncoder("a")).open, add_bar=bars).of("a", TEXTS, "some")
    assert told == [("a: some", 256, 600), ("a: some", 512, 600), ("a: some", 600, 600)]


def test_no_bar_is_added_where_nothing_is_missing(tmp_path):
    fake_embeddings(tmp_path, FakeEncoder("a")).of("a", TEXTS)
    bars = FakeModels().open  # which has nothing to open
    Embeddings(folder=tmp_path, opener=FakeModels(FakeEncoder("a")).open, add_bar=bars).of("a", TEXTS)
