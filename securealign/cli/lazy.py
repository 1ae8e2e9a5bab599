"""A group of commands that imports the module of a command when it is run: a list of commands costs nothing."""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any, NamedTuple, cast

import typer
from typer.core import TyperGroup
from typer.main import get_command, get_group

from securealign.commands import failures
from securealign.errors import DependencyError


class Command(NamedTuple):
    """A command or a group of commands: where it is, and its line in the list of commands."""

    #: "module:name" of a function, or of a `typer.Typer` for a group.
    target: str
    help: str
    #: The extra of this package that installs what the command needs beyond the package itself.
    extra: str = ""
    #: The heading under which it is listed.
    panel: str | None = None


class LazyCommands(Mapping[str, Any]):
    """Commands by name, each made when it is asked for; typer does not export their type."""

    def __init__(self, own: Mapping[str, Command], more: Callable[[], Mapping[str, Command]]) -> None:
        self._own, self._more = own, more
        self._made: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401
        """Return a command, imported on first use; raises `DependencyError` when a package is missing."""
        if name not in self._made:
            self._made[name] = _make(name, self._entry(name))
        return self._made[name]

    def __contains__(self, name: object) -> bool:
        """Return whether there is a command of this name, without importing it."""
        return name in self._own or name in self._more()

    def __iter__(self) -> Iterator[str]:
        """Yield the names, sorted."""
        return iter(sorted({*self._own, *self._more()}))

    def __len__(self) -> int:
        """Return how many commands there are."""
        return len({*self._own, *self._more()})

    def _entry(self, name: str) -> Command:
        # Entry points are read for a command of others alone: reading them takes as long as importing a command.
        return self._own[name] if name in self._own else self._more()[name]

    def line(self, name: str) -> Any:  # noqa: ANN401
        """Return a command that holds the name and the line of help alone: enough for a list."""
        program, command = typer.Typer(add_completion=False), self._entry(name)
        program.command(name, help=command.help, rich_help_panel=command.panel)(_nothing)
        return get_command(program)


def _nothing() -> None:
    """Stand for a command in a list."""


def _make(name: str, command: Command) -> Any:  # noqa: ANN401
    module, _, attribute = command.target.partition(":")
    try:
        target = getattr(import_module(module), attribute)
    except ModuleNotFoundError as error:
        if not command.extra or (error.name or "").partition(".")[0] == __package__.partition(".")[0]:
            raise
        raise DependencyError(
            f"'securealign {name}' needs {error.name}, which is not installed.",
            hint=f"Run: pip install 'securealign[{command.extra}]'",
        ) from error
    if isinstance(target, typer.Typer):
        made: Any = get_group(target)
    else:
        program = typer.Typer(add_completion=False)
        program.command(name)(target)
        made = get_command(program)
    made.name = name
    return made


def lazy_group(own: Mapping[str, Command], more: Callable[[], Mapping[str, Command]]) -> type[TyperGroup]:
    """Return the class of a group of `own` commands and those that `more` finds, for `typer.Typer(cls=...)`."""

    class LazyGroup(TyperGroup):
        """A group that lists its commands without importing them."""

        def __init__(self, **attributes: Any) -> None:  # noqa: ANN401
            super().__init__(**attributes)
            self._lazy = LazyCommands(own, more)
            self.commands = cast("Any", self._lazy)
            self._listing = False

        def list_commands(self, ctx: Any) -> list[str]:  # noqa: ANN401
            """Return the names of the commands."""
            return list(self._lazy)

        def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ANN401
            """Return a command by name, or its line while commands are listed; None when there is none."""
            if cmd_name not in self._lazy:
                return None
            if self._listing:
                return self._lazy.line(cmd_name)
            with failures(as_json="--json" in sys.argv):
                return self._lazy[cmd_name]

        def format_help(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401
            """Print the help, with a line for each command."""
            with self._lines():
                super().format_help(ctx, formatter)

        def shell_complete(self, ctx: Any, incomplete: str) -> Any:  # noqa: ANN401
            """Return the names that complete a word, with their lines."""
            with self._lines():
                return super().shell_complete(ctx, incomplete)

        @contextmanager
        def _lines(self) -> Iterator[None]:
            self._listing = True
            try:
                yield
            finally:
                self._listing = False

    return LazyGroup
