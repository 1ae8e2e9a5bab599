"""securealign simulate: training and inference in this process on synthetic data, over networks in virtual time."""

import json
import re
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from securealign.commands import AsJson, failures, progress, table_console
from securealign.files import write_atomically
from securealign.harness.bench.drawing import require_drawable
from securealign.harness.bench.sweep import Point, Run, combinations, points_as_csv, sweep
from securealign.harness.bench.sweep_figure import draw_growth, require_growth
from securealign.harness.cli import options
from securealign.harness.report.units import brief
from securealign.harness.runs.simulated import record_sessions
from securealign.harness.simulation.networks import find_networks
from securealign.harness.simulation.replay import Conditions
from securealign.he.registry import DEFAULT_SUITE
from securealign.transport.stats import PhaseStats, RunStats

#: By how many times a machine may be slower than this one.
_MOST_TIMES = 1_000_000


def simulate(
    suite: options.RunSuites = DEFAULT_SUITE,
    network: options.Networks = "loopback",
    samples: Annotated[str, options.Integers("Public rows; must exceed --dim-b.")] = "2000",
    dim_a: Annotated[str, options.Integers("Dimension of the provider's encoder.")] = "384",
    dim_b: Annotated[str, options.Integers("Dimension of the client's encoder.")] = "384",
    classes: Annotated[str, options.Integers("Classes of the head.")] = "10",
    queries: Annotated[str, options.Integers("Queries to classify.")] = "64",
    batch: options.Batch = 64,
    output: options.Outputs = "logits",
    seed: options.Seed = 0,
    client_factor: options.ClientFactor = 1.0,
    provider_factor: options.ProviderFactor = 1.0,
    record: Annotated[
        Path | None, typer.Option(help="Also write a run file for 'securealign report'; of a sweep, a folder of them.")
    ] = None,
    csv: options.CsvFile = None,
    figure: options.FigureFile = None,
    as_json: AsJson = False,
) -> None:
    """Train and classify on synthetic embeddings, and print what it costs over a network, without one.

    Options that take lists, separated by commas, make a sweep over all combinations.
    """
    started = datetime.now(timezone.utc)
    with failures(as_json=as_json):
        suites = options.selected(suite)
        links = [
            Conditions(network=link, seed=seed, client_factor=client_factor, provider_factor=provider_factor)
            for link in find_networks(network)
        ]
        sizes = combinations(
            samples=options.integers(samples, "--samples", least=2),
            dim_a=options.integers(dim_a, "--dim-a"),
            dim_b=options.integers(dim_b, "--dim-b"),
            classes=options.integers(classes, "--classes"),
            queries=options.integers(queries, "--queries"),
            batch=batch,
        )
        for option, factor in (("--client-factor", client_factor), ("--provider-factor", provider_factor)):
            if not factor <= _MOST_TIMES:  # so that NaN is refused too
                raise typer.BadParameter(f"{factor} is not a number up to {_MOST_TIMES:,}.", param_hint=option)
        several = len(suites) * len(links) * len(sizes) > 1
        if figure is not None:
            require_drawable(figure)
            require_growth(sizes)
        options.require_writable(csv, figure, record / "run.jsonl" if record is not None and several else record)

        def write(run: Run, conditions: Conditions) -> None:
            if record is not None:
                file = record / _file_name(run, conditions) if several else record
                sessions = (run.training.session, run.inference.session)
                record_sessions(file, sessions, conditions, command="simulate", started=started, results=run.results)

        with progress(enabled=several) as bar:
            points = sweep(suites, links, sizes, output=output, progress=bar("simulating"), done=write)
        if csv is not None:
            write_atomically(csv, points_as_csv(points))
        if figure is not None:
            write_atomically(figure, draw_growth(points, figure))
    if as_json:
        typer.echo(json.dumps({"runs": [point.as_dict() for point in points]} if several else points[0].as_dict()))
        return
    console = table_console()
    if several:
        console.print(_sweep_table(points))
        return
    point, own = points[0], points[0].sizes
    training = f"training: {own.samples} rows, {own.dim_b} -> {own.dim_a} dimensions, over {point.network}"
    inference = f"inference: {own.queries} queries, {own.classes} classes, {own.batch} in a round trip"
    console.print(_table(training, point.training))
    console.print(_table(inference, point.inference))
    console.print(f"labels equal to those in clear: {point.results['label_agreement']:.1%}")


def _file_name(run: Run, conditions: Conditions) -> str:
    sizes = run.sizes
    shape = f"{sizes.samples}x{sizes.dim_b}to{sizes.dim_a}-{sizes.classes}classes-{sizes.queries}queries"
    # The name of a network comes from a file of the user and may hold anything.
    network = re.sub(r"[^\w.-]", "_", conditions.network.name)
    return f"{run.suite}-{network}-{shape}.jsonl"


def _table(title: str, stats: RunStats) -> Table:
    table = options.titled(
        title, "phase", "up MB", "down MB", "rounds", "client s", "provider s", "network s", "elapsed s"
    )
    rows: list[tuple[str, PhaseStats | RunStats]] = [*stats.phases.items(), ("total", stats)]
    for name, phase in rows:
        sizes = (phase.bytes_up / 1e6, phase.bytes_down / 1e6)
        seconds = (phase.client_seconds, phase.provider_seconds, phase.network_seconds, phase.total_seconds)
        table.add_row(name, *map("{:.3f}".format, sizes), str(phase.rounds), *map("{:.3f}".format, seconds))
    return table


def _sweep_table(points: Sequence[Point]) -> Table:
    """Return one line for each combination; sizes that are the same for all are in the title."""
    names = ("samples", "dim_a", "dim_b", "classes", "queries")
    values = {name: {getattr(point.sizes, name) for point in points} for name in names}
    same = ", ".join(f"{name} {value}" for name, (value, *more) in values.items() if not more)
    varied = [name for name in names if len(values[name]) > 1]
    costs = ("training s", "up MB", "down MB", "query ms", "query KB")
    table = options.titled(f"{len(points)} runs; {same}", "suite", "network", *varied, *costs, left=2)
    for point in points:
        online, queries = point.inference.phases["online"], point.sizes.queries
        table.add_row(
            point.suite,
            point.network,
            *(str(getattr(point.sizes, name)) for name in varied),
            brief(point.training.total_seconds),
            brief(point.training.bytes_up / 1e6),
            brief(point.training.bytes_down / 1e6),
            brief(online.total_seconds * 1000 / queries),
            brief((online.bytes_up + online.bytes_down) / 1000 / queries),
        )
    return table
