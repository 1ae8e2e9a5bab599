"""securealign head: the provider's linear classifier."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from securealign.alignment.head import LinearHead
from securealign.cli.options import AsJson
from securealign.commands import failures, progress
from securealign.data import load_dataset
from securealign.errors import ConfigurationError, InputError
from securealign.models import open_encoder
from securealign.models.source import encode_cached, load_paired

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
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Cut texts after this many tokens.")] = None,
    samples: Annotated[int | None, typer.Option(min=2, help="Use this many of the texts, drawn at random.")] = None,
    inverse_penalty: Annotated[float, typer.Option(help="C of the logistic regression.")] = 1.0,
    as_json: AsJson = False,
) -> None:
    """Fit a logistic regression on labelled texts and save it as the provider's head."""
    with failures(as_json=as_json), progress(enabled=True) as bar:
        dataset = load_dataset(data)
        if dataset.labels is None:
            raise InputError(f"{data} has no labels.", hint="Give a file with a field or column 'label'.")
        if (encoder is None) == (embeddings is None):
            raise InputError("One source of embeddings is needed.", hint="Give either --encoder or --embeddings.")
        if embeddings is not None and samples is not None:
            raise ConfigurationError("--samples draws texts to embed.", hint="Leave it or --embeddings out.")
        if not inverse_penalty > 0:
            raise ConfigurationError(
                f"--inverse-penalty is {inverse_penalty}.", hint="Give a number above zero; 1 suits most data."
            )
        if embeddings is not None:
            matrix = load_paired(embeddings, dataset.texts)
        else:
            dataset = dataset if samples is None else dataset.shuffled(0).take(samples)
            model = open_encoder(encoder or "", max_tokens=max_tokens)
            matrix = encode_cached(model, dataset.texts, bar("embedding labelled texts"))
        labels = dataset.labels or ()
        head = LinearHead.fit(matrix, labels, dataset.class_names, inverse_penalty=inverse_penalty)
        accuracy = float(np.mean(head.logits(matrix).argmax(axis=1) == np.searchsorted(np.unique(labels), labels)))
        head.save_pretrained(output, samples=len(labels), encoder=encoder or str(embeddings))
    result = {"head": str(output), "classes": list(head.class_names), "samples": len(labels), "fit_accuracy": accuracy}
    if as_json:
        typer.echo(json.dumps(result))
    else:
        typer.echo(f"head with {len(head.class_names)} classes from {len(labels)} texts saved in {output}")
