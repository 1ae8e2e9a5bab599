"""What all programs share: how they end, and how they show progress."""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import sys
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import typer

from securealign.errors import ConfigurationError, ErrorCode, ExitCode, FileError, SecurealignError

if TYPE_CHECKING:
    from rich.console import Console

#: A callback that is told (done, total).
Progress = Callable[[int, int], None]
Item = TypeVar("Item")
#: Options of several programs.
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output and nothing else there.")]
Override = Annotated[list[str] | None, typer.Option("--set", metavar="SECTION.NAME=VALUE", help="Override a setting.")]

_INTERRUPTED = 130
#: Columns of a table that is not printed on a terminal.
_FILE_WIDTH = 120
#: Seconds between lines of progress: at least, and at most where less than a tenth was done.
_LINE_SECONDS, _SLOW_LINE_SECONDS = 10.0, 60.0


@contextmanager
def failures(*, as_json: bool) -> Iterator[None]:
    """Print an error as JSON on standard output or in words on standard error, and exit with its code."""
    try:
        yield
    except SecurealignError as error:
        _show(error, as_json=as_json)
        if error.code is ErrorCode.INTERNAL and error.__cause__ is not None and os.environ.get("SECUREALIGN_DEBUG"):
            raise
        raise typer.Exit(error.code.exit_code) from error
    except KeyboardInterrupt:
        raise typer.Exit(_INTERRUPTED) from None
    except BrokenPipeError:
        # The reader has closed the pipe. A flush at exit would fail, so it goes to /dev/null.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(ExitCode.OK) from None
    except (OSError, sqlite3.OperationalError) as error:
        file, reason = getattr(error, "filename", None), getattr(error, "strerror", None)
        what = f"{file or 'A file'} cannot be used: {reason or error or type(error).__name__}."
        _show(FileError(what, hint="Check the path, its permissions and the space on the disk."), as_json=as_json)
        raise typer.Exit(ErrorCode.FILE_INVALID.exit_code) from error


def _show(error: SecurealignError, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"error": error.code.name, "message": error.message, "hint": error.hint}))
        return
    from rich.console import Console

    # Long lines are not broken, so that a path can be copied in one piece; a path may hold what looks like an emoji
    # code.
    console = Console(stderr=True, highlight=False, emoji=False, soft_wrap=True)
    console.print(f"[bold red]error[/] [dim]{error.code.name}[/]", end=" ")
    console.print(error.message, markup=False)
    if error.hint:
        console.print(f"      {error.hint}", markup=False)


def penalty(text: str, option: str) -> float | Literal["auto"]:
    """Return the penalty that an option gives; raises `ConfigurationError` unless it is "auto" or above zero."""
    if text == "auto":
        return "auto"
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise ConfigurationError(f"{option} is {text!r}.", hint="Give a number above zero, or 'auto'.")
    return value


def table_console() -> Console:
    """Return the console for tables; in a file or a pipe, tables are as wide as `_FILE_WIDTH`."""
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console.width = _FILE_WIDTH
    return console


def show_steps() -> None:
    """Print the steps that the library logs, such as downloads, on standard error."""
    logger = logging.getLogger("securealign")
    logger.setLevel(logging.INFO)
    if not any(isinstance(handler, _StepHandler) for handler in logger.handlers):
        logger.addHandler(_StepHandler())


class _StepHandler(logging.Handler):
    """Prints to the current standard error, so that progress bars stay below the printed lines."""

    def emit(self, record: logging.LogRecord) -> None:
        typer.echo(self.format(record), err=True)


@contextmanager
def progress(*, enabled: bool, clock: Callable[[], float] = time.monotonic) -> Iterator[Callable[[str], Progress]]:
    """Yield a function that adds a progress bar for a task; a total of 0 is one that is not known.

    Bars show on a terminal, and each from its first report on: none for embeddings that come from the cache. Elsewhere
    long tasks print a line from time to time.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    console = Console(stderr=True)
    if enabled and not console.is_terminal:
        yield lambda description: _Lines(description, clock)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bars(*columns, console=console, disable=not enabled) as bars:

        def add(description: str) -> Progress:
            task = bars.add_task(description, total=None, visible=False)
            return lambda done, total: bars.update(task, completed=done, total=total or None, visible=True)

        yield add


class _Lines:
    """Prints progress as lines on standard error: after ten seconds, and a tenth more or a minute."""

    def __init__(self, description: str, clock: Callable[[], float]) -> None:
        self._description = description
        self._clock = clock
        self._begun = self._last = clock()
        #: Done at the first report, and at the last line.
        self._first: int | None = None
        self._shown = 0

    def __call__(self, done: int, total: int) -> None:
        if self._first is None:
            # What came before, such as loading a model, says nothing of what is left.
            self._first = self._shown = done
            self._begun = self._clock()
        now, since = self._clock(), self._clock() - self._last
        few = total and 10 * (done - self._shown) < total
        if since < _LINE_SECONDS or (few and since < _SLOW_LINE_SECONDS):
            return
        self._last, self._shown = now, done
        text = f"{self._description}: {done:,}"
        if total:
            text += f" of {total:,} ({done / total:.0%})"
            if done > self._first:
                text += f", about {(now - self._begun) * (total - done) / (done - self._first):.0f} s left"
        typer.echo(text, err=True)


def counted(items: Collection[Item], show: Progress) -> Iterator[Item]:
    """Yield the items, and tell how many of them are done before each and at the end."""
    for done, item in enumerate(items):
        show(done, len(items))
        yield item
    show(len(items), len(items))
