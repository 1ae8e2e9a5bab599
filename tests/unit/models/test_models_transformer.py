"""Transformer encoders, on a tiny random model made here."""

import numpy as np
import pytest
from support.model_folders import WORDS, bert, modules
from support.optional import later, needs

from securealign.errors import AssetError, ConfigurationError, DependencyError, InputError
from securealign.lab.assets import lookup
from securealign.models import builtin_encoders, encoders, open_encoder
from securealign.models.transformer import TransformerEncoder

pytestmark = [pytest.mark.models, needs("torch", "transformers", extra="models")]
torch, transformers = later("torch"), later("transformers")

TEXTS = ["a b c", "d", "e f g h a b", "", "b"]


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return bert(tmp_path_factory.mktemp("model") / "tiny")


def test_embeddings_have_the_model_s_dimension_and_do_not_depend_on_the_batches(plain):
    whole = TransformerEncoder(plain).encode(TEXTS)
    single = TransformerEncoder(plain, batch_size=1).encode(TEXTS)
    assert whole.shape == (5, 8)
    assert whole.dtype == np.float32
    np.testing.assert_allclose(whole, single, atol=1e-6)


def test_the_mean_is_over_the_tokens_and_not_the_padding(plain):
    tokenizer = transformers.AutoTokenizer.from_pretrained(plain)
    model = transformers.AutoModel.from_pretrained(plain).eval()
    with torch.inference_mode():
        hidden = model(**tokenizer("d", return_tensors="pt")).last_hidden_state
    np.testing.assert_allclose(TransformerEncoder(plain).encode(TEXTS)[1], hidden[0].mean(dim=0).numpy(), atol=1e-6)


def test_no_texts_give_no_rows(plain):
    assert TransformerEncoder(plain).encode([]).shape == (0, 8)


def test_progress_ends_with_all_texts(plain):
    seen = []
    TransformerEncoder(plain, batch_size=2).encode(TEXTS, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(2, 5), (4, 5), (5, 5)]


def test_the_folder_s_pooling_normalisation_and_limit_are_used(tmp_path):
    encoder = TransformerEncoder(modules(bert(tmp_path / "st"), "Pooling", "Normalize"))
    vectors = encoder.encode(TEXTS)
    assert encoder.max_tokens == 6
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-6)
    mean = TransformerEncoder(tmp_path / "st", pooling="mean").encode(TEXTS)
    assert not np.allclose(vectors, mean, atol=1e-3)


def test_tokens_beyond_the_limit_do_not_count(plain):
    encoder = TransformerEncoder(plain, max_tokens=4)
    vectors = encoder.encode(["a b", "a b c d e"])
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-6)
    assert not np.allclose(*TransformerEncoder(plain).encode(["a b", "a b c d e"]), atol=1e-3)


def test_the_fingerprint_covers_weights_pooling_and_limit(plain, tmp_path):
    base = TransformerEncoder(plain).fingerprint
    assert base == TransformerEncoder(plain, batch_size=1).fingerprint
    other = bert(tmp_path / "tiny", num_hidden_layers=1)
    changed = {
        TransformerEncoder(plain, pooling="max").fingerprint,
        TransformerEncoder(plain, max_tokens=8).fingerprint,
        TransformerEncoder(other).fingerprint,
    }
    assert len(changed | {base}) == 4


@pytest.mark.parametrize("limit", [3, 17])
def test_a_limit_the_model_cannot_meet_is_refused(plain, limit):
    with pytest.raises(ConfigurationError, match=rf"tiny cannot read {limit} tokens. Use 4 to 16"):
        TransformerEncoder(plain, max_tokens=limit)


def test_a_batch_of_nothing_is_refused(plain):
    with pytest.raises(ConfigurationError, match="The batch size is 0"):
        TransformerEncoder(plain, batch_size=0)


def test_weights_in_pickle_format_are_refused(tmp_path):
    folder = bert(tmp_path / "tiny")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"no config.json with safetensors weights. .*must be converted"):
        TransformerEncoder(folder)


def test_damaged_weights_are_reported(tmp_path):
    folder = bert(tmp_path / "tiny")
    (folder / "model.safetensors").write_bytes(b"x" * 100)
    with pytest.raises(InputError, match="tiny cannot be loaded"):
        TransformerEncoder(folder)


def test_weights_of_nan_are_reported_with_the_row(tmp_path):
    folder = bert(tmp_path / "tiny")
    model = transformers.BertModel.from_pretrained(folder)
    with torch.no_grad():
        model.embeddings.word_embeddings.weight[WORDS.index("d")] = float("nan")
    model.save_pretrained(folder)
    with pytest.raises(InputError, match="Row 1 of the embeddings by tiny holds NaN"):
        TransformerEncoder(folder).encode(TEXTS)


def test_a_folder_is_opened_by_its_path_and_a_built_in_one_by_its_name(plain, monkeypatch):
    assert open_encoder(str(plain), max_tokens=8, pooling="cls").fingerprint
    monkeypatch.setattr(lookup, "fetch", lambda name, **_: plain)
    assert open_encoder("minilm").name == "minilm"
    assert {"minilm", "e5", "smollm2", "glove"} <= set(builtin_encoders())


def test_a_hub_id_is_resolved_to_its_folder(plain, monkeypatch):
    monkeypatch.setattr(encoders, "hub_folder", lambda spec, **_: plain)
    assert open_encoder("someone/model@main").name == "someone/model@main"


def test_a_hub_model_that_cannot_be_had_is_reported(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(AssetError, match=r"'no-such-organisation/model' could not be fetched.*give the folder"):
        open_encoder("no-such-organisation/model")


@pytest.mark.parametrize("spec", ["./absent", "a/b/c", ""])
def test_what_is_neither_name_nor_folder_nor_id_is_refused(spec):
    with pytest.raises(InputError, match=r"is no encoder.*Use one of minilm, mpnet, e5"):
        open_encoder(spec)


def test_without_torch_the_extra_is_named(plain, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(DependencyError, match="pip install 'securealign"):
        TransformerEncoder(plain)
