"""securealign experiment all, and the page that its results make."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from securealign.commands import AsJson, failures
from securealign.files import write_atomically
from securealign.harness.bench.drawing import load_figures
from securealign.lab.cli.experiment.options import ALL, ALL_TASKS, Encoders, Tasks
from securealign.lab.experiments.run import EXPERIMENTS

#: Experiments that take the choice of encoders and tasks; the others have some of their own.
_OF_ENCODERS = frozenset({"similarity", "classification", "leakage"})
#: Half a million pairs show that memory does not grow with them.
_MORE = {"generation": ["--stream-check", "500000"]}


def run_all(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for all results.")] = Path("results"),
    encoders: Encoders = ALL,
    data: Tasks = ALL_TASKS,
) -> None:
    """Run every experiment, one after the other; what is finished already costs next to nothing."""
    with failures(as_json=False):
        load_figures()
        output.mkdir(parents=True, exist_ok=True)
        for name in EXPERIMENTS:
            chosen = ["--encoders", encoders, "--data", data] if name in _OF_ENCODERS else []
            given = chosen if (encoders, data) != (ALL, ALL_TASKS) else []
            # A process of its own gives back the memory of its models.
            options = [*given, *_MORE.get(name, []), "--output", str(output)]
            command = [sys.executable, "-m", "securealign", "experiment", name, *options]
            done = subprocess.run(command, check=False)
            if done.returncode:
                raise typer.Exit(done.returncode)


def write_page(
    folder: Annotated[Path, typer.Argument(help="Folder with results.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Page to write; results.md beside it.")] = None,
    as_json: AsJson = False,
) -> None:
    """Write the page of the results in a folder, as Markdown."""
    from securealign.lab.experiments.page import page, read_results

    with failures(as_json=as_json):
        target = output or folder.resolve().parent / "results.md"
        results = read_results(folder)
        write_atomically(target, page(results).encode())
    found = {"file": str(target), "experiments": list(results)}
    typer.echo(json.dumps(found) if as_json else f"{target}: {', '.join(results)}")
