"""securealign replay, which checks recorded runs against the protocol, and report, which makes a page of them."""

import json
from pathlib import Path
from typing import Annotated

import typer

from securealign.commands import AsJson, failures
from securealign.files import write_atomically
from securealign.harness.cli.options import require_page
from securealign.harness.runs.checking import check_run
from securealign.harness.runs.reading import read_run


def replay(
    files: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run files.")],
    as_json: AsJson = False,
) -> None:
    """Check that recorded messages are what the protocol allows, and that both parties confirmed their digests."""
    with failures(as_json=as_json):
        checked = {str(file): check_run(read_run(file)) for file in files}
    if as_json:
        typer.echo(json.dumps({"runs": [{"file": file, "sessions": found} for file, found in checked.items()]}))
        return
    for file, found in checked.items():
        for sentence in found:
            typer.echo(f"{file}: {sentence}")


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

    with failures(as_json=as_json):
        require_page(output)
        page = render([read_run(file) for file in files]).encode()
        write_atomically(output, page)
        if as_json:
            typer.echo(json.dumps({"file": str(output), "bytes": len(page), "runs": [str(file) for file in files]}))
        else:
            typer.echo(f"{output}: {len(page) / 1e3:,.0f} KB, {len(files)} run{'s' * (len(files) > 1)}")
