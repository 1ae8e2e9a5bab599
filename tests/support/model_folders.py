"""Tiny random models in folders, in the layouts of transformers and of sentence-transformers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefgh"]
SPECIAL = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3}
WIDTH = 8
_SIZES = {"hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}


def bert(folder: Path, **changes: Any) -> Path:
    """Save a BERT of 8 dimensions that knows the words "a" to "h" and reads 16 tokens."""
    import transformers

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    transformers.BertTokenizerFast(
        vocab=str(folder / "vocab.txt"), vocab_file=str(folder / "vocab.txt"), model_max_length=16
    ).save_pretrained(folder)
    config = transformers.BertConfig(vocab_size=len(WORDS), max_position_embeddings=16, **{**_SIZES, **changes})
    return _save(folder, transformers.BertModel, config)


def roberta(folder: Path, *, positions: int = 20) -> Path:
    """Save a RoBERTa, whose first position is that behind the padding: it reads 2 tokens less than `positions`."""
    import transformers

    config = transformers.RobertaConfig(
        **_SIZES, vocab_size=len(SPECIAL) + 8, max_position_embeddings=positions, pad_token_id=1
    )
    letters(folder)
    return _save(folder, transformers.RobertaModel, config, add_pooling_layer=False)


def xlnet(folder: Path) -> Path:
    """Save an XLNet, which has no bound on its positions and pads at the left."""
    import transformers

    config = transformers.XLNetConfig(
        vocab_size=len(SPECIAL) + 8, d_model=WIDTH, n_layer=1, n_head=2, d_inner=16, pad_token_id=1
    )
    letters(folder)
    return _save(folder, transformers.XLNetModel, config)


def llama(folder: Path, *, chat: str | None = None) -> Path:
    """Save a decoder without a padding token, whose tokenizer adds nothing to a text."""
    import transformers

    sizes = {**_SIZES, "num_key_value_heads": 1}
    config = transformers.LlamaConfig(**sizes, vocab_size=len(SPECIAL) + 8, max_position_embeddings=16)
    letters(folder, ends=False, pad_token=None, chat_template=chat)
    return _save(folder, transformers.LlamaModel, config)


def bart(folder: Path) -> Path:
    """Save an encoder-decoder model."""
    import transformers

    config = transformers.BartConfig(
        vocab_size=len(SPECIAL) + 8, d_model=WIDTH, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, max_position_embeddings=16,
    )  # fmt: skip
    letters(folder)
    return _save(folder, transformers.BartModel, config)


def letters(folder: Path, *, ends: bool = True, **changes: Any) -> None:
    """Save a tokenizer whose tokens are the words "a" to "h", between <s> and </s> if `ends`."""
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    vocabulary = {**SPECIAL, **{letter: number for number, letter in enumerate("abcdefgh", len(SPECIAL))}}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    if ends:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
        )
    names = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **{**names, **changes}).save_pretrained(folder)


def _save(folder: Path, kind: Any, config: Any, **options: Any) -> Path:
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(1)
        kind(config, **options).save_pretrained(folder)
    return folder


def modules(folder: Path, *kinds: str, pooling: Any = "cls", limit: int | None = 6, first: str = "") -> Path:
    """Write the files of sentence-transformers: `kinds` of modules behind a Transformer in the folder `first`."""
    listing = [{"idx": 0, "name": "0", "path": first, "type": "sentence_transformers.models.Transformer"}]
    for number, kind in enumerate(kinds, 1):
        path = f"{number}_{kind}"
        entry = {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
        listing.append(entry)
        (folder / path).mkdir(exist_ok=True)
        if kind == "Pooling":
            given = pooling if isinstance(pooling, dict) else {"pooling_mode": pooling}
            write_json(folder / path / "config.json", {"embedding_dimension": WIDTH, **given})
    write_json(folder / "modules.json", listing)
    if limit is not None:
        write_json(folder / "sentence_bert_config.json", {"max_seq_length": limit})
    return folder


def dense(folder: Path, *, width: int = 3) -> Path:
    """Give the module 2_Dense its weights and configuration."""
    from sentence_transformers.sentence_transformer.modules import Dense

    Dense(WIDTH, width).save(str(folder / "2_Dense"))
    return folder


def prompts(folder: Path, default: str | None = "q", **texts: str) -> Path:
    """Write named prompts, one of which is the default."""
    content = {"prompts": texts, "default_prompt_name": default}
    write_json(folder / "config_sentence_transformers.json", content)
    return folder


@contextmanager
def changed(path: Path) -> Iterator[dict[str, Any]]:
    """Let the block change the JSON object of a file."""
    content = json.loads(path.read_text())
    yield content
    write_json(path, content)


def write_json(path: Path, content: Any) -> None:
    """Write JSON."""
    path.write_text(json.dumps(content))
