import numpy as np
import pytest
from support.experiments import FakeEncoder, FakeModels, fake_embeddings

from securealign.lab.experiments.embeddings import Embeddings

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


@pytest.mark.parametrize("damage", [b"", b"no archive", b"PK\x03\x04"])
def test_damaged_files_are_encoded_again(tmp_path, damage):
    fake_embeddings(tmp_path, FakeEncoder("a")).of("a", TEXTS[:10])
    (file,) = tmp_path.rglob("*.npz")
    file.write_bytes(damage)
    encoder = FakeEncoder("a")
    fake_embeddings(tmp_path, encoder).of("a", TEXTS[:10])
    assert encoder.encoded == 10


def test_files_of_another_shape_are_not_taken(tmp_path):
    fake_embeddings(tmp_path, FakeEncoder("a")).of("a", TEXTS[:10])
    (file,) = tmp_path.rglob("*.npz")
    with np.load(file) as content:
        keys = content["keys"]
    np.savez(file, keys=keys, vectors=np.zeros((10, 5), dtype=np.float32))
    assert fake_embeddings(tmp_path, FakeEncoder("a")).of("a", TEXTS[:10]).shape == (10, 16)


def test_progress_is_told(tmp_path):
    told = []
    bars = lambda what: lambda done, total: told.append((what, done, total))  # noqa: E731
    Embeddings(folder=tmp_path, opener=FakeModels(FakeEncoder("a")).open, add_bar=bars).of("a", TEXTS, "some")
    assert told == [("a: some", 0, 600), ("a: some", 256, 600), ("a: some", 512, 600), ("a: some", 600, 600)]
