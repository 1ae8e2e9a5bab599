"""securealign head: the provider's linear classifier."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from securealign.alignment.artifacts import check_target
from securealign.alignment.head import KIND, LinearHead, require_class_names
from securealign.alignment.links import Link
from securealign.alignment.margins import UNEVEN_ADVICE, uneven_warning
from securealign.commands import AsJson, failures, penalty, progress
from securealign.data import TextDataset, load_dataset
from securealign.errors import ConfigurationError, ErrorCode, InputError
from securealign.heads import read_head
from securealign.heads.names import parse_names
from securealign.models import Encoder, open_encoder
from securealign.models.endpoint import likeness_of
from securealign.models.source import encode_cached, load_paired
from securealign.settings import load_settings

_UNKNOWN_ENCODER = (
    "warning: the head does not say which encoder it was fitted on, so the provider cannot check that it embeds its "
    "public texts with the same one. Give --encoder or --encoder-fingerprint."
)
app = typer.Typer(no_args_is_help=True, help="The provider's linear head.")


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
        chosen = penalty(inverse_penalty, "--inverse-penalty")
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
            made_by = _facts_of(model)
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
    named = [space for space in settings.offered_spaces.values() if space.encoders]
    if len(named) != 1:
        raise ConfigurationError(
            f"{config} names {len(named) if named else 'no'} encoder{'s' if named else ''}.",
            hint="Name one in its section [public], or give --encoder.",
        )
    return settings.open_encoder(named[0])


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="A model: .skops, .onnx, or .safetensors with weight and bias.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder to write the head to; the name of the file without it."),
    ] = None,
    classes: Annotated[
        str | None, typer.Option(help="Names of the classes in their order: a,b,c or a file, JSON or one on each line.")
    ] = None,
    layer: Annotated[str | None, typer.Option(help="The linear layer to take of several in .safetensors.")] = None,
    link: Annotated[
        Link | None, typer.Option(help="What turns logits into probabilities, where the file does not say it.")
    ] = None,
    encoder: Annotated[
        str | None, typer.Option(help="Encoder that the head was fitted on: built-in name, model folder or hub id.")
    ] = None,
    encoder_fingerprint: Annotated[
        str | None, typer.Option(metavar="HEX", help="Its fingerprint, so that it is not opened here.")
    ] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Where the encoder cut the texts.")] = None,
    prompt: Annotated[str | None, typer.Option(help="What stood before every text.")] = None,
    as_json: AsJson = False,
) -> None:
    """Save a linear classifier that was made elsewhere as the provider's head.

    Nothing in the file is run. A model that is not linear is refused.
    """
    with failures(as_json=as_json):
        folder = output or Path(file.stem)
        check_target(folder, KIND)
        opened = encoder is not None and encoder_fingerprint is None
        if prompt is not None and not opened:
            raise ConfigurationError("--prompt needs an encoder to open.", hint="A fingerprint already covers it.")
        head = read_head(file, class_names=None if classes is None else parse_names(classes), link=link, layer=layer)
        made_by: dict[str, Any] = {
            "encoder": encoder,
            "encoder_fingerprint": encoder_fingerprint,
            "max_tokens": max_tokens,
        }
        if opened:
            model = open_encoder(encoder or "", max_tokens=max_tokens, prompt=prompt)
            _require_dimension(head, model)
            made_by = _facts_of(model)
        known = {name: value for name, value in made_by.items() if value is not None}
        head.save_pretrained(folder, **known)
        uneven = uneven_warning(head)
    result = {
        "head": str(folder),
        "classes": list(head.class_names),
        "dimension": len(head.weight),
        "link": head.link,
        "encoder_fingerprint": known.get("encoder_fingerprint"),
    }
    if uneven is not None:
        typer.echo(f"warning: {uneven} {UNEVEN_ADVICE}", err=True)
    if as_json:
        typer.echo(json.dumps(result))
        return
    gives = "margins, no probabilities" if head.link == "margin" else f"probabilities by {head.link}"
    size = f"{len(head.class_names)} classes and {len(head.weight)} dimensions"
    typer.echo(f"head with {size} saved in {folder} ({gives})")
    if "encoder_fingerprint" not in known:
        typer.echo(_UNKNOWN_ENCODER, err=True)


def _facts_of(encoder: Encoder) -> dict[str, Any]:
    """Return what a head keeps of the encoder it was fitted on, so that a provider can compare it."""
    return {
        "encoder": encoder.name,
        "encoder_fingerprint": encoder.fingerprint,
        "max_tokens": getattr(encoder, "max_tokens", None),
        **likeness_of(encoder),
    }


def _require_dimension(head: LinearHead, encoder: Encoder) -> None:
    if encoder.dimension != len(head.weight):
        raise InputError(
            f"The head takes {len(head.weight)} dimensions and the encoder gives {encoder.dimension}.",
            hint="Name the encoder that the head was fitted on.",
            code=ErrorCode.SHAPE_MISMATCH,
        )


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
