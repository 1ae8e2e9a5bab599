"""A client that stays open, and what its callers see of sessions, budgets, failures and each other."""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from support.pair import TOY_LWE
from support.streams import CLASSES, DIM_B, StreamSite

import securealign
from securealign.client.awaited import AsyncOpenClient
from securealign.client.predictions import UnansweredError
from securealign.errors import (
    ConfigurationError,
    ErrorCode,
    InputError,
    LocalProtocolError,
    OutputModeError,
    PeerAborted,
    SecurealignError,
)
from securealign.pki.certificates import create_certificates
from securealign.protocol.policy.rules import Policy

TEXTS = [f"{'abcdefgh'[index % 8]}text {index % 50}" for index in range(700)]
LABELS_ALONE = Policy(allow_unencrypted=True, output="label", abstain_below=0.0, confidence_thresholds=(0.5,))


@pytest.fixture
def site(tmp_path):
    return StreamSite(tmp_path)


def refused(code, run, *arguments):
    with pytest.raises(SecurealignError) as caught:
        run(*arguments)
    assert caught.value.code is code, caught.value
    return caught.value


def test_a_client_answers_texts_and_embeddings_with_labels_and_probabilities(tmp_path):
    site = StreamSite(tmp_path, suite=TOY_LWE)
    vectors = site.encoder.encode(TEXTS[:40])
    with site.connect() as client:
        found = client.classify(TEXTS[:40])
        assert [one.index for one in found] == list(range(40))
        assert [one.label for one in found] == list(site.labels(TEXTS[:40]))
        assert not any(one.abstained for one in found)
        shares = client.predict_proba(vectors)
        assert np.allclose(shares.sum(axis=1), 1)
        assert np.allclose([one.score for one in found], shares.max(axis=1), atol=0.01)
        assert np.array(CLASSES)[client.decision_function(vectors).argmax(axis=1)].tolist() == list(
            client.predict(np.array(TEXTS[:40]))
        )
        status = client.status()
    assert (status.open, status.suite, status.output, status.classes) == (True, "toy", "logits", 3)
    assert status.queries == 160
    assert {traffic.kind for traffic in status.traffic} >= {"KeyChunk", "Query", "Answer"}
    assert not client.status().open


def test_a_client_without_calls_sends_nothing(site):
    with site.connect() as client:
        assert client.status().sessions == 0
        assert client.status().traffic == ()
    assert not site.sessions


def test_a_stream_is_answered_in_order_and_read_a_few_blocks_ahead(site):
    taken = 0

    def texts():
        nonlocal taken
        for text in TEXTS * 4:
            taken += 1
            yield text

    with site.connect() as client:
        found = []
        for prediction in client.stream(texts()):
            found.append(prediction)
            assert taken <= prediction.index + 4 * 256
        assert [one.index for one in found] == list(range(2800))
        assert [one.label for one in found] == list(site.labels(TEXTS * 4))
        assert list(client.stream([])) == []


def test_a_stream_that_is_left_gives_up_what_is_under_way(site):
    with site.connect() as client:
        stream = client.stream(TEXTS * 10)
        assert next(stream).index == 0
        stream.close()
        assert client.classify(["a"])[0].label == site.labels(["a"])[0]
        assert client.status().waiting == 0


def test_callers_at_the_same_time_share_batches_and_get_their_own_answers(site):
    def call(number):
        own = TEXTS[number : number + 1 + number % 5]
        return [one.label for one in client.classify(own)] == list(site.labels(own))

    with site.connect() as client, ThreadPoolExecutor(64) as threads:
        assert all(threads.map(call, range(640)))
        status = client.status()
    messages = sum(traffic.messages for traffic in status.traffic if traffic.kind == "Query")
    assert status.queries == sum(1 + number % 5 for number in range(640))
    assert messages < 640 / 2


def test_slots_follow_what_is_asked_and_a_fixed_number_stays(site):
    # A pool costs by its classes, so that many queries are worth larger ones.
    site.offer["classes"] = 150
    with site.connect() as client:
        client.classify(["a"])
        assert client.status().slots == 16
        for _ in range(3):
            assert len(list(client.stream(TEXTS))) == len(TEXTS)
        assert client.status().slots > 64
    with site.connect("inference.pool_slots=8") as client:
        list(client.stream(TEXTS))
        assert client.status().slots == 8


def test_labels_come_with_abstention_and_confidence_and_without_probabilities(tmp_path):
    site = StreamSite(tmp_path, policy=LABELS_ALONE)
    with site.connect() as client:
        found = client.classify(TEXTS[:60])
        assert {one.score for one in found} == {None}
        assert {one.label for one in found if one.abstained} <= {""}
        assert {one.label for one in found if not one.abstained} <= set(CLASSES)
        assert {one.confidence for one in found} <= {0, 1}
        charged = site.queries_charged
        for ask in (client.predict_proba, client.decision_function):
            with pytest.raises(OutputModeError):
                ask(TEXTS[:2])
        assert site.queries_charged == charged


def test_margins_are_no_probabilities(site):
    site.head = replace(site.head, link="margin")
    with site.connect() as client:
        with pytest.raises(OutputModeError):
            client.predict_proba(["a"])
        assert site.queries_charged == 0
        assert client.classify(["a"])[0].score is None
        assert client.decision_function(["a"]).shape == (1, 3)


def test_inputs_that_do_not_fit_are_refused_before_anything_is_asked(site):
    wrong = [
        "a text",
        ["a", 1],
        [1, "a"],
        [],
        None,
        5,
        np.zeros((0, DIM_B)),
        np.zeros((2, DIM_B + 1)),
        [[1.0], [1.0, 2]],
    ]
    with site.connect() as client:
        for inputs in wrong:
            with pytest.raises(InputError):
                client.classify(inputs)
        refused(ErrorCode.NON_FINITE_INPUT, client.classify, np.full((2, DIM_B), np.nan))
        assert client.status().sessions == 0
        with pytest.raises(InputError):
            list(client.stream(["a", 1]))


def test_a_text_that_cannot_be_embedded_fails_its_own_caller(site, monkeypatch):
    encode = site.encoder.encode
    together = threading.Barrier(2)

    def picky(texts, **options):
        if "bad" in texts:
            raise InputError("This text cannot be embedded.")
        return encode(texts, **options)

    def call(text):
        together.wait()
        return client.classify([text])

    monkeypatch.setattr(site.encoder, "encode", picky)
    with site.connect() as client, ThreadPoolExecutor(2) as threads:
        for _ in range(10):
            good, bad = threads.submit(call, "good"), threads.submit(call, "bad")
            assert good.result()[0].label == site.labels(["good"])[0]
            assert bad.exception().code is ErrorCode.INPUT_INVALID


def test_a_budget_that_is_too_small_is_refused_before_the_first_query(tmp_path):
    site = StreamSite(tmp_path, policy=Policy(allow_unencrypted=True, max_queries=20))
    with site.connect() as client:
        refused(ErrorCode.QUERY_BUDGET_EXHAUSTED, client.classify, TEXTS[:30])
        assert site.queries_charged == 0
        assert len(client.classify(TEXTS[:18])) == 18
        refused(ErrorCode.QUERY_BUDGET_EXHAUSTED, client.classify, TEXTS[:18])
        assert site.queries_charged == 20


def test_a_budget_that_ends_in_mid_call_returns_what_was_answered_and_names_the_rest(site):
    calls = 0

    def frame():
        # Another process of the client spends the rest.
        nonlocal calls
        calls += 1
        if site.queries_charged > 200:
            site.charged["peer/queries"] = 100_000

    site.on_frame = frame
    with site.connect() as client:
        with pytest.raises(UnansweredError) as caught:
            client.classify(TEXTS)
        error = caught.value
        assert error.code is ErrorCode.QUERY_BUDGET_EXHAUSTED
        known = [one.index for one in error.answered]
        assert known
        assert known + error.missing == list(range(len(TEXTS)))
        assert [one.label for one in error.answered] == list(site.labels(TEXTS[: len(known)]))
        assert client.status().failures[-1].code == "QUERY_BUDGET_EXHAUSTED"


def test_a_budget_that_was_raised_is_used_by_the_same_client(tmp_path):
    site = StreamSite(tmp_path, policy=Policy(allow_unencrypted=True, max_queries=5))
    with site.connect() as client:
        client.classify(TEXTS[:5])
        refused(ErrorCode.QUERY_BUDGET_EXHAUSTED, client.classify, ["a"])
        site.policy, site.offer["queries_left"] = Policy(allow_unencrypted=True, max_queries=50), 45
        assert len(client.classify(["a"])) == 1


def lose_sessions_at(site, frames):
    """Have the provider forget its sessions before some frames."""
    passed = 0

    def frame():
        nonlocal passed
        passed += 1
        if passed in frames:
            site.sessions.clear()
            raise PeerAborted(ErrorCode.SESSION_UNKNOWN)

    site.on_frame = frame


def test_a_provider_that_has_lost_a_session_is_asked_in_another_one(site):
    with site.connect() as client:
        client.classify(TEXTS[:10])
        lose_sessions_at(site, {1})
        assert [one.label for one in client.classify(TEXTS[:10])] == list(site.labels(TEXTS[:10]))
        assert client.status().sessions == 2


def test_a_provider_that_loses_every_session_is_an_error_and_the_next_call_tries_again(site):
    with site.connect() as client:
        client.classify(TEXTS[:10])
        lose_sessions_at(site, range(1, 1000))
        refused(ErrorCode.SESSION_UNKNOWN, client.classify, TEXTS[:10])
        site.on_frame = lambda: None
        assert len(client.classify(TEXTS[:10])) == 10


def test_a_head_that_changes_between_calls_answers_the_later_ones_alone(site):
    with site.connect() as client:
        before = client.status().head_digest or client.classify(["a"])
        site.head_digest = b"\1" * 32
        lose_sessions_at(site, {1})
        client.classify(["a"])
        assert client.status().head_digest == (b"\1" * 32).hex() != before


def test_a_head_that_changes_in_mid_call_never_completes_its_answers(site):
    def frame():
        if site.queries_charged > 200 and site.head_digest != b"\1" * 32:
            site.head_digest = b"\1" * 32
            site.sessions.clear()
            raise PeerAborted(ErrorCode.HEAD_CHANGED)

    site.on_frame = frame
    with site.connect() as client:
        with pytest.raises(UnansweredError) as caught:
            client.classify(TEXTS)
        assert caught.value.code is ErrorCode.HEAD_CHANGED
        assert 0 < len(caught.value.answered) < len(TEXTS)
        assert len(client.classify(TEXTS)) == len(TEXTS)


def test_a_closed_client_says_so_and_answers_what_was_under_way(site):
    client = site.connect()
    with ThreadPoolExecutor(8) as threads:
        calls = [threads.submit(client.classify, TEXTS[:5]) for _ in range(8)]
        client.close()
        outcomes = [call.exception() for call in calls]
    assert all(error is None or error.code is ErrorCode.CLIENT_CLOSED for error in outcomes)
    for ask in (client.classify, client.predict, client.predict_proba, lambda texts: list(client.stream(texts))):
        refused(ErrorCode.CLIENT_CLOSED, ask, ["a"])
    client.close()


def test_a_child_process_needs_a_client_of_its_own(site, monkeypatch):
    with site.connect() as client:
        client.classify(["a"])
        own = os.getpid()
        monkeypatch.setattr(os, "getpid", lambda: own + 1)
        with pytest.raises(LocalProtocolError, match="fork"):
            client.classify(["a"])
        client.close()
        monkeypatch.undo()
        assert len(client.classify(["a"])) == 1


def test_a_fault_of_this_program_reaches_its_callers_and_the_next_call_works(site, monkeypatch):
    with site.connect() as client:
        with monkeypatch.context() as patch:
            patch.setattr(site.encoder, "encode", lambda texts: 1 / 0)
            refused(ErrorCode.INTERNAL, client.classify, ["a"])
        assert len(client.classify(["a"])) == 1


def test_tasks_share_an_asynchronous_client(site):
    async def numbers():
        for text in TEXTS:
            yield text

    async def run():
        async with AsyncOpenClient(site.connect()) as client:
            calls = [client.predict(TEXTS[number : number + 2]) for number in range(64)]
            for number, found in enumerate(await asyncio.gather(*calls)):
                assert list(found) == list(site.labels(TEXTS[number : number + 2]))
            assert [one.label async for one in client.stream(numbers())] == list(site.labels(TEXTS))
            assert [one.index async for one in client.stream(iter(TEXTS))] == list(range(len(TEXTS)))
            assert (await client.predict_proba(["a"])).shape == (1, 3)
            with pytest.raises(InputError):
                await client.classify([])
            call = asyncio.ensure_future(client.classify(TEXTS))
            await asyncio.sleep(0)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            return client.status()

    assert asyncio.run(run()).waiting == 0


def test_answers_to_an_event_loop_that_is_gone_are_dropped(site):
    with site.connect() as client:
        shared = AsyncOpenClient(client)

        async def begin():
            call = asyncio.ensure_future(shared.classify(TEXTS))
            await asyncio.sleep(0)
            assert not call.done()

        asyncio.run(begin())
        assert len(client.classify(["a"])) == 1


def test_settings_without_a_file(tmp_path):
    create_certificates(tmp_path / "certs", days=1)
    certificates = tmp_path / "certs" / "client"
    client = securealign.connect(address="127.0.0.1:1", certificates=certificates, encoder="wordllama", folder=tmp_path)
    assert client.status().address == "127.0.0.1:1"
    assert not client.aligned
    client.close()
    for options in (
        {},
        {"address": "127.0.0.1:1"},
        {"config": tmp_path / "none.toml"},
        {"config": "a", "address": "b"},
    ):
        with pytest.raises(ConfigurationError):
            securealign.connect(**options)
