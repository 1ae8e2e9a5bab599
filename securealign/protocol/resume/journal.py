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


class MemoryJournal:
    """A journal that lives as long as this object: for tests, and for sessions that need only survive a connection."""

    def __init__(self) -> None:
        self._frames: dict[int, bytes] = {}
        self._fields: Snapshot | None = None
        self._blobs: dict[str, bytes] = {}
        #: How the session ended, if it did.
        self.outcome = ""

    def recover(self) -> Snapshot | None:
        """Return the last snapshot."""
        if self._fields is None or self.outcome:
            return None
        sent = self._fields.fields["sent"]
        self._frames = {number: frame for number, frame in self._frames.items() if number < sent}
        return Snapshot(self._fields.fields, dict(self._blobs))

    def record(self, first: int, frames: Sequence[bytes], snapshot: Snapshot | None) -> None:
        """Add frames and replace the snapshot."""
        self._frames.update(enumerate(frames, first))
        if snapshot is not None:
            self._blobs.update(snapshot.blobs)
            for name in snapshot.gone:
                self._blobs.pop(name, None)
            self._fields = snapshot

    def frames(self, first: int) -> Iterator[bytes]:
        """Yield the frames from number `first` on."""
        yield from (self._frames[number] for number in sorted(self._frames) if number >= first)

    def forget(self, below: int) -> None:
        """Give up the frames below a number."""
        self._frames = {number: frame for number, frame in self._frames.items() if number >= below}

    def end(self, outcome: str) -> None:
        """Forget everything but the outcome."""
        self.outcome = outcome
        self._frames.clear()
        self._blobs.clear()
