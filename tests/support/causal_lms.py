"""Tiny random causal language models with tokenizers trained on a few sentences, made in a folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

SENTENCES = [
    "the quick brown fox jumps over the lazy dog and runs away from the quiet house",
    "a small model reads the text of another model and says what comes next 🙂 café",
    "every token ends at a character, and characters are what both tokenizers share",
    "the answer is A) animal B) plant C) food D) act. User: hello Assistant: good day",
]
CHAT = "{% for m in messages %}<|im_start|>{{ m['content'] }}<|im_end|>{% endfor %}<|im_start|>"
_SPECIAL = ["<pad>", "<bos>", "<eos>", "<unk>"]


def byte_level_tokenizer(*, size: int = 330, chat: bool = False) -> Any:
    """A tokenizer like GPT-2's: bytes as characters, no token before a text."""
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers, trainers

    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    return _wrapped(tokenizer, eos="<|im_end|>", bos="<|im_start|>", chat=CHAT if chat else None)


def byte_fallback_tokenizer(*, size: int = 110) -> Any:
    """A tokenizer like Gemma's: a marked space, bytes for unknown characters, a token before each text."""
    import tokenizers
    from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

    trained = tokenizers.Tokenizer(models.BPE())
    trained.normalizer = normalizers.Replace(" ", "▁")
    trained.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    plain = [sentence.encode("ascii", "ignore").decode() for sentence in SENTENCES]
    trained.train_from_iterator(plain, trainers.BpeTrainer(vocab_size=size, show_progress=False))
    content = json.loads(trained.to_str())["model"]
    names = [*_SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256)), *content["vocab"]]
    merges = [tuple(merge) for merge in content["merges"]]
    vocabulary = {name: number for number, name in enumerate(names)}
    tokenizer = tokenizers.Tokenizer(models.BPE(vocabulary, merges, byte_fallback=True, unk_token="<unk>"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = trained.normalizer, trained.pre_tokenizer
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens(_SPECIAL)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", tokenizer.token_to_id("<bos>"))]
    )
    return _wrapped(tokenizer, eos="<eos>", bos="<bos>", unk="<unk>")


def _wrapped(tokenizer: Any, *, eos: str, bos: str, unk: str | None = None, chat: str | None = None) -> Any:
    import transformers

    names = {"eos_token": eos, "bos_token": bos, "pad_token": eos, **({"unk_token": unk} if unk else {})}
    wrapped = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)
    if chat:
        wrapped.chat_template = chat
    return wrapped


def save_llama(folder: Path, tokenizer: Any, *, seed: int = 1, **changes: Any) -> Path:
    """Save a random Llama of 4 blocks of 16 dimensions."""
    import transformers

    settings = {"hidden_size": 16, "num_hidden_layers": 4, "intermediate_size": 24, "num_key_value_heads": 1}
    config = transformers.LlamaConfig(
        **{**settings, **changes}, num_attention_heads=2, vocab_size=len(tokenizer), **_ends(tokenizer)
    )
    return _save(folder, transformers.LlamaForCausalLM, config, tokenizer, seed)


def save_gemma(folder: Path, tokenizer: Any, *, seed: int = 2, **changes: Any) -> Path:
    """Save a random Gemma 3 of 3 blocks of 12 dimensions, two of which see 8 tokens only."""
    import transformers

    settings: dict[str, Any] = {"hidden_size": 12, "num_hidden_layers": 3, "intermediate_size": 20, "head_dim": 8}
    config = transformers.Gemma3TextConfig(
        **{**settings, **changes},
        num_attention_heads=2,
        num_key_value_heads=1,
        sliding_window=8,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        vocab_size=len(tokenizer) + 8,  # as models pad theirs
        **_ends(tokenizer),
    )
    return _save(folder, transformers.Gemma3ForCausalLM, config, tokenizer, seed)


def _ends(tokenizer: Any) -> dict[str, Any]:
    return {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }


def _save(folder: Path, kind: Any, config: Any, tokenizer: Any, seed: int) -> Path:
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = kind(config)
        for name, weight in model.named_parameters():
            # As initialised, small models repeat their input; these say something else at each place.
            if "norm" not in name:
                torch.nn.init.normal_(weight, std=0.3)
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
