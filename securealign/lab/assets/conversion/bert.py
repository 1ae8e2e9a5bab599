"""Folders of BERT encoders in the layout of transformers and sentence-transformers, and of their tokenizers."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from securealign.optional import require

_NAMESPACE = "sentence_transformers.models"


@dataclass(frozen=True, kw_only=True)
class BertShape:
    """The sizes of a BERT encoder, in the names of its configuration file."""

    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    max_position_embeddings: int
    type_vocab_size: int
    pad_token_id: int
    layer_norm_eps: float = 1e-12


def write_bert(folder: Path, shape: BertShape, weights: Mapping[str, NDArray[np.float32]]) -> None:
    """Write configuration and weights, named as in transformers' BertModel."""
    safetensors = require("safetensors.numpy", "A converted encoder")
    config = {"architectures": ["BertModel"], "model_type": "bert", "hidden_act": "gelu", **vars(shape)}
    write_json(folder / "config.json", config)
    whole = {name: np.ascontiguousarray(weight, dtype=np.float32) for name, weight in weights.items()}
    safetensors.save_file(whole, folder / "model.safetensors", metadata={"format": "pt"})


def write_mean_pooling(folder: Path, *, width: int, max_tokens: int, normalize: bool, prompt: str = "") -> None:
    """Write the files of sentence-transformers for a mean of vectors of `width` and a `prompt` before each text."""
    kinds = ["Transformer", "Pooling", *(["Normalize"] if normalize else [])]
    modules = [
        {"idx": index, "name": str(index), "path": f"{index}_{kind}" if index else "", "type": f"{_NAMESPACE}.{kind}"}
        for index, kind in enumerate(kinds)
    ]
    write_json(folder / "modules.json", modules)
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": max_tokens, "do_lower_case": False})
    (folder / "1_Pooling").mkdir()
    pooling = {"word_embedding_dimension": width, "pooling_mode_mean_tokens": True, "include_prompt": True}
    write_json(folder / "1_Pooling" / "config.json", pooling)
    if prompt:
        prompts = {"prompts": {"query": prompt}, "default_prompt_name": "query"}
        write_json(folder / "config_sentence_transformers.json", prompts)


def write_json(path: Path, content: Any) -> None:  # noqa: ANN401 - whatever JSON can hold
    """Write `content` as JSON in UTF-8."""
    path.write_text(json.dumps(content, ensure_ascii=False, indent=1), encoding="utf-8")


def write_unigram(
    folder: Path, pieces: Sequence[tuple[str, float]], *, begin: int, end: int, padding: int, unknown: int, limit: int
) -> None:
    """Write a SentencePiece unigram tokenizer that reads at most `limit` tokens, for AutoTokenizer."""
    tokenizers = require("tokenizers", "A converted tokenizer")
    tokenizer = tokenizers.Tokenizer(tokenizers.models.Unigram(list(pieces), unk_id=unknown, byte_fallback=False))
    normalizers = tokenizers.normalizers
    # SentencePiece's nmt_nfkc. It leaves out the fullwidth tilde alone, which becomes a plain one here.
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace(tokenizers.Regex(" {2,}"), " ")]
    )
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = tokenizers.decoders.Metaspace(prepend_scheme="always")
    names = {"bos": begin, "eos": end, "pad": padding, "unk": unknown}
    special = {f"{role}_token": pieces[number][0] for role, number in names.items()}
    tokenizer.add_special_tokens(list(special.values()))
    first, last = special["bos_token"], special["eos_token"]
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single=f"{first} $A {last}", special_tokens=[(first, begin), (last, end)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    # The class that takes tokenizer.json as it is; that of XLM-RoBERTa would build another normalizer.
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": limit, **special}
    write_json(folder / "tokenizer_config.json", config)
