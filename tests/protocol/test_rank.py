"""What a peer's training sessions are charged stays below a fraction of the rows, and follows the rows."""

from __future__ import annotations

import math

import pytest
from support.accounts import GuardedStore
from support.machines import training_provider
from support.pair import DATASET, PLAINTEXT, Pair, TrainingCase

from securealign.errors import ErrorCode, RemoteProtocolError, TransportError
from securealign.he.lwe.planner import OPERAND_NORM
from securealign.he.plaintext import PlaintextSuite
from securealign.protocol import messages as m
from securealign.protocol.policy.accounts import SharedRows
from securealign.protocol.policy.rank import (
    RankAccount,
    charged_datasets,
    rank_allowance,
    rank_charge,
    rows_needed,
    sessions_allowed,
)
from securealign.protocol.policy.rules import Policy

ROWS = 40
CASE = TrainingCase(rows=ROWS)
#: What a session of five columns is charged.
CHARGE = 12
OTHER = bytes(32)


def charged(account: RankAccount) -> dict[str, float]:
    """Return the store of an account that was charged a session."""
    return {f"charged/{account.name}": CHARGE}


def account_of(store, dataset=DATASET, *related: SharedRows) -> RankAccount:
    account = RankAccount.of("peer", dataset, store=store)
    return RankAccount(account.store, account.name, account.lock, related=related)


def sharing(common: int, *, rows: int = ROWS, dataset: bytes = OTHER) -> SharedRows:
    """Return another data set that holds the first rows of the one that is served."""
    return SharedRows(dataset, rows, (1 << common) - 1)


def pair(account: RankAccount, *, suites=(PLAINTEXT,), **policy) -> Pair:
    """Return a session of five columns whose provider keeps an account."""
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


@pytest.mark.parametrize(("fraction", "sessions"), [(1.0, 3), (0.9, 2), (0.62, 2), (0.6, 1), (0.5, 1), (0.31, 1)])
def test_sessions_are_granted_while_their_charges_stay_below_the_fraction(fraction, sessions):
    account = RankAccount.of("peer", DATASET)
    for _ in range(sessions):
        finished(account, max_rank_fraction=fraction).assert_done()
    refused = finished(account, max_rank_fraction=fraction)
    refused.assert_aborted(ErrorCode.RANK_BUDGET_EXHAUSTED, by="provider")
    assert account.store == {f"charged/{account.name}": sessions * CHARGE}
    # Nothing but the greeting and its refusal has travelled.
    assert len(refused.carried) == 2


def test_a_first_session_that_is_too_wide_is_refused_as_well():
    account = RankAccount.of("peer", DATASET)
    finished(account, max_rank_fraction=12 / 40).assert_aborted(ErrorCode.RANK_BUDGET_EXHAUSTED, by="provider")
    assert account.store == {}


@pytest.mark.parametrize(
    ("rows", "fraction", "allowed"), [(12, 1.0, 11), (12, 0.5, 5), (13, 0.5, 6), (10_000, 0.5, 4_999)]
)
def test_the_sum_stays_below_the_fraction_and_never_reaches_it(rows, fraction, allowed):
    assert rank_allowance(rows, fraction) == allowed


def test_a_column_is_charged_as_a_combination_and_the_rows_that_its_bits_can_hold():
    for rows, factor in ((2000, 2.5), (10_000, 2.6), (1 << 20, 3.4)):
        assert rank_charge(1000, rows) / 1000 == pytest.approx(factor, abs=0.05)
    # An entry of Z_A of half the largest norm, as a Gaussian number of so many units.
    assert OPERAND_NORM / 2 * math.sqrt(2 * math.pi * math.e) == pytest.approx(2.07e5, rel=2e-3)
    assert rank_charge(0, 10) == 0
    # Where an entry holds less than a bit, as if it held one.
    assert rank_charge(2, 1 << 40) == 2 * 19


def test_how_many_texts_a_session_needs_is_known_beforehand():
    for dimension, rows in ((384, 1907), (768, 3907), (1024, 5267), (1536, 8027)):
        assert rows_needed(dimension + 1, 0.5) == rows
        assert sessions_allowed(dimension + 1, rows, 0.5) == 1
        assert sessions_allowed(dimension + 1, rows - 1, 0.5) == 0
    assert sessions_allowed(769, 10_000, 0.5) == 2
    spent = 2 * rank_charge(769, 10_000)
    again = rows_needed(769, 0.5, spent)
    assert spent + rank_charge(769, again) <= rank_allowance(again, 0.5)
    assert spent + rank_charge(769, again - 1) > rank_allowance(again - 1, 0.5)


def test_the_reason_names_the_rule_and_what_to_do():
    account = RankAccount.of("peer", DATASET)
    assert account.charge(5, 40, 0.5) == 19 - CHARGE
    with pytest.raises(RemoteProtocolError) as caught:
        account.charge(5, 40, 0.5)
    assert "5 columns of the cross-covariance over 40 public texts, charged as 12" in caught.value.message
    assert "charged 12 before" in caught.value.message
    assert "max_rank_fraction = 0.5 allows 19" in caught.value.message
    assert f"agree on {rows_needed(5, 0.5, CHARGE)} public texts in all or on new public texts" in caught.value.hint
    assert "new texts" in caught.value.code.sentence


def test_peers_and_data_sets_have_accounts_of_their_own():
    store = {}
    for place in (("a", DATASET), ("b", DATASET), ("a", OTHER)):
        RankAccount.of(*place, store=store).charge(5, ROWS, 0.5)
    for place in (("a", DATASET), ("b", DATASET), ("a", OTHER)):
        with pytest.raises(RemoteProtocolError):
            RankAccount.of(*place, store=store).charge(5, ROWS, 0.5)


def test_counts_of_columns_of_the_first_release_are_converted_when_they_are_read():
    for columns, left in ((5, 19 - 12 - 3), (7, 19 - 16 - 3)):
        store = {f"{DATASET.hex()}/peer": columns}
        assert account_of(store).charge(1, ROWS, 0.5) == left
        assert store == {f"{DATASET.hex()}/peer": columns, f"charged/{DATASET.hex()}/peer": 3}
    with pytest.raises(RemoteProtocolError):
        account_of({f"{DATASET.hex()}/peer": 5}).charge(5, ROWS, 0.5)


def test_a_session_that_the_first_release_charged_is_not_refunded_below_zero():
    store = {f"{DATASET.hex()}/peer": 5}
    account = account_of(store)
    account.refund(5, ROWS)
    assert store[f"charged/{account.name}"] == 0


def test_charges_carry_over_for_the_rows_in_common():
    # (rows in common, rows of the new data set, what of the charge counts there)
    for common, rows, carried in ((40, 100, CHARGE), (12, 100, CHARGE), (4, 100, 4), (0, 100, 0)):
        store = {}
        account_of(store, OTHER).charge(5, ROWS, 0.5)
        left = account_of(store, DATASET, sharing(common)).charge(1, rows, 0.5)
        assert left == rank_allowance(rows, 0.5) - carried - rank_charge(1, rows)
    # The same for counts of the first release, which become charges over the rows of their data set.
    store = {f"{OTHER.hex()}/peer": 5}
    left = account_of(store, DATASET, sharing(40)).charge(1, 100, 0.5)
    assert left == rank_allowance(100, 0.5) - CHARGE - rank_charge(1, 100)


def test_what_is_carried_over_counts_towards_the_fraction():
    store = {}
    for _ in range(3):
        account_of(store, OTHER).charge(5, ROWS, 1.0)
    # 36 of 49 are carried over, so that 13 are left: five columns and not six.
    account = account_of(store, DATASET, sharing(40))
    with pytest.raises(RemoteProtocolError, match="charged 36 before, 36 of it over other texts") as caught:
        account.charge(6, 100, 0.5)
    assert caught.value.code is ErrorCode.RANK_BUDGET_EXHAUSTED
    account.charge(5, 100, 0.5)
    # A peer that was charged nothing before has nothing to carry over.
    other = RankAccount.of("another", DATASET, store=store)
    RankAccount(store, other.name, other.lock, related=account.related).charge(6, 100, 0.5)


@pytest.mark.parametrize("added", [0, 11, 12])
def test_a_data_set_that_adds_fewer_rows_than_were_charged_is_refused(added):
    store = {}
    account_of(store, OTHER).charge(5, ROWS, 0.5)
    account = account_of(store, DATASET, sharing(ROWS))
    if added == CHARGE:
        assert account.charge(5, ROWS + added, 1.0) >= 0
        return
    before = dict(store)
    with pytest.raises(RemoteProtocolError) as caught:
        account.charge(1, ROWS + added, 1.0)
    assert caught.value.code is ErrorCode.RANK_BUDGET_EXHAUSTED
    assert f"hold {added} that are new to a peer which was charged 12" in caught.value.message
    assert f"Add {12 - added} more new public texts, or put as many in the place" in caught.value.hint
    assert store == before


def test_rows_count_as_new_only_if_no_data_set_that_was_charged_holds_them():
    store, third = {}, bytes([1]) * 32
    for dataset in (OTHER, third):
        account_of(store, dataset).charge(5, ROWS, 0.5)
    # Rows 0 to 39 and 40 to 79 are those of the other two: the rest is what the three results differ by.
    halves = sharing(40), SharedRows(third, ROWS, sharing(40).common << 40)
    with pytest.raises(RemoteProtocolError, match="hold 11 that are new"):
        account_of(store, DATASET, *halves).charge(1, 91, 1.0)
    account_of(store, DATASET, *halves).charge(1, 92, 1.0)
    # A data set over which the peer was charged nothing shows nothing.
    halves = sharing(40), SharedRows(bytes([2]) * 32, ROWS, sharing(40).common << 40)
    account_of({f"charged/{OTHER.hex()}/peer": 12}, DATASET, *halves).charge(1, 91, 1.0)


def test_data_sets_are_known_by_what_anyone_was_charged():
    first, second, third = (bytes([number]).hex() * 32 for number in range(3))
    assert charged_datasets({f"{first}/a/b": 5, f"charged/{second}/c": 1, f"charged/{third}/c": 0}) == {first, second}


def test_a_session_that_breaks_off_before_its_rows_are_complete_costs_nothing():
    account = RankAccount.of("peer", DATASET)
    session = pair(account)
    session.start()
    session.deliver_up()
    assert account.store == charged(account)
    for _ in range(2):
        session.provider.abandon(TransportError("The stream ended."))
        assert account.store == dict.fromkeys(charged(account), 0)


def test_a_session_that_ends_in_a_fault_costs_nothing():
    account = RankAccount.of("peer", DATASET)
    session = pair(account)
    session.start()
    session.deliver_up()
    session.to_provider(m.Finish())
    assert session.provider.error.code is ErrorCode.UNEXPECTED_MESSAGE
    assert account.store == dict.fromkeys(charged(account), 0)


class Failing(PlaintextSuite):
    """Computes the product and fails to send it."""

    def covariance_evaluator(self, shape, session, rows, entropy):
        evaluator = super().covariance_evaluator(shape, session, rows, entropy)
        evaluator.finish = lambda: 1 / 0
        return evaluator


def test_a_session_whose_rows_are_complete_is_paid_for_however_it_ends():
    account = RankAccount.of("peer", DATASET)
    finished(account, suites=(Failing(),)).assert_aborted(ErrorCode.INTERNAL, by="provider")
    assert account.store == charged(account)


def test_a_session_that_is_refused_for_another_reason_costs_nothing():
    account = RankAccount.of("peer", DATASET)
    refused = finished(account, min_rows_per_dimension=11)
    refused.assert_aborted(ErrorCode.TOO_FEW_ROWS, by="provider")
    assert account.store == {}


def test_accounts_are_read_and_written_under_the_lock():
    store = GuardedStore()
    account = RankAccount.of("peer", DATASET, store=store, lock=store)
    account.charge(5, ROWS, 0.5)
    with pytest.raises(RemoteProtocolError):
        account.charge(5, ROWS, 0.5)
    account.refund(5, ROWS)
    assert not store.held
