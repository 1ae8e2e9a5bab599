"""Several heads on one port: budgets of their own, access by client, and a head that is replaced in mid-session."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.peers import DurableProvider, embeddings, random_head, three_bundles, two_clients

from securealign.errors import ErrorCode, SecurealignError
from securealign.he.plaintext import PlaintextSuite
from securealign.provider.catalogue import ServedHead
from securealign.provider.config import PolicySection
from securealign.transport.credentials import FixedBundle
from securealign.transport.grpc_client import call
from securealign.transport.grpc_server import LISTING_METHOD
from securealign.wire import decode_listing, encode_listing_request

DIM = 6
QUERIES = embeddings(12, DIM, 4)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    return three_bundles(tmp_path_factory.mktemp("certs"))


@pytest.fixture
def provider(tmp_path, certificates):
    """A provider of a head for all, and of one for the first client alone."""
    made = DurableProvider(tmp_path / "provider", QUERIES, random_head(DIM, "abc"), [PlaintextSuite()])
    made.policy = PolicySection(max_queries=8)
    made.address = made.start(certificates[0])
    (space,) = made.catalogue.spaces.values()
    own = ServedHead("own", random_head(DIM, "xyz"), space, b"\1" * 32, made.policy, frozenset({"client"}))
    made.catalogue.heads = {**made.catalogue.heads, "own": own}
    yield made
    made.stop()


@pytest.fixture
def clients(tmp_path, certificates):
    with two_clients(tmp_path, certificates[1:], [PlaintextSuite()]) as made:
        yield made


def test_each_head_answers_and_has_a_budget_of_its_own(provider, clients):
    for name in ("default", "own"):
        with clients[0].inference(provider.address, DIM, head=name) as session:
            answers = session.answers(QUERIES[:8])
        assert np.allclose(answers, provider.catalogue.heads[name].head.logits(QUERIES[:8]))
    assert provider.counters("answers") == {
        "client/queries": 8,
        "client/bits": pytest.approx(provider.counters("answers")["client/bits"]),
        "own of client/queries": 8,
        "own of client/bits": pytest.approx(provider.counters("answers")["own of client/bits"]),
    }
    with pytest.raises(SecurealignError) as caught, clients[0].inference(provider.address, DIM, head="own") as session:
        session.answers(QUERIES[:1])
    assert caught.value.code is ErrorCode.QUERY_BUDGET_EXHAUSTED


@pytest.mark.parametrize("name", ["own", "other"])
def test_a_head_for_another_client_is_refused_and_nothing_is_charged(provider, clients, name):
    with pytest.raises(SecurealignError) as caught, clients[1].inference(provider.address, DIM, head=name) as session:
        session.answers(QUERIES[:1])
    assert caught.value.code is ErrorCode.NOT_OFFERED
    assert provider.counters("answers") == {}


def replace_own(provider, **changes):
    heads = provider.catalogue.heads
    provider.catalogue.heads = {**heads, "own": replace(heads["own"], **changes)}


def restarted(provider):
    heads = provider.catalogue.heads
    provider.stop()
    provider.restart()
    provider.catalogue.heads = heads


def ask_while(provider, clients, change):
    """Ask the first client's head before and after a change, and the head of all beside it; returns the error."""

    def ask():
        with clients[0].inference(provider.address, DIM, head="own") as session:
            session.answers(QUERIES[:2])
            change()
            session.answers(QUERIES[2:4])

    with clients[1].inference(provider.address, DIM, head="default") as other:
        other.answers(QUERIES[:2])
        with pytest.raises(SecurealignError) as caught:
            ask()
        other.answers(QUERIES[2:4])
    return caught.value


@pytest.mark.parametrize("restarts", [False, True])
def test_a_session_whose_head_is_replaced_ends_and_others_go_on(provider, clients, restarts):
    """Answers of two heads in one result would be wrong without a word."""

    def change():
        if restarts:
            restarted(provider)
        replace_own(provider, head=random_head(DIM, "xyz"), digest=b"\2" * 32)

    assert ask_while(provider, clients, change).code is ErrorCode.HEAD_CHANGED
    assert provider.counters("answers")["own of client/queries"] == 2


def test_a_head_that_gives_something_else_ends_its_sessions(provider, clients):
    labels = PolicySection(output="label")
    error = ask_while(provider, clients, lambda: replace_own(provider, rules=labels))
    assert error.code is ErrorCode.HEAD_CHANGED


def test_a_client_that_may_no_longer_ask_is_refused(provider, clients):
    error = ask_while(provider, clients, lambda: replace_own(provider, clients=frozenset({"birch"})))
    assert error.code is ErrorCode.NOT_OFFERED


def test_raised_limits_hold_for_open_sessions(provider, clients):
    with clients[0].inference(provider.address, DIM, head="own") as session:
        session.answers(QUERIES[:8])
        replace_own(provider, rules=PolicySection(max_queries=12))
        session.answers(QUERIES[8:])
    assert provider.counters("answers")["own of client/queries"] == 12


def test_a_client_can_ask_for_the_list(provider, certificates):
    for bundle, names in zip(certificates[1:], (["default", "own"], ["default"]), strict=True):
        answer = call(provider.address, FixedBundle(bundle), LISTING_METHOD, encode_listing_request(""))
        assert [head.name for head in decode_listing(answer).heads] == names
    with pytest.raises(SecurealignError) as caught:
        call(provider.address, FixedBundle(certificates[2]), LISTING_METHOD, encode_listing_request("own"))
    assert caught.value.code is ErrorCode.NOT_OFFERED
