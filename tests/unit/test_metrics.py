"""Metrics count what happened, bound what a peer can make of them, and hold no contents."""

from __future__ import annotations

import socket
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import pytest

from securealign.errors import (
    CiphertextError,
    ConfigurationError,
    ErrorCode,
    PeerAborted,
    RemoteProtocolError,
    SecurealignError,
    TransportError,
)
from securealign.ops.observability import Metrics, MetricsEndpoint, watch_certificates, watched_queries, watched_rank
from securealign.pki.bundles import load_bundle
from securealign.pki.certificates import create_certificates
from securealign.pki.identity import Role
from securealign.protocol import messages as m
from securealign.protocol.context import Event
from securealign.protocol.policy.budget import QueryAccount, QueryLimits
from securealign.protocol.policy.rank import RankAccount
from securealign.protocol.states import Direction
from securealign.provider.machines import account_name
from securealign.transport.stats import PhaseStats, RunStats


@pytest.fixture
def metrics():
    return Metrics(max_shown=3)


def report(phase="training", error=None, suspended=False, **seconds):
    stats = RunStats({name: PhaseStats(provider_seconds=value) for name, value in seconds.items()})
    return SimpleNamespace(kind=phase, error=error, stats=stats, suspended=suspended)


def value(metrics, name, **labels):
    if "identity" in labels:
        labels = {"head": "", **labels}
    return metrics.registry.get_sample_value(name, labels)


def refusals(metrics):
    samples = (sample for family in metrics.registry.collect() for sample in family.samples)
    return {sample.labels["rule"] for sample in samples if sample.name == "securealign_refusals_total" and sample.value}


def identities(metrics, name="securealign_queries_left"):
    return {
        sample.labels["identity"]
        for family in metrics.registry.collect()
        for sample in family.samples
        if sample.name == name
    }


def test_a_session_is_followed_through_its_life(metrics):
    def now():
        names = ("active", "opened_total", "suspended_total", "resumed_total")
        return [value(metrics, f"securealign_sessions_{name}", phase="inference") for name in names]

    metrics.session_opened("inference")
    assert now() == [1, 1, 0, 0]
    metrics.session_ended(report("inference", TransportError("lost"), suspended=True, online=1.5))
    assert now() == [0, 1, 1, 0]
    metrics.session_opened("inference", resumed=True)
    assert now() == [1, 1, 1, 1]
    assert value(metrics, "securealign_sessions_ended_total", phase="inference", outcome="lost") == 0
    metrics.session_ended(report("inference", handshake=0.001, online=3.0))
    assert now() == [0, 1, 1, 1]
    assert value(metrics, "securealign_sessions_ended_total", phase="inference", outcome="done") == 1
    assert value(metrics, "securealign_phase_seconds_count", phase="online") == 2
    assert value(metrics, "securealign_phase_seconds_sum", phase="online") == 4.5
    assert value(metrics, "securealign_phase_seconds_bucket", phase="online", le="2.0") == 1
    assert value(metrics, "securealign_phase_seconds_bucket", phase="online", le="10.0") == 2


def test_sessions_that_are_kept_are_counted_when_somebody_looks(metrics):
    kept = ["one", "two"]
    metrics.kept_sessions(lambda: len(kept))
    assert value(metrics, "securealign_sessions_kept") == 2
    kept.pop()
    metrics.session_expired("training")
    assert value(metrics, "securealign_sessions_kept") == 1
    assert value(metrics, "securealign_sessions_ended_total", phase="training", outcome="expired") == 1


@pytest.mark.parametrize(
    ("error", "outcome", "rule"),
    [
        (None, "done", None),
        (PeerAborted(ErrorCode.CANCELLED), "left", None),
        (TransportError("lost"), "lost", None),
        (SecurealignError("fault"), "failed", None),
        (RemoteProtocolError("no"), "refused", "UNEXPECTED_MESSAGE"),
        (CiphertextError("no"), "refused", "CIPHERTEXT_MALFORMED"),
        (SecurealignError("no", code=ErrorCode.RATE_LIMITED), "refused", "RATE_LIMITED"),
        (SecurealignError("no", code=ErrorCode.QUERY_BUDGET_EXHAUSTED), "refused", "QUERY_BUDGET_EXHAUSTED"),
    ],
)
def test_ends_are_counted_by_outcome_and_refusals_by_rule(metrics, error, outcome, rule):
    metrics.session_opened("training")
    metrics.session_ended(report(error=error))
    assert value(metrics, "securealign_sessions_ended_total", phase="training", outcome=outcome) == 1
    assert refusals(metrics) == ({rule} if rule else set())


@pytest.mark.parametrize("error", [None, RemoteProtocolError("no"), SecurealignError("fault")])
def test_counters_are_there_before_their_first_event(error):
    """Prometheus sees no increase in a counter that appears with the value 1."""

    def shown(metrics):
        samples = (sample for family in metrics.registry.collect() for sample in family.samples)
        counted = ("securealign_sessions", "securealign_refusals")
        return {
            (sample.name, *sample.labels.items())
            for sample in samples
            if sample.name.startswith(counted) and sample.name.endswith("_total")
        }

    metrics = Metrics()
    before = shown(metrics)
    for phase in ("training", "inference"):
        metrics.session_opened(phase)
        metrics.session_ended(report(phase, error=error))
        metrics.session_opened(phase, resumed=True)
        metrics.session_ended(report(phase, error=error, suspended=True))
        metrics.session_expired(phase)
    metrics.refused(ErrorCode.SERVER_BUSY)
    assert shown(metrics) == before


def test_a_stream_that_never_became_a_session_is_a_refusal_too(metrics):
    metrics.refused(ErrorCode.SERVER_BUSY)
    assert value(metrics, "securealign_refusals_total", rule="SERVER_BUSY") == 1


def test_bytes_are_counted_as_they_pass_and_events_passed_on(metrics):
    seen = []
    observe = metrics.watching(seen.append)
    events = [Event(Direction.RECEIVE, m.RowBatch, 500), Event(Direction.SEND, m.UploadAck, 7)]
    for event in (*events, events[0]):
        observe(event)
    assert seen == [*events, events[0]]
    phase = events[0].stage
    assert value(metrics, "securealign_payload_bytes_total", direction="received", phase=phase) == 1000
    assert value(metrics, "securealign_payload_bytes_total", direction="sent", phase=events[1].stage) == 7


def test_what_is_left_to_an_identity_is_shown(metrics):
    metrics.show_left("acme", queries=50, bits=1234.5)
    metrics.show_left("acme", rank=4000)
    metrics.show_left("other", bits=1.0)
    assert value(metrics, "securealign_queries_left", identity="acme") == 50
    assert value(metrics, "securealign_answer_bits_left", identity="acme") == 1234.5
    assert value(metrics, "securealign_rank_left", identity="acme") == 4000
    assert value(metrics, "securealign_queries_left", identity="other") is None
    metrics.show_left("acme", queries=0)
    assert value(metrics, "securealign_queries_left", identity="acme") == 0


def test_no_two_pairs_of_client_and_head_share_a_number(metrics):
    """One label of both names would be the same for these two."""
    pairs = [("acme", "topics"), ("topics of acme", "default")]
    assert account_name("topics", "acme") == "topics of acme"
    for left, (identity, head) in enumerate(pairs):
        metrics.show_left(identity, head, queries=left)
    shown = [value(metrics, "securealign_queries_left", identity=identity, head=head) for identity, head in pairs]
    assert shown == [0, 1]


def test_identities_are_bounded_and_the_quietest_gives_way(metrics):
    for name in ("a", "b", "c"):
        metrics.show_left(name, queries=1)
    metrics.show_left("a", rank=1)
    metrics.show_left("d", bits=1)
    metrics.show_left("e", queries=1)
    assert identities(metrics) == {"a", "e"}
    assert identities(metrics, "securealign_rank_left") == {"a"}
    for number in range(50):
        metrics.show_left(f"peer {number}", rank=1)
    assert len(identities(metrics, "securealign_rank_left")) == 3
    assert identities(metrics) == set()


def test_a_name_chosen_by_a_peer_forges_no_line(metrics):
    metrics.show_left('x"} 1\nsecurealign_queries_left{identity="y', queries=5)
    lines = [line for line in metrics.render().decode().splitlines() if line.startswith("securealign_queries_left{")]
    assert len(lines) == 1


def test_pool_depth_is_counted_when_somebody_looks(metrics):
    free = [64, 32]
    metrics.pool_depth(lambda: sum(free))
    assert value(metrics, "securealign_pool_slots") == 96
    free.pop()
    assert value(metrics, "securealign_pool_slots") == 64


def test_an_account_of_queries_shows_what_is_left(metrics):
    plain, limits = QueryAccount.of("acme"), QueryLimits(queries=100, bits=5000)
    plain.charge(10, 20, limits)
    account = watched_queries(plain, "acme", "topics", metrics)
    assert account.left(20, limits) == 90
    assert value(metrics, "securealign_queries_left", identity="acme", head="topics") == 90
    account.charge(30, 20, limits)
    assert value(metrics, "securealign_queries_left", identity="acme", head="topics") == 60
    assert value(metrics, "securealign_answer_bits_left", identity="acme", head="topics") == 4200
    assert value(metrics, "securealign_queries_total") == 30
    with pytest.raises(RemoteProtocolError):
        account.charge(61, 20, limits)
    assert value(metrics, "securealign_queries_total") == 30
    assert plain.queries == 40
    assert account.charge(1, 20, QueryLimits(queries=100)) is None
    assert value(metrics, "securealign_queries_left", identity="acme", head="topics") == 59


def test_an_account_of_rank_shows_what_is_left(metrics):
    account = watched_rank(RankAccount.of("acme", bytes(32)), "acme", metrics)
    account.charge(65, 1000, 0.5)
    assert value(metrics, "securealign_rank_left", identity="acme") == 499 - 158
    account.refund(65, 1000)
    account.charge(5, 1000, 0.5)
    assert value(metrics, "securealign_rank_left", identity="acme") == 499 - 13
    with pytest.raises(RemoteProtocolError):
        account.charge(499, 1000, 0.5)
    assert value(metrics, "securealign_rank_left", identity="acme") == 499 - 13


def test_queries_add_up(metrics):
    metrics.queries_debited(3)
    metrics.queries_debited(4)
    assert value(metrics, "securealign_queries_total") == 7


def test_certificates_are_shown_with_their_end_as_it_is_when_somebody_looks(metrics, tmp_path):
    bundles = [load_bundle(create_certificates(tmp_path / f"{days}", days=days)[0], Role.PROVIDER) for days in (5, 50)]
    held = [bundles[0]]
    watch_certificates(metrics, SimpleNamespace(current=lambda: held[0]))

    def days_left(certificate):
        end = value(metrics, "securealign_certificate_expiry_timestamp_seconds", certificate=certificate)
        return (end - time.time()) / 86_400

    assert days_left("own") == pytest.approx(5, abs=0.1)
    assert days_left("authority") > 1000
    assert 1 < days_left("revocation list") < 1000
    held[0] = bundles[1]
    assert days_left("own") == pytest.approx(50, abs=0.1)
    held[0] = replace(bundles[1], revocations=b"")
    assert days_left("revocation list") == float("inf")


def test_two_providers_in_a_process_do_not_share_numbers(metrics):
    metrics.session_opened("training")
    assert value(Metrics(), "securealign_sessions_active", phase="training") is None


def test_threads_lose_no_count(metrics):
    observe = metrics.watching(lambda event: None)
    event = Event(Direction.SEND, m.UploadAck, 1)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: (observe(event), metrics.show_left(f"peer {number % 7}", rank=1)), range(2000)))
    assert value(metrics, "securealign_payload_bytes_total", direction="sent", phase=event.stage) == 2000
    assert len(identities(metrics, "securealign_rank_left")) == 3


def scrape(port, host="127.0.0.1"):
    with urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=600) as answer:
        return answer.read().decode()


def test_prometheus_scrapes_what_was_counted(metrics):
    metrics.session_opened("training")
    with MetricsEndpoint(metrics, "127.0.0.1:0") as endpoint:
        text = scrape(endpoint.port)
        metrics.session_opened("training")
        assert 'securealign_sessions_active{phase="training"} 2.0' in scrape(endpoint.port)
    assert 'securealign_sessions_active{phase="training"} 1.0' in text
    assert "process_resident_memory_bytes" in text
    with pytest.raises(urllib.error.URLError):
        scrape(endpoint.port)


def test_the_endpoint_listens_on_the_named_address_alone(metrics):
    with MetricsEndpoint(metrics, "127.0.0.2:0") as endpoint, socket.socket() as other:
        assert "securealign" in scrape(endpoint.port, "127.0.0.2")
        assert other.connect_ex(("127.0.0.1", endpoint.port)) != 0


def test_an_address_in_use_is_a_configuration_error(metrics):
    with (
        MetricsEndpoint(metrics, "127.0.0.1:0") as endpoint,
        pytest.raises(ConfigurationError, match="Cannot serve metrics"),
    ):
        MetricsEndpoint(metrics, f"127.0.0.1:{endpoint.port}")


@pytest.mark.parametrize("address", ["", "9464", ":9464", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:70000", "[::1:5"])
def test_what_is_no_address_is_a_configuration_error(metrics, address):
    with pytest.raises(ConfigurationError, match="no address"):
        MetricsEndpoint(metrics, address)
