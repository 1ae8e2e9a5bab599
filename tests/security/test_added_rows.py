"""Honest results over two data sets that differ by a few rows show these rows.

The client trains before and after the provider adds texts, each time with its embeddings as they are. Each result is
in private coordinates of its own, but combinations of columns in which the added rows cancel tell how they are related.
The control is an account that starts at zero for every data set.
"""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from support.entropy import SeededEntropy
from support.machines import training_client, training_provider
from support.pair import SUITES, Pair

from securealign.alignment.coordinates import Space
from securealign.errors import ErrorCode
from securealign.matrices import Rows
from securealign.protocol.policy.accounts import SharedRows
from securealign.protocol.policy.rank import RankAccount, rank_charge
from securealign.protocol.policy.rules import Policy
from securealign.wire import TrainingCodec

EARLIER, DIM_A, DIM_B = 1000, 6, 60
COLUMNS = DIM_B + 1
#: Rows to be added to be allowed: what a session over the earlier data set is charged.
ENOUGH = rank_charge(COLUMNS, EARLIER)
RANDOM = np.random.default_rng(0)
Z_A = RANDOM.normal(size=(EARLIER + ENOUGH, DIM_A)) @ RANDOM.normal(size=(DIM_A, DIM_A)) + 2
SENT = np.hstack([RANDOM.normal(size=(len(Z_A), DIM_B)), np.ones((len(Z_A), 1))])


def digest(rows: int) -> bytes:
    return hashlib.sha256(str(rows).encode()).digest()


class Provider:
    """A provider that serves more and more rows to one peer."""

    def __init__(self, suite, *, follows_rows: bool) -> None:
        self._suite, self._follows_rows = suite, follows_rows
        self._store: dict[str, float] = {}

    def train(self, rows: int):
        """Return the rows in the coordinates made for them, and the product or the refusal of a session over them."""
        plain = RankAccount.of("peer", digest(rows), store=self._store)
        common = (SharedRows(digest(EARLIER), EARLIER, (1 << EARLIER) - 1),)
        related = common if self._follows_rows and rows > EARLIER else ()
        account = RankAccount(plain.store, plain.name, plain.lock, related=related)
        own = Rows(Z_A[:rows])
        space = Space.of(own, SeededEntropy(str(rows).encode()))
        u_a = space.rows(own)
        client = training_client([self._suite], SENT[:rows], digest(rows))
        provider = training_provider(
            [self._suite], u_a, digest(rows), policy=Policy(allow_unencrypted=True), account=account
        )
        pair = Pair(client, provider, TrainingCodec())
        pair.start()
        pair.carry()
        return u_a.block(0, rows), client.product() if provider.error is None else provider.error.code


def shown(before, after, rows: int):
    """Return what two products show of the added rows, in the coordinates of the second."""
    added = SENT[EARLIER:rows]
    # Columns of combinations in which the added rows cancel; what is left is a linear map of the first product, and an
    # offset for the mean.
    unseen = np.linalg.svd(added)[2][len(added) :].T
    known = np.vstack([before, SENT[:EARLIER].sum(axis=0)])
    relation = np.linalg.lstsq((known @ unseen).T, (after @ unseen).T, rcond=None)[0]
    return np.linalg.lstsq(added.T, (after - relation.T @ known).T, rcond=None)[0]


def explained(found, true) -> float:
    return 1 - np.sum((found - true) ** 2) / np.sum((true - true.mean(axis=0)) ** 2)


@pytest.mark.parametrize("suite", SUITES.values(), ids=SUITES)
def test_forty_added_rows_are_shown_by_two_honest_results(suite):
    """The control: the ledger starts at zero for the new data set."""
    provider = Provider(suite, follows_rows=False)
    _, before = provider.train(EARLIER)
    u_a, after = provider.train(EARLIER + 40)
    assert explained(shown(before, after, EARLIER + 40), u_a[EARLIER:]) > 0.9999


@pytest.mark.parametrize("suite", SUITES.values(), ids=SUITES)
def test_a_data_set_with_forty_added_rows_is_refused_where_charges_follow_rows(suite):
    provider = Provider(suite, follows_rows=True)
    provider.train(EARLIER)
    assert provider.train(EARLIER + 40)[1] is ErrorCode.RANK_BUDGET_EXHAUSTED


def test_as_many_rows_as_were_charged_are_allowed_and_not_shown():
    provider = Provider(SUITES["plaintext"], follows_rows=True)
    _, before = provider.train(EARLIER)
    assert provider.train(EARLIER + ENOUGH - 1)[1] is ErrorCode.RANK_BUDGET_EXHAUSTED
    u_a, after = provider.train(EARLIER + ENOUGH)
    # Even who knew how both coordinates are related has 61 equations for 148 rows.
    assert ENOUGH > 2 * COLUMNS
    relation = np.linalg.lstsq(
        np.hstack([Provider(SUITES["plaintext"], follows_rows=False).train(EARLIER)[0], np.ones((EARLIER, 1))]),
        u_a[:EARLIER],
        rcond=None,
    )[0]
    known = np.vstack([before, SENT[:EARLIER].sum(axis=0)])
    found = np.linalg.lstsq(SENT[EARLIER:].T, (after - relation.T @ known).T, rcond=None)[0]
    assert explained(found, u_a[EARLIER:]) < 0.6
