"""Named things that installed packages add, found through entry points when they are asked for.

An entry point of the group `securealign.datasets` or `securealign.encoders` refers to a catalogue: a mapping from names
to functions (see `data.sources` and `models.encoders`). One entry point may so add many names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from securealign.errors import ConfigurationError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint


def catalogue(group: str) -> dict[str, Any]:
    """Return what each name of a group's catalogues stands for.

    Raises `ConfigurationError` for a catalogue that cannot be imported, is no mapping, or repeats a name of another.
    """
    from importlib.metadata import entry_points  # here, because importing it takes 20 ms

    found: dict[str, Any] = {}
    for entry in entry_points(group=group):
        for name, value in _load(entry).items():
            if name in found:
                raise _broken(entry, f"repeats the name {name!r}")
            found[name] = value
    return found


def _load(entry: EntryPoint) -> Mapping[str, Any]:
    try:
        loaded = entry.load()
    except (ImportError, AttributeError) as error:
        raise _broken(entry, f"cannot be imported: {error}") from error
    if not isinstance(loaded, Mapping):
        raise _broken(entry, "is no mapping from names to functions")
    return loaded


def _broken(entry: EntryPoint, what: str) -> ConfigurationError:
    package = entry.dist.name if entry.dist is not None else entry.module
    return ConfigurationError(
        f"{entry.value}, which the package {package} adds to {entry.group}, {what}.",
        hint=f"Repair or uninstall {package}.",
    )
