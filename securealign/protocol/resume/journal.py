"""The record of one session: what a party has said, and where its machine stands."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from securealign.protocol.resume.snapshot import Snapshot


class Journal(Protocol):
    """Keeps the frames that a party has made, numbered from 0, and a snapshot; durable when a call returns."""

    def recover(self) -> Snapshot | None:
        """Return the last snapshot, and forget frames that were made after it; None if there is none to go on from."""
        ...

    def record(self, first: int, frames: Sequence[bytes], snapshot: Snapshot | None) -> None:
        """Add frames from number `first` on and replace the snapshot, all or nothing.

        Without a snapshot the frames can be sent again, but the machine cannot be made again after a crash.
        """
        ...

    def frames(self, first: int) -> Iterator[bytes]:
        """Yield the frames from number `first` on."""
        ...

    def forget(self, below: int) -> None:
        """Give up the frames below a number: the peer has them for good."""
        ...

    def end(self, outcome: str) -> None:
        """Record that the session is over ("done", or the name of an error code) and cannot go on."""
        ...
