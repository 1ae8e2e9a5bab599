"""Options that several subcommands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output and nothing else there.")]
DimA = Annotated[int, typer.Option("--dim-a", min=1, help="Dimension of the provider's encoder.")]
DimB = Annotated[int, typer.Option("--dim-b", min=1, help="Dimension of the client's encoder.")]
Samples = Annotated[int, typer.Option(min=2, help="Public rows; must exceed --dim-b.")]
Classes = Annotated[int, typer.Option(min=1, help="Classes of the head.")]

Suites = Annotated[
    str, typer.Option(help="Suites to measure, separated by commas; 'all': each that encrypts and can run here.")
]
Budget = Annotated[
    float,
    typer.Option(
        "--budget", min=0, help="Seconds; a suite whose first run takes longer is measured by that run alone."
    ),
]
Memory = Annotated[bool, typer.Option(help="Also measure peak memory, in one more run with each party in a process.")]
CsvFile = Annotated[Path | None, typer.Option("--csv", help="Also write all figures to this file, one on each line.")]
FigureFile = Annotated[
    Path | None, typer.Option("--figure", help="Also draw compute and bytes to this .svg, .png or .pdf file.")
]
