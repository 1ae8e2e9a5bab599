"""securealign audit: check a log of what a party did."""

import json
from collections import deque
from pathlib import Path
from typing import Annotated

import typer

from securealign.commands import AsJson, failures
from securealign.ops.audit import Entry, Head, Verified, entries, verify

app = typer.Typer(no_args_is_help=True, help="The audit log of a party: check it, and print what it holds.")

File = Annotated[Path, typer.Argument(help="The log, as named in the party's configuration.")]


@app.command("verify")
def verify_log(
    file: File,
    head: Annotated[
        str | None, typer.Option(help="What 'audit head' printed earlier: the log has to extend it.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check that no entry was edited, deleted, inserted or moved.

    Whether entries were cut off at the end, or the whole log was written anew, shows only with --head.
    """
    with failures(as_json=as_json):
        found = verify(file, head=Head.parse(head) if head is not None else None)
    if as_json:
        typer.echo(json.dumps({**_summary(found), "extends_head": head is not None}))
        return
    typer.echo(f"intact: {found.entries} entries from {found.first} to {found.last}")
    typer.echo(f"head    {found.head}")
    if head is None:
        typer.echo("Whether entries are missing at the end shows only with --head.")
    if found.unfinished_bytes:
        typer.echo(f"The last {found.unfinished_bytes} bytes are an unfinished entry, as a crash leaves it.")


@app.command("head")
def print_head(file: File, as_json: AsJson = False) -> None:
    """Print the latest chain value, to be kept where this machine cannot change it, after checking the log."""
    with failures(as_json=as_json):
        found = verify(file)
    typer.echo(json.dumps(_summary(found)) if as_json else str(found.head))


@app.command("show")
def show(
    file: File,
    last: Annotated[int | None, typer.Option(min=1, help="Only this many entries at the end.")] = None,
    event: Annotated[str | None, typer.Option(help="Only entries of this event.")] = None,
    as_json: AsJson = False,
) -> None:
    """Print entries, one on each line, and stop where the log is broken."""
    with failures(as_json=as_json):
        chosen = (entry for entry in entries(file) if event is None or entry.event == event)
        for entry in chosen if last is None else deque(chosen, maxlen=last):
            typer.echo(json.dumps(entry.as_dict()) if as_json else _line(entry))


def _summary(found: Verified) -> dict[str, object]:
    return {
        "entries": found.entries,
        "head": str(found.head),
        "first": found.first,
        "last": found.last,
        "unfinished_bytes": found.unfinished_bytes,
    }


def _line(entry: Entry) -> str:
    # As JSON, so that a value that a peer has chosen cannot pass for another field or another line.
    fields = " ".join(f"{name}={json.dumps(value)}" for name, value in sorted(entry.fields.items()))
    return f"{entry.sequence:>6}  {entry.time}  {json.dumps(entry.event)[1:-1]}  {fields}".rstrip()
