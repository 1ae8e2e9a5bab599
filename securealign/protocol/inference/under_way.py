"""A pool of the client between `Prepare` and its first query."""

from __future__ import annotations

from dataclasses import dataclass, field

from securealign.protocol.messages import PoolChunk, TablesChunk
from securealign.protocol.streams import Assembler, ChunkOrder


@dataclass
class UnderWay:
    """A pool that was asked for; without `arriving` it was given up, and what arrives of it is dropped."""

    number: int
    #: Whether choices were sent, so that tables arrive and no hint.
    chosen: bool = False
    #: What arrives: the hint, whole, then the tables, piece by piece.
    arriving: Assembler | ChunkOrder | None = None
    pieces: list[bytes] = field(default_factory=list)
    nonce: bytes = b""
    hint: bytes = b""

    def expects(self, message: PoolChunk | TablesChunk) -> bool:
        """Return whether a message is a piece of what arrives."""
        return message.pool == self.number and isinstance(message, TablesChunk) is self.chosen
