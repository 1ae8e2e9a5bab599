"""A tiny random GGUF model, written here, becomes a folder that both language model and encoder are loaded from."""

import hashlib

import numpy as np
import pytest
from support.optional import later, needs

from securealign.errors import AssetError, DependencyError
from securealign.lab.assets.conversion.gguf import convert_gguf
from securealign.models.transformer import TransformerEncoder

pytestmark = [pytest.mark.models, needs("transformers", "gguf", "accelerate", extra="models")]
transformers, gguf = later("transformers"), later("gguf")

WORDS = ["<|end|>", "<|start|>", "a", "b", "c", "\u0120", "ab"]
TEMPLATE = "{% for message in messages %}<|start|>{{ message['content'] }}<|end|>{% endfor %}"
D, F, HEADS = 32, 64, 2


def write_gguf(path):
    """Write a Llama of one layer whose head is its embedding, and return that embedding."""
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_block_count(1)
    writer.add_context_length(16)
    writer.add_embedding_length(D)
    writer.add_feed_forward_length(F)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(D // HEADS)
    writer.add_vocab_size(len(WORDS))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(WORDS)
    writer.add_token_types([3, 3, *[1] * (len(WORDS) - 2)])
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(0)
    writer.add_pad_token_id(0)
    writer.add_unk_token_id(0)
    writer.add_chat_template(TEMPLATE)
    rng = np.random.default_rng(1)
    shapes = {"token_embd": (len(WORDS), D), "output_norm": (D,), "blk.0.attn_norm": (D,), "blk.0.ffn_norm": (D,)}
    shapes |= {f"blk.0.attn_{part}": (D, D) for part in ("q", "k", "v", "output")}
    shapes |= {"blk.0.ffn_gate": (F, D), "blk.0.ffn_up": (F, D), "blk.0.ffn_down": (D, F)}
    weights = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    for name, values in weights.items():
        writer.add_tensor(f"{name}.weight", values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return weights["token_embd"]


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("target") / "tiny"
    table = write_gguf(source / "tiny.gguf")
    target.mkdir()
    convert_gguf([source], target)
    return source, target, table


def test_the_folder_is_a_causal_model_with_all_weights_and_tied_head(converted):
    _, folder, table = converted
    model, report = transformers.AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    np.testing.assert_array_equal(model.lm_head.weight.detach().numpy(), table)
    assert model.lm_head.weight.data_ptr() == model.get_input_embeddings().weight.data_ptr()
    assert not hasattr(model.config, "quantization_config")


def test_its_tokenizer_keeps_special_tokens_template_and_offsets(converted):
    tokenizer = transformers.AutoTokenizer.from_pretrained(converted[1])
    assert tokenizer.is_fast
    assert tokenizer.model_max_length == 16
    chat = tokenizer.apply_chat_template([{"role": "user", "content": "ab c"}], tokenize=False)
    assert chat == "<|start|>ab c<|end|>"
    encoded = tokenizer(chat, return_offsets_mapping=True)
    assert encoded["input_ids"] == [1, 6, 5, 4, 0]
    assert encoded["offset_mapping"][1] == (9, 11)


def test_it_is_an_encoder_too(converted):
    encoder = TransformerEncoder(converted[1])
    assert (encoder.dimension, encoder.max_tokens) == (D, 16)
    assert encoder.encode(["ab c", "", "a"]).shape == (3, D)


def test_a_folder_with_a_gguf_file_is_an_encoder_as_it_is(converted, monkeypatch):
    direct, by_way = TransformerEncoder(converted[0]), TransformerEncoder(converted[1])
    texts = ["ab c", "", "a"]
    np.testing.assert_allclose(direct.encode(texts), by_way.encode(texts), atol=1e-6)
    assert (direct.max_tokens, direct.fingerprint == by_way.fingerprint) == (16, False)
    monkeypatch.setitem(__import__("sys").modules, "accelerate", None)
    with pytest.raises(DependencyError, match=r"A model in the GGUF format needs accelerate"):
        TransformerEncoder(converted[0])


def test_parts_are_joined_and_checked(converted, tmp_path):
    whole = (converted[0] / "tiny.gguf").read_bytes()
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    target.mkdir()
    for number in range(3):
        (source / f"tiny.gguf.part0{number}").write_bytes(
            whole[number * 2000 : (number + 1) * 2000 if number < 2 else None]
        )
    (source / "SHA256SUMS").write_text(f"{hashlib.sha256(whole).hexdigest()}  tiny.gguf\n")
    convert_gguf([source], target)
    assert (target / "model.safetensors").read_bytes() == (converted[1] / "model.safetensors").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"source", "target"}
    (source / "tiny.gguf.part01").unlink()
    with pytest.raises(AssetError, match=r"The 2 parts in .* are not tiny\.gguf"):
        convert_gguf([source], target)


def test_nothing_is_printed(converted, tmp_path, capfd):
    convert_gguf([converted[0]], tmp_path)
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_another_file_is_reported(tmp_path):
    (tmp_path / "bad.gguf").write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(AssetError, match=r"bad\.gguf cannot be converted"):
        convert_gguf([tmp_path], tmp_path)


def test_without_its_packages_the_extra_is_named(converted, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "accelerate", None)
    with pytest.raises(DependencyError, match=r"needs accelerate.*pip install 'securealign\[models\]'"):
        convert_gguf([converted[0]], tmp_path)
