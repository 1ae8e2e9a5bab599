"""securealign init: a party's first configuration, and for a provider the files that deploy it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

import securealign
from securealign.commands import AsJson, failures
from securealign.errors import FileError, InputError

#: What is written for each party: file in the folder, and where the repository holds it.
_CONFIGURATIONS = {
    "client": {"client.toml": "parties/client/example.toml"},
    "provider": {"provider.toml": "parties/provider/example.toml"},
}
#: These keep their places, because compose.yaml and Containerfile refer to files beside them.
_DEPLOYMENT = (
    "constraints.txt",
    "deploy/Containerfile",
    "deploy/alerts.yaml",
    "deploy/compose.yaml",
    "deploy/securealign-client.service",
    "deploy/securealign-provider.service",
    "deploy/securealign.sysusers.conf",
)


def init(
    party: Annotated[Literal["provider", "client"], typer.Argument(help="The party that this machine runs.")],
    folder: Annotated[Path, typer.Argument(help="Folder to write to; it is made if it does not exist.")],
    as_json: AsJson = False,
) -> None:
    """Write a configuration with comments, and for a provider also the files for systemd, containers and alerts.

    No existing file is replaced.
    """
    with failures(as_json=as_json):
        written = write_files(party, folder)
    if as_json:
        typer.echo(json.dumps({"party": party, "files": [str(path) for path in written]}))
        return
    for path in written:
        typer.echo(f"wrote  {path}")
    typer.echo(f"next   edit {written[0]}, put the folder of certificates beside it, and run:")
    typer.echo(f"       securealign doctor --config {written[0]}")


def write_files(party: str, folder: Path) -> list[Path]:
    """Write the files of a party to `folder` and return their paths, the configuration first.

    Raises `InputError`, before anything is written, when one of them exists.
    """
    files = dict(_CONFIGURATIONS[party])
    if party == "provider":
        files |= {name: name for name in _DEPLOYMENT}
    contents = {folder / name: shipped(source).read_bytes() for name, source in files.items()}
    for path in contents:
        if path.exists() or path.is_symlink():
            raise _existing(path)
    for path, content in contents.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with path.open("xb") as file:
                file.write(content)
        except FileExistsError as error:
            raise _existing(path) from error
    return list(contents)


def shipped(name: str) -> Path:
    """Return a file of the repository: its copy inside an installed wheel, or the file itself in a checkout."""
    package = Path(securealign.__file__).parent
    return next(root / name for root in (package / "shipped", package.parent) if (root / name).is_file())


def _existing(path: Path) -> InputError:
    return FileError(
        f"{path} already exists and is not replaced.", hint="Choose another folder, or move the file away."
    )
