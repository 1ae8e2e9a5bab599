"""Named things that installed packages add, found through entry points when they are asked for.

An entry point refers to a catalogue, a mapping of names, and may so add many of them. The groups are
`securealign.datasets` (see `data.sources`), `securealign.encoders` (`models.encoders`), `securealign.suites`
(`he.registry`) and `securealign.commands` (`cli`).
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
