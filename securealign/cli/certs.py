"""securealign certs: certificates for mutual TLS."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from securealign.cli.options import AsJson
from securealign.commands import failures
from securealign.keys.certificates import create_certificates

app = typer.Typer(no_args_is_help=True, help="Certificates for mutual TLS.")


@app.callback()
def _group() -> None:
    """Keep `init` a subcommand while it is the only one."""


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="Folder to make: ca/, provider/ and client/ inside it.")],
    days: Annotated[int, typer.Option(min=1, max=36_500, help="Days until the certificates expire.")] = 365,
    host: Annotated[
        list[str] | None, typer.Option(help="Host name or address to add to the provider's certificate.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a private authority and one bundle for each party.

    Hand each party its own folder over a channel you trust, and keep ca/ offline: its key can make further parties.
    """
    with failures(as_json=as_json):
        provider, client = create_certificates(folder, days=days, provider_hosts=host or [])
    if as_json:
        typer.echo(json.dumps({"ca": str(folder / "ca"), "provider": str(provider), "client": str(client)}))
        return
    typer.echo(f"authority        {folder / 'ca'}      keep offline: its key can make further parties")
    typer.echo(f"provider bundle  {provider}    for the provider only")
    typer.echo(f"client bundle    {client}      for the client only")
    typer.echo(f"valid for {days} days")
