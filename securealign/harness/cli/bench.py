"""securealign bench: compare suites."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.table import Table

from securealign.commands import AsJson, failures, progress, table_console
from securealign.files import write_atomically
from securealign.harness.bench.drawing import draw, require_drawable
from securealign.harness.bench.history import append, require_history
from securealign.harness.bench.inference import InferenceReport, bench_inference
from securealign.harness.bench.measurements import Spread
from securealign.harness.bench.rows import COUNT, RATIO, Row, as_csv
from securealign.harness.bench.training import TrainingReport, bench_training
from securealign.harness.cli import options
from securealign.harness.report.units import brief
from securealign.he.registry import DEFAULT_SUITE
from securealign.protocol.policy.rules import Output

app = typer.Typer(no_args_is_help=True, help="Compare suites with each other and with the computation in clear.")

#: Characters, for all labels but those of ratios to a baseline, which wrap.
_LABEL_WIDTH = 26
_UNUSED = "Has no effect here; both commands take the same flags."
UnusedClasses = Annotated[int, typer.Option("--classes", help=_UNUSED)]
UnusedDimB = Annotated[int, typer.Option("--dim-b", help=_UNUSED)]
BenchOutputs = Annotated[
    Literal["logits", "label", "logits,label"],
    typer.Option(help="What an answer holds: all logits, the label alone, or one after the other, compared."),
]
HistoryFile = Annotated[Path | None, typer.Option(help="Also add the ratios of this run to a file of JSON lines.")]


@app.command()
def training(
    suites: options.Suites = DEFAULT_SUITE,
    samples: options.Samples = 10_000,
    dim_a: options.DimA = 768,
    dim_b: options.DimB = 768,
    repetitions: Annotated[int, typer.Option(min=1, help="Measured runs of each suite, at most.")] = 3,
    budget: options.Budget = 60.0,
    memory: options.Memory = True,
    _classes: UnusedClasses = 0,
    csv: options.CsvFile = None,
    figure: options.FigureFile = None,
    history: HistoryFile = None,
    as_json: AsJson = False,
) -> None:
    """Measure secure training: compute, bytes, memory, and the error of the map."""
    sizes: dict[str, Any] = {"samples": samples, "dim_a": dim_a, "dim_b": dim_b, "repetitions": repetitions}
    measure = partial(bench_training, **sizes, budget_seconds=budget, memory=memory)
    _bench("training", measure, suites, csv, figure, history, as_json=as_json)


@app.command()
def inference(
    suites: options.Suites = DEFAULT_SUITE,
    dim_a: options.DimA = 768,
    classes: options.Classes = 20,
    queries: Annotated[int, typer.Option("--queries", "--samples", min=1, help="Queries, sent one at a time.")] = 256,
    pool_slots: Annotated[int, typer.Option(min=1, help="Queries prepared at a time.")] = 64,
    output: BenchOutputs = "logits",
    budget: options.Budget = 60.0,
    memory: options.Memory = True,
    _dim_b: UnusedDimB = 0,
    csv: options.CsvFile = None,
    figure: options.FigureFile = None,
    history: HistoryFile = None,
    as_json: AsJson = False,
) -> None:
    """Measure encrypted queries: compute online and offline, bytes, round trips over gRPC, and the error of logits."""
    sizes: dict[str, Any] = {"features": dim_a, "classes": classes, "queries": queries, "pool_slots": pool_slots}
    outputs: list[Output] = ["logits", "label"] if output == "logits,label" else [output]
    measure = partial(bench_inference, **sizes, outputs=outputs, budget_seconds=budget, memory=memory)
    _bench("inference", measure, suites, csv, figure, history, as_json=as_json)


def _bench(
    name: str,
    measure: Callable[..., TrainingReport | InferenceReport],
    suites: str,
    csv: Path | None,
    figure: Path | None,
    history: Path | None,
    *,
    as_json: bool,
) -> None:
    """Measure suites, write the files that were asked for, and print the report."""
    with failures(as_json=as_json):
        names = options.selected(suites)
        # Before minutes of measuring are lost to a file that cannot be written.
        if figure is not None:
            require_drawable(figure)
        if history is not None:
            require_history(history)
        options.require_writable(csv, figure, history)
        with progress(enabled=True) as bar:
            report = measure(names, progress=bar(name))
        rows = report.figures
        if csv is not None:
            write_atomically(csv, as_csv(rows))
        if figure is not None:
            write_atomically(figure, draw(rows, report.title, figure))
        if history is not None:
            append(history, report)
    if as_json:
        typer.echo(json.dumps(asdict(report)))
        return
    console, facts = table_console(), report.environment
    console.print(_table(report.title, rows, {name: len(done) for name, done in report.measurements.items()}))
    console.print(
        f"medians (extremes); {facts['cpus']} CPUs, Python {facts['python']}, numpy {facts['numpy']}, {facts['blas']}",
        highlight=False,
        soft_wrap=True,
    )


def _table(title: str, rows: Sequence[Row], runs: Mapping[str, int]) -> Table:
    """Return a table with one column for each suite, so that it stays narrow, without figures that are 0 for all."""
    suites = list(runs)
    separator = " " if len(suites) <= 2 else "\n"
    table = options.titled(title)
    table.add_column("", width=_LABEL_WIDTH)
    for suite in suites:
        table.add_column(suite, justify="right", overflow="fold", min_width=len(suite))
    cells: dict[str, dict[str, Spread]] = {}
    for row in rows:
        label = row.figure if row.unit in {COUNT, RATIO} else f"{row.figure}, {row.unit}"
        cells.setdefault(label, {})[row.suite] = row.value
    table.add_row("runs", *(str(runs[suite]) for suite in suites))
    for label, values in cells.items():
        if any(value.maximum for value in values.values()):
            table.add_row(label, *(_cell(values.get(suite), separator) for suite in suites))
    return table


def _cell(value: Spread | None, separator: str) -> str:
    if value is None:
        return ""
    low, middle, high = brief(value.minimum, digits=2), brief(value.median), brief(value.maximum, digits=2)
    return middle if value.minimum == value.maximum else f"{middle}{separator}({low}..{high})"
