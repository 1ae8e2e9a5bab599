"""Options that several commands of the harness and the lab share."""

import errno
import os
import tempfile
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.table import Table

from securealign.errors import ConfigurationError
from securealign.he import registry

DimA = Annotated[int, typer.Option(min=1, help="Dimension of the provider's encoder.")]
DimB = Annotated[int, typer.Option(min=1, help="Dimension of the client's encoder.")]
Samples = Annotated[int, typer.Option(min=2, help="Public rows; must exceed --dim-b.")]
Classes = Annotated[int, typer.Option(min=1, help="Classes of the head.")]

RunSuites = Annotated[
    str,
    typer.Option("--suite", "--suites", help="Suites that 'securealign suites' lists; 'all': those that can run here."),
]
Networks = Annotated[
    str,
    typer.Option(
        "--network", "--networks", help="Networks: loopback, lan, wan, transatlantic, mobile, satellite, or FILE.toml."
    ),
]
Batch = Annotated[int, typer.Option(min=1, help="Queries in one round trip.")]
Outputs = Annotated[
    Literal["logits", "label"], typer.Option(help="What an answer holds: all logits, or the label alone.")
]
Suites = Annotated[
    str, typer.Option(help="Suites to measure, separated by commas; 'all': each that encrypts and can run here.")
]
Budget = Annotated[
    float, typer.Option(min=0, help="Seconds; a suite whose first run takes longer is measured by that run alone.")
]
Memory = Annotated[bool, typer.Option(help="Also measure peak memory, in one more run with each party in a process.")]
CsvFile = Annotated[Path | None, typer.Option(help="Also write all figures to this file, one on each line.")]
FigureFile = Annotated[Path | None, typer.Option(help="Also draw compute and bytes to this .svg, .png or .pdf file.")]

Seed = Annotated[int, typer.Option(min=0, help="Seed of the network's randomness: jitter and losses.")]
ClientFactor = Annotated[
    float, typer.Option(min=0, help="Times that the client's machine needs to compute what this one does.")
]
ProviderFactor = Annotated[
    float, typer.Option(min=0, help="Times that the provider's machine needs; 0.25 for one that is 4 times as fast.")
]


def Integers(help: str) -> Any:  # noqa: N802, A002, ANN401 - stands beside typer.Option, and is used as it is
    """Return an option that takes whole numbers separated by commas; `integers` reads it."""
    return typer.Option(metavar="N[,N...]", help=help)


def integers(text: str, option: str, *, least: int = 1) -> list[int]:
    """Return the numbers of a list separated by commas; raises `typer.BadParameter` that names the option."""
    try:
        values = [int(part.replace("_", "")) for part in text.split(",")]
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is no list of whole numbers.", param_hint=option) from error
    if min(values) < least:
        raise typer.BadParameter(f"{min(values)} is below {least}.", param_hint=option)
    return values


def selected(names: str) -> list[str]:
    """Return the suites of a list, each once, or of "all" that encrypt and run here; raises `SuiteError` for others."""
    chosen: dict[str, None] = {}
    for name in (part.strip() for part in names.split(",")):
        chosen |= dict.fromkeys(_encrypting() if name == "all" else [name])
    for name in chosen:
        registry.get_suite(name)
    return list(chosen)


def _encrypting() -> list[str]:
    """Return the first name of every parameter set that encrypts and can run here."""
    found: dict[bytes, str] = {}
    for name, entry in registry.REGISTRY.items():
        if not entry.unavailable() and (info := entry.make().info).encrypts:
            found.setdefault(info.parameter_digest, name)
    return list(found.values())


def require_page(file: Path) -> None:
    """Raise `ConfigurationError` unless a file has the name of a page."""
    if file.suffix.lower() not in {".html", ".htm"}:
        raise ConfigurationError(f"{file} is not the name of a page.", hint="End its name in .html.")


def require_writable(*files: Path | None) -> None:
    """Raise `OSError` for a file that cannot be written, before there are results that would be lost."""
    for file in files:
        if file is not None:
            if file.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(file))
            file.parent.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=file.parent).close()


def titled(title: str, *columns: str, left: int = 1) -> Table:
    """Return a table without lines; numbers stand at the right, texts in the first `left` columns at the left."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index < left else "right", no_wrap=index < left)
    return table
