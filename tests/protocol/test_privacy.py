"""A provider's noise is announced, accepted or refused, added once, and charged to its peer."""

from __future__ import annotations

import math
from dataclasses import replace

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from support.accounts import GuardedStore
from support.machines import training_client, training_provider
from support.pair import DATASET, PLAINTEXT, TOY_LWE, Pair, TrainingCase

from securealign.alignment.privacy import PrivateProblem
from securealign.alignment.secure import ClientProblem
from securealign.errors import (
    ConfigurationError,
    ErrorCode,
    KeyStoreError,
    RemoteProtocolError,
    SuiteError,
    TransportError,
)
from securealign.he.lwe.planner import OPERAND_NORM
from securealign.he.plaintext import PlaintextSuite
from securealign.he.scales import largest_exponents
from securealign.limits import Limits
from securealign.matrices import Rows
from securealign.protocol import messages as m
from securealign.protocol.negotiation import session_id
from securealign.protocol.policy.accounts import SharedRows
from securealign.protocol.policy.privacy import (
    Privacy,
    PrivacyAccount,
    gaussian_delta,
    gaussian_epsilon,
    sessions_within,
)
from securealign.protocol.policy.rank import RankAccount, rank_charge
from securealign.protocol.policy.rules import Policy
from securealign.protocol.resume.snapshot import restore, take_snapshot
from securealign.protocol.training.noise import (
    FINE_BITS,
    NoisePlan,
    extra_rows,
    gaussian,
    private_rows,
)
from securealign.wire import TrainingCodec

CASE = TrainingCase()
WIDTH = CASE.client_dim + 1
RULE = Privacy(epsilon=1.0, delta=1e-5, max_epsilon=2.0)
SEED, SESSION = bytes(range(32)), bytes(32)


# What sessions cost.


def exact_delta(mu: float, epsilon: float) -> float:
    """The formula of Balle and Wang with as many digits as it takes."""
    mpmath.mp.dps = 60
    normal = lambda x: mpmath.erfc(-x / mpmath.sqrt(2)) / 2  # noqa: E731 - a formula
    mu, epsilon = mpmath.mpf(mu), mpmath.mpf(epsilon)
    return float(normal(mu / 2 - epsilon / mu) - mpmath.exp(epsilon) * normal(-mu / 2 - epsilon / mu))


@given(mu=st.floats(0.02, 8), epsilon=st.floats(0, 20))
def test_delta_is_exact_far_into_the_tail(mu, epsilon):
    expected = exact_delta(mu, epsilon)
    if expected > 1e-250:
        assert gaussian_delta(mu, epsilon) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("epsilon", "delta", "multiplier"),
    [(1.0, 1e-5, 3.7304), (0.5, 1e-5, 7.0196), (2.0, 1e-5, 1.9938), (8.0, 1e-5, 0.5993)],
)
def test_multipliers_are_those_of_the_analytic_mechanism_and_below_the_classic_bound(epsilon, delta, multiplier):
    found = Privacy(epsilon=epsilon, delta=delta, max_epsilon=epsilon).noise_multiplier
    assert found == pytest.approx(multiplier, rel=2e-3)
    if epsilon <= 1:
        assert found < math.sqrt(2 * math.log(1.25 / delta)) / epsilon


@given(epsilon=st.floats(0.01, 50), delta=st.floats(1e-12, 0.1))
def test_a_multiplier_gives_back_its_epsilon(epsilon, delta):
    rule = Privacy(epsilon=epsilon, delta=delta, max_epsilon=epsilon)
    assert gaussian_epsilon(1 / rule.noise_multiplier, delta) == pytest.approx(epsilon, rel=1e-6)


def test_so_much_noise_that_delta_is_enough_costs_no_epsilon():
    assert gaussian_epsilon(0.0, 1e-6) == 0
    assert gaussian_epsilon(1e-7, 1e-6) == 0


@given(sessions=st.integers(1, 12))
def test_sessions_compose_like_one_with_less_noise(sessions):
    account = PrivacyAccount.of("peer", DATASET)
    rule = Privacy(epsilon=0.5, delta=1e-6, max_epsilon=1e5)
    for _ in range(sessions):
        account.charge(rule)
    together = gaussian_epsilon(math.sqrt(sessions) / rule.noise_multiplier, 1e-6)
    assert account.spent(1e-6) == pytest.approx(together, rel=1e-9)
    assert account.spent(1e-6) <= 0.5 * sessions * (1 + 1e-9)


def test_sessions_are_granted_up_to_the_largest_epsilon_and_a_refused_one_counts_nothing():
    account = PrivacyAccount.of("peer", DATASET)
    for _ in range(3):
        account.charge(RULE)
    before = dict(account.store)
    with pytest.raises(RemoteProtocolError, match="max_epsilon allows 2") as caught:
        account.charge(RULE)
    assert caught.value.code is ErrorCode.PRIVACY_BUDGET_EXHAUSTED
    assert account.store == before
    assert gaussian_epsilon(2 / RULE.noise_multiplier, RULE.delta) > 2


def test_one_session_may_use_all():
    PrivacyAccount.of("peer", DATASET).charge(Privacy(epsilon=1.0, max_epsilon=1.0))


def test_peers_and_data_sets_have_accounts_of_their_own_and_outlive_the_process():
    store: dict[str, float] = {}
    rule = Privacy(epsilon=1.0, max_epsilon=1.0)
    for place in (("a", DATASET), ("b", DATASET), ("a", bytes(32))):
        PrivacyAccount.of(*place, store=store).charge(rule)
    with pytest.raises(RemoteProtocolError):
        PrivacyAccount.of("a", DATASET, store=store).charge(rule)


@given(epsilon=st.floats(0.1, 4), share=st.floats(1, 5))
def test_so_many_sessions_are_granted_as_are_told_beforehand(epsilon, share):
    rule = Privacy(epsilon=epsilon, max_epsilon=share * epsilon)
    account = PrivacyAccount.of("peer", DATASET)
    for _ in range(sessions_within(rule)):
        account.charge(rule)
    with pytest.raises(RemoteProtocolError):
        account.charge(rule)


OTHER, THIRD = bytes([1]) * 32, bytes([2]) * 32


def following(store, dataset=DATASET, *related: SharedRows, peer: str = "peer") -> PrivacyAccount:
    return replace(PrivacyAccount.of(peer, dataset, store=store), related=related)


def test_what_a_row_cost_over_another_data_set_counts():
    store: dict[str, float] = {}
    rule = Privacy(epsilon=1.0, delta=1e-5, max_epsilon=1.4)
    following(store, OTHER).charge(rule)
    before = dict(store)
    with pytest.raises(RemoteProtocolError, match=r"epsilon = 1\.4\d at delta = 1e-05, 1 of it over other") as caught:
        following(store, DATASET, SharedRows(OTHER, 12, 1 << 11)).charge(rule)
    assert caught.value.code is ErrorCode.PRIVACY_BUDGET_EXHAUSTED
    assert store == before
    # The control: an account that does not follow rows grants it; so does that of another peer, and of other rows.
    following(store, DATASET, SharedRows(OTHER, 12, 1 << 11), peer="another").charge(rule)
    following(store, DATASET, SharedRows(THIRD, 12, 1 << 11)).charge(rule)
    following(store, DATASET).refund(rule)
    following(store, DATASET).charge(rule)


def test_costs_add_up_for_a_row_and_not_for_different_rows():
    store: dict[str, float] = {}
    for dataset in (OTHER, THIRD):
        following(store, dataset).charge(RULE)
    apart = following(store, DATASET, SharedRows(OTHER, 12, 0b011), SharedRows(THIRD, 12, 0b100 << 60))
    together = following(store, DATASET, SharedRows(OTHER, 12, 0b011), SharedRows(THIRD, 12, 0b110))
    mu = 1 / RULE.noise_multiplier
    assert apart.spent(RULE.delta) == pytest.approx(1.0)
    assert together.spent(RULE.delta) == pytest.approx(gaussian_epsilon(mu * math.sqrt(2), RULE.delta))
    together.charge(RULE)
    assert together.spent(RULE.delta) == pytest.approx(gaussian_epsilon(mu * math.sqrt(3), RULE.delta))
    # Only the own sessions are given back.
    for _ in range(2):
        together.refund(RULE)
        assert together.spent(RULE.delta) == pytest.approx(gaussian_epsilon(mu * math.sqrt(2), RULE.delta))


def test_the_accounts_of_related_data_sets_are_read_under_the_lock():
    store = GuardedStore()
    account = PrivacyAccount(store, f"{DATASET.hex()}/peer", store, related=(SharedRows(OTHER, 12, 1),))
    account.charge(RULE)
    account.refund(RULE)


def test_a_refund_gives_back_a_session_and_no_more():
    account = PrivacyAccount.of("peer", DATASET)
    account.charge(RULE)
    for _ in range(2):
        account.refund(RULE)
        assert account.spent(RULE.delta) == 0


@pytest.mark.parametrize(
    "change",
    [
        {"epsilon": 0},
        {"epsilon": math.inf},
        {"epsilon": math.nan},
        {"epsilon": 1e7, "max_epsilon": 1e8},
        {"delta": 0},
        {"delta": 1},
        {"row_norm": 0},
        {"max_epsilon": 0.99},
    ],
)
def test_rules_that_mean_nothing_are_refused(change):
    with pytest.raises(ConfigurationError) as caught:
        Privacy(**{"epsilon": 1.0, "max_epsilon": 1.0} | change)
    assert caught.value.hint


# The rows that carry the noise.

PLANS = st.builds(
    NoisePlan,
    rows=st.integers(3, 100_000),
    provider_dim=st.integers(1, 300),
    columns=st.integers(1, 300),
    row_norm=st.floats(1e-3, 1e3),
    multiplier=st.floats(0.1, 20),
)


@given(plan=PLANS)
def test_the_quantum_is_no_finer_than_what_lwe_holds_of_numbers_of_that_norm(plan):
    exponent = int(largest_exponents(np.array([plan.column_norm]), OPERAND_NORM)[0])
    assert plan.quantum >= 2.0**-exponent
    assert math.frexp(plan.quantum)[0] == 0.5
    rounding = math.sqrt(plan.provider_dim * plan.columns) * plan.quantum * 2.0**-FINE_BITS
    assert plan.deviation == pytest.approx(plan.multiplier * (plan.row_norm + rounding))
    assert rounding <= plan.row_norm


def rows_of(plan: NoisePlan, z_a, seed: bytes = SEED, session: bytes = SESSION):
    rows = private_rows(Rows(z_a), plan, seed, session)
    matrix = rows.block(0, rows.shape[0])
    count, width = len(z_a), plan.columns
    return matrix[:count], matrix[count : count + width], matrix[count + width :], rows


@given(seed=st.integers(0, 50), scale=st.sampled_from([0.0, 0.1, 1.0, 100.0]))
def test_rows_of_z_a_are_multiples_of_the_quantum_within_their_norm(seed, scale):
    plan = NoisePlan(400, 20, 6, 1.0, 4.0)
    z_a = np.random.default_rng(seed).normal(size=(400, 20)) / math.sqrt(20) * scale
    limited, coarse, fine, rows = rows_of(plan, z_a)
    assert np.linalg.norm(limited, axis=1).max() <= 1
    for part in (limited, coarse, fine):
        np.testing.assert_array_equal(part / plan.quantum, np.rint(part / plan.quantum))
    assert np.abs(fine).max() <= plan.quantum * 2 ** (FINE_BITS - 1)
    matrix = np.vstack([limited, coarse, fine])
    assert rows.shape == matrix.shape == (400 + extra_rows(6), 20)
    assert (rows.column_norms() == plan.column_norm).all()
    assert np.linalg.norm(matrix, axis=0).max() <= plan.column_norm


def test_short_rows_are_kept_and_long_ones_keep_their_direction():
    plan = NoisePlan(400, 20, 6, 1.0, 1.0)
    z_a = np.random.default_rng(0).normal(size=(400, 20))
    z_a /= np.linalg.norm(z_a, axis=1, keepdims=True)
    assert np.abs(rows_of(plan, z_a * 0.9)[0] - z_a * 0.9).max() <= plan.quantum / 2
    long = rows_of(plan, z_a * 7)[0]
    assert (long * z_a).sum(axis=1).min() > 0.98


def test_the_noise_of_an_entry_is_gaussian_and_as_wide_as_planned():
    plan = NoisePlan(50, 40, 60, 2.0, 3.0)
    _, coarse, fine, _ = rows_of(plan, np.zeros((50, 40)))
    noise = (coarse + 2.0**-FINE_BITS * fine).ravel() / plan.deviation
    assert stats.kstest(noise, "norm").pvalue > 1e-4
    assert stats.pearsonr(noise[1:], noise[:-1]).pvalue > 1e-4


def test_the_fine_part_takes_each_of_its_values_as_often():
    plan = NoisePlan(50, 100, 100, 1.0, 3.0)
    steps = rows_of(plan, np.zeros((50, 100)))[2].ravel() / plan.quantum + 2 ** (FINE_BITS - 1)
    counts = np.bincount(steps.astype(int), minlength=2**FINE_BITS)
    assert len(counts) == 2**FINE_BITS
    assert stats.chisquare(counts).pvalue > 1e-4


def test_noise_is_the_same_for_a_seed_and_a_session_and_another_for_any_other():
    plan, z_a = NoisePlan(3, 5, 2, 1.0, 1.0), np.zeros((3, 5))
    first = rows_of(plan, z_a)[1]
    np.testing.assert_array_equal(rows_of(plan, z_a)[1], first)
    assert not np.allclose(rows_of(plan, z_a, seed=bytes(32))[1], first)
    assert not np.allclose(rows_of(plan, z_a, session=b"\1" * 32)[1], first)


def test_the_ends_of_uniform_bytes_give_finite_numbers():
    numbers = gaussian(np.array([0, 2**64 - 1, 2**63], dtype="<u8").view(np.uint8))
    assert numbers[0] == -numbers[1] == pytest.approx(-8.2, abs=0.1)
    assert abs(numbers[2]) < 1e-15


def test_noise_that_leaves_no_precision_is_refused():
    with pytest.raises(SuiteError, match="leaves no precision") as caught:
        NoisePlan(10_000, 4096, 4096, 1.0, 200.0)
    assert caught.value.code is ErrorCode.PLAN_INFEASIBLE


# Sessions.


def problem(case: TrainingCase = CASE) -> PrivateProblem:
    return PrivateProblem(ClientProblem(case.z_b, 1e-3))


def pair(
    *, suite=PLAINTEXT, accept: bool = True, rule: Privacy | None = RULE, limits: Limits | None = None, **accounts
):
    """Return a session of twelve rows and five columns, of which the rank allows two."""
    private = problem()
    client = training_client([suite], ClientProblem(CASE.z_b, 1e-3).rows, private_rows=private.rows if accept else None)
    provider = training_provider(
        [suite],
        CASE.z_a,
        policy=Policy(allow_unencrypted=True, privacy=rule, max_rank_fraction=2.0),
        limits=limits or Limits(),
        **accounts,
    )
    return Pair(client, provider, TrainingCodec())


def finished(**options) -> Pair:
    session = pair(**options)
    session.start()
    session.carry()
    return session


@pytest.mark.parametrize("suite", [PLAINTEXT, TOY_LWE], ids=["plaintext", "toy"])
def test_the_product_is_that_of_limited_rows_and_the_announced_noise(suite):
    session = finished(suite=suite)
    session.assert_done()
    terms = session.client.privacy
    assert (terms.epsilon, terms.delta, terms.noise_multiplier) == (1.0, 1e-5, RULE.noise_multiplier)
    provider = session.provider
    plan = NoisePlan(12, CASE.provider_dim, WIDTH, 1.0, terms.noise_multiplier)
    hello, accept = (session.codec.decode(session.carried[number].frame) for number in (0, 1))
    identity = session_id("training", hello.hello.nonce, accept.accept.nonce)
    expected = private_rows(Rows(CASE.z_a), plan, provider._noise_seed, identity).block(0, 100)
    sent = problem().rows.block(0, 100)
    np.testing.assert_allclose(session.client.product(), expected.T @ sent, atol=2e-2)
    # Without the rows of noise it would be another.
    assert np.abs(expected[12:].T @ sent[12:]).max() > 1


def test_a_client_that_does_not_accept_noise_refuses_and_says_how_to():
    session = finished(accept=False)
    session.assert_aborted(ErrorCode.PRIVACY_REFUSED, by="client")
    assert "accept_noise = true" in session.client.error.hint


def test_a_client_that_would_accept_noise_gets_none_from_a_provider_without_a_rule():
    session = finished(rule=None)
    session.assert_done()
    assert session.client.privacy is None
    np.testing.assert_allclose(
        session.client.product(), CASE.z_a.T @ ClientProblem(CASE.z_b, 1e-3).rows.block(0, 12), atol=1e-9
    )


class Inexact(PlaintextSuite):
    @property
    def info(self):
        return replace(super().info, exact=False)


def test_a_suite_whose_errors_depend_on_the_rows_is_refused():
    finished(suite=Inexact()).assert_aborted(ErrorCode.PRIVACY_REFUSED, by="provider")


def test_rows_of_noise_count_against_the_limit_of_rows():
    exact = 12 + extra_rows(WIDTH)
    finished(limits=Limits(max_rows=exact)).assert_done()
    refused = finished(limits=Limits(max_rows=exact - 1))
    refused.assert_aborted(ErrorCode.LIMIT_EXCEEDED, by="provider")


def test_all_rows_of_noise_have_to_arrive():
    session = pair()
    session.start()

    def early(carried):
        message = session.codec.decode(carried.frame)
        if isinstance(message, m.RowBatch):
            return [session.codec.encode(m.RowBatch(first=0, count=12, data=message.data[: 12 * WIDTH * 8]))]
        return [carried.frame]

    session.carry(early)
    session.assert_aborted(ErrorCode.SEQUENCE_BROKEN, by="provider")


def accounts():
    return {
        "account": RankAccount.of("peer", DATASET),
        "privacy_account": PrivacyAccount.of("peer", DATASET),
    }


def columns_charged(account):
    return account.store.get(f"charged/{account.name}")


def test_a_session_is_charged_to_both_accounts():
    both = accounts()
    finished(**both).assert_done()
    assert columns_charged(both["account"]) == rank_charge(WIDTH, CASE.rows)
    assert both["privacy_account"].spent(RULE.delta) == pytest.approx(1.0)


def test_a_session_that_breaks_off_before_its_rows_are_complete_costs_nothing():
    both = accounts()
    session = pair(**both)
    session.start()
    session.deliver_up()
    assert both["privacy_account"].spent(RULE.delta) == pytest.approx(1.0)
    for _ in range(2):
        session.provider.abandon(TransportError("The stream ended."))
        assert both["privacy_account"].spent(RULE.delta) == 0
        assert columns_charged(both["account"]) == 0


def test_a_session_beyond_the_privacy_budget_costs_no_rank():
    both = accounts()
    rule = Privacy(epsilon=1.0, delta=1e-5, max_epsilon=1.0)
    finished(rule=rule, **both).assert_done()
    finished(rule=rule, **both).assert_aborted(ErrorCode.PRIVACY_BUDGET_EXHAUSTED, by="provider")
    assert columns_charged(both["account"]) == rank_charge(WIDTH, CASE.rows)


def test_the_privacy_budget_holds_without_an_account_of_rank():
    account = PrivacyAccount.of("peer", DATASET)
    rule = Privacy(epsilon=1.0, delta=1e-5, max_epsilon=1.0)
    finished(rule=rule, privacy_account=account).assert_done()
    spent = dict(account.store)
    finished(rule=rule, privacy_account=account).assert_aborted(ErrorCode.PRIVACY_BUDGET_EXHAUSTED, by="provider")
    assert account.store == spent


def test_a_session_beyond_the_rank_costs_no_privacy():
    both = accounts()
    both["account"].charge(2 * WIDTH, 12, 2.0)
    finished(**both).assert_aborted(ErrorCode.RANK_BUDGET_EXHAUSTED, by="provider")
    assert both["privacy_account"].spent(RULE.delta) == 0


def test_a_session_does_not_go_on_under_another_rule():
    session = pair()
    session.provider.record.wanted = True
    session.start()
    session.deliver_up()
    session.deliver_down()
    session.deliver_up()
    other = pair(rule=Privacy(epsilon=2.0, delta=1e-5, max_epsilon=2.0)).provider
    with pytest.raises(KeyStoreError, match="Policy has changed"):
        restore(other, take_snapshot(session.provider))


def test_a_provider_that_is_restored_goes_on_with_the_noise_that_it_had():
    both = accounts()
    session = pair(**both)
    session.provider.record.wanted = True
    session.start()
    session.deliver_up()
    session.deliver_down()
    session.deliver_up()
    snapshot = take_snapshot(session.provider)
    other = pair(**both).provider
    other.record.wanted = True
    restore(other, snapshot)
    assert other._noise_seed == session.provider._noise_seed != b""
    session.provider = other
    session.carry()
    session.assert_done()
    reference = finished()
    np.testing.assert_array_equal(session.client.product(), reference.client.product())
