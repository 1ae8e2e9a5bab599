"""Sizes of everything that label-only answers send, from the shape alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from securealign.he.labels.circuits import counts
from securealign.he.labels.extension import choices_bytes, padded
from securealign.he.labels.garbling import BLOCK_SLOTS

LABEL_BYTES = 16
#: Key of the tables of a slot.
COVER_BYTES = 32
#: What makes the block keys of a pool fresh.
SALT_BYTES = 16
#: Transfers whose labels are made at a time: memory follows this or a block, and not the pool.
_STRETCH_TRANSFERS = 1 << 18


@dataclass(frozen=True)
class LabelLayout:
    """Shares of `rows` numbers of `bits` bits in each of `slots` slots; `classes` counts the reference."""

    classes: int
    bits: int
    segments: int
    buckets: int
    slots: int

    @property
    def rows(self) -> int:
        """Shared numbers of a slot: all classes but the reference, then the thresholds."""
        return self.classes - 1 + self.buckets

    @property
    def wires(self) -> int:
        """Shared bits of a slot."""
        return self.bits * self.rows

    @property
    def circuit(self) -> tuple[int, int, int, int]:
        """What determines the circuit of a slot: bits, classes, segments and thresholds."""
        return self.bits, self.classes, self.segments, self.buckets

    @property
    def gates(self) -> int:
        """AND gates of a slot."""
        return counts(*self.circuit).gates

    @property
    def outputs(self) -> int:
        """Bits that a slot shows: those of the index, and one for each threshold."""
        return counts(*self.circuit).outputs

    @property
    def transfers(self) -> int:
        """Oblivious transfers of a pool, with padding."""
        return padded(self.slots * self.wires)

    @property
    def choices_bytes(self) -> int:
        """Bytes of the client's choices for a pool."""
        return choices_bytes(self.transfers)

    @property
    def opening_bytes(self) -> int:
        """Bytes of a pool's tables before those of its first slot: the salt, and a correction for each transfer."""
        return SALT_BYTES + self.slots * LABEL_BYTES * self.wires

    @property
    def table_bytes(self) -> int:
        """Bytes of the tables of a slot."""
        return 2 * LABEL_BYTES * self.gates

    @property
    def tables_bytes(self) -> int:
        """Bytes of the provider's tables for a pool."""
        return self.opening_bytes + self.slots * self.table_bytes

    @property
    def record_bytes(self) -> int:
        """Bytes of secrets of a slot: Delta, the key of its tables, the labels of its shared bits."""
        return LABEL_BYTES + COVER_BYTES + LABEL_BYTES * self.wires

    def answer_bytes(self, count: int) -> int:
        """Return the bytes of the answer to `count` slots."""
        return count * (LABEL_BYTES * self.wires + COVER_BYTES) + self.decode_bytes(count)

    def decode_bytes(self, count: int) -> int:
        """Return the bytes of the decode bits of `count` slots."""
        return -(-count * self.outputs // 8)

    def blocks(self, first: int, count: int) -> Iterator[tuple[int, slice, int]]:
        """Yield (number of a block, slots of it in the pool, first of them in the block) for a range of slots."""
        stop = first + count
        while first < stop:
            block = first // BLOCK_SLOTS
            end = min(stop, (block + 1) * BLOCK_SLOTS)
            yield block, slice(first, end), first - block * BLOCK_SLOTS
            first = end

    def stretches(self) -> list[slice]:
        """Return all slots of a pool in runs of whole blocks whose transfers are made at a time."""
        run = BLOCK_SLOTS * max(1, _STRETCH_TRANSFERS // (BLOCK_SLOTS * self.wires))
        return [slice(first, min(self.slots, first + run)) for first in range(0, self.slots, run)]
