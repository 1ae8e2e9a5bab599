"""A provider that lies to single queries, which have no check rows of their own, is found out by later ones."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from support.streams import StreamSite

from securealign.alignment import check_calls
from securealign.alignment.check_calls import CheckedCalls
from securealign.alignment.checks import GROUP_QUERIES, CheckedQueries
from securealign.errors import ErrorCode, RemoteProtocolError
from securealign.he import plaintext
from securealign.he.entropy import SystemEntropy

HONEST = plaintext._HeadProvider.evaluate
#: Calls of one query that follow each other.
CALLS = 70


def lies(to):
    """Have the provider move one logit in its answers to some messages, by their number."""
    number = 0

    def evaluate(self, pool, first_slot, count, query):
        nonlocal number
        answer = np.frombuffer(HONEST(self, pool, first_slot, count, query), dtype="<f8").copy()
        if to(number):
            answer[0] += 1.0
        number += 1
        return answer.tobytes()

    return evaluate


def ask_one_by_one(site, *overrides):
    """Return how many calls were answered, and the error that ended them."""
    with site.connect(*overrides) as client:
        for number in range(CALLS):
            try:
                client.classify([f"text {number}"])
            except RemoteProtocolError as error:  # noqa: PERF203
                with pytest.raises(RemoteProtocolError):
                    client.classify(["one more"])
                return number, error.code
        return CALLS, None


@pytest.mark.parametrize("lie", [5, 31, 40])
def test_a_lie_to_one_single_query_is_found_with_the_next_check(tmp_path, monkeypatch, lie):
    site = StreamSite(tmp_path)
    monkeypatch.setattr(plaintext._HeadProvider, "evaluate", lies(lambda number: number == lie))
    answered, code = ask_one_by_one(site)
    assert code is ErrorCode.ANSWERS_INCONSISTENT
    # Also when the session is replaced by one with larger pools in between.
    assert answered == (GROUP_QUERIES - 1 if lie < GROUP_QUERIES else 2 * GROUP_QUERIES - 1)


def test_without_checks_the_lie_passes(tmp_path, monkeypatch):
    monkeypatch.setattr(plaintext._HeadProvider, "evaluate", lies(lambda number: number == 5))
    assert ask_one_by_one(StreamSite(tmp_path), "inference.verify_answers=false") == (CALLS, None)


def test_check_rows_that_leave_out_queries_which_wait_miss_most_lies(monkeypatch):
    def found(lie):
        random = np.random.default_rng(lie)
        head = random.normal(size=(4, 3))
        calls = CheckedCalls(SystemEntropy())
        for number in range(CALLS):
            query = random.normal(size=(1, 4))
            checked = calls.call(query)
            answers = checked.block(0, len(checked)) @ head
            # In a message with check rows the provider lies to none.
            if number == lie and len(checked) == 1:
                answers[0, 0] += 1.0
            try:
                calls.settle(query, checked, answers, 1e-9)
            except RemoteProtocolError:
                return True
        return False

    lied = range(31)
    assert all(map(found, lied))
    without = lambda queries, entropy, **options: CheckedQueries(queries, entropy, **options | {"unchecked": 0})  # noqa: E731
    monkeypatch.setattr(check_calls, "CheckedQueries", partial(without))
    assert sum(map(found, lied)) < 15


def test_repeats_find_labels_that_are_made_up_in_single_queries():
    random = np.random.default_rng(0)

    def refused(lie):
        calls = CheckedCalls(SystemEntropy(), label_bits=16)
        for number in range(1000):
            query = random.normal(size=(1, 4))
            checked = calls.call(query)
            rows = checked.block(0, len(checked))
            labels = np.column_stack([lie(rows), np.zeros(len(rows))])
            try:
                calls.settle(query, checked, labels, 0.0)
            except RemoteProtocolError:
                return number
        return None

    assert refused(lambda rows: rows.argmax(axis=1)) is None
    assert refused(lambda rows: random.integers(0, 4, size=len(rows))) < 200
