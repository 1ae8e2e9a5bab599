"""Model folders as people have them: each gives the embeddings that its files say, or a sentence that says why not."""

import hashlib
import importlib.util
import logging
import mmap

import numpy as np
import pytest
from support import model_folders as make
from support.optional import later, needs

from securealign.errors import ConfigurationError, DependencyError, ErrorCode, ExitCode, InputError
from securealign.models import open_encoder

pytestmark = [pytest.mark.models, needs("torch", "sentence_transformers", "transformers", extra="models")]
torch, transformers = later("torch"), later("transformers")

LONG = " ".join("abcdefgh" * 100)
TEXTS = ["a b c", "d", "e f g h a b"]


def opened(folder, **settings):
    return open_encoder(str(folder), **settings)


def assert_alike(found, expected):
    np.testing.assert_allclose(found, expected, atol=1e-6)


# What a model can read


def test_roberta_reads_two_tokens_less_than_it_has_positions(tmp_path):
    folder = make.roberta(tmp_path)
    encoder = opened(folder)
    assert (encoder.max_tokens, encoder.encode([LONG]).shape) == (18, (1, 8))
    with pytest.raises(ConfigurationError, match=r"cannot read 19 tokens. Use 4 to 18 for max_tokens"):
        opened(folder, max_tokens=19)
    assert opened(make.modules(folder, "Pooling", limit=20)).max_tokens == 18


def test_a_process_that_may_run_no_code_of_its_own_computes_without_compiled_kernels(tmp_path, monkeypatch):
    """As under MemoryDenyWriteExecute= of systemd, where oneDNN could not make its kernels."""
    folder, plain, chosen = make.bert(tmp_path), mmap.mmap, []
    monkeypatch.setattr(torch.backends.mkldnn, "set_flags", chosen.append)
    opened(folder)
    assert chosen == []

    def refuse_code(*arguments, prot=mmap.PROT_READ, **options):
        if prot & mmap.PROT_EXEC:
            raise PermissionError
        return plain(*arguments, prot=prot, **options)

    monkeypatch.setattr(mmap, "mmap", refuse_code)
    opened(folder)
    assert chosen == [False]


def test_xlnet_has_no_bound(tmp_path):
    encoder = opened(make.xlnet(tmp_path))
    assert encoder.max_tokens == 512
    assert_alike(encoder.encode(TEXTS), opened(tmp_path, batch_size=1).encode(TEXTS))
    with pytest.raises(ConfigurationError, match=r"cannot read 3 tokens\. Use at least 4"):
        opened(tmp_path, max_tokens=3)


def test_limits_are_read_from_the_files_of_older_releases_too(tmp_path):
    folder = make.modules(make.bert(tmp_path), "Pooling", limit=None)
    kinds = ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
    for limit, kind in enumerate(kinds, 5):
        make.write_json(folder / f"sentence_{kind}_config.json", {"max_seq_length": limit})
        assert opened(folder).max_tokens == limit
        (folder / f"sentence_{kind}_config.json").unlink()


def test_the_first_module_may_have_a_folder_of_its_own(tmp_path):
    make.bert(tmp_path / "0_Transformer")
    make.write_json(tmp_path / "0_Transformer" / "sentence_bert_config.json", {"max_seq_length": 5})
    encoder = opened(make.modules(tmp_path, "Pooling", limit=None, first="0_Transformer"))
    assert encoder.max_tokens == 5
    assert_alike(encoder.encode(TEXTS), opened(tmp_path / "0_Transformer", pooling="cls", max_tokens=5).encode(TEXTS))


# Tokens and vectors that do not belong together


def test_a_padding_token_without_a_vector_does_not_matter(tmp_path):
    expected = opened(make.roberta(tmp_path)).encode(TEXTS)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    tokenizer.save_pretrained(tmp_path)
    assert_alike(opened(tmp_path).encode(TEXTS), expected)


def test_the_text_with_a_token_without_a_vector_is_named(tmp_path):
    make.roberta(tmp_path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    tokenizer.add_tokens(["ACME"])
    tokenizer.save_pretrained(tmp_path)
    encoder = opened(tmp_path)
    assert np.isfinite(encoder.encode(TEXTS)).all()
    with pytest.raises(InputError, match=r"Text 2 cannot be encoded by .*each token needs a vector"):
        encoder.encode(["a", "b c d", "ACME c"])


@pytest.mark.parametrize("kind", [make.bert, make.roberta, make.xlnet])
def test_a_folder_without_the_files_of_its_tokenizer_is_refused(tmp_path, kind):
    kind(tmp_path)
    for path in (*tmp_path.glob("tokenizer*"), *tmp_path.glob("vocab*")):
        path.unlink()
    with pytest.raises(InputError, match=r"holds no vocabulary for its tokenizer|cannot be loaded"):
        opened(tmp_path)


def test_a_decoder_without_padding_embeds_empty_texts_too(tmp_path):
    encoder = opened(make.llama(tmp_path))
    found = encoder.encode(["a b", "", "c"])
    assert_alike(found, np.vstack([encoder.encode([text]) for text in ("a b", "", "c")]))
    assert len(np.unique(found, axis=0)) == 3


def test_texts_are_not_put_into_a_chat_template(tmp_path):
    plain = opened(make.llama(tmp_path / "plain")).encode(TEXTS)
    chat = make.llama(tmp_path / "chat", chat="{% for m in messages %}a {{ m['content'] }}{% endfor %}")
    assert_alike(opened(chat).encode(TEXTS), plain)


def test_an_encoder_decoder_model_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds an encoder-decoder model"):
        opened(make.bart(tmp_path))


# Weights


@pytest.mark.parametrize("layout", [lambda folder: folder, lambda folder: make.modules(folder, "Pooling")])
def test_weights_that_are_missing_are_not_random(tmp_path, layout):
    layout(make.bert(tmp_path, num_hidden_layers=1))
    with make.changed(tmp_path / "config.json") as config:
        config["num_hidden_layers"] = 2
    with pytest.raises(InputError, match=r"lacks \d+ weights, the first of which is encoder.layer.1.") as caught:
        opened(tmp_path)
    assert caught.value.code is ErrorCode.FILE_INVALID


def without_pooler(folder):
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    kept = {name: weight for name, weight in weights.items() if not name.startswith("pooler.")}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_a_pooler_may_be_missing_unless_it_is_used(tmp_path):
    expected = opened(make.bert(tmp_path)).encode(TEXTS)
    assert_alike(opened(without_pooler(tmp_path)).encode(TEXTS), expected)
    make.modules(tmp_path)
    with make.changed(tmp_path / "sentence_bert_config.json") as config:
        config["modality_config"] = {"text": {"method": "forward", "method_output_name": "pooler_output"}}
        config["module_output_name"] = "sentence_embedding"
    with pytest.raises(InputError, match=r"lacks 2 weights, the first of which is pooler\.dense\.bias"):
        opened(tmp_path)


def test_a_dense_module_counts_and_its_weights_are_known(tmp_path):
    folder = make.dense(make.modules(make.bert(tmp_path), "Pooling", "Dense", "Normalize"))
    first = opened(folder)
    vectors = first.encode(TEXTS)
    assert (first.dimension, vectors.shape) == (3, (3, 3))
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-6)
    assert opened(folder).fingerprint == first.fingerprint
    assert opened(make.dense(folder)).fingerprint != first.fingerprint  # other random weights


def test_a_dense_module_is_not_read_from_a_pickle(tmp_path):
    folder = make.dense(make.modules(make.bert(tmp_path), "Pooling", "Dense"))
    weights = folder / "2_Dense" / "model.safetensors"
    weights.rename(weights.with_name("pytorch_model.bin"))
    with pytest.raises(InputError, match=r"2_Dense holds no .*safetensors weights.*must be converted"):
        opened(folder)


@pytest.mark.parametrize(
    ("method", "package"), [("bitsandbytes", "bitsandbytes"), ("gptq", "optimum|gptqmodel"), ("awq", "gptqmodel|awq")]
)
def test_a_quantiser_that_is_not_installed_is_named(tmp_path, method, package):
    make.roberta(tmp_path)
    with make.changed(tmp_path / "config.json") as config:
        config["quantization_config"] = {"quant_method": method, "bits": 4, "group_size": 128}
        if method == "bitsandbytes":
            config["quantization_config"]["load_in_4bit"] = True
    with pytest.raises(DependencyError, match=f"needs a package that is not installed: .*(?:{package})") as caught:
        opened(tmp_path)
    assert caught.value.code.exit_code is ExitCode.UNAVAILABLE


def test_a_tokenizer_s_package_that_is_not_installed_is_named(tmp_path):
    make.bert(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    settings = {"tokenizer_class": "BertJapaneseTokenizer", "word_tokenizer_type": "mecab"}
    make.write_json(tmp_path / "tokenizer_config.json", settings)
    with pytest.raises(DependencyError, match=r"needs a package that is not installed: .*fugashi"):
        opened(tmp_path)


@pytest.mark.skipif(importlib.util.find_spec("peft") is not None, reason="peft is installed")
@pytest.mark.parametrize("beside", [True, False])
def test_an_adapter_is_not_left_out(tmp_path, beside):
    if beside:
        make.roberta(tmp_path)
    adapter = {"base_model_name_or_path": "someone/roberta", "peft_type": "LORA", "r": 4, "target_modules": ["query"]}
    make.write_json(tmp_path / "adapter_config.json", adapter)
    with pytest.raises(DependencyError, match="pip install peft"):
        opened(tmp_path)


@pytest.mark.filterwarnings("ignore::FutureWarning")  # peft and transformers warn of each other
def test_an_adapter_is_known_by_its_weights_and_those_of_its_base(tmp_path):
    peft = pytest.importorskip("peft", reason="needs the package peft")
    base, folder = make.roberta(tmp_path / "base"), tmp_path / "adapted"
    plain = transformers.AutoModel.from_pretrained(base)
    config = peft.LoraConfig(r=2, target_modules=["query"], init_lora_weights=False)
    peft.get_peft_model(plain, config).save_pretrained(folder)
    make.letters(folder)
    encoder = opened(folder)
    assert not np.allclose(encoder.encode(TEXTS), opened(base).encode(TEXTS), atol=1e-6)
    before = encoder.fingerprint
    make.roberta(base, positions=21)
    assert opened(folder).fingerprint != before


# Code of the model


CUSTOM = """
from sentence_transformers.sentence_transformer.modules import Pooling as Standard

class Pooling(Standard):
    def forward(self, features, **kwargs):
        features = super().forward(features, **kwargs)
        features["sentence_embedding"] = 2 * features["sentence_embedding"]
        return features
"""


@pytest.mark.parametrize(("place", "kind"), [(0, "custom.Transformer"), (1, "my_package.pooling.Pooling")])
def test_a_module_is_not_taken_for_the_standard_one_of_its_name(tmp_path, place, kind):
    make.modules(make.bert(tmp_path), "Pooling")
    with make.changed(tmp_path / "modules.json") as listing:
        listing[place]["type"] = kind
    with pytest.raises(InputError, match=rf"'{kind}'.*third-party code.*give them as an \.npy file"):
        opened(tmp_path)


def test_code_of_the_model_runs_only_if_it_is_trusted(tmp_path, monkeypatch):
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "code"))
    monkeypatch.setattr("sys.path", [*__import__("sys").path])
    folder = make.modules(make.bert(tmp_path / "tiny"), "Pooling")
    expected = opened(folder).encode(TEXTS)
    (folder / "custom.py").write_text(CUSTOM)
    with make.changed(folder / "modules.json") as listing:
        listing[1]["type"] = "custom.Pooling"
    with pytest.raises(InputError, match="trust_remote_code=True"):
        opened(folder)
    assert not (tmp_path / "code").exists()
    trusted = opened(folder, trust_remote_code=True)
    assert_alike(trusted.encode(TEXTS), 2 * expected)
    before = trusted.fingerprint
    (folder / "custom.py").write_text(CUSTOM + "\n")
    assert opened(folder, trust_remote_code=True).fingerprint != before


def test_an_architecture_that_needs_code_is_refused(tmp_path):
    make.bert(tmp_path)
    with make.changed(tmp_path / "config.json") as config:
        config |= {"model_type": "newbert", "auto_map": {"AutoConfig": "new.Config", "AutoModel": "new.Model"}}
    with pytest.raises(InputError, match=r"contains custom code.*give them as an \.npy file"):
        opened(tmp_path)


# Settings


def test_a_prompt_is_part_of_what_the_encoder_is(tmp_path):
    folder = make.prompts(make.modules(make.bert(tmp_path), "Pooling", limit=None), q="h ", p="g ")
    default, own, none = opened(folder), opened(folder, prompt="a b "), opened(folder, prompt="")
    assert_alike(default.encode(["c"]), none.encode(["h c"]))
    assert_alike(own.encode(["c"]), none.encode(["a b c"]))
    assert opened(folder, prompt="h ").fingerprint == default.fingerprint
    assert len({default.fingerprint, own.fingerprint, none.fingerprint}) == 3


def test_a_prompt_may_be_left_out_of_the_pooling(tmp_path):
    pooling = {"pooling_mode": "mean", "include_prompt": False}
    folder = make.modules(make.bert(tmp_path), "Pooling", pooling=pooling)
    whole, rest = opened(folder, pooling="mean"), opened(folder, prompt="h ")
    assert not np.allclose(rest.encode(["a"]), whole.encode(["h a"]), atol=1e-3)
    hidden = transformers.AutoModel.from_pretrained(folder).eval()
    tokens = transformers.AutoTokenizer.from_pretrained(folder)("h a", return_tensors="pt")
    with torch.inference_mode():
        expected = hidden(**tokens).last_hidden_state[0, 2:].mean(dim=0)  # without [CLS] and "h"
    assert_alike(rest.encode(["a"])[0], expected.numpy())
    (folder / "1_Pooling" / "config.json").write_text('{"embedding_dimension": 8, "pooling_mode": "mean"}')
    assert opened(folder, prompt="h ").fingerprint != rest.fingerprint


def test_a_default_prompt_that_is_missing_is_reported(tmp_path):
    make.prompts(make.modules(make.bert(tmp_path), "Pooling"), default="other")
    with pytest.raises(InputError, match=r"cannot be loaded: .*'other'"):
        opened(tmp_path)


@pytest.mark.parametrize("mode", ["mean", "cls", "max", "lasttoken", "weightedmean", ["cls", "mean"]])
def test_the_pooling_of_the_folder_is_used(tmp_path, mode):
    folder = make.modules(make.bert(tmp_path), "Pooling", pooling=mode, limit=None)
    hidden = transformers.AutoModel.from_pretrained(folder).eval()
    tokens = transformers.AutoTokenizer.from_pretrained(folder)("a b c", return_tensors="pt")
    with torch.inference_mode():
        rows = hidden(**tokens).last_hidden_state[0].numpy()
    weights = np.arange(1, len(rows) + 1)
    known = {
        "mean": rows.mean(axis=0), "cls": rows[0], "max": rows.max(axis=0), "lasttoken": rows[-1],
        "weightedmean": weights @ rows / weights.sum(),
    }  # fmt: skip
    expected = np.concatenate([known[one] for one in ([mode] if isinstance(mode, str) else mode)])
    encoder = opened(folder)
    assert encoder.dimension == len(expected)
    assert_alike(encoder.encode(["a b c", LONG])[0], expected)


def test_another_pooling_can_be_asked_for_where_there_is_one(tmp_path):
    folder = make.modules(make.bert(tmp_path), "Pooling", "Normalize", pooling="cls")
    assert not np.allclose(opened(folder, pooling="max").encode(TEXTS), opened(folder).encode(TEXTS), atol=1e-3)
    with pytest.raises(ConfigurationError, match=r"no pooling 'median'. Use one of: mean, cls, max, lasttoken"):
        opened(folder, pooling="median")
    with make.changed(make.modules(tmp_path) / "sentence_bert_config.json") as config:
        config["modality_config"] = {"text": {"method": "forward", "method_output_name": "pooler_output"}}
        config["module_output_name"] = "sentence_embedding"
    with pytest.raises(ConfigurationError, match="has no pooling to replace"):
        opened(folder, pooling="max")


def test_leading_dimensions_can_be_kept(tmp_path):
    whole = opened(make.bert(tmp_path))
    short = opened(tmp_path, truncate_dim=3)
    assert (short.dimension, short.fingerprint == whole.fingerprint) == (3, False)
    assert_alike(short.encode(TEXTS), whole.encode(TEXTS)[:, :3])
    with pytest.raises(ConfigurationError, match="gives 8 dimensions, not 9"):
        opened(tmp_path, truncate_dim=9)


def test_a_device_is_chosen_and_does_not_change_what_the_encoder_is(tmp_path):
    assert opened(make.bert(tmp_path), device="cpu").fingerprint == opened(tmp_path).fingerprint
    with pytest.raises(ConfigurationError, match="The device 'abacus' cannot be used"):
        opened(tmp_path, device="abacus")


def test_a_table_of_word_vectors_is_cut_like_a_transformer(tmp_path):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer

    make.letters(tmp_path / "words", ends=False)
    tokenizer = Tokenizer.from_file(str(tmp_path / "words" / "tokenizer.json"))
    table = StaticEmbedding(tokenizer, embedding_weights=np.eye(12, dtype=np.float32))
    SentenceTransformer(modules=[table]).save_pretrained(str(tmp_path / "table"))
    assert opened(tmp_path / "table").max_tokens is None
    encoder = opened(tmp_path / "table", max_tokens=2)
    assert_alike(encoder.encode(["a b c", ""]), [np.eye(12)[[4, 5]].mean(axis=0), np.zeros(12)])


def test_files_in_folders_count_and_copies_in_other_formats_do_not(tmp_path):
    folder = make.modules(make.bert(tmp_path), "Pooling", "Dropout")
    make.write_json(folder / "2_Dropout" / "config.json", {"dropout": 0.1})
    base = opened(folder).fingerprint
    (folder / "onnx").mkdir()
    make.write_json(folder / "onnx" / "config.json", {})
    assert opened(folder).fingerprint == base
    make.write_json(folder / "2_Dropout" / "config.json", {"dropout": 0.2})
    assert opened(folder).fingerprint != base


@pytest.mark.parametrize(
    ("content", "message"), [("{", "cannot be loaded: Expecting"), ("[{}]", "lacks the entry 'path'")]
)
def test_damaged_files_are_reported(tmp_path, content, message):
    (make.bert(tmp_path) / "modules.json").write_text(content)
    with pytest.raises(InputError, match=message):
        opened(tmp_path)


def test_the_fingerprint_of_a_folder_stays_what_it_was(tmp_path):
    """Caches and maps are kept under it."""
    encoder = opened(make.modules(make.bert(tmp_path / "tiny"), "Pooling", "Normalize", pooling="mean"), max_tokens=8)
    files = sorted(
        path for glob in ("*.safetensors", "*.json", "*.txt", "*.model") for path in (tmp_path / "tiny").glob(glob)
    )
    digests = ",".join(f'"{path.name}":"{hashlib.sha256(path.read_bytes()).hexdigest()}"' for path in files)
    settings = '{"lower_case":false,"max_tokens":8,"normalize":true,"pooling":"mean"}'
    content = f'securealign/encoder/v1\x00{{"files":{{{digests}}},"settings":{settings}}}'
    assert encoder.fingerprint == hashlib.sha256(content.encode()).hexdigest()


def test_the_libraries_print_and_log_nothing(tmp_path, capfd, caplog):
    caplog.set_level(logging.DEBUG)
    folder = without_pooler(make.modules(make.bert(tmp_path), "Pooling"))
    capfd.readouterr()
    caplog.clear()
    opened(folder).encode([LONG])
    assert capfd.readouterr() == ("", "")
    assert [record.message for record in caplog.records if record.levelno >= logging.INFO] == []
