"""GloVe's encoder is the mean of the vectors of the words that it knows."""

import json

import numpy as np
import pytest

from securealign.errors import AssetError, ConfigurationError, InputError
from securealign.lab.assets import lookup
from securealign.lab.assets.conversion.recipes import convert_glove
from securealign.lab.assets.static import GloveEncoder
from securealign.models import open_encoder

WORDS = ["film", "is", "n't", "'s", "1985"]
TABLE = np.array([[1, 0], [2, 0], [0, 4], [0, 8], [6, 6]], dtype=np.float32)


@pytest.fixture
def folder(tmp_path):
    np.save(tmp_path / "vectors.npy", TABLE)
    (tmp_path / "words.json").write_text(json.dumps(WORDS))
    return tmp_path


def test_an_embedding_is_the_mean_of_the_known_words_in_lower_case(folder):
    seen = []
    texts = ["FILM, unseen film is.", "", "unseen", "1985"]
    vectors = GloveEncoder(folder).encode(texts, progress=lambda done, total: seen.append((done, total)))
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, [[4 / 3, 0], [0, 0], [0, 0], [6, 6]], rtol=1e-6)
    assert seen == [(4, 4)]


@pytest.mark.parametrize("text", ["Isn't", "isn\u2019t", "is n't"])
def test_contractions_are_split_as_in_the_texts_of_glove(folder, text):
    assert GloveEncoder(folder).encode([text]).tolist() == [[1, 2]]


def test_a_limit_cuts_and_changes_the_fingerprint(folder):
    assert GloveEncoder(folder, max_tokens=1).encode(["unseen film is"]).tolist() == [[1, 0]]
    assert GloveEncoder(folder, max_tokens=1).fingerprint != GloveEncoder(folder).fingerprint
    with pytest.raises(ConfigurationError, match="A limit of 0 words"):
        GloveEncoder(folder, max_tokens=0)


def test_it_is_opened_by_its_name_and_has_one_pooling(folder, monkeypatch):
    monkeypatch.setattr(lookup, "converted_folder", lambda recipe, **_: folder)
    assert open_encoder("glove", pooling="mean").dimension == 2
    with pytest.raises(ConfigurationError, match="glove has no 'max' pooling"):
        open_encoder("glove", pooling="max")


def test_another_folder_is_reported(folder):
    (folder / "words.json").write_text("[]")
    with pytest.raises(InputError, match=r"holds 0 words for vectors of shape \(5, 2\)"):
        GloveEncoder(folder)
    (folder / "words.json").unlink()
    with pytest.raises(InputError, match="cannot be loaded: "):
        GloveEncoder(folder)


@pytest.mark.models
def test_the_table_is_converted_from_npy_and_parquet(tmp_path):
    pyarrow = pytest.importorskip("pyarrow", reason="needs the extra 'models'")
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs the extra 'models'")
    source, folder = tmp_path / "source", tmp_path / "glove"
    source.mkdir()
    folder.mkdir()
    np.save(source / "glove_6B_50d_emb.npy", np.asfortranarray(TABLE))
    parquet.write_table(pyarrow.table({"index": WORDS}), source / "glove_6B_index.parquet")
    convert_glove([source], folder)
    assert GloveEncoder(folder).encode(["film's"]).tolist() == [[0.5, 4]]
    np.save(source / "glove_6B_50d_emb.npy", TABLE[:4])
    with pytest.raises(AssetError, match=r"holds 5 words for vectors of shape \(4, 2\)"):
        convert_glove([source], folder)
