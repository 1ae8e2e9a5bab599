"""What a machine needs to go on after its process has died."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Snapshot:
    """A machine between two messages: small fields that JSON can hold, and named blobs.

    What a machine hands out holds the blobs that are new since its last snapshot, and the names that are gone; what a
    journal returns holds all that are left. A name stands for one content throughout a session. Blobs hold keys, sums
    and results: whoever records them seals them.
    """

    fields: Mapping[str, Any]
    blobs: Mapping[str, bytes]
    gone: frozenset[str] = frozenset()


class Blobs:
    """The named blobs of a machine, which forgets their content as soon as it is recorded."""

    def __init__(self, recorded: Iterable[str] = ()) -> None:
        self._recorded = set(recorded)
        self._fresh: dict[str, bytes] = {}
        self._gone: set[str] = set()

    def keep(self, name: str, content: bytes) -> None:
        """Have a content recorded under a name that no other content of the session has had."""
        self._gone.discard(name)
        if name not in self._recorded:
            self._fresh[name] = content

    def drop(self, *names: str) -> None:
        """Have blobs forgotten; a name that ends in a slash stands for all that begin with it."""
        for name in self._matching(names):
            if self._fresh.pop(name, None) is None:
                self._gone.add(name)

    def take(self, fields: Mapping[str, Any]) -> Snapshot:
        """Return a snapshot of these fields and of what has changed since the last one."""
        snapshot = Snapshot(fields, self._fresh, frozenset(self._gone))
        self._recorded -= self._gone
        self._recorded.update(self._fresh)
        self._fresh, self._gone = {}, set()
        return snapshot

    def _matching(self, names: Iterable[str]) -> list[str]:
        known = (*self._recorded, *self._fresh)
        exact = [name for name in names if name in self._recorded or name in self._fresh]
        folders = tuple(name for name in names if name.endswith("/"))
        return exact + ([name for name in known if name.startswith(folders)] if folders else [])
