"""What a peer is given over all its sessions is counted before it leaves, in queries and in bits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.accounts import GuardedStore

from securealign.errors import ErrorCode, RemoteProtocolError
from securealign.protocol.policy.budget import QueryAccount, QueryLimits

BITS = 36


def account(store=None, peer="peer", lock=None):
    return QueryAccount.of(peer, store=store, lock=lock)


MANY = 10**9
UNLIMITED = QueryLimits(queries=MANY)


def test_bits_without_a_limit_are_counted_and_never_refused():
    ledger = account()
    ledger.charge(MANY - 3, BITS, UNLIMITED)
    assert (ledger.queries, ledger.bits) == (MANY - 3, (MANY - 3) * BITS)
    assert ledger.left(BITS, UNLIMITED) == 3


@pytest.mark.parametrize(
    ("limits", "left"),
    [
        (QueryLimits(queries=7), 7),
        (QueryLimits(queries=MANY, bits=7 * BITS + BITS - 1), 7),
        (QueryLimits(queries=7, bits=5 * BITS), 5),
        (QueryLimits(queries=4, bits=5 * BITS), 4),
        (QueryLimits(queries=MANY, bits=BITS - 1), 0),
    ],
)
def test_what_is_left_is_what_may_still_be_charged(limits, left):
    ledger = account()
    assert ledger.left(BITS, limits) == left
    with pytest.raises(RemoteProtocolError):
        ledger.charge(left + 1, BITS, limits)
    ledger.charge(left, BITS, limits)
    assert ledger.left(BITS, limits) == 0


@given(
    charges=st.lists(st.tuples(st.integers(1, 9), st.integers(1, 100)), max_size=30),
    queries=st.integers(0, 60),
    bits=st.integers(0, 3000),
)
def test_no_sequence_of_charges_passes_a_limit_and_a_refused_one_counts_nothing(charges, queries, bits):
    ledger, limits = account(), QueryLimits(queries=queries, bits=bits)
    for count, each in charges:
        before = ledger.queries, ledger.bits
        allowed = before[0] + count <= queries and before[1] + count * each <= bits
        assert (ledger.left(each, limits) >= count) == allowed
        if allowed:
            ledger.charge(count, each, limits)
            assert (ledger.queries, ledger.bits) == (before[0] + count, before[1] + count * each)
        else:
            with pytest.raises(RemoteProtocolError):
                ledger.charge(count, each, limits)
            assert (ledger.queries, ledger.bits) == before


@pytest.mark.parametrize(
    ("limits", "rule"), [(QueryLimits(queries=2), "max_queries"), (QueryLimits(queries=9, bits=80), "max_answer_bits")]
)
def test_a_refusal_names_the_rule_and_what_was_given(limits, rule):
    ledger = account()
    ledger.charge(2, BITS, limits)
    with pytest.raises(RemoteProtocolError, match=f"{rule} allows") as caught:
        ledger.charge(1, BITS, limits)
    assert rule in caught.value.hint
    assert caught.value.code is ErrorCode.QUERY_BUDGET_EXHAUSTED


def test_peers_have_accounts_of_their_own():
    store, limits = {}, QueryLimits(queries=3)
    account(store, "a").charge(3, BITS, limits)
    account(store, "b").charge(3, BITS, limits)
    with pytest.raises(RemoteProtocolError):
        account(store, "a").charge(1, BITS, limits)


def test_a_limit_that_was_lowered_leaves_nothing_rather_than_less():
    ledger = account()
    ledger.charge(9, BITS, UNLIMITED)
    assert ledger.left(BITS, QueryLimits(queries=3, bits=1)) == 0


def test_a_store_carries_accounts_into_another_process():
    store = {}
    account(store).charge(2, BITS, UNLIMITED)
    assert (account(store).queries, account(store).bits) == (2, 2 * BITS)


def test_accounts_are_charged_under_the_lock():
    store = GuardedStore()
    ledger = account(store, lock=store)
    ledger.charge(1, BITS, UNLIMITED)
    with pytest.raises(RemoteProtocolError):
        ledger.charge(1, BITS, QueryLimits(queries=1))
    assert not store.held


def test_bits_are_stored_no_later_than_queries():
    class Crashing(dict):
        def __setitem__(self, name, value):
            if name.endswith("/queries"):
                raise OSError
            super().__setitem__(name, value)

    ledger = account(Crashing())
    with pytest.raises(OSError):  # noqa: PT011 - the crash
        ledger.charge(1, BITS, UNLIMITED)
    assert ledger.bits == BITS
