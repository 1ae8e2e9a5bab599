"""What a machine needs to go on after its process has died."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Snapshot:
    """A machine between two messages: small fields that JSON can hold, and named blobs.

    A name stands for one content throughout a session, so a blob that was recorded before is None here. Blobs hold
    keys, sums and results: whoever records them seals them.
    """

    fields: Mapping[str, Any]
    blobs: Mapping[str, bytes | None]


class Blobs:
    """The named blobs of a machine, which forgets their content as soon as it is recorded."""

    def __init__(self, names: Mapping[str, bytes | None] | None = None) -> None:
        self._contents: dict[str, bytes | None] = dict.fromkeys(names or {})

    def keep(self, name: str, content: bytes) -> None:
        """Have a content recorded under a name that no other content of the session has had."""
        self._contents.setdefault(name, content)

    def drop(self, *names: str) -> None:
        """Have blobs forgotten; a name that ends in a slash stands for all that begin with it."""
        folders = tuple(name for name in names if name.endswith("/"))
        for name in [name for name in self._contents if name in names or name.startswith(folders)]:
            del self._contents[name]

    def take(self) -> dict[str, bytes | None]:
        """Return all names with the contents that were not taken before."""
        taken = self._contents
        self._contents = dict.fromkeys(taken)
        return taken
