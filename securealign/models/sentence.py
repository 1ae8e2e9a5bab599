"""Model folders as sentence-transformers loads them, and what it leaves unchecked."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from securealign.errors import ConfigurationError, InputError
from securealign.models.pretrained import CONVERT, NO_WEIGHTS, loading, unusable
from securealign.optional import require

POOLINGS = ("mean", "cls", "max", "lasttoken")
_PURPOSE = "A transformer encoder"
_POOLER = "pooler"


def load_sentence_model(
    folder: Path, *, pooling: str | None = None, trust_remote_code: bool = False
) -> tuple[Any, int]:
    """Return a model of sentence-transformers on the CPU, in float32, and the length of its embeddings.

    A folder without modules.json is of transformers alone: its token vectors are pooled, by their mean unless `pooling`
    says otherwise. Raises `InputError` for a folder that cannot be loaded or would give arbitrary embeddings,
    `ConfigurationError` for a pooling the model cannot have, `DependencyError` for a package that is not installed.
    """
    if pooling not in {None, *POOLINGS}:
        raise ConfigurationError(f"There is no pooling {pooling!r}.", hint=f"Use one of: {', '.join(POOLINGS)}.")
    library = require("sentence_transformers", _PURPOSE)
    with loading(folder, purpose=_PURPOSE) as missing, _format_of(folder) as options, _tokenizer_named(folder):
        options |= {"trust_remote_code": trust_remote_code, "local_files_only": True}
        if (folder / "modules.json").is_file():
            model = library.SentenceTransformer(str(folder), device="cpu", **options)
            _replace_pooling(model, pooling, folder)
        else:
            parts = _load_bare(folder, pooling or "mean", options)
            model = library.SentenceTransformer(modules=parts, device="cpu")
        _check_weights(folder, model, missing)
        for transformer in transformers_in(model):
            _check_tokenizer(folder, transformer)
        # What the modules yield together is certain only from what they yield.
        width = model.encode(["a"], show_progress_bar=False).shape[1]
    return model, int(width)


def transformers_in(model: Any) -> list[Any]:  # noqa: ANN401 - sentence-transformers is optional
    """Return the modules that are models of transformers; none in a model of word vectors."""
    kind = _modules().Transformer
    return [module for module in model.modules() if isinstance(module, kind)]


def poolings_of(model: Any) -> list[Any]:  # noqa: ANN401
    """Return the modules that make one vector of token vectors."""
    kind = _modules().Pooling
    return [module for module in model.modules() if isinstance(module, kind)]


def positions_of(transformer: Any) -> int | None:  # noqa: ANN401
    """Return how many tokens a transformer has positions for; None where their number is not bounded."""
    count = getattr(transformer.config.get_text_config(), "max_position_embeddings", None) or -1
    for module in transformer.model.modules():
        # RoBERTa and its kin count positions from behind that of the padding.
        padding = getattr(module, "padding_idx", None)
        if isinstance(padding, int) and hasattr(module, "position_embeddings"):
            count -= padding + 1
    return count if count > 0 else None


def _modules() -> Any:  # noqa: ANN401
    return require("sentence_transformers.sentence_transformer.modules", _PURPOSE)


@contextlib.contextmanager
def _format_of(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield what the loaders need to be told about the format of the weights."""
    torch = require("torch", _PURPOSE)
    options: dict[str, Any] = {"model_kwargs": {"dtype": torch.float32, "use_safetensors": True}}
    files = [] if any(folder.glob("*.safetensors")) else sorted(folder.glob("*.gguf"))
    if not files:
        yield options
        return
    for package in ("gguf", "accelerate"):
        require(package, "A model in the GGUF format")
    for name in ("model_kwargs", "processor_kwargs", "config_kwargs"):
        options[name] = {**options.get(name, {}), "gguf_file": files[0].name}
    # The reader of GGUF draws bars that no setting turns off.
    with contextlib.redirect_stderr(io.StringIO()):
        yield options


@contextlib.contextmanager
def _tokenizer_named(folder: Path) -> Iterator[None]:
    """Raise the error of a tokenizer where transformers, which tries other kinds after it, says that none was found."""
    try:
        yield
    except ValueError:
        for file in folder.rglob("tokenizer_config.json"):
            require("transformers", _PURPOSE).AutoTokenizer.from_pretrained(file.parent, local_files_only=True)
        raise


def _load_bare(folder: Path, pooling: str, options: dict[str, Any]) -> list[Any]:
    if not any(any(folder.glob(pattern)) for pattern in ("*.safetensors", "*.gguf", "adapter_config.json")):
        raise unusable(f"{folder} {NO_WEIGHTS}", CONVERT)
    modules = _modules()
    # Left to itself, sentence-transformers would put each text into the chat template of a language model.
    transformer = modules.Transformer.load(str(folder), **options)
    if getattr(transformer.config, "is_encoder_decoder", False) and hasattr(transformer.model, "decoder"):
        raise InputError(
            f"{folder} holds an encoder-decoder model, which gives no single vector a token.",
            hint="Use an encoder or a decoder model.",
        )
    return [transformer, modules.Pooling(transformer.get_embedding_dimension(), pooling)]


def _replace_pooling(model: Any, pooling: str | None, folder: Path) -> None:  # noqa: ANN401
    if pooling is None:
        return
    places = [name for name, part in model.named_children() if isinstance(part, _modules().Pooling)]
    if not places:
        raise ConfigurationError(f"{folder.name} has no pooling to replace.", hint="Leave pooling out.")
    for name in places:
        old = getattr(model, name)
        setattr(model, name, _modules().Pooling(old.embedding_dimension, pooling, include_prompt=old.include_prompt))


def _check_weights(folder: Path, model: Any, missing: Collection[str]) -> None:  # noqa: ANN401
    # The pooler of BERT stands behind the token vectors, which are all that most models use.
    used = any(_POOLER in str(transformer.modality_config) for transformer in transformers_in(model))
    lost = [name for name in missing if used or not name.startswith(f"{_POOLER}.")]
    if lost:
        raise unusable(
            f"{folder} lacks {len(lost)} weights, the first of which is {lost[0]}",
            "Check that the weights belong to this config.json.",
        )
    for transformer in transformers_in(model):
        for name, weight in transformer.model.named_parameters():
            if name in missing:
                weight.data.zero_()  # so that the same folder has the same weights each time


def _check_tokenizer(folder: Path, transformer: Any) -> None:  # noqa: ANN401
    tokenizer = transformer.tokenizer
    try:
        rows = transformer.model.get_input_embeddings().num_embeddings
    except (AttributeError, NotImplementedError):
        rows = len(tokenizer)
    words = set(tokenizer.get_vocab()) - set(tokenizer.all_special_tokens)
    # Without its files transformers makes a tokenizer that knows no words, and all texts get the same embedding.
    if not any(character.isalnum() for word in words for character in word):
        raise unusable(
            f"{folder} holds no vocabulary for its tokenizer", "Fetch the tokenizer's files, such as tokenizer.json."
        )
    if tokenizer.pad_token is None or tokenizer.pad_token_id >= rows:
        end = tokenizer.eos_token_id
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(end if end is not None and end < rows else 0)
