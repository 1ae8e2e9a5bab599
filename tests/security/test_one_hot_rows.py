"""A client that encrypts one-hot rows instead of embeddings reads the provider's public embeddings, row by row.

Any session shows d_B + 1 combinations of the rows of Z_A; what the provider can bound is how many there are in all. The
control is a provider without an account, or with the old rule N > d_B.
"""

from __future__ import annotations

import numpy as np
import pytest
from support.machines import training_client, training_provider
from support.pair import DATASET, SUITES, Pair

from securealign.errors import ErrorCode, SecurealignError
from securealign.matrices import FloatMatrix
from securealign.protocol.policy import rules as policy_module
from securealign.protocol.policy.rank import RankAccount
from securealign.protocol.policy.rules import Policy
from securealign.wire import TrainingCodec

EACH_SUITE = pytest.mark.parametrize("suite", SUITES.values(), ids=SUITES)
N, DIM_A, COLUMNS = 40, 3, 8
Z_A = np.random.default_rng(0).normal(size=(N, DIM_A))
#: Of a decrypted entry under the toy parameters, against entries of size one.
NOISE = 0.01


def product(suite, sent: FloatMatrix, account: RankAccount | None, *, z_a: FloatMatrix = Z_A, **policy) -> FloatMatrix:
    """Run a session over whatever the client likes to send and return what it decrypts; raises why not."""
    codec = TrainingCodec()
    client = training_client([suite], sent)
    rules = Policy(allow_unencrypted=True, **policy)
    provider = training_provider([suite], z_a, policy=rules, account=account)
    pair = Pair(client, provider, codec)
    pair.start()
    pair.carry()
    if provider.error is not None:
        raise provider.error
    return client.product()


def granted(*arguments, **policy) -> FloatMatrix | None:
    """Return what a session shows, or nothing if the peer's columns are used up."""
    try:
        return product(*arguments, **policy)
    except SecurealignError as error:
        if error.code is not ErrorCode.RANK_BUDGET_EXHAUSTED:
            raise
        return None


def one_hot(first: int) -> FloatMatrix:
    """Rows whose product with Z_A is rows `first` and following of Z_A."""
    return np.eye(N)[:, first : first + COLUMNS]


def rows_read(suite, account: RankAccount | None, **policy) -> dict[int, FloatMatrix]:
    """Read rows of Z_A, session by session, until one is refused."""
    read: dict[int, FloatMatrix] = {}
    for first in range(0, N, COLUMNS):
        shown = granted(suite, one_hot(first), account, **policy)
        if shown is None:
            break
        read |= dict(enumerate(shown.T, start=first))
    return read


@EACH_SUITE
def test_one_session_reads_as_many_rows_as_it_has_columns(suite):
    """Outside the claim: no count of columns prevents it, since an honest session has as many."""
    shown = product(suite, one_hot(0), RankAccount.of("peer", DATASET))
    assert np.abs(shown.T - Z_A[:COLUMNS]).max() < NOISE


@EACH_SUITE
def test_sessions_without_an_account_read_every_row(suite):
    read = rows_read(suite, None)
    assert sorted(read) == list(range(N))
    assert np.abs(np.array([read[row] for row in range(N)]) - Z_A).max() < NOISE


@EACH_SUITE
@pytest.mark.parametrize(("fraction", "sessions"), [(0.5, 1), (1.0, 2)])
def test_an_account_ends_the_reading_below_its_fraction(suite, fraction, sessions):
    read = rows_read(suite, RankAccount.of("peer", DATASET), max_rank_fraction=fraction)
    assert len(read) == sessions * COLUMNS < fraction * N


@pytest.mark.parametrize("guarded", [False, True])
def test_random_combinations_add_up_like_rows(guarded):
    """An attack that no check of what is sent would find: M of full rank, without a zero in it."""
    account = RankAccount.of("peer", DATASET) if guarded else None
    random = np.random.default_rng(1)
    sent, shown = [], []
    for _ in range(N // COLUMNS):
        block = random.normal(size=(N, COLUMNS))
        answer = granted(SUITES["plaintext"], block, account, max_rank_fraction=0.5)
        if answer is not None:
            sent.append(block.T)
            shown.append(answer.T)
    solved = np.linalg.lstsq(np.vstack(sent), np.vstack(shown), rcond=None)[0]
    explained = 1 - np.sum((solved - Z_A) ** 2) / np.sum(Z_A**2)
    if guarded:
        # A session of eight columns shows a part of 8/40, and nothing about the rest of independent rows.
        assert explained == pytest.approx(8 / 40, abs=0.15)
        unseen = np.linalg.svd(np.vstack(sent))[2][len(sent) * COLUMNS :]
        assert np.abs(unseen @ solved).max() < 1e-9
    else:
        assert np.abs(solved - Z_A).max() < 1e-9


def test_an_honest_client_may_align_again_and_learns_nothing_new():
    account = RankAccount.of("peer", DATASET)
    z_b = np.hstack([np.random.default_rng(3).normal(size=(N, COLUMNS - 1)), np.ones((N, 1))])
    first, second = (product(SUITES["plaintext"], z_b, account, max_rank_fraction=1.0) for _ in range(2))
    assert (first == second).all()
    # The provider cannot see that, so the third session is refused like one of an attacker.
    with pytest.raises(SecurealignError) as caught:
        product(SUITES["plaintext"], z_b, account, max_rank_fraction=1.0)
    assert caught.value.code is ErrorCode.RANK_BUDGET_EXHAUSTED


class OldPolicy(Policy):
    """Counts the dimensions of the client's encoder and forgets the constant column."""

    def check_training(self, rows, dimension, limits):
        assert rows > dimension


def test_as_many_rows_as_columns_would_show_all_in_one_session(monkeypatch):
    """N = d_B + 1, which the rule N > d_B let pass: honest embeddings and the constant column are invertible."""
    z_a = Z_A[:COLUMNS]
    sent = np.hstack([np.random.default_rng(4).normal(size=(COLUMNS, COLUMNS - 1)), np.ones((COLUMNS, 1))])
    with pytest.raises(SecurealignError) as caught:
        product(SUITES["plaintext"], sent, None, z_a=z_a)
    assert caught.value.code is ErrorCode.TOO_FEW_ROWS
    monkeypatch.setattr(policy_module.Policy, "check_training", OldPolicy.check_training)
    shown = product(SUITES["plaintext"], sent, None, z_a=z_a)
    assert np.abs(np.linalg.solve(sent.T, shown.T) - z_a).max() < 1e-9
