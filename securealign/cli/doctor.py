"""securealign doctor: what keeps two parties from working together, in words."""

import json
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from securealign.client.config import ClientSettings
from securealign.commands import AsJson, Override, failures
from securealign.errors import ConfigurationError
from securealign.ops.doctor.configuration import PartySettings, read_configuration
from securealign.ops.doctor.findings import Finding, Level, failed, fine
from securealign.ops.doctor.invitations import check_invitation
from securealign.ops.doctor.local import Site, check_locally
from securealign.ops.doctor.peer import check_peer

_STYLES = {Level.OK: "green", Level.WARNING: "yellow", Level.FAILED: "bold red"}


class Party(str, Enum):
    """Whose configuration it is."""

    PROVIDER = "provider"
    CLIENT = "client"


def doctor(
    invitation: Annotated[
        Path | None, typer.Argument(help="Instead of a configuration: an invitation, before 'securealign join'.")
    ] = None,
    config: Annotated[Path, typer.Option(help="A party's TOML file, of the provider or the client.")] = Path(
        "client.toml"
    ),
    peer: Annotated[bool, typer.Option("--peer", help="Also check against the provider; for clients.")] = False,
    party: Annotated[Party | None, typer.Option(help="Whose file it is, where its sections do not say.")] = None,
    override: Override = None,
    seconds: Annotated[float, typer.Option("--timeout", min=0.1, help="Seconds for each step against the peer.")] = 5.0,
    as_json: AsJson = False,
) -> None:
    """Check a party's machine, and with --peer everything up to the first messages of a session; or an invitation.

    Prints one line for each check and what to do about those that failed; the exit code is that of the first failure.
    """
    with failures(as_json=as_json):
        findings = []
        checks = (
            check_invitation(invitation, timeout=seconds)
            if invitation is not None
            else _findings(config, party.value if party else None, override or [], peer=peer, timeout=seconds)
        )
        for finding in checks:
            findings.append(finding)
            if not as_json:
                _print(finding)
        if as_json:
            ok = all(finding.code is None for finding in findings)
            typer.echo(json.dumps({"ok": ok, "findings": [finding.as_dict() for finding in findings]}))
    code = next((finding.code for finding in findings if finding.code is not None), None)
    if code is not None:
        raise typer.Exit(code.exit_code)


def _findings(
    config: Path, party: str | None, overrides: list[str], *, peer: bool, timeout: float
) -> Iterator[Finding]:
    try:
        file = read_configuration(config, party, overrides)
    except ConfigurationError as error:
        yield failed("configuration", error)
        return
    client = _client(file, config) if peer else None
    site = Site(file)
    yield fine("configuration", f"{config} of a {site.role.label}")
    yield from check_locally(site)
    if client is not None:
        yield from check_peer(site, client, timeout=timeout)


def _client(file: PartySettings, config: Path) -> ClientSettings:
    if isinstance(file, ClientSettings):
        return file
    raise ConfigurationError(
        f"{config} is a provider's: it waits for clients and has nobody to connect to.",
        hint="Run this with --peer at the client.",
    )


def _print(finding: Finding) -> None:
    # Names in certificates and paths are shown as they are, never as markup.
    console = Console(highlight=False, emoji=False, soft_wrap=True)
    line = Text(f"{finding.level.value:<9}", style=_STYLES[finding.level])
    console.print(line.append(f"{finding.check:<16}{finding.message}", style="none"))
    if finding.level is not Level.OK and finding.hint:
        console.print(Text(f"{'':<25}{finding.hint}", style="dim"))
