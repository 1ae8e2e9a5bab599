"""How many slots a pool has."""

from __future__ import annotations

from securealign.limits import Limits

#: Slots where nothing better is known; no choice sends more bytes than these.
DEFAULT_SLOTS = 64
#: Seconds in which a provider prepares a pool of `lwe`, of whatever size; measured at 768 dimensions and 20 classes.
_POOL_SECONDS = 0.2
#: Bytes of a slot in the key, and of a class in the material of a pool, under `lwe-128`.
_SLOT_BYTES, _CLASS_BYTES = 3200 * 10, 3200 * 5


def choose_slots(
    queries: int | None,
    *,
    classes: int | None = None,
    bytes_per_second: float = 12.5e6,
    max_slots: int = Limits().max_pool_slots,
) -> int:
    """Return the slots of a pool for so many queries, check rows among them; None is an unknown number.

    The choice takes the least time over a link, sends no more than pools of 64 slots would, and is at most `max_slots`.
    A session of at most 64 queries has one pool. Without the number of `classes` it is at most 64, because pools for
    labels of many classes are large.
    """
    largest = min(DEFAULT_SLOTS, max_slots)
    if queries is None or (classes is None and queries > largest):
        return largest
    if classes is None:
        return max(1, queries)

    def pools(slots: int) -> int:
        return -(-queries // slots)

    def sent(slots: int) -> int:
        return slots * _SLOT_BYTES + pools(slots) * classes * _CLASS_BYTES

    candidates = range(1, max(1, min(queries, max_slots)) + 1)
    most = sent(min(largest, candidates[-1]))
    return min(
        (slots for slots in candidates if sent(slots) <= most),
        key=lambda slots: pools(slots) * _POOL_SECONDS + sent(slots) / bytes_per_second,
    )
