"""securealign data: built-in data sets as files to exchange."""

import json
from pathlib import Path
from typing import Annotated

import typer

from securealign.commands import AsJson, failures
from securealign.data import PublicTexts, builtin_names, load_dataset, load_public
from securealign.files import write_atomically

Data = Annotated[
    str, typer.Argument(help="JSONL, CSV, TSV or text file, - for standard input, or the name of a built-in set.")
]

app = typer.Typer(no_args_is_help=True, help="Texts: built-in sets, samples of them, and digests.")


@app.command("list")
def list_names(as_json: AsJson = False) -> None:
    """List the built-in data sets."""
    typer.echo(json.dumps(list(builtin_names())) if as_json else "\n".join(builtin_names()))


@app.command()
def digest(
    data: Data,
    as_json: AsJson = False,
) -> None:
    """Print the digest that both parties compare before they train on these texts; repeated texts count once."""
    with failures(as_json=as_json):
        public = load_public(data)
    rows, value, repeated = len(public.texts), public.digest.hex(), public.repeated
    if as_json:
        typer.echo(json.dumps({"rows": rows, "digest": value, "repeated": repeated}))
    else:
        left_out = f", {repeated} repeated left out" if repeated else ""
        typer.echo(f"{value}  {rows} texts{left_out}")


@app.command()
def export(
    data: Data,
    output: Annotated[Path, typer.Argument(help="JSONL file to write.")],
    samples: Annotated[int | None, typer.Option(min=1, help="Write this many texts, drawn at random.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the draw.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Write a data set, or a sample of it, as JSONL with the fields text and label."""
    with failures(as_json=as_json):
        dataset = load_dataset(data)
        if samples is not None:
            dataset = dataset.shuffled(seed).take(samples)
        labels = [dataset.class_names[label] for label in dataset.labels] if dataset.labels else None
        lines = [
            json.dumps({"text": text} | ({"label": labels[index]} if labels else {}), ensure_ascii=False)
            for index, text in enumerate(dataset.texts)
        ]
        write_atomically(output, "".join(f"{line}\n" for line in lines).encode())
        value = PublicTexts.of(dataset.texts).digest.hex()
    result = {"file": str(output), "rows": len(dataset), "digest": value}
    typer.echo(json.dumps(result) if as_json else f"{len(dataset)} texts in {output}, digest {value}")
