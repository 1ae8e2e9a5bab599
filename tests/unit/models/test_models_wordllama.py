"""The static encoder is the mean of table rows."""

import numpy as np
import pytest
from safetensors.numpy import save_file
from support.optional import later, needs

from securealign.errors import ConfigurationError, InputError
from securealign.lab.assets import lookup
from securealign.lab.assets.static import WordLlamaEncoder
from securealign.models import open_encoder

pytestmark = needs("tokenizers", extra="models")
tokenizers = later("tokenizers")
TABLE = np.array([[0, 0], [1, 2], [3, 4], [5, 8]], dtype=np.float16)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "weights").mkdir()
    (tmp_path / "tokenizers").mkdir()
    save_file({"embedding.weight": TABLE}, tmp_path / "weights" / "l2_supercat_256.safetensors")
    # "late" has a number beyond the table, as tokens added after training have.
    words = tokenizers.models.WordLevel({"[UNK]": 0, "a": 1, "b": 2, "c": 3, "late": 7}, unk_token="[UNK]")
    tokenizer = tokenizers.Tokenizer(words)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "tokenizers" / "l2_supercat_tokenizer_config.json"))
    return tmp_path


def test_an_embedding_is_the_mean_of_the_tokens(folder):
    seen = []
    encoder = WordLlamaEncoder(folder)
    vectors = encoder.encode(["a b", "", "c", "late"], progress=lambda done, total: seen.append((done, total)))
    assert vectors.dtype == np.float32
    assert vectors.tolist() == [[2, 3], [0, 0], [5, 8], [5, 8]]
    assert (encoder.dimension, seen) == (2, [(4, 4)])


def test_a_limit_cuts_and_changes_the_fingerprint(folder):
    assert WordLlamaEncoder(folder, max_tokens=1).encode(["a b"]).tolist() == [[1, 2]]
    assert WordLlamaEncoder(folder, max_tokens=1).fingerprint != WordLlamaEncoder(folder).fingerprint
    with pytest.raises(ConfigurationError, match="A limit of 0 tokens"):
        WordLlamaEncoder(folder, max_tokens=0)


def test_it_is_opened_by_its_name_and_has_one_pooling(folder, monkeypatch):
    monkeypatch.setattr(lookup, "fetch", lambda name, **_: folder)
    assert open_encoder("wordllama", max_tokens=2, pooling="mean").name == "wordllama"
    with pytest.raises(ConfigurationError, match="wordllama has no 'cls' pooling"):
        open_encoder("wordllama", pooling="cls")
    with pytest.raises(ConfigurationError, match="wordllama has no 'cuda' device"):
        open_encoder("wordllama", device="cuda")


def test_an_incomplete_folder_is_reported(folder):
    (folder / "weights" / "l2_supercat_256.safetensors").unlink()
    with pytest.raises(InputError, match=r"holds no weights.l2_supercat_256\.safetensors"):
        WordLlamaEncoder(folder)
