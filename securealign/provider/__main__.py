"""securealign-provider: serve training and inference, and see what clients were given."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from typer.core import TyperGroup

from securealign.commands import AsJson, Override, failures, progress, table_console
from securealign.hardening import harden_process
from securealign.logs import configure_logs, redact_python_output
from securealign.provider.app import Provider
from securealign.provider.config import ProviderSettings
from securealign.provider.operating import list_clients, list_heads
from securealign.provider.reloading import ask_to_reload
from securealign.settings import load_settings


class _ServingByDefault(TyperGroup):
    """Runs `serve` when options come first: what a provider does."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - typer does not export the type
        if args and args[0].startswith("-") and args[0] not in {"--help", "--install-completion", "--show-completion"}:
            args = ["serve", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_ServingByDefault,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Serve training and inference, which is what it does without a command; and see what clients were given.",
)

Config = Annotated[
    Path, typer.Option(help="TOML file; 'securealign init provider' writes one with comments.", show_default=False)
]


@app.command()
def serve(
    config: Config,
    override: Override = None,
    record: Annotated[
        Path | None, typer.Option(help="Folder for a run file of each stream, without contents; as record.folder.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print events as JSON lines on standard output.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print warnings and errors only.")] = False,
) -> None:
    """Serve training and inference to clients until stopped by Ctrl-C or SIGTERM; SIGHUP takes up changed heads.

    Exit codes: 0 stopped, 2 bad configuration, 3 bad input file, 5 network, 6 something is not installed, 75 the port
    or the state folder is held by another process.
    """
    configure_logs(as_json=as_json, quiet=quiet)
    redact_python_output()

    def read() -> ProviderSettings:
        own = [f"record.folder={record.absolute()}"] if record is not None else []
        return load_settings(ProviderSettings, config, [*(override or []), *own])

    with failures(as_json=as_json), progress(enabled=not quiet) as bar:
        Provider(read(), bar("embedding public texts"), read=read).serve()


@app.command()
def heads(config: Config, override: Override = None, as_json: AsJson = False) -> None:
    """List the heads of the file: their space, output, budget of each client, and who may ask them."""
    with failures(as_json=as_json):
        rows = list_heads(load_settings(ProviderSettings, config, override or []))
    if as_json:
        typer.echo(json.dumps(rows))
        return
    table = Table("head", "space", "classes", "d_A", "output", "queries of a client", "clients")
    for row in rows:
        allowed = "all" if row["clients"] is None else ", ".join(row["clients"]) or "none"
        sizes = (str(row["classes"]), str(row["dimension"]))
        table.add_row(row["head"], row["space"], *sizes, row["output"], f"{row['max_queries']:,}", allowed)
    table_console().print(table)


@app.command()
def clients(config: Config, override: Override = None, as_json: AsJson = False) -> None:
    """List the clients that were seen: what each was given of each head, what is left, and when it came last."""
    with failures(as_json=as_json):
        rows = list_clients(load_settings(ProviderSettings, config, override or []))
    if as_json:
        typer.echo(json.dumps([row.as_dict() for row in rows]))
        return
    table = Table("client", "last session", "refused", "head", "queries", "left", "bits", "bits left")
    for row in rows:
        who = (row.client, row.last_seen or "never", str(row.refused))
        if not row.given:
            table.add_row(*who)
        for given in row.given:
            left = "no limit" if given.bits_left is None else f"{given.bits_left:,}"
            table.add_row(*who, given.head, f"{given.queries:,}", f"{given.queries_left:,}", f"{given.bits:,}", left)
            who = ("", "", "")
    table_console().print(table)


@app.command()
def reload(config: Config, override: Override = None, as_json: AsJson = False) -> None:
    """Let the running provider take up changed heads of the file; sessions on a changed head end.

    What fails changes nothing: the provider goes on with the heads that it has. Exit code 2 says so.
    """
    with failures(as_json=as_json):
        settings = load_settings(ProviderSettings, config, override or [])
        noted = ask_to_reload(settings.path(settings.state.folder))
    if as_json:
        typer.echo(json.dumps(noted))
        return
    for line in noted["heads"]:
        typer.echo(line)
    if noted["waiting"]:
        typer.echo(f"at the next start: {', '.join(noted['waiting'])}")


def main() -> None:
    """Run the command line."""
    harden_process()
    app()


if __name__ == "__main__":
    main()
