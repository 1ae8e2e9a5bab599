"""The number of slots of a pool, by what is known of the work."""

from __future__ import annotations

import pytest

from securealign.alignment.checks import rows_with_checks
from securealign.client.slots import PoolTerms, choose_slots
from securealign.he.interface import HeadShape, LabelTerms
from securealign.he.lwe.suite import LweSuite
from securealign.limits import Limits
from securealign.protocol.listing import HeadListing
from securealign.protocol.messages import OutputMode

#: Logits, labels, and labels with all thresholds.
OUTPUTS = (None, 0, 3)


def sent(slots, rows, classes, buckets):
    """Return the bytes of key and pools under lwe-128, as the suite says them."""
    labels = None if buckets is None else LabelTerms(buckets=buckets)
    sizes = LweSuite().head_sizes(HeadShape(provider_dim=8, classes=classes, slots=slots, labels=labels))
    return sizes.key + -(-rows // slots) * (sizes.pool + sizes.choices + sizes.tables)


@pytest.mark.parametrize("buckets", OUTPUTS)
@pytest.mark.parametrize("classes", [2, 6, 150])
def test_few_queries_have_as_many_slots(classes, buckets):
    assert [choose_slots(queries) for queries in (1, 5, 10, 34)] == [1, 5, 10, 34]
    terms = PoolTerms(classes, buckets)
    assert [choose_slots(queries, terms) for queries in (1, 5, 10, 34)] == [1, 5, 10, 34]
    assert [choose_slots(queries, terms, checked=True) for queries in (1, 5, 10, 34)] == [1, 5, 12, 38]


def test_an_unknown_number_has_64_and_never_more_than_the_provider_allows():
    assert choose_slots(None) == choose_slots(None, PoolTerms(20)) == choose_slots(10**6) == 64
    assert choose_slots(None, checked=True) == choose_slots(None, PoolTerms(20, 0), checked=True) == 68
    few = PoolTerms(20, max_slots=16)
    assert choose_slots(None, few) == choose_slots(10**6, few) == 16
    assert choose_slots(10**6, PoolTerms(20, max_slots=100)) == 100
    assert choose_slots(0, PoolTerms(3)) == choose_slots(0) == 1


def test_many_queries_have_many_slots():
    assert [choose_slots(10**6, PoolTerms(classes)) for classes in (2, 20, 150)] == [1024] * 3
    assert 64 < choose_slots(5000, PoolTerms(6)) < 1024
    assert choose_slots(10**6, PoolTerms(2, 0)) == 1024
    assert 64 < choose_slots(5000, PoolTerms(6, 0)) < 1024


@pytest.mark.parametrize("buckets", [0, 3])
def test_tables_fit_whatever_the_terms_of_the_labels_are(buckets):
    limits = Limits()

    def tables(slots, classes):
        labels = LabelTerms(bits=24, segments=4, buckets=buckets)
        sizes = LweSuite().head_sizes(HeadShape(provider_dim=8, classes=classes, slots=slots, labels=labels))
        assert sizes.choices <= limits.max_choices_bytes
        return sizes.tables

    for classes in (2, 20, 77, 150, 500, 1000):
        for queries in (None, 64, 10**6):
            for checked in (False, True):
                slots = choose_slots(queries, PoolTerms(classes, buckets), checked=checked)
                assert tables(slots, classes) <= limits.max_tables_bytes, (classes, queries)
    # The control: 64 slots are too many for 500 classes, and the next slot for 150.
    assert tables(64, 500) > limits.max_tables_bytes
    assert tables(PoolTerms(150, buckets).most + 1, 150) > limits.max_tables_bytes


@pytest.mark.parametrize("buckets", OUTPUTS)
@pytest.mark.parametrize("checked", [False, True])
def test_no_choice_sends_more_than_64_slots(buckets, checked):
    for classes in (2, 6, 20, 150):
        for queries in (1, 40, 64, 65, 100, 214, 1000, 3000, 20_000):
            chosen = choose_slots(queries, PoolTerms(classes, buckets), checked=checked)
            rows = rows_with_checks(queries) if checked else queries
            usual = choose_slots(queries, checked=checked)
            # Headers and padding are not counted.
            most = 1.002 * sent(usual, rows, classes, buckets)
            assert sent(chosen, rows, classes, buckets) <= most, (classes, queries)


def test_a_slow_link_takes_the_slots_that_send_least():
    slow = choose_slots(10**5, PoolTerms(6), bytes_per_second=1e4)
    least = min(sent(slots, 10**5, 6, None) for slots in range(1, 1025))
    assert sent(slow, 10**5, 6, None) < 1.1 * least
    assert slow < choose_slots(10**5, PoolTerms(6), bytes_per_second=1e9)


def test_terms_follow_what_a_provider_lists():
    listed = {"name": "topics", "classes": 6, "class_names": (), "provider_dim": 8, "space": bytes(16)}
    listed |= {"space_name": "", "head_digest": bytes(32), "queries_left": 9, "bits_left": None, "answer_bits": 3}

    def terms(output, *, abstains):
        return PoolTerms.of(HeadListing(**listed, output=output, abstains=abstains, max_slots=512))

    assert terms(OutputMode.LOGITS, abstains=False) == PoolTerms(6, None, 512)
    assert terms(OutputMode.LABEL, abstains=True) == PoolTerms(7, 0, 512)
    assert terms(OutputMode.LABEL_CONFIDENCE, abstains=True) == PoolTerms(7, 3, 512)
