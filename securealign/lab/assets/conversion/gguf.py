"""Causal language models from GGUF files, through transformers, which needs the packages gguf and accelerate."""

import contextlib
import io
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from securealign.files import sha256_of
from securealign.lab.assets.conversion.folders import unusable
from securealign.models.quiet import quiet
from securealign.optional import require

_PURPOSE = "A model in the GGUF format"
_SUMS = "SHA256SUMS"
_HEAD = "lm_head.weight"


def convert_gguf(sources: Sequence[Path], folder: Path) -> None:
    """Write a .gguf file or its parts in float32 with a fast tokenizer; raises `AssetError` for one that is damaged."""
    for package in ("gguf", "accelerate"):
        require(package, _PURPOSE)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        file = next(iter(sources[0].glob("*.gguf")), None) or _join(sources[0], Path(temporary))
        tokenizer, model = _load(file)
        _save(model, folder)
        # GGUF does not tell the tokenizer how much the model can read.
        tokenizer.model_max_length = model.config.max_position_embeddings
        tokenizer.save_pretrained(folder)


def _join(source: Path, target: Path) -> Path:
    parts = sorted(source.glob("*.gguf.part*"))
    digest, name = (source / _SUMS).read_text(encoding="ascii").split()
    joined = target / Path(name).name
    with joined.open("wb") as output:
        for part in parts:
            with part.open("rb") as content:
                shutil.copyfileobj(content, output)
    if sha256_of(joined) != digest:
        raise unusable(f"The {len(parts)} parts in {source} are not {name}.")
    return joined


def _load(file: Path) -> tuple[Any, Any]:
    transformers, torch = require("transformers", _PURPOSE), require("torch", _PURPOSE)
    options = {"gguf_file": file.name, "local_files_only": True}
    try:
        # Its reader draws bars that no setting turns off.
        with quiet(), contextlib.redirect_stderr(io.StringIO()):
            tokenizer = transformers.AutoTokenizer.from_pretrained(file.parent, **options)
            model = transformers.AutoModelForCausalLM.from_pretrained(file.parent, dtype=torch.float32, **options)
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        raise unusable(f"{file} cannot be converted: {error}", hint="Upgrade transformers and gguf.") from error
    return tokenizer, model


def _save(model: Any, folder: Path) -> None:  # noqa: ANN401 - transformers is optional
    # Model.save_pretrained refuses what was loaded from GGUF, though its weights are plain floats by now.
    safetensors = require("safetensors.torch", _PURPOSE)
    weights = {name: weight.contiguous() for name, weight in model.state_dict().items()}
    if model.config.tie_word_embeddings:
        weights.pop(_HEAD, None)
    safetensors.save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = model.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    config.architectures = [type(model).__name__]
    config.save_pretrained(folder)
    model.generation_config.save_pretrained(folder)
