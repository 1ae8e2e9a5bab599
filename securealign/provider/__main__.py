"""securealign-provider: serve training and inference."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from securealign.commands import Override, failures, progress
from securealign.hardening import harden_process
from securealign.logs import configure_logs, redact_python_output
from securealign.provider.app import Provider
from securealign.provider.config import ProviderSettings
from securealign.settings import load_settings

app = typer.Typer(pretty_exceptions_enable=False)


@app.command()
def serve(
    config: Annotated[Path, typer.Option(help="TOML file; 'securealign init provider' writes one with comments.")],
    override: Override = None,
    record: Annotated[
        Path | None, typer.Option(help="Folder for a run file of each stream, without contents; as record.folder.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print events as JSON lines on standard output.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print warnings and errors only.")] = False,
) -> None:
    """Serve training and inference to clients until stopped by Ctrl-C or SIGTERM.

    Exit codes: 0 stopped, 2 bad configuration, 3 bad input file, 5 network, 6 something is not installed.
    """
    configure_logs(as_json=as_json, quiet=quiet)
    redact_python_output()
    with failures(as_json=as_json):
        own = [f"record.folder={record.absolute()}"] if record is not None else []
        settings = load_settings(ProviderSettings, config, [*(override or []), *own])
        with progress(enabled=not quiet) as bar:
            provider = Provider(settings, bar("embedding public texts"))
        provider.serve()


def main() -> None:
    """Run the command line."""
    harden_process()
    app()


if __name__ == "__main__":
    main()
