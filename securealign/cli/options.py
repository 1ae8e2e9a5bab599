"""Options that several subcommands share."""

from __future__ import annotations

from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output and nothing else there.")]
DimA = Annotated[int, typer.Option("--dim-a", min=1, help="Dimension of the provider's encoder.")]
DimB = Annotated[int, typer.Option("--dim-b", min=1, help="Dimension of the client's encoder.")]
Samples = Annotated[int, typer.Option(min=2, help="Public rows; must exceed --dim-b.")]
Classes = Annotated[int, typer.Option(min=1, help="Classes of the head.")]
