"""One-time slots, kept by both parties.

Two messages under one slot reveal their difference to the provider. The client takes slots in order and never goes
back; the provider refuses a second, different query for a slot, and answers a byte-identical retry with the bytes it
sent before, since a fresh answer would let the client average the flood away.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, replace

from securealign.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from securealign.he.interface import HeadShape, HeadSizes, Suite
from securealign.limits import Limits


def sizes_within(suite: Suite, shape: HeadShape, limits: Limits) -> HeadSizes:
    """Return the sizes of a head; raises `RemoteProtocolError` for tables of a pool that exceed the limits.

    Nothing is allocated before that.
    """

    def excess(slots: int) -> bool:
        sizes = suite.head_sizes(replace(shape, slots=slots))
        return sizes.tables > limits.max_tables_bytes or sizes.choices > limits.max_choices_bytes

    if excess(shape.slots):
        fitting = bisect_left(range(1, shape.slots), True, key=excess)
        raise RemoteProtocolError(
            f"The tables of a pool of {shape.slots} slots and {shape.classes} classes exceed {limits.max_tables_bytes} "
            f"bytes, or its choices {limits.max_choices_bytes}: {fitting} slots fit.",
            hint=f"The client can use pools of {fitting} slots, or both raise max_tables_bytes and max_choices_bytes.",
            code=ErrorCode.LIMIT_EXCEEDED,
        )
    return suite.head_sizes(shape)


@dataclass(frozen=True)
class SlotRange:
    """`count` slots of a pool, from `first`."""

    pool: int
    first: int
    count: int

    @property
    def bits(self) -> int:
        """One bit for each of the slots, by its number in the pool."""
        return ((1 << self.count) - 1) << self.first


class SlotAllocator:
    """The client's side: hands out each slot of the pools it has once."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._ready: list[int] = []
        self._next = 0
        #: Pools without slots left, for which answers may be outstanding.
        self.spent: set[int] = set()

    @property
    def free(self) -> int:
        """Slots left in all ready pools."""
        return len(self._ready) * self._slots - self._next

    @property
    def pools(self) -> int:
        """Pools with slots left."""
        return len(self._ready)

    def add_pool(self, pool: int) -> None:
        """Add a pool whose offline material has arrived."""
        self._ready.append(pool)

    def take(self, count: int, batch: int) -> list[SlotRange]:
        """Consume `count` slots and return them as ranges of at most `batch` within one pool."""
        if count > self.free:
            raise LocalProtocolError(
                f"{count} slots are needed and {self.free} are free.", hint="Prepare a pool first."
            )
        ranges = []
        while count:
            size = min(count, batch, self._slots - self._next)
            ranges.append(SlotRange(self._ready[0], self._next, size))
            self._next += size
            count -= size
            if self._next == self._slots:
                self.spent.add(self._ready.pop(0))
                self._next = 0
        return ranges


class SlotLedger:
    """The provider's side: what was asked and answered in the live pools."""

    def __init__(self, slots: int, live_pools: int) -> None:
        self._slots = slots
        self._live_pools = live_pools
        self._answers: dict[int, dict[SlotRange, tuple[bytes, bytes]]] = {}
        #: By live pool: one bit for each slot that was used.
        self._used: dict[int, int] = {}

    @property
    def free(self) -> int:
        """Slots of live pools that no query has used."""
        return sum(self._slots - bin(used).count("1") for used in self._used.values())

    def open_pool(self, pool: int) -> list[int]:
        """Open a pool and return those that are retired by it, the oldest first."""
        self._answers[pool] = {}
        self._used[pool] = 0
        retired = sorted(self._answers)[: -self._live_pools]
        for old in retired:
            del self._answers[old], self._used[old]
        return retired

    def is_live(self, pool: int) -> bool:
        """Return whether a pool was opened and not retired."""
        return pool in self._used

    def save(self) -> dict[str, str]:
        """Return which slots of which pools were used, for `load`."""
        return {str(pool): f"{used:x}" for pool, used in self._used.items()}

    def load(self, used: Mapping[str, str]) -> list[int]:
        """Take up what was used, and return the live pools; a retry within them is no longer answered but refused."""
        self._used = {int(pool): int(bits, 16) for pool, bits in used.items()}
        self._answers = {pool: {} for pool in self._used}
        return sorted(self._used)

    def replay(self, slots: SlotRange, query: bytes) -> bytes | None:
        """Return the stored answer to a byte-identical retry, or None for unused slots.

        Raises `RemoteProtocolError` when a slot was used for another query or does not exist.
        """
        pool = self._answers.get(slots.pool)
        if pool is None or slots.first + slots.count > self._slots:
            raise RemoteProtocolError(
                f"Pool {slots.pool} has no slots {slots.first} to {slots.first + slots.count}.",
                code=ErrorCode.SEQUENCE_BROKEN,
            )
        if slots in pool and pool[slots][0] == hashlib.sha256(query).digest():
            return pool[slots][1]
        if self._used[slots.pool] & slots.bits:
            raise RemoteProtocolError(
                f"Slots {slots.first} to {slots.first + slots.count} of pool {slots.pool} were used before.",
                code=ErrorCode.SLOT_REUSED,
            )
        return None

    def record(self, slots: SlotRange, query: bytes, answer: bytes) -> None:
        """Keep an answer for retries of its query."""
        self._answers[slots.pool][slots] = (hashlib.sha256(query).digest(), answer)
        self._used[slots.pool] |= slots.bits
