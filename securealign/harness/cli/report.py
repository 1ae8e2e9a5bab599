"""securealign report: recorded runs as one page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from securealign.commands import AsJson, failures
from securealign.errors import ConfigurationError
from securealign.files import write_atomically

_SUFFIXES = frozenset({".html", ".htm"})


def report(
    files: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Run files; those after the first are compared with it.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The page to write, an .html file.")] = Path(
        "report.html"
    ),
    as_json: AsJson = False,
) -> None:
    """Make a page of recorded runs: messages, time, bytes, accuracy, who saw what, and how runs compare."""
    from securealign.harness.report.page import render
    from securealign.harness.runs.reading import read_run

    with failures(as_json=as_json):
        if output.suffix.lower() not in _SUFFIXES:
            raise ConfigurationError(f"{output} is not the name of a page.", hint="End its name in .html.")
        page = render([read_run(file) for file in files]).encode()
        write_atomically(output, page)
        if as_json:
            typer.echo(json.dumps({"file": str(output), "bytes": len(page), "runs": [str(file) for file in files]}))
        else:
            typer.echo(f"{output}: {len(page) / 1e3:,.0f} KB, {len(files)} run{'s' * (len(files) > 1)}")
