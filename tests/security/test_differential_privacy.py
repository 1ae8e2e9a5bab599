"""Was the provider's embedding of one public text among its rows? An observer who knows all others looks at products.

The observer is the client, follows the protocol, and runs the best test there is, the likelihood ratio. Without noise
it is right every time; with noise its rates of right and wrong alarms obey (epsilon, delta), and sessions add up as the
accountant says. A second observer looks at remainders of answers under `lwe`, which coarse noise would leave bare.
"""

from __future__ import annotations

import math
from contextlib import nullcontext

import numpy as np
import pytest
from scipy import stats
from support.entropy import SeededEntropy
from support.machines import training_client, training_provider
from support.pair import SUITES, Pair
from support.toy import TOY

from securealign.errors import ErrorCode
from securealign.he.interface import CovarianceShape
from securealign.he.lwe import covariance
from securealign.he.lwe.covariance import covariance_plan
from securealign.he.lwe.planner import OPERAND_NORM
from securealign.he.scales import largest_exponents
from securealign.matrices import FloatMatrix, Rows, StackedRows, UnitRows
from securealign.protocol.policy.accounts import SharedRows
from securealign.protocol.policy.privacy import Privacy, PrivacyAccount, gaussian_delta, gaussian_epsilon
from securealign.protocol.policy.rules import Policy
from securealign.protocol.training.noise import FINE_BITS, NoisePlan, private_rows
from securealign.wire import TrainingCodec

N, D_A, WIDTH = 8, 4, 3
#: Standard errors by which a measured rate may be off.
MARGIN = 4.5
RANDOM = np.random.default_rng(0)
Z_A = RANDOM.normal(size=(N, D_A))
Z_A /= np.linalg.norm(Z_A, axis=1, keepdims=True)
SENT = RANDOM.normal(size=(N, WIDTH))
SENT /= np.linalg.norm(SENT, axis=1, keepdims=True) * (1 + 1e-12)
PRIVATE = StackedRows([Rows(SENT), UnitRows(WIDTH, 1.0), UnitRows(WIDTH, 2.0**-FINE_BITS)])
TARGET = 5


def product(suite, present: bool, privacy: Privacy | None, trial: int) -> FloatMatrix:
    """Run a session with or without the target's row and return what the client decrypts."""
    z_a = Z_A.copy()
    if not present:
        z_a[TARGET] = 0
    codec = TrainingCodec()
    seed = f"{trial} {present}".encode()
    client = training_client([suite], SENT, entropy=SeededEntropy(b"client" + seed), private_rows=PRIVATE)
    provider = training_provider(
        [suite], z_a, entropy=SeededEntropy(b"provider" + seed), policy=Policy(allow_unencrypted=True, privacy=privacy)
    )
    pair = Pair(client, provider, codec)
    pair.start()
    pair.carry()
    pair.assert_done()
    return client.product()


def evidence(seen: FloatMatrix) -> float:
    """Return the likelihood ratio's statistic: what the target adds, in what the others leave; 0 absent, 1 present."""
    others = np.delete(Z_A, TARGET, axis=0).T @ np.delete(SENT, TARGET, axis=0)
    change = np.outer(Z_A[TARGET], SENT[TARGET])
    return float(np.sum((seen - others) * change) / np.sum(change**2))


def violations(absent: FloatMatrix, present: FloatMatrix, epsilon: float, delta: float) -> list[float]:
    """Return by how many standard errors the alarms at each threshold exceed e^epsilon wrong ones and delta."""
    found = []
    for threshold in np.linspace(-1, 2, 13):
        for wrong, right in (
            (absent > threshold, present > threshold),
            (present < threshold, absent < threshold),
        ):
            excess = right.mean() - math.exp(epsilon) * wrong.mean() - delta
            error = math.sqrt((right.var() + math.exp(2 * epsilon) * wrong.var() + 1 / len(wrong)) / len(wrong))
            found.append(excess / error)
    return found


@pytest.mark.parametrize("suite", SUITES.values(), ids=SUITES)
def test_without_noise_one_product_tells_whether_a_row_took_part(suite):
    for trial in range(5):
        assert evidence(product(suite, False, None, trial)) == pytest.approx(0, abs=0.01)
        assert evidence(product(suite, True, None, trial)) == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize(("name", "trials"), [("plaintext", 500), pytest.param("toy", 120, marks=pytest.mark.thorough)])
def test_with_noise_alarms_obey_epsilon_and_delta(name, trials):
    rule = Privacy(epsilon=1.0, delta=1e-3, max_epsilon=1.0)
    absent, present = (
        np.array([evidence(product(SUITES[name], is_there, rule, trial)) for trial in range(trials)])
        for is_there in (False, True)
    )
    assert max(violations(absent, present, rule.epsilon, rule.delta)) < MARGIN
    # The noise is what was promised and not ten times as much: the mean still moves by the target.
    width = np.concatenate([absent, present - 1]).std()
    assert width == pytest.approx(rule.noise_multiplier, rel=0.15)


def test_a_tenth_of_the_noise_would_not():
    """The control: the same test finds the violation."""
    honest = Privacy(epsilon=1.0, delta=1e-3, max_epsilon=1.0)
    weak = Privacy(epsilon=40.0, delta=1e-3, max_epsilon=40.0)
    assert weak.noise_multiplier < honest.noise_multiplier / 10
    absent, present = (
        np.array([evidence(product(SUITES["plaintext"], is_there, weak, trial)) for trial in range(100)])
        for is_there in (False, True)
    )
    assert max(violations(absent, present, honest.epsilon, honest.delta)) > 2 * MARGIN


@pytest.mark.thorough
def test_results_of_sessions_add_up_as_the_accountant_says():
    """The mean of k products is k times as telling: it breaks the epsilon of one session, and keeps that of all."""
    rule, sessions, groups = Privacy(epsilon=1.0, delta=1e-3, max_epsilon=99.0), 16, 60
    absent, present = (
        np.array([evidence(product(SUITES["plaintext"], is_there, rule, trial)) for trial in range(sessions * groups)])
        .reshape(groups, sessions)
        .mean(axis=1)
        for is_there in (False, True)
    )
    assert max(violations(absent, present, rule.epsilon, rule.delta)) > MARGIN
    spread = math.sqrt((absent.var() + present.var()) / 2)
    mu = (present.mean() - absent.mean()) / spread
    # Standard error of mu: of two means, and of their common spread.
    error = math.sqrt((2 + mu**2 / 4) / groups)
    accounted = math.sqrt(sessions) / rule.noise_multiplier
    assert abs(mu - accounted) < MARGIN * error
    assert gaussian_epsilon(accounted, rule.delta) > 5 * rule.epsilon


def trained_over_many_data_sets(present: bool, seed: int, *, follows_rows: bool) -> list[float]:
    """Return the evidence of all products granted to a client, whose provider changes its last text each time.

    The budget allows one session over each set of texts.
    """
    rule, store, found = Privacy(epsilon=1.0, delta=1e-3, max_epsilon=1.0), {}, []
    served: list[SharedRows] = []
    z_a = Z_A.copy()
    if not present:
        z_a[TARGET] = 0
    for number in range(100):
        digest, trial = bytes([number]) * 32, f"{seed} {number} {present}".encode()
        z_a[-1], sent = np.roll(Z_A[-1], number), SENT.copy()
        account = PrivacyAccount(
            store, f"{digest.hex()}/peer", nullcontext(), related=tuple(served) if follows_rows else ()
        )
        client = training_client(
            [SUITES["plaintext"]], sent, digest, entropy=SeededEntropy(b"client" + trial), private_rows=PRIVATE
        )
        provider = training_provider(
            [SUITES["plaintext"]],
            z_a,
            digest,
            entropy=SeededEntropy(b"provider" + trial),
            policy=Policy(allow_unencrypted=True, privacy=rule),
            privacy_account=account,
        )
        pair = Pair(client, provider, TrainingCodec())
        pair.start()
        pair.carry()
        if provider.error is not None:
            assert provider.error.code is ErrorCode.PRIVACY_BUDGET_EXHAUSTED
            continue
        # The client knows the provider's other embeddings, the changed one included.
        last = np.outer(z_a[-1] - Z_A[-1], sent[-1])
        found.append(evidence(client.product() - last))
        served.append(SharedRows(digest, N, (1 << N - 1) - 1))
    return found


def test_a_text_that_changes_gives_no_new_budget_for_the_others():
    for present in (False, True):
        assert len(trained_over_many_data_sets(present, 0, follows_rows=True)) == 1
    # The control: accounts of each data set alone grant every session, and their mean shows whether the row was there.
    for seed in range(2):
        for present in (False, True):
            found = trained_over_many_data_sets(present, seed, follows_rows=False)
            assert len(found) == 100
            assert (np.mean(found) > 0.5) == present
    rule = Privacy(epsilon=1.0, delta=1e-3, max_epsilon=1.0)
    assert gaussian_epsilon(10 / rule.noise_multiplier, rule.delta) > 10 * rule.max_epsilon


def test_a_row_beyond_its_norm_shows_no_more_than_one_within():
    """Rows are clipped: a text whose embedding is a hundred times as long moves the product as much as others."""
    plan = NoisePlan(N, D_A, WIDTH, 1.0, 4.0)
    long = Z_A.copy()
    long[TARGET] *= 100
    moved = [
        private_rows(Rows(z_a), plan, bytes(32), bytes(32)).block(0, 99).T @ PRIVATE.block(0, 99) for z_a in (Z_A, long)
    ]
    assert np.linalg.norm(moved[1] - moved[0]) < 0.01
    assert np.linalg.norm((long - Z_A).T @ SENT) > 50


def test_a_client_that_scales_its_rows_gets_past_the_noise():
    """Outside the claim: nothing proves that encrypted rows are as short as promised."""
    rule = Privacy(epsilon=1.0, delta=1e-3, max_epsilon=1.0)
    plan = NoisePlan(N, D_A, WIDTH, 1.0, rule.noise_multiplier)
    z_a = private_rows(Rows(Z_A), plan, bytes(32), bytes(32)).block(0, 99)
    forged = np.vstack([SENT * 1e4, PRIVATE.block(N, 99)])
    assert evidence(z_a.T @ forged / 1e4) == pytest.approx(1, abs=0.01)


# Remainders, in a model of `lwe`: an answer is an integer product plus a flood of a whole number of steps.

SIDE, SIGMA, QUANTUM = 60, 4.0, 0.25


def remainders(fine_bits: int, present: bool, trials: int) -> FloatMatrix:
    """Return the statistic of an observer who knows where rounding to a step carries, given the remainder it sees.

    Each entry is the target's part, noise in steps, and a flood; the remainder by a step says whether the target's part
    would carry into the next step, and only entries that do are counted.
    """
    random = np.random.default_rng(fine_bits * 2 + present)
    step = QUANTUM * 2.0**-fine_bits
    change = np.full((SIDE, SIDE), 1 / SIDE)
    found = []
    for _ in range(trials):
        noise = np.rint(random.normal(size=change.shape) * SIGMA / step) * step
        flood = random.integers(0, 2, size=change.shape) * step + random.random(change.shape) * step
        seen = noise + flood + (change if present else 0)
        carries = np.floor(seen / step) - np.floor((seen - change) / step)
        found.append(np.sum(np.floor(seen / step) * carries) / np.sqrt(np.sum(carries**2)))
    return np.array(found)


def separation(fine_bits: int) -> float:
    """Return mu of the observer: the distance of both means over the deviation."""
    absent, present = remainders(fine_bits, False, 400), remainders(fine_bits, True, 400)
    return float(
        (present.mean() - absent.mean()) / np.concatenate([absent - absent.mean(), present - present.mean()]).std()
    )


def test_remainders_tell_more_than_the_noise_allows_if_it_moves_in_coarse_steps():
    assert separation(0) > 2 / SIGMA


def test_fine_steps_leave_remainders_that_tell_no_more_than_the_product():
    allowed = (1 + SIDE * QUANTUM * 2.0**-FINE_BITS) / SIGMA
    assert separation(FINE_BITS) < allowed + 0.15
    assert gaussian_delta(allowed, 1.0) < gaussian_delta(2 / SIGMA, 1.0)


def test_steps_of_noise_under_lwe_divide_the_flood():
    """All are powers of two, so every remainder of a flood is equally likely."""
    plan = NoisePlan(N, D_A, WIDTH, 1.0, 4.0)
    product_plan = covariance_plan(TOY, CovarianceShape(rows=N + 2 * WIDTH, provider_dim=D_A, columns=WIDTH))
    own = largest_exponents(np.array([plan.column_norm]), OPERAND_NORM)
    sent = largest_exponents(PRIVATE.column_norms(), product_plan.message_norm)
    steps = math.log2(plan.quantum) - FINE_BITS + own + sent
    assert (steps == np.rint(steps)).all()
    assert steps.min() >= 0
    assert steps.max() <= product_plan.flood_bits + 1


@pytest.mark.thorough
@pytest.mark.parametrize("flooding", [False, True])
def test_remainders_of_lwe_are_uniform_with_the_flood_and_show_the_rows_without(monkeypatch, flooding):
    if not flooding:
        monkeypatch.setattr(covariance, "flooded", lambda plan, answer, entropy: answer)
    rule = Privacy(epsilon=1.0, delta=1e-3, max_epsilon=1.0)
    step = NoisePlan(N, D_A, WIDTH, 1.0, rule.noise_multiplier).quantum * 2.0**-FINE_BITS
    seen = np.array([product(SUITES["toy"], True, rule, trial)[0, 0] for trial in range(150)]) / step
    assert (stats.kstest(seen % 1, "uniform").pvalue > 1e-4) == flooding
