"""securealign-client: align with a provider, then classify with its head."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from securealign.client.app import Client
from securealign.client.config import ClientSettings
from securealign.client.work import Classification
from securealign.commands import AsJson, Override, failures, progress, table_console
from securealign.data import load_texts
from securealign.errors import InputError
from securealign.files import write_atomically
from securealign.hardening import harden_process
from securealign.logs import configure_logs, redact_python_output
from securealign.models import load_embeddings
from securealign.protocol.listing import Listing
from securealign.settings import load_settings

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Align with a provider, then classify with its head. Exit codes: 0 done, 2 bad configuration, 3 bad input, "
    "4 refused by a party, 5 network, 6 something is not installed.",
)

Config = Annotated[Path, typer.Option(help="TOML file; 'securealign init client' writes one with comments.")]
Record = Annotated[
    Path | None, typer.Option(help="Also write a run file, without contents, for 'securealign report' and 'replay'.")
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print results and errors only.")]


@app.command()
def align(
    config: Config, record: Record = None, override: Override = None, as_json: AsJson = False, quiet: Quiet = False
) -> None:
    """Fit the alignment map with the provider on the public texts, and save it; goes on where it was interrupted."""
    configure_logs(as_json=False, quiet=quiet)
    redact_python_output()
    with failures(as_json=as_json), progress(enabled=not quiet) as bar:
        client = Client(load_settings(ClientSettings, config, override or []))
        figures = client.align(bar("embedding public texts"), bar("uploading encrypted rows"), record)
    if as_json:
        typer.echo(json.dumps(figures))
    elif not quiet:
        _print_alignment(figures)


@app.command()
def heads(config: Config, override: Override = None, as_json: AsJson = False) -> None:
    """List the heads and spaces that the provider offers this client, and what is left of its budgets."""
    configure_logs(as_json=False, quiet=True)
    with failures(as_json=as_json):
        listing = Client(load_settings(ClientSettings, config, override or [])).offers()
    if as_json:
        typer.echo(json.dumps(_plain(listing)))
        return
    offered = Table("head", "classes", "output", "space", "queries left", "bits left", "digest")
    for head in listing.heads:
        left = "no limit" if head.bits_left is None else f"{head.bits_left:,}"
        counts = (f"{head.queries_left:,}", left, head.head_digest.hex()[:16])
        offered.add_row(head.name, str(head.classes), head.output.name.lower(), head.space_name, *counts)
    table_console().print(offered)
    for space in listing.spaces:
        typer.echo(f"space {space.name}: {space.rows:,} public texts, digest {space.dataset_digest.hex()[:16]}")


def _plain(listing: Listing) -> dict[str, Any]:
    """Return a list of offers as JSON can hold it."""

    def plain(value: object) -> object:
        if isinstance(value, bytes):
            return value.hex()
        return value.name.lower() if isinstance(value, Enum) else value

    return {
        kind: [{name: plain(value) for name, value in asdict(offer).items()} for offer in getattr(listing, kind)]
        for kind in ("heads", "spaces")
    }


@app.command()
def classify(
    config: Config,
    texts: Annotated[
        str | None, typer.Option("--input", help="JSONL, CSV or text file with private texts; - is standard input.")
    ] = None,
    embeddings: Annotated[
        Path | None, typer.Option(help="Embeddings of private texts instead: .npy, .npz, .safetensors.")
    ] = None,
    text_field: Annotated[str, typer.Option(help="Field or column that holds the text.")] = "text",
    output: Annotated[Path | None, typer.Option(help="File for the results; standard output without it.")] = None,
    stats: Annotated[Path | None, typer.Option(help="File for the figures of the session, as JSON.")] = None,
    batch: Annotated[int, typer.Option(min=1, help="Queries in one round trip.")] = 64,
    record: Record = None,
    cache: Annotated[bool, typer.Option("--cache", help="Keep the embeddings of these texts on disk.")] = False,
    override: Override = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Classify private texts: one line for each, label and probability, or a JSON object with --json.

    Where the provider answers with labels alone there are no probabilities. A label that it withholds is empty, and
    "abstained" in JSON; confidence is the number of its thresholds that the answer exceeds.
    """
    configure_logs(as_json=False, quiet=quiet)
    redact_python_output()
    with failures(as_json=as_json), progress(enabled=not quiet) as bar:
        if (texts is None) == (embeddings is None):
            raise InputError("Nothing to classify, or too much.", hint="Give either --input or --embeddings.")
        client = Client(load_settings(ClientSettings, config, override or []))
        _ = client.alignment  # a map that cannot be used is refused before texts are embedded
        if embeddings is not None:
            matrix = load_embeddings(embeddings)
        else:
            private = load_texts(texts or "-", text_field=text_field).texts
            matrix = client.encode(private, bar("embedding private texts"), cache=cache)
        result = client.classify(matrix, batch, bar("classifying under encryption"), record)
        lines = _json_lines(result) if as_json else _lines(result)
        if output is not None:
            write_atomically(output, "".join(f"{line}\n" for line in lines).encode())
        else:
            sys.stdout.writelines(f"{line}\n" for line in lines)
            sys.stdout.flush()
        if stats is not None:
            write_atomically(stats, (json.dumps(result.figures, indent=2) + "\n").encode())
    if not (as_json or quiet):
        _print_classification(result.figures)


def _lines(result: Classification) -> list[str]:
    # A class name holds neither tabs nor line ends: the message that brings it was checked.
    lines = []
    for row in result.rows():
        # A label that was withheld is an empty first column.
        columns = [row["label"] or ""]
        if "score" in row:
            columns.append(f"{row['score']:.4f}")
        if "confidence" in row:
            columns.append(str(row["confidence"]))
        lines.append("\t".join(columns))
    return lines


def _json_lines(result: Classification) -> list[str]:
    return [json.dumps(row) for row in result.rows()]


def _print_alignment(figures: dict[str, Any]) -> None:
    stats = figures["stats"]
    console = Console(stderr=True, highlight=False)
    dimensions = f"{figures['d_b']} -> {figures['d_a']}"
    console.print(f"aligned {dimensions} dimensions on {figures['rows']} public texts under {figures['suite']}")
    table = Table(box=None, pad_edge=False)
    for column in ("phase", "sent MB", "received MB", "computing s", "waiting s"):
        table.add_column(column, justify="left" if column == "phase" else "right")
    for name, phase in stats["phases"].items():
        table.add_row(
            name,
            f"{phase['bytes_up'] / 1e6:.2f}",
            f"{phase['bytes_down'] / 1e6:.2f}",
            f"{phase['client_seconds']:.2f}",
            f"{phase['network_seconds']:.2f}",
        )
    console.print(table)
    if figures["r2"] is not None:
        console.print(
            f"a {figures['map']} map; it explains {figures['r2']:.1%} of the provider's public embeddings (R²), and an "
            f"estimated {figures['r2_unseen']:.1%} on unseen texts"
        )
    elif figures["privacy"] is not None:
        console.print(
            "a ridge map under a fixed penalty; the provider's noise leaves no estimate of what it explains, and no "
            "check that both parties embedded the same texts in the same order"
        )
    console.print(f"map saved in {figures['alignment']}")


def _print_classification(figures: dict[str, Any]) -> None:
    uncertain = figures["uncertain_share"]
    Console(stderr=True, highlight=False).print(
        f"{figures['queries']} queries under {figures['suite']}: {figures['online_ms_median']:.1f} ms online for each "
        f"{figures['batch']}, {figures['offline_ms_per_query']:.1f} ms offline and "
        f"{(figures['bytes_up_per_query'] + figures['bytes_down_per_query']) / 1000:.1f} KB online for each query"
        + (f"; {uncertain:.2%} of the labels are within the error of encryption" if uncertain is not None else "")
    )


def main() -> None:
    """Run the command line."""
    harden_process()
    app()


if __name__ == "__main__":
    main()
