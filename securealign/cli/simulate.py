"""securealign simulate: both phases in this process on synthetic data."""

from __future__ import annotations

import json
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from securealign.api import align_in_process, classify_in_process
from securealign.bench.inputs import synthetic_embeddings, synthetic_head
from securealign.cli.options import AsJson, Classes, DimA, DimB, Samples
from securealign.commands import failures
from securealign.he.registry import DEFAULT_SUITE
from securealign.transport.meter import PhaseStats, RunStats


def simulate(
    suite: Annotated[str, typer.Option(help="Name of a suite; 'securealign suites' lists them.")] = DEFAULT_SUITE,
    network: Annotated[str, typer.Option(help="Network profile.")] = "loopback",
    samples: Samples = 2000,
    dim_a: DimA = 384,
    dim_b: DimB = 384,
    classes: Classes = 10,
    queries: Annotated[int, typer.Option(min=1, help="Queries to classify.")] = 64,
    as_json: AsJson = False,
) -> None:
    """Train and classify on synthetic embeddings and print what it costs."""
    with failures(as_json=as_json):
        z_a, z_b = synthetic_embeddings(samples, dim_a, dim_b)
        weight, bias = synthetic_head(dim_a, classes)
        training = align_in_process(z_a, z_b, suite=suite, ridge="auto", network=network)
        _, private = synthetic_embeddings(queries, dim_a, dim_b, seed=2)
        mapped = training.alignment.apply(private)
        inference = classify_in_process(weight, bias, mapped, suite=suite, network=network)
    clear = mapped @ weight + bias
    result = {
        "suite": suite,
        "network": network,
        "training": training.stats.as_dict(),
        "inference": inference.stats.as_dict(),
        "label_agreement": float(np.mean(inference.labels == clear.argmax(axis=1))),
    }
    if as_json:
        typer.echo(json.dumps(result))
        return
    console = Console()
    console.print(_table(f"training: {samples} rows, {dim_b} -> {dim_a} dimensions", training.stats))
    console.print(_table(f"inference: {queries} queries, {classes} classes", inference.stats))
    console.print(f"labels equal to those in clear: {result['label_agreement']:.1%}")


def _table(title: str, stats: RunStats) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for column in ("phase", "up MB", "down MB", "rounds", "client s", "provider s", "network s"):
        table.add_column(column, justify="left" if column == "phase" else "right")
    rows: list[tuple[str, PhaseStats | RunStats]] = [*stats.phases.items(), ("total", stats)]
    for name, phase in rows:
        table.add_row(
            name,
            f"{phase.bytes_up / 1e6:.3f}",
            f"{phase.bytes_down / 1e6:.3f}",
            str(phase.rounds),
            f"{phase.client_seconds:.3f}",
            f"{phase.provider_seconds:.3f}",
            f"{phase.network_seconds:.3f}",
        )
    return table
