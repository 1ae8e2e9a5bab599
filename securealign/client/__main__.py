"""securealign-client: align with a provider, then classify with its head."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from securealign.client.app import Client
from securealign.client.config import ClientSettings
from securealign.client.connecting import connect
from securealign.client.inputs import Inputs, open_embeddings, open_inputs
from securealign.client.lines import check_columns
from securealign.client.results import require_other_file
from securealign.commands import AsJson, Override, failures, progress, table_console
from securealign.errors import ConfigurationError, InputError
from securealign.files import write_atomically
from securealign.hardening import harden_process
from securealign.logs import configure_logs, redact_python_output
from securealign.optional import require
from securealign.pki.bundles import load_bundle
from securealign.pki.identity import Role, identity_of
from securealign.protocol.listing import Listing
from securealign.settings import load_settings

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Align with a provider, then classify with its head. Exit codes: 0 done, 2 bad configuration, 3 bad input, "
    "4 refused by a party, 5 network, 6 something is not installed, 75 held by another process.",
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
        client = connect(config, overrides=override or [])
        report = client.align(
            embedding=bar("embedding public texts"), uploading=bar("uploading encrypted rows"), record=record
        )
    if as_json:
        typer.echo(json.dumps(report.figures))
    elif not quiet:
        _print_alignment(report.figures)


@app.command()
def heads(config: Config, override: Override = None, as_json: AsJson = False) -> None:
    """List the heads and spaces that the provider offers this client, and what is left of its budgets."""
    configure_logs(as_json=False, quiet=True)
    with failures(as_json=as_json):
        listing = connect(config, overrides=override or []).offers()
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
    source: Annotated[
        str | None,
        typer.Option(
            "--input",
            help="File with private texts (JSONL, CSV, TSV, Parquet, lines) or embeddings; - is standard input.",
        ),
    ] = None,
    embeddings: Annotated[
        Path | None, typer.Option(help="Embeddings of private texts instead: .npy, .npz, .safetensors.")
    ] = None,
    text_field: Annotated[str, typer.Option(help="Field or column that holds the text.")] = "text",
    keep: Annotated[
        str, typer.Option(metavar="NAME,...", help="Fields or columns that are written beside the result.")
    ] = "",
    limit: Annotated[int | None, typer.Option(min=1, help="Classify the first inputs only.")] = None,
    output: Annotated[
        Path | None, typer.Option(help="File for the results, or a pipe; standard output without it, and for -.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file of results that exists.")] = False,
    stats: Annotated[Path | None, typer.Option(help="File for the figures of the session, as JSON.")] = None,
    batch: Annotated[
        int | None, typer.Option(min=1, help="Queries in one round trip; 64, or 256 in large pools, without it.")
    ] = None,
    record: Record = None,
    cache: Annotated[bool, typer.Option("--cache", help="Keep the embeddings of these texts on disk.")] = False,
    override: Override = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Classify private texts: one line for each, in their order, as answers arrive.

    A line is index, label and probability between tabs, or a JSON object with --json. Where the provider answers with
    labels alone there are no probabilities. A label that it withholds is empty, and "abstained" in JSON; confidence is
    the number of its thresholds that the answer exceeds.

    A file of results is NAME.partial until it is complete; after any end the same command goes on where it stopped.
    """
    configure_logs(as_json=False, quiet=quiet)
    redact_python_output()
    with failures(as_json=as_json), progress(enabled=not quiet) as bar:
        if (source is None) == (embeddings is None):
            raise InputError("Nothing to classify, or too much.", hint="Give either --input or --embeddings.")
        require_other_file(source, output)
        columns = tuple(name.strip() for name in keep.split(",")) if keep else ()
        check_columns(columns)
        client = Client(load_settings(ClientSettings, config, override or []))
        _ = client.alignment  # a map that cannot be used is refused before inputs are read

        def inputs() -> Inputs:
            if embeddings is not None:
                return open_embeddings(embeddings, keep=columns, limit=limit)
            return open_inputs(source or "-", text_field=text_field, keep=columns, limit=limit)

        options = client.options(batch=batch, as_json=as_json, columns=columns)
        name = f"{source or embeddings} {text_field}"
        with client.open_results(output, name, options, overwrite=overwrite) as results:
            figures = client.classify(
                inputs, results, options, bar("classifying under encryption"), cache=cache, record=record
            )
        if stats is not None:
            write_atomically(stats, (json.dumps(figures, indent=2) + "\n").encode())
    if figures and not (as_json or quiet):
        _print_classification(figures)


@app.command()
def serve(
    config: Config,
    address: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Beyond this machine only with --token-file.")
    ] = "127.0.0.1:8080",
    token_file: Annotated[
        Path | None,
        typer.Option(help="File, mode 0600, with the token of requests: 32 characters or more."),
    ] = None,
    host_name: Annotated[
        list[str] | None, typer.Option(help="Another name by which callers know this machine, such as a proxy's.")
    ] = None,
    max_texts: Annotated[int, typer.Option(min=1, help="Texts in a request.")] = 1024,
    max_characters: Annotated[int, typer.Option(min=1, help="Characters in a text.")] = 100_000,
    max_body: Annotated[int, typer.Option(min=1024, metavar="BYTES", help="Bytes in the body of a request.")] = 2**22,
    max_requests: Annotated[int, typer.Option(min=1, help="Requests under way.")] = 128,
    timeout: Annotated[float, typer.Option(min=0.1, metavar="SECONDS", help="For the answer to a request.")] = 120.0,
    override: Override = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print events as JSON lines on standard output.")] = False,
    quiet: Quiet = False,
) -> None:
    """Serve classification over HTTP to programs of this machine, until stopped by Ctrl-C or SIGTERM.

    POST /v1/classify has the shape of vLLM's classify API; docs/service.md describes it. Needs securealign[service].
    """
    configure_logs(as_json=as_json, quiet=quiet)
    redact_python_output()
    with failures(as_json=as_json):
        for name in ("fastapi", "jinja2", "uvicorn"):
            require(name, "The service", extra="service")
        from securealign.client import service
        from securealign.client.connecting import aconnect

        overrides = override or []
        settings = load_settings(ClientSettings, config, overrides)
        if settings.encoder is None:
            raise ConfigurationError("The service embeds texts, and there is no encoder.", hint="Add [encoder].")
        limits = service.ServiceLimits(
            max_texts=max_texts,
            max_characters=max_characters,
            max_body=max_body,
            max_requests=max_requests,
            answer_seconds=timeout,
        )
        access = service.open_access(address, token_file=token_file, hosts=host_name or [])
        bundle = load_bundle(settings.path(settings.provider.certificates), Role.CLIENT)
        service.serve(
            lambda name: aconnect(config, head=name, overrides=overrides),
            access,
            limits,
            head=settings.provider.head,
            identity=identity_of(bundle.certificate).name,
        )


def _print_alignment(figures: Mapping[str, Any]) -> None:
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
