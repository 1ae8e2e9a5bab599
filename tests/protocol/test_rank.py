"""The columns that a peer's training sessions are granted over one data set stay below a fraction of its rows."""

from __future__ import annotations

import pytest
from support.accounts import GuardedStore
from support.machines import training_provider
from support.pair import DATASET, PLAINTEXT, Pair, TrainingCase

from securealign.errors import ErrorCode, RemoteProtocolError, TransportError
from securealign.he.plaintext import PlaintextSuite
from securealign.protocol import messages as m
from securealign.protocol.policy.rank import RankAccount
from securealign.protocol.policy.rules import Policy

CASE = TrainingCase()
COLUMNS = CASE.client_dim + 1


def pair(account: RankAccount, *, suites=(PLAINTEXT,), **policy) -> Pair:
    """Return a session of twelve rows and five columns whose provider keeps an account."""
    session = CASE.pair()
    session.provider = training_provider(
        suites, CASE.z_a, policy=Policy(allow_unencrypted=True, **policy), account=account
    )
    return session


def finished(account: RankAccount, **options) -> Pair:
    session = pair(account, **options)
    session.start()
    session.carry()
    return session


@pytest.mark.parametrize(("fraction", "sessions"), [(1.0, 2), (0.9, 2), (0.84, 2), (0.83, 1), (0.5, 1), (0.42, 1)])
def test_sessions_are_granted_while_their_columns_stay_below_the_fraction(fraction, sessions):
    account = RankAccount.of("peer", DATASET)
    for _ in range(sessions):
        finished(account, max_rank_fraction=fraction).assert_done()
    refused = finished(account, max_rank_fraction=fraction)
    refused.assert_aborted(ErrorCode.RANK_BUDGET_EXHAUSTED, by="provider")
    assert account.store == {account.name: sessions * COLUMNS}
    # Nothing but the greeting and its refusal has travelled.
    assert len(refused.carried) == 2


def test_a_first_session_that_is_too_wide_is_refused_as_well():
    account = RankAccount.of("peer", DATASET)
    finished(account, max_rank_fraction=5 / 12).assert_aborted(ErrorCode.RANK_BUDGET_EXHAUSTED, by="provider")
    assert account.store == {}


@pytest.mark.parametrize(
    ("rows", "fraction", "columns"), [(12, 1.0, 11), (12, 0.5, 5), (13, 0.5, 6), (10_000, 0.5, 4_999)]
)
def test_the_sum_stays_below_the_fraction_and_never_reaches_it(rows, fraction, columns):
    assert Policy(max_rank_fraction=fraction).max_columns(rows) == columns


def test_the_reason_names_the_rule_and_what_to_do():
    account = RankAccount.of("peer", DATASET)
    account.charge(5, 9)
    with pytest.raises(RemoteProtocolError) as caught:
        account.charge(5, 9)
    assert "5 columns" in caught.value.message
    assert "granted 5 before" in caught.value.message
    assert "max_rank_fraction allows 9" in caught.value.message
    assert "new public texts" in caught.value.hint
    assert "new texts" in caught.value.code.sentence


def test_peers_and_data_sets_have_accounts_of_their_own():
    store = {}
    for place in (("a", DATASET), ("b", DATASET), ("a", bytes(32))):
        RankAccount.of(*place, store=store).charge(9, 9)
    with pytest.raises(RemoteProtocolError):
        RankAccount.of("a", DATASET, store=store).charge(1, 9)


def test_a_store_carries_accounts_into_another_ledger():
    store = {}
    RankAccount.of("peer", DATASET, store=store).charge(5, 9)
    with pytest.raises(RemoteProtocolError):
        RankAccount.of("peer", DATASET, store=store).charge(5, 9)


def test_a_session_that_breaks_off_before_its_rows_are_complete_costs_nothing():
    account = RankAccount.of("peer", DATASET)
    session = pair(account)
    session.start()
    session.deliver_up()
    assert account.store == {account.name: COLUMNS}
    for _ in range(2):
        session.provider.abandon(TransportError("The stream ended."))
        assert account.store == {account.name: 0}


def test_a_session_that_ends_in_a_fault_costs_nothing():
    account = RankAccount.of("peer", DATASET)
    session = pair(account)
    session.start()
    session.deliver_up()
    session.to_provider(m.Finish())
    assert session.provider.error.code is ErrorCode.UNEXPECTED_MESSAGE
    assert account.store == {account.name: 0}


class Failing(PlaintextSuite):
    """Computes the product and fails to send it."""

    def covariance_evaluator(self, shape, session, rows, entropy):
        evaluator = super().covariance_evaluator(shape, session, rows, entropy)
        evaluator.finish = lambda: 1 / 0
        return evaluator


def test_a_session_whose_rows_are_complete_is_paid_for_however_it_ends():
    account = RankAccount.of("peer", DATASET)
    finished(account, suites=(Failing(),)).assert_aborted(ErrorCode.INTERNAL, by="provider")
    assert account.store == {account.name: COLUMNS}


def test_a_session_that_is_refused_for_another_reason_costs_nothing():
    account = RankAccount.of("peer", DATASET)
    refused = finished(account, min_rows_per_dimension=4)
    refused.assert_aborted(ErrorCode.TOO_FEW_ROWS, by="provider")
    assert account.store == {}


def test_accounts_are_read_and_written_under_the_lock():
    store = GuardedStore()
    account = RankAccount.of("peer", DATASET, store=store, lock=store)
    account.charge(5, 9)
    with pytest.raises(RemoteProtocolError):
        account.charge(5, 9)
    account.refund(5)
    assert not store.held
