"""The tokenizer of XLM-RoBERTa, built from its vocabulary."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from securealign.lab.assets.conversion.bert import write_json
from securealign.optional import require


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
