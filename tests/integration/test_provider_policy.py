"""What a provider's policy refuses: which code its client sees, which rule the log names, what outlives a restart."""

from __future__ import annotations

import os
import signal
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from structlog.testing import capture_logs
from support.peers import embeddings, policies, random_head, three_bundles, tries, two_clients
from support.toy import TOY

from securealign.errors import ErrorCode, PeerAborted, SecurealignError
from securealign.he.lwe.suite import LweSuite
from securealign.he.plaintext import PlaintextSuite
from securealign.ops.observability import Metrics
from securealign.protocol.messages import ChoicesChunk, OutputMode, PoolChunk, Prepare, Query, TablesChunk
from securealign.protocol.states import Direction
from securealign.provider import app, machines
from securealign.provider.config import PrivacySection
from securealign.provider.reloading import Signals

ROWS, DIM_A, DIM_B, CLASSES = 60, 6, 4, 3
LWE = LweSuite(TOY)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    return three_bundles(tmp_path_factory.mktemp("certificates") / "certs")


@pytest.fixture
def serve(tmp_path, certificates):
    rows, head = embeddings(ROWS, DIM_A, 2), random_head(DIM_A, "abc")
    with policies(tmp_path / "provider", certificates[0], rows, head, [LWE], max_rank_fraction=1.0) as start:
        yield start


@pytest.fixture
def clients(tmp_path, certificates):
    with two_clients(tmp_path, certificates[1:], [LWE]) as made:
        yield made


@pytest.fixture
def client(clients):
    return clients[0]


@pytest.fixture
def z_b():
    return embeddings(ROWS, DIM_B, 3)


def ask(client, provider, count, seed=0, **options):
    """Ask new queries in a session of their own, and check the answers."""
    queries = embeddings(count, DIM_A, 100 + seed)
    logits = client.classify(provider.address, queries, tries(0), **options)
    assert logits.shape == (count, CLASSES)
    return queries, logits


def refusal(provider, act):
    """Return the code that the client sees and the words of the provider's log."""
    reports, refusals = len(provider.reports), len(provider.refusals)
    told = threading.Event()
    # The report of an earlier session, which ended well, may still arrive.
    provider.on_report = lambda report: told.set() if report.error is not None else None
    provider.on_refused = lambda error: told.set()
    with pytest.raises(SecurealignError) as caught:
        act()
    assert told.wait(600)
    said = [report.error for report in provider.reports[reports:] if report.error is not None]
    said += provider.refusals[refusals:]
    assert {error.code for error in said} == {caught.value.code}
    return caught.value.code, said[0].message


@pytest.mark.parametrize("rule", ["max_queries", "max_answer_bits"])
def test_a_budget_of_answers_holds_over_sessions_and_restarts(serve, clients, rule):
    one, two = clients
    provider = serve()
    ask(two, provider, 1)
    bits = int(provider.counters("answers")["other/bits"])
    policy = {rule: 10 if rule == "max_queries" else 10 * bits}
    provider = serve(**policy)
    ask(one, provider, 4, 1)
    ask(one, provider, 4, 2)
    provider = serve(**policy)
    code, words = refusal(provider, lambda: ask(one, provider, 3, 3, batch=3))
    assert code is ErrorCode.QUERY_BUDGET_EXHAUSTED
    assert rule in words
    ask(one, provider, 2, 4)
    assert provider.counters("answers")["client/queries"] == 10
    # Each identity has a budget of its own.
    ask(two, provider, 4, 5)
    # The control: under a larger budget the same is answered.
    provider = serve(**{rule: 2 * policy[rule]})
    ask(one, provider, 3, 6, batch=3)


def test_the_rank_that_trainings_show_holds_over_restarts(serve, client, z_b):
    # 5 columns of 60 rows are charged as 12: two sessions stay below this fraction.
    provider = serve(max_rank_fraction=0.41)
    client.align(provider.address, z_b)
    provider = serve(max_rank_fraction=0.41)
    client.align(provider.address, z_b)
    code, words = refusal(provider, lambda: client.align(provider.address, z_b))
    assert code is ErrorCode.RANK_BUDGET_EXHAUSTED
    assert "max_rank_fraction" in words
    assert set(provider.counters("rank").values()) == {24}


def test_a_peer_has_so_many_sessions_at_a_time(serve, clients, z_b):
    one, two = clients
    provider = serve(max_peer_sessions=1)
    seen = []

    def meanwhile(event):
        if event.message is Query and event.direction is Direction.SEND and not seen:
            with pytest.raises(SecurealignError) as caught:
                one.align(provider.address, z_b, tries(0))
            seen.append(caught.value.code)
            two.align(provider.address, z_b)

    one.on_event = meanwhile
    ask(one, provider, 2)
    assert seen == [ErrorCode.SERVER_BUSY]
    assert ["max_peer_sessions" in error.message for error in provider.refusals] == [True]
    one.align(provider.address, z_b)


def test_a_session_that_takes_too_much_memory_is_refused(serve, client, z_b):
    provider = serve(max_memory_bytes=1000)
    code, words = refusal(provider, lambda: client.align(provider.address, z_b, tries(0)))
    assert code is ErrorCode.MEMORY_EXHAUSTED
    assert "max_memory_bytes" in words
    assert not any(provider.counters("rank").values())
    assert provider.kept() == []
    client.align(serve(max_memory_bytes=1 << 30).address, z_b)


def test_sessions_have_a_rate(serve, clients, z_b):
    one, two = clients
    provider = serve(max_sessions_per_hour=2)
    ask(one, provider, 1, 1)
    ask(one, provider, 1, 2)
    code, words = refusal(provider, lambda: ask(one, provider, 1, 3))
    assert code is ErrorCode.RATE_LIMITED
    assert "max_sessions_per_hour" in words
    ask(two, provider, 1, 4)
    provider.now += 1800
    ask(one, provider, 1, 5)
    with pytest.raises(SecurealignError):
        ask(one, provider, 1, 6)


@pytest.fixture
def time(monkeypatch):
    """The clock of the provider's machines, which sleeping turns."""
    time = SimpleNamespace(now=0.0, slept=[], monotonic=lambda: time.now)

    def sleep(seconds):
        time.slept.append(seconds)
        time.now += seconds

    time.sleep = sleep
    monkeypatch.setattr(machines, "time", time)
    return time


def test_queries_have_a_rate_for_which_messages_wait(serve, clients, time):
    one, two = clients
    provider = serve(max_queries_per_minute=4)
    ask(one, provider, 4, 1)
    assert sum(time.slept) == 0
    ask(one, provider, 4, 2)
    assert sum(time.slept) == pytest.approx(60)
    ask(two, provider, 4, 3)
    assert sum(time.slept) == pytest.approx(60)


def test_a_message_beyond_the_rate_ends_the_session(serve, client, time):
    provider = serve(max_queries_per_minute=4)
    code, words = refusal(provider, lambda: ask(client, provider, 8, slots=8, batch=8))
    assert code is ErrorCode.RATE_LIMITED
    assert "max_queries_per_minute" in words
    assert not time.slept
    assert not any(provider.counters("answers").values())


def test_too_few_public_rows_are_refused(serve, client, z_b):
    provider = serve(min_rows=ROWS + 1)
    code, words = refusal(provider, lambda: client.align(provider.address, z_b))
    assert code is ErrorCode.TOO_FEW_ROWS
    assert f"min_rows = {ROWS + 1}" in words
    client.align(serve(min_rows=ROWS).address, z_b)


def test_coarse_logits_are_given_and_cost_fewer_bits(serve, client):
    fine = serve()
    ask(client, fine, 4, 1)
    before = fine.counters("answers")["client/bits"]
    coarse = serve(output_bits=8)
    queries, logits = ask(client, coarse, 4, 2)
    assert coarse.counters("answers")["client/bits"] - before == 4 * CLASSES * 8 < before
    clear = coarse.head.logits(queries)
    assert np.abs(logits - clear).max() < 0.1 * np.abs(clear).max() + 0.5


def test_labels_cost_fewer_bits_and_need_a_client_that_takes_them(serve, client):
    provider = serve(output="label")
    queries = embeddings(4, DIM_A, 2)
    found = client.classify(provider.address, queries)
    np.testing.assert_array_equal(found[:, 0], provider.head.logits(queries).argmax(axis=1))
    assert provider.counters("answers")["client/bits"] == 4 * (CLASSES - 1).bit_length()
    client.outputs = (OutputMode.LOGITS,)
    code, words = refusal(provider, lambda: client.classify(provider.address, embeddings(4, DIM_A, 3)))
    assert code is ErrorCode.OUTPUT_REFUSED
    assert "LABEL" in words


@pytest.mark.parametrize(
    ("output", "stopped_by"),
    [("logits", Prepare), ("logits", PoolChunk), *(("label", kind) for kind in (ChoicesChunk, TablesChunk, Query))],
)
def test_queries_are_answered_once_after_both_parties_stopped_while_a_pool_was_made(serve, client, output, stopped_by):
    provider = serve(output=output)
    queries = embeddings(9, DIM_A, 5)
    stopped = []

    def stop(event):
        if event.message is stopped_by and not stopped:
            stopped.append(event)
            provider.server.stop(0)

    client.on_event = stop
    with pytest.raises(SecurealignError):
        client.classify(provider.address, queries, tries(0))
    provider = serve(output=output)
    found = client.classify(provider.address, queries)
    labels = found[:, 0] if output == "label" else found.argmax(axis=1)
    np.testing.assert_array_equal(labels, provider.head.logits(queries).argmax(axis=1))
    assert provider.counters("answers")["client/queries"] == 9


def test_a_session_begun_under_another_policy_is_begun_again(serve, client, certificates):
    provider = serve()
    queries = embeddings(4, DIM_A, 7)
    client.on_event = lambda event: event.message is Query and provider.server.stop(0)
    with pytest.raises(SecurealignError):
        client.classify(provider.address, queries, tries(0))
    client.on_event = lambda event: None
    provider = serve(output_bits=8)
    logits = client.classify(provider.address, queries)
    assert logits.shape == (4, CLASSES)
    assert [error.code for error in provider.refusals] == [ErrorCode.SESSION_UNKNOWN]
    assert "Policy has changed" in provider.refusals[0].message


def test_noise_is_agreed_on_or_refused_and_its_budget_outlives_a_restart(serve, client):
    from securealign.alignment.privacy import PrivateProblem
    from securealign.alignment.secure import ClientProblem

    z_b = embeddings(ROWS, DIM_B, 3)
    privacy = PrivacySection(epsilon=1.0, max_epsilon=1.5)
    provider = serve(privacy)
    # A client that was not told to accept noise does not train on it.
    with pytest.raises(SecurealignError) as caught:
        client.align(provider.address, z_b)
    assert caught.value.code is ErrorCode.PRIVACY_REFUSED
    accepting = {"private_rows": PrivateProblem(ClientProblem(z_b, "auto")).rows}
    for _ in range(2):
        client.align(serve(privacy).address, z_b, **accepting)
    provider = serve(privacy)
    assert any(provider.counters("privacy").values())
    code, words = refusal(provider, lambda: client.align(provider.address, z_b, **accepting))
    assert code is ErrorCode.PRIVACY_BUDGET_EXHAUSTED
    assert "max_epsilon" in words
    # The control: a larger budget lets the same client train.
    provider = serve(PrivacySection(epsilon=1.0, max_epsilon=10.0))
    client.align(provider.address, z_b, **accepting)


def test_a_suite_that_is_not_offered_is_refused(serve, client, z_b):
    provider = serve(suites=(PlaintextSuite(),))
    code, _ = refusal(provider, lambda: client.align(provider.address, z_b))
    assert code is ErrorCode.SUITE_UNKNOWN


def test_a_suite_that_shows_the_head_is_refused_where_policy_asks_for_privacy(serve, client):
    client.suites = [PlaintextSuite()]
    provider = serve(suites=(PlaintextSuite(),), require_function_private=True)
    code, words = refusal(provider, lambda: ask(client, provider, 1))
    assert code is ErrorCode.SUITE_REFUSED
    assert "function privacy" in words
    ask(client, serve(suites=(PlaintextSuite(),)), 1)


def test_names_of_classes_are_kept_back(serve, client):
    from securealign.transport.sessions import InferenceSession

    names = []
    original = InferenceSession.close

    def close(self):
        names.append(self.accepted.class_names)
        original(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(InferenceSession, "close", close)
        ask(client, serve(publish_class_names=False), 1, 1)
        ask(client, serve(), 1, 2)
    assert names == [(), tuple("abc")]


def test_what_is_left_is_shown_in_the_metrics(serve, client, z_b):
    provider = serve(max_queries=10, max_rank_fraction=0.5)
    ask(client, provider, 3)
    client.align(provider.address, z_b)
    text = provider.metrics.render().decode()
    assert 'securealign_queries_left{head="default",identity="client"} 7.0' in text
    assert 'securealign_rank_left{head="",identity="client"} 17.0' in text
    assert "securealign_queries_total 3.0" in text


def test_a_refusal_ends_the_session_for_good(serve, client, z_b):
    provider = serve(min_rows=ROWS + 1)
    with pytest.raises(PeerAborted):
        client.align(provider.address, z_b)
    assert client.state.kept_sessions() == 0
    assert provider.kept() == []


@pytest.fixture
def signals():
    """Put the handlers of signals back."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    handlers = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, handlers, strict=True):
        signal.signal(number, handler)


def test_a_provider_that_cannot_give_up_sessions_now_serves_on(signals):
    class Broken:
        kind = "training"

        def expire(self):
            raise OSError("No space left on device")

    class Stopping:
        kind = "inference"

        def expire(self):
            os.kill(os.getpid(), signal.SIGTERM)
            return 2

    metrics = Metrics()
    with capture_logs() as logs, Signals() as told:
        app._wait(told, [Broken(), Stopping()], metrics, lambda: None)
    assert [log["event"] for log in logs] == ["sessions cannot be given up now", *["session expired"] * 2]
    assert 'securealign_sessions_ended_total{outcome="expired",phase="inference"} 2.0' in metrics.render().decode()
