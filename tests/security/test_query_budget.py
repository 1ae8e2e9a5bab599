"""A client is after the provider's head, over as many sessions as it likes, with queries of its choice.

Three ways: one coordinate at a time, many coordinates packed into one query at different scales, and either spread over
sessions. A budget of an authenticated peer, counted in bits, stops all of them. The controls are a provider without an
account, and one that counts calls.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from support.machines import inference_client, inference_provider
from support.pair import SUITES, Pair

from securealign.alignment.head import LinearHead
from securealign.errors import ErrorCode
from securealign.he.interface import HeadShape
from securealign.matrices import FloatMatrix
from securealign.protocol.policy.budget import QueryAccount
from securealign.protocol.policy.rules import Policy
from securealign.protocol.states import State
from securealign.wire import InferenceCodec

EACH_SUITE = pytest.mark.parametrize("suite", SUITES.values(), ids=SUITES)
FEATURES, CLASSES, SLOTS = 12, 3, 16
NEEDED = FEATURES + 1
PER_SESSION = 5
#: Weights of three values, of which an answer holds many.
WEIGHT = np.random.default_rng(0).integers(-1, 2, size=(FEATURES, CLASSES)).astype(float)
HEAD = LinearHead(WEIGHT, np.zeros(CLASSES), ("a", "b", "c"))
#: What there is to know of it.
ENTROPY_BITS = WEIGHT.size * math.log2(3)


def answer_bits(suite) -> int:
    return suite.head_sizes(HeadShape(provider_dim=FEATURES, classes=CLASSES, slots=SLOTS)).answer_bits


def answers(suite, queries: FloatMatrix, account: QueryAccount | None, **policy) -> FloatMatrix:
    """Ask queries one after the other in one session until one is refused."""
    codec = InferenceCodec()
    client = inference_client([suite], FEATURES, slots=SLOTS)
    provider = inference_provider([suite], HEAD, policy=Policy(allow_unencrypted=True, **policy), account=account)
    pair = Pair(client, provider, codec)
    pair.start()
    pair.carry()
    found = [np.empty((0, CLASSES))]
    for query in queries:
        pair.up.extend(client.submit(query[None]))
        pair.carry()
        if client.state is State.ABORTED:
            assert provider.error.code is ErrorCode.QUERY_BUDGET_EXHAUSTED
            break
        found += [rows for _, rows in client.take_answers()]
    return np.vstack(found)


def coordinate_by_coordinate(suite, account: QueryAccount | None, **policy) -> FloatMatrix:
    """Return the weights that many sessions read, zero where they were refused; a reconnect begins each."""
    read = np.zeros_like(WEIGHT)
    for first in range(0, FEATURES, PER_SESSION):
        shown = answers(suite, np.eye(FEATURES)[first : first + PER_SESSION], account, **policy)
        read[first : first + len(shown)] = shown
    return read


def packed(suite, account: QueryAccount | None, coordinates: int, **policy) -> FloatMatrix:
    """Return the weights that queries of several coordinates read, one digit of base 3 for each."""
    read = np.zeros_like(WEIGHT)
    for first in range(0, FEATURES, coordinates):
        places = range(first, min(first + coordinates, FEATURES))
        query = np.zeros(FEATURES)
        query[places] = 3.0 ** np.arange(len(places))
        shown = answers(suite, query[None], account, **policy)
        if not len(shown):
            break
        rest = np.rint(shown[0])
        for place in places:
            read[place] = (rest + 1) % 3 - 1
            rest = (rest - read[place]) / 3
    return read


def known(read: FloatMatrix) -> float:
    """Return the share of weights that were read rightly, beyond those a guess of zero gets."""
    nonzero = WEIGHT != 0
    return float((np.rint(read) == WEIGHT)[nonzero].mean())


@EACH_SUITE
def test_without_an_account_sessions_add_up_to_the_head(suite):
    assert known(coordinate_by_coordinate(suite, None, max_queries=PER_SESSION)) == 1


@EACH_SUITE
def test_an_account_of_queries_outlives_sessions(suite):
    account = QueryAccount.of("peer")
    assert known(coordinate_by_coordinate(suite, account, max_queries=PER_SESSION)) < 0.5
    assert account.queries == PER_SESSION


@EACH_SUITE
def test_packing_gets_past_an_account_of_queries(suite):
    """The control of the next test: three calls instead of thirteen give the head."""
    account = QueryAccount.of("peer")
    assert known(packed(suite, account, 4, max_queries=PER_SESSION)) == 1
    assert account.queries < PER_SESSION < NEEDED


@EACH_SUITE
@pytest.mark.parametrize("coordinates", [1, 2, 4])
def test_an_account_of_bits_stops_packing_as_well(suite, coordinates):
    """No budget below what there is to know gives all of it, however it is asked for."""
    account = QueryAccount.of("peer")
    budget = min(int(ENTROPY_BITS) - 1, answer_bits(suite))
    read = packed(suite, account, coordinates, max_answer_bits=budget)
    assert known(read) < 1
    assert account.bits <= budget


@EACH_SUITE
def test_one_answer_never_holds_more_than_its_bits(suite):
    """As many digits as a logit can hold at all; what is packed beyond them does not arrive."""
    held = answer_bits(suite) // CLASSES / math.log2(3)
    assert 12 > held > 10 or suite is SUITES["plaintext"]
    shown = known(packed(suite, QueryAccount.of("peer"), FEATURES))
    assert (shown == 1) == (held >= FEATURES)


def test_a_budget_outlives_the_process():
    store = {}
    suite = SUITES["plaintext"]
    for _ in range(3):
        coordinate_by_coordinate(suite, QueryAccount.of("peer", store=store), max_answer_bits=4 * answer_bits(suite))
    assert QueryAccount.of("peer", store=store).bits == 4 * answer_bits(suite)


def test_two_peers_that_share_answers_share_no_account():
    """Outside the claim: identities are what an authority says they are."""
    store, suite = {}, SUITES["plaintext"]
    queries = np.eye(FEATURES)
    halves = [
        answers(suite, half, QueryAccount.of(peer, store=store), max_queries=FEATURES // 2)
        for peer, half in (("a", queries[: FEATURES // 2]), ("b", queries[FEATURES // 2 :]))
    ]
    assert known(np.vstack(halves)) == 1
