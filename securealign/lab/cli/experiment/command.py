"""How an experiment becomes a command: the options that it shares with others, its own, and how all of them end."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer
from rich.table import Table

from securealign.commands import AsJson, failures, progress, table_console
from securealign.harness.bench.drawing import load_figures
from securealign.lab.cli.experiment.options import SHARED, Output, at_least_two, command_line, names
from securealign.lab.experiments.corpora import Corpora
from securealign.lab.experiments.embeddings import AddBar, Embeddings
from securealign.lab.experiments.result import Result, write_result
from securealign.lab.experiments.run import run_experiment
from securealign.lab.experiments.setting import PairsConfig
from securealign.lab.experiments.store import Store

#: The sizes of `Corpora` that options give.
_SIZES = {"train": "train", "test": "test", "public_texts": "public"}


@dataclass(frozen=True)
class Job:
    """One run of a command: the experiment's name, the values of shared options, and how to show progress."""

    name: str
    shared: Mapping[str, Any]
    add_bar: AddBar

    def config(self, *, texts: Mapping[str, Any] | None = None, **numbers: Any) -> PairsConfig:  # noqa: ANN401
        """Return what the experiment runs on; `texts` has sizes of `Corpora`, `numbers` fields of the result."""
        chosen = names(self.shared["encoders"], "--encoders")
        at_least_two(chosen, "encoders")
        sizes: dict[str, Any] = {size: self.shared[option] for option, size in _SIZES.items() if option in self.shared}
        return PairsConfig(
            encoders=chosen,
            tasks=names(self.shared["data"], "--data"),
            corpora=Corpora(**sizes, **(texts or {}), public_sets=names(self.shared["public"], "--public")),
            embeddings=self.embeddings(max_tokens=self.shared["max_tokens"]),
            **numbers,
        )

    def embeddings(self, **options: Any) -> Embeddings:  # noqa: ANN401
        """Return the embeddings of texts."""
        return Embeddings(add_bar=self.add_bar, **options)

    def measure(self, what: Any, *more: Any, **options: Any) -> Result:  # noqa: ANN401
        """Run the experiment; what is done already is read from the store."""
        return run_experiment(self.name, what, Store(), *more, add_bar=self.add_bar, command=command_line(), **options)


def add_experiment(app: typer.Typer, experiment: Callable[..., Result], defaults: Mapping[str, Any]) -> None:
    """Add the command of an experiment: shared options with these defaults, its own, and where the result goes."""
    given = list(inspect.signature(experiment, eval_str=True).parameters.values())[1:]
    last = {"output": (Output, None), "as_json": (AsJson, False)}
    options = {**{name: (SHARED[name], value) for name, value in defaults.items()}, **last}
    shared = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for name, (annotation, default) in options.items()
    ]
    own = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in given]

    def command(*, output: Path | None, as_json: bool, **values: Any) -> None:  # noqa: ANN401
        with failures(as_json=as_json), progress(enabled=True) as bar:
            if output is not None:
                # Now, or the result would be lost later: without matplotlib, or without a folder to write to.
                load_figures()
                output.mkdir(parents=True, exist_ok=True)
            job = Job(experiment.__name__, {name: values.pop(name) for name in defaults}, bar)
            finish(experiment(job, **values), output, as_json=as_json)

    command.__doc__ = experiment.__doc__
    signature = inspect.Signature([*shared[:-2], *own, *shared[-2:]])
    command.__signature__ = signature  # type: ignore[attr-defined]
    command.__annotations__ = {name: parameter.annotation for name, parameter in signature.parameters.items()}
    app.command(experiment.__name__)(command)


def finish(result: Result, output: Path | None, *, as_json: bool) -> None:
    """Write the files of a result and print it: as JSON, or a summary as a table."""
    from securealign.lab.experiments.page import figures, summary

    files = write_result(result, output, figures) if output is not None else []
    if as_json:
        typer.echo(json.dumps(json.loads(result.as_json())))
        return
    title, rows = summary(result)
    shown = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name, kind in rows.schema.items():
        shown.add_column(name, justify="right" if kind.is_numeric() else "left", overflow="fold")
    for row in rows.rows():
        shown.add_row(*(_shown(value) for value in row))
    table_console().print(shown)
    for file in files:
        typer.echo(str(file), err=True)


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    return "" if value is None else str(value)
