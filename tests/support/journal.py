"""The record of a session in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from securealign.protocol.resume.snapshot import Snapshot


class MemoryJournal:
    """A journal that lives as long as this object."""

    def __init__(self) -> None:
        self._frames: dict[int, bytes] = {}
        self._fields: Snapshot | None = None
        self._blobs: dict[str, bytes] = {}
        self.outcome = ""

    def recover(self) -> Snapshot | None:
        if self._fields is None or self.outcome:
            return None
        sent = self._fields.fields["sent"]
        self._frames = {number: frame for number, frame in self._frames.items() if number < sent}
        return Snapshot(self._fields.fields, dict(self._blobs))

    def record(self, first: int, frames: Sequence[bytes], snapshot: Snapshot | None) -> None:
        self._frames.update(enumerate(frames, first))
        if snapshot is not None:
            self._blobs.update(snapshot.blobs)
            for name in snapshot.gone:
                self._blobs.pop(name, None)
            self._fields = snapshot

    def frames(self, first: int) -> Iterator[bytes]:
        yield from (self._frames[number] for number in sorted(self._frames) if number >= first)

    def forget(self, below: int) -> None:
        self._frames = {number: frame for number, frame in self._frames.items() if number >= below}

    def end(self, outcome: str) -> None:
        self.outcome = outcome
        self._frames.clear()
        self._blobs.clear()
