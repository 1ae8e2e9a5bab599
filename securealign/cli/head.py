"""securealign head: the provider's linear classifier."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import typer

from securealign.alignment.artifacts import check_target
from securealign.alignment.head import KIND, LinearHead, require_class_names
from securealign.commands import AsJson, failures, progress
from securealign.data import TextDataset, load_dataset
from securealign.errors import ConfigurationError, InputError
from securealign.models import Encoder, open_encoder
from securealign.models.endpoint import likeness_of
from securealign.models.source import encode_cached, load_paired
from securealign.settings import load_settings

app = typer.Typer(no_args_is_help=True, help="The provider's linear head.")


@app.callback()
def _group() -> None:
    """Keep `fit` a subcommand while it is the only one."""


@app.command()
def fit(
    data: Annotated[str, typer.Option(help="Labelled texts: JSONL, CSV or the name of a built-in set.")],
    output: Annotated[Path, typer.Option(help="Folder to write the head to.")],
    encoder: Annotated[str | None, typer.Option(help="Built-in name, model folder or hub id.")] = None,
    embeddings: Annotated[Path | None, typer.Option(help="Embeddings of the texts made elsewhere, instead.")] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="Provider's TOML file, instead: its encoder or endpoint in [public]."),
    ] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Cut texts after this many tokens.")] = None,
    prompt: Annotated[str | None, typer.Option(help="Put this before every text, such as 'query: ' for e5.")] = None,
    device: Annotated[str, typer.Option(help="Where the encoder runs: cpu, or cuda for a GPU.")] = "cpu",
    samples: Annotated[int | None, typer.Option(min=2, help="Use this many of the texts, drawn at random.")] = None,
    inverse_penalty: Annotated[
        str, typer.Option(metavar="C", help="C of the logistic regression, or 'auto': chosen on held-out texts.")
    ] = "auto",
    as_json: AsJson = False,
) -> None:
    """Fit a logistic regression on labelled texts and save it as the provider's head."""
    with failures(as_json=as_json), progress(enabled=True) as bar:
        chosen = _inverse_penalty(inverse_penalty)
        if sum(source is not None for source in (encoder, embeddings, config)) != 1:
            raise InputError(
                "One source of embeddings is needed.", hint="Give one of --encoder, --config and --embeddings."
            )
        if embeddings is not None and samples is not None:
            raise ConfigurationError("--samples draws texts to embed.", hint="Leave it or --embeddings out.")
        check_target(output, KIND)
        dataset = _labelled(data, samples)
        made_by: dict[str, Any] = {"encoder": str(embeddings)}
        if embeddings is not None:
            matrix = load_paired(embeddings, len(dataset.texts))
        else:
            if config is not None:
                model = _encoder_of(config, max_tokens=max_tokens, prompt=prompt, device=device)
            else:
                model = open_encoder(encoder or "", max_tokens=max_tokens, prompt=prompt, device=device)
            made_by = {
                "encoder": model.name,
                "encoder_fingerprint": model.fingerprint,
                "max_tokens": getattr(model, "max_tokens", None),
                **likeness_of(model),
            }
            matrix = encode_cached(model, dataset.texts, bar("embedding labelled texts"))
        labels = dataset.labels or ()
        head = LinearHead.fit(matrix, labels, dataset.class_names, inverse_penalty=chosen)
        names = [dataset.class_names[label] for label in labels]
        accuracy = float(np.mean([found == name for found, name in zip(head.predict(matrix), names, strict=True)]))
        head.save_pretrained(output, samples=len(labels), **made_by)
    result = {
        "head": str(output),
        "classes": list(head.class_names),
        "samples": len(labels),
        "inverse_penalty": head.metadata["inverse_penalty"],
        "cross_validated_accuracy": head.metadata.get("cross_validated_accuracy"),
        "fit_accuracy": accuracy,
    }
    typer.echo(json.dumps(result) if as_json else _in_words(result))


def _encoder_of(config: Path, *, max_tokens: int | None, prompt: str | None, device: str) -> Encoder:
    """Open the encoder of the public texts, with all its settings."""
    from securealign.provider.config import ProviderSettings

    if (max_tokens, prompt, device) != (None, None, "cpu"):
        raise ConfigurationError(
            "--max-tokens, --prompt and --device belong to --encoder.", hint="Set them in the file given by --config."
        )
    settings = load_settings(ProviderSettings, config, [])
    if settings.public is None or not settings.public.encoders:
        raise ConfigurationError(f"{config} names no encoder.", hint="Name one in its section [public].")
    return settings.open_encoder(settings.public)


def _inverse_penalty(text: str) -> float | Literal["auto"]:
    if text == "auto":
        return "auto"
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise ConfigurationError(
            f"--inverse-penalty is {text!r}.", hint="Give a number above zero, or auto, which suits most data."
        )
    return value


def _labelled(data: str, samples: int | None) -> TextDataset:
    """Return labelled texts, as many as asked for; raises `InputError` for those that can make no head."""
    dataset = load_dataset(data)
    if dataset.labels is None:
        raise InputError(f"{data} has no labels.", hint="Give a file with a field or column 'label'.")
    drawn = dataset if samples is None else dataset.shuffled(0).take(samples)
    classes, left = set(dataset.labels), set(drawn.labels or ())
    if len(left) < 2:
        raise InputError(
            f"{len(drawn)} texts of {len(left)} classes cannot fit a head.",
            hint="Raise --samples." if len(classes) > 1 else "Give texts of at least two classes.",
        )
    require_class_names(drawn.class_names[label] for label in sorted(left))
    return drawn


def _in_words(result: Mapping[str, Any]) -> str:
    held_out = result["cross_validated_accuracy"]
    told = "" if held_out is None else f", {held_out:.1%} of held-out texts right"
    return (
        f"head with {len(result['classes'])} classes from {result['samples']} texts saved in {result['head']} "
        f"(C = {result['inverse_penalty']:.2g}{told})"
    )
