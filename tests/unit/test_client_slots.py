"""The number of slots of a pool, by what is known of the work."""

from __future__ import annotations

import pytest

from securealign.client.slots import choose_slots


def sent(slots, queries, classes):
    """Return the bytes of key and pools under lwe-128."""
    return 32_000 * slots + 16_000 * classes * -(-queries // slots)


@pytest.mark.parametrize("classes", [None, 2, 6, 150])
def test_few_queries_have_as_many_slots(classes):
    assert [choose_slots(queries, classes=classes) for queries in (1, 5, 10, 34)] == [1, 5, 10, 34]


def test_nothing_known_is_as_before_and_never_beyond_what_the_provider_allows():
    assert choose_slots(None) == choose_slots(None, classes=20) == choose_slots(10**6) == 64
    assert choose_slots(None, max_slots=16) == choose_slots(10**6, max_slots=16) == 16
    assert choose_slots(10**6, classes=20, max_slots=100) == 100
    assert choose_slots(0, classes=3) == choose_slots(0) == 1


def test_many_queries_have_many_slots():
    assert [choose_slots(10**6, classes=classes) for classes in (2, 20, 150)] == [1024] * 3
    assert 64 < choose_slots(5000, classes=6) < 1024


def test_no_choice_sends_more_than_64_slots():
    for classes in (1, 2, 6, 20, 150):
        for queries in (1, 40, 64, 65, 100, 214, 1000, 3000, 20_000, 10**6):
            chosen = choose_slots(queries, classes=classes)
            assert sent(chosen, queries, classes) <= sent(min(64, queries), queries, classes), (queries, classes)


def test_a_slow_link_takes_the_slots_that_send_least():
    slow = choose_slots(10**5, classes=6, bytes_per_second=1e4)
    least = min(sent(slots, 10**5, 6) for slots in range(1, 1025))
    assert sent(slow, 10**5, 6) < 1.1 * least
    assert slow < choose_slots(10**5, classes=6, bytes_per_second=1e9)
