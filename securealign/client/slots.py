"""How many slots a pool has."""

from __future__ import annotations

from dataclasses import dataclass

from securealign.alignment.checks import rows_with_checks, slots_with_checks
from securealign.he.interface import LabelTerms
from securealign.he.labels.layout import LABEL_BYTES, LabelLayout
from securealign.limits import Limits
from securealign.protocol.listing import HeadListing
from securealign.protocol.messages import OutputMode
from securealign.protocol.policy.rules import MAX_THRESHOLDS

#: Slots where nothing better is known; no choice sends more bytes than these.
DEFAULT_SLOTS = 64
#: Seconds in which a provider prepares a pool of `lwe`, of whatever size; measured at 768 dimensions and 20 classes.
_POOL_SECONDS = 0.2
#: Bytes of a slot in the key, and of a class in the material of a pool, under `lwe-128`.
_SLOT_BYTES, _CLASS_BYTES = 3200 * 10, 3200 * 5
#: Bits of the widest tables that a provider may choose, which must fit; and bytes of a pool around its slots at most.
_WIDEST_BITS, _AROUND_BYTES = 24, 4096


@dataclass(frozen=True)
class PoolTerms:
    """What the slots of a pool depend on: K, thresholds where answers are labels, and the most slots.

    With labels, `classes` counts the class that stands for none.
    """

    classes: int
    buckets: int | None = None
    max_slots: int = Limits().max_pool_slots

    @classmethod
    def of(cls, head: HeadListing) -> PoolTerms:
        """Return what a provider lists; thresholds are not told, so as many as there can be are taken for granted."""
        if head.output is OutputMode.LOGITS:
            return cls(head.classes, None, head.max_slots)
        buckets = MAX_THRESHOLDS if head.output is OutputMode.LABEL_CONFIDENCE else 0
        return cls(head.classes + head.abstains, buckets, head.max_slots)

    @property
    def most(self) -> int:
        """The most slots of a pool, whose choices and tables are within the limits of both parties for any terms."""
        if self.buckets is None:
            return self.max_slots
        limits, layout = Limits(), self._layout(_WIDEST_BITS)
        tables = (limits.max_tables_bytes - _AROUND_BYTES) // _tables_bytes(layout)
        choices = (limits.max_choices_bytes - _AROUND_BYTES) // (LABEL_BYTES * layout.wires)
        return max(1, min(self.max_slots, tables, choices))

    def sent(self, slots: int, pools: int) -> int:
        """Return the bytes of key and pools of so many slots."""
        if self.buckets is None:
            pool, slot = self.classes * _CLASS_BYTES, 0
        else:
            layout = self._layout(LabelTerms().bits)
            pool, slot = layout.rows * _CLASS_BYTES, LABEL_BYTES * layout.wires + _tables_bytes(layout)
        return slots * _SLOT_BYTES + pools * (pool + slots * slot)

    def _layout(self, bits: int) -> LabelLayout:
        return LabelLayout(self.classes, bits, LabelTerms().segments, self.buckets or 0, 1)


def choose_slots(
    queries: int | None, terms: PoolTerms | None = None, *, checked: bool = False, bytes_per_second: float = 12.5e6
) -> int:
    """Return the slots of a pool for so many queries, None for an unknown number; of check rows too if `checked`.

    The choice takes the least time over a link, sends no more than pools for 64 queries would, and is within the limits
    of `terms`. Without terms a session of at most 64 queries has one pool, and pools are for at most 64.
    """
    known = DEFAULT_SLOTS if queries is None else max(1, queries)
    rows = rows_with_checks(known) if checked else known

    def slots(room: int) -> int:
        return slots_with_checks(room, known) if checked else room

    usual = slots(min(DEFAULT_SLOTS, known))
    if terms is None:
        return usual
    fitting = {count for room in range(1, min(known, terms.most) + 1) if (count := slots(room)) <= terms.most} or {1}
    usual = max(count for count in fitting if count <= usual)
    if queries is None:
        return usual

    def pools(slots: int) -> int:
        return -(-rows // slots)

    def sent(slots: int) -> int:
        return terms.sent(slots, pools(slots))

    most = sent(usual)
    return min(
        (slots for slots in sorted(fitting) if sent(slots) <= most),
        key=lambda slots: pools(slots) * _POOL_SECONDS + sent(slots) / bytes_per_second,
    )


def _tables_bytes(layout: LabelLayout) -> int:
    """Return the bytes of a slot in the tables of a pool."""
    return LABEL_BYTES * layout.wires + layout.table_bytes
