"""What all programs share: how they end, and how they show progress."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from securealign.errors import ErrorCode, ExitCode, SecurealignError

#: Called with (done, total).
Report = Callable[[int, int], None]

_INTERRUPTED = 130


@contextmanager
def failures(*, as_json: bool) -> Iterator[None]:
    """Print an error as JSON on standard output or in words on standard error, and exit with its code."""
    try:
        yield
    except SecurealignError as error:
        if as_json:
            typer.echo(json.dumps({"error": error.code.name, "message": error.message, "hint": error.hint}))
        else:
            console = Console(stderr=True, highlight=False)
            console.print(f"[bold red]error[/] [dim]{error.code.name}[/]", end=" ")
            console.print(error.message, markup=False)
            if error.hint:
                console.print(f"      {error.hint}", markup=False)
        if error.code is ErrorCode.INTERNAL and error.__cause__ is not None and os.environ.get("SECUREALIGN_DEBUG"):
            raise
        raise typer.Exit(error.code.exit_code) from error
    except KeyboardInterrupt:
        raise typer.Exit(_INTERRUPTED) from None
    except BrokenPipeError:
        # The reader of our output has seen enough; nothing is left to flush to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(ExitCode.OK) from None


@contextmanager
def progress(*, enabled: bool) -> Iterator[Callable[[str], Report]]:
    """Yield a function that adds a progress bar for a task; bars show on a terminal only."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not (enabled and console.is_terminal)) as bars:

        def add(description: str) -> Report:
            task = bars.add_task(description, total=None)
            return lambda done, total: bars.update(task, completed=done, total=total)

        yield add
