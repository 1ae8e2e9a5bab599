"""securealign bench: measure suites."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from securealign.bench.figures import Spread
from securealign.bench.inference import InferenceReport, bench_inference
from securealign.bench.training import TrainingReport, bench_training
from securealign.cli.options import AsJson, Classes, DimA, DimB, Samples
from securealign.commands import failures, progress
from securealign.he.registry import DEFAULT_SUITE

app = typer.Typer(no_args_is_help=True, help="Measure suites against the same computation in clear, in one run.")

_UNUSED = "Has no effect here: one set of flags fits both phases."
UnusedClasses = Annotated[int, typer.Option("--classes", help=_UNUSED)]
UnusedDimB = Annotated[int, typer.Option("--dim-b", help=_UNUSED)]

Suites = Annotated[str, typer.Option(help="Suites to measure, separated by commas.")]


@app.command()
def training(
    suites: Suites = DEFAULT_SUITE,
    samples: Samples = 10_000,
    dim_a: DimA = 768,
    dim_b: DimB = 768,
    repetitions: Annotated[int, typer.Option(min=1, help="Measured runs of each suite.")] = 3,
    memory: Annotated[bool, typer.Option(help="Also measure peak memory, each party in its own process.")] = True,
    _classes: UnusedClasses = 0,
    as_json: AsJson = False,
) -> None:
    """Measure secure training: compute, bytes, memory, and the error of the map."""
    with failures(as_json=as_json), progress(enabled=True) as bar:
        report = bench_training(
            [name.strip() for name in suites.split(",")],
            samples=samples,
            dim_a=dim_a,
            dim_b=dim_b,
            repetitions=repetitions,
            memory=memory,
            progress=bar("training"),
        )
    if as_json:
        typer.echo(json.dumps(asdict(report)))
    else:
        _print_training(report)


@app.command()
def inference(
    suites: Suites = DEFAULT_SUITE,
    dim_a: DimA = 768,
    classes: Classes = 20,
    queries: Annotated[int, typer.Option("--queries", "--samples", min=1, help="Queries, sent one at a time.")] = 256,
    pool_slots: Annotated[int, typer.Option(min=1, help="Queries prepared at a time.")] = 64,
    _dim_b: UnusedDimB = 0,
    as_json: AsJson = False,
) -> None:
    """Measure encrypted queries: compute online and offline, bytes, round trips over gRPC, and the error of logits."""
    with failures(as_json=as_json), progress(enabled=True) as bar:
        report = bench_inference(
            [name.strip() for name in suites.split(",")],
            features=dim_a,
            classes=classes,
            queries=queries,
            pool_slots=pool_slots,
            progress=bar("inference"),
        )
    if as_json:
        typer.echo(json.dumps(asdict(report)))
    else:
        _print_inference(report)


def _spread(value: Spread, digits: int = 2) -> str:
    return f"{value.median:.{digits}f} ({value.minimum:.{digits}f}-{value.maximum:.{digits}f})"


def _table(title: str, columns: list[str], rows: list[list[str]]) -> Table:
    """Return a table with one column for each suite, so that it stays narrow."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("")
    for column in columns:
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(*row)
    return table


def _print_training(report: TrainingReport) -> None:
    figures = report.suites
    rows = [
        ["client, s", *(_spread(item.client_seconds) for item in figures)],
        ["provider, s", *(_spread(item.provider_seconds) for item in figures)],
        ["both, s", *(_spread(item.total_seconds) for item in figures)],
        ["both / clear product", *(_spread(item.times_clear, 1) for item in figures)],
        ["key, MB", *(f"{item.key_bytes / 1e6:.1f}" for item in figures)],
        ["upload with key, MB", *(f"{item.bytes_up / 1e6:.1f}" for item in figures)],
        ["upload / float32", *(f"{item.upload_times_float32:.2f}" for item in figures)],
        ["download, MB", *(f"{item.bytes_down / 1e6:.1f}" for item in figures)],
        ["error of W", *(f"{item.weight_error:.1e}" for item in figures)],
    ]
    if all(item.peak_memory for item in figures):
        for side in ("client", "provider"):
            cells = (f"{getattr(item.peak_memory, side) / 2**20:.0f}" for item in figures)
            rows.append([f"peak memory of {side}, MiB", *cells])
    title = f"{report.samples} rows, {report.dim_b} -> {report.dim_a} dimensions, {report.repetitions} repetitions"
    console = Console()
    console.print(_table(title, [item.suite for item in figures], rows))
    console.print(f"clear product: {_spread(report.clear_seconds, 4)} s")


def _print_inference(report: InferenceReport) -> None:
    figures = report.suites
    rows = [
        ["round trip over gRPC, ms", *(_spread(item.round_trip_ms) for item in figures)],
        ["its 95th percentile, ms", *(f"{item.round_trip_ms_p95:.2f}" for item in figures)],
        ["online, client, ms", *(f"{item.online_client_ms:.2f}" for item in figures)],
        ["online, provider, ms", *(f"{item.online_provider_ms:.2f}" for item in figures)],
        ["offline, client, ms", *(f"{item.offline_client_ms:.2f}" for item in figures)],
        ["offline, provider, ms", *(f"{item.offline_provider_ms:.2f}" for item in figures)],
        ["online, KB", *(f"{item.online_bytes / 1e3:.2f}" for item in figures)],
        ["offline, KB", *(f"{item.offline_bytes / 1e3:.2f}" for item in figures)],
        ["key, once, KB", *(f"{item.key_bytes / 1e3:.0f}" for item in figures)],
        ["error of logits", *(f"{item.logit_error:.1e}" for item in figures)],
        ["equal labels", *(f"{item.label_agreement:.1%}" for item in figures)],
    ]
    title = (
        f"{report.queries} queries of {report.features} dimensions, {report.classes} classes, pools of "
        f"{report.pool_slots}; figures for each query"
    )
    console = Console()
    console.print(_table(title, [item.suite for item in figures], rows))
    console.print(f"one query in clear: {report.clear_ms:.4f} ms")
