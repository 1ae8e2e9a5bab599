"""securealign replay: check recorded runs against the protocol."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from securealign.commands import AsJson, failures
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
