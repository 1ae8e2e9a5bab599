"""The command `securealign`: one module for each group of subcommands, imported when it is used."""

from collections.abc import Mapping
from functools import cache
from typing import Annotated

import typer

from securealign.cli.lazy import Command, lazy_group
from securealign.commands import show_steps

_OWN = {
    "audit": Command("securealign.cli.audit:app", "The audit log of a party: check it, and print what it holds."),
    "certs": Command(
        "securealign.cli.certs:app", "Certificates for mutual TLS: make, sign, renew, revoke and list them."
    ),
    "data": Command("securealign.cli.data:app", "Texts: built-in sets, samples of them, and digests."),
    "doctor": Command(
        "securealign.cli.doctor:doctor",
        "Check a party's machine, and with --peer everything up to the first messages of a session; or an invitation.",
    ),
    "head": Command("securealign.cli.head:app", "The provider's linear head."),
    "init": Command(
        "securealign.cli.init:init",
        "Write a configuration with comments, and for a provider also the files for systemd, containers and alerts.",
    ),
    "invite": Command(
        "securealign.cli.invite:invite",
        "Write an invitation: what a client needs to meet this provider, signed by its authority, usable once.",
    ),
    "join": Command(
        "securealign.cli.join:join",
        "Answer an invitation: make a key and a folder with a configuration, and a request for the provider to sign.",
    ),
    "keys": Command("securealign.cli.keys:app", "Keys that outlive a session, in an encrypted store."),
    "suites": Command(
        "securealign.cli.suites:show",
        "List the suites: whether each can run here, what it protects, at how many bits, and the size of its keys.",
    ),
}


@cache
def _more() -> Mapping[str, Command]:
    """Return the commands that installed packages add under the entry-point group `securealign.commands`."""
    from securealign.extensions import catalogue

    return catalogue("securealign.commands")


app = typer.Typer(
    name="securealign",
    cls=lazy_group(_OWN, _more),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Use one organisation's classifier on another's embeddings, under encryption. The parties themselves run as "
    "securealign-provider and securealign-client.",
)


def _version(show: bool) -> None:
    if show:
        from securealign import __version__

        typer.echo(f"securealign {__version__}")
        raise typer.Exit


@app.callback()
def _program(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Take the options that stand before a command."""


def main() -> None:
    """Run the command line."""
    show_steps()
    app()
