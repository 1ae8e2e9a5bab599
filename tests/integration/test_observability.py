"""Health, reflection and metrics of a real server behind mutual TLS."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import SimpleNamespace

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from support.peers import Provider, align, bundles, embeddings, inference
from support.toy import TOY

from securealign.alignment import LinearHead
from securealign.errors import PeerAborted, SecurealignError, TransportError
from securealign.he.lwe.suite import LweSuite
from securealign.ops.audit import AuditLog, entries, verify
from securealign.ops.observability import SERVICES, Metrics, Recorder, add_health, add_reflection
from securealign.pki.certificates import Role
from securealign.transport.grpc_server import INFERENCE_METHOD, TRAINING_METHOD, ProviderServer, SessionReport
from securealign.transport.session_manager import Peer
from securealign.transport.stats import RunStats

TRAINING, INFERENCE = "securealign.v1.Training", "securealign.v1.Inference"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    return bundles(tmp_path_factory.mktemp("certificates") / "certs")


@contextmanager
def serving(bundle, prepare):
    """Run a server that `prepare` has registered services on; yields its address."""
    server = grpc.server(ThreadPoolExecutor(2))
    prepare(server)
    credentials = grpc.ssl_server_credentials(
        [(bundle.private_key, bundle.certificate)], root_certificates=bundle.authority, require_client_auth=True
    )
    port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(0).wait()


@contextmanager
def channel(address, bundle):
    credentials = grpc.ssl_channel_credentials(bundle.authority, bundle.private_key, bundle.certificate)
    options = (("grpc.ssl_target_name_override", Role.PROVIDER.value),)
    with grpc.secure_channel(address, credentials, options=options) as opened:
        yield opened


@contextmanager
def linked(certificates, prepare):
    """Run a server that `prepare` has registered services on; yields a channel to it."""
    with serving(certificates[0], prepare) as address, channel(address, certificates[1]) as link:
        yield link


def check(link, service=""):
    request = health_pb2.HealthCheckRequest(service=service)
    return health_pb2_grpc.HealthStub(link).Check(request, timeout=600).status


def test_the_services_are_those_of_the_protocol():
    assert set(SERVICES) == {TRAINING, INFERENCE, "securealign.v1.Offers"}


def test_health_tells_what_is_served_until_the_server_drains(certificates):
    made = []
    with linked(certificates, lambda server: made.append(add_health(server, [TRAINING]))) as link:
        assert [check(link, name) for name in ("", TRAINING, INFERENCE)] == [SERVING, SERVING, NOT_SERVING]
        made[0].set(INFERENCE, serving=True)
        assert check(link, INFERENCE) == SERVING
        with pytest.raises(grpc.RpcError) as caught:
            check(link, "another")
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        made[0].drain()
        made[0].set(INFERENCE, serving=True)
        assert [check(link, name) for name in ("", TRAINING, INFERENCE)] == [NOT_SERVING] * 3


def test_watching_is_not_offered_since_streams_could_be_opened_without_end(certificates):
    with (
        linked(certificates, lambda server: add_health(server, SERVICES)) as link,
        pytest.raises(grpc.RpcError) as caught,
    ):
        list(health_pb2_grpc.HealthStub(link).Watch(health_pb2.HealthCheckRequest(), timeout=600))
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_health_needs_a_bundle(certificates, tmp_path):
    stranger = bundles(tmp_path / "others")[1]
    mixed = type(stranger)(certificates[1].authority, stranger.certificate, stranger.private_key, Role.CLIENT)
    with (
        serving(certificates[0], lambda server: add_health(server, SERVICES)) as address,
        channel(address, mixed) as link,
        pytest.raises(grpc.RpcError) as caught,
    ):
        check(link)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_whoever_is_not_admitted_hears_nothing_of_health(certificates):
    def refuse(context):
        context.abort(grpc.StatusCode.PERMISSION_DENIED, "revoked")

    with (
        linked(certificates, lambda server: add_health(server, SERVICES, admit=refuse)) as link,
        pytest.raises(grpc.RpcError) as caught,
    ):
        check(link)
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED


def reflected(link):
    requests = [reflection_pb2.ServerReflectionRequest(list_services="")]
    requests += [reflection_pb2.ServerReflectionRequest(file_containing_symbol=name) for name in SERVICES]
    stub = reflection_pb2_grpc.ServerReflectionStub(link)
    return list(stub.ServerReflectionInfo(iter(requests), timeout=600))


def test_reflection_shows_the_services_and_their_messages(certificates):
    with linked(certificates, add_reflection) as link:
        services, *files = reflected(link)
    assert {TRAINING, INFERENCE} <= {service.name for service in services.list_services_response.service}
    for answer in files:
        assert b"TrainingMessage" in b"".join(answer.file_descriptor_response.file_descriptor_proto)


def test_reflection_is_off_unless_added(certificates):
    with (
        linked(certificates, lambda server: add_health(server, SERVICES)) as link,
        pytest.raises(grpc.RpcError) as caught,
    ):
        reflected(link)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


class Watched(Provider):
    """A provider whose sessions feed metrics and an audit log."""

    metrics: Metrics

    def make_training(self, peer, observer):
        return super().make_training(peer, self.metrics.watching(observer))

    def make_inference(self, peer, observer):
        return super().make_inference(peer, self.metrics.watching(observer))


@contextmanager
def recorded(provider, bundle, recorder):
    """Serve a provider whose reports go to a recorder as well; yields the address."""

    def report(report):
        recorder.report(report)
        provider.report(report)

    methods = {TRAINING_METHOD: provider.make_training, INFERENCE_METHOD: provider.make_inference}
    hooks = {"opened": recorder.opened, "report": report, "refused": recorder.refused}
    server = ProviderServer(
        "127.0.0.1:0", bundle, methods, **hooks, register=lambda server: add_health(server, SERVICES)
    )
    server.start()
    try:
        yield f"127.0.0.1:{server.port}"
    finally:
        server.stop(0)


@pytest.fixture
def provider():
    rng = np.random.default_rng(1)
    head = LinearHead(rng.normal(size=(12, 5)), rng.normal(size=5), tuple("abcde"))
    made = Watched(embeddings(300, 12, 2), head, [LweSuite(TOY)])
    made.metrics = Metrics()
    return made


def run_sessions(provider, address, certificates):
    """Align, classify three queries, be refused for other public texts, and be turned away for the wrong role."""
    align(address, certificates[1], embeddings(300, 8, 3), provider.suites)
    trained = provider.next_report().stats
    with inference(address, certificates[1], 12, provider.suites) as session:
        session.logits(embeddings(3, 12, 4))
        session.close()
    provider.next_report()
    with pytest.raises(PeerAborted):
        align(address, certificates[1], embeddings(300, 8), provider.suites, digest=bytes(32))
    provider.next_report()
    with channel(address, certificates[0]) as link, pytest.raises(grpc.RpcError) as caught:
        list(link.stream_stream(TRAINING_METHOD)(iter([b""]), timeout=600))
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
    return trained


def test_metrics_count_real_sessions(certificates, provider):
    with recorded(provider, certificates[0], Recorder(provider.metrics)) as address:
        trained = run_sessions(provider, address, certificates)
        with channel(address, certificates[1]) as link:
            assert check(link, INFERENCE) == SERVING

    def total(name, **labels):
        return provider.metrics.registry.get_sample_value(name, labels)

    assert total("securealign_sessions_opened_total", phase="training") == 2
    assert total("securealign_sessions_active", phase="training") == 0
    assert total("securealign_sessions_ended_total", phase="training", outcome="done") == 1
    assert total("securealign_sessions_ended_total", phase="inference", outcome="done") == 1
    assert total("securealign_refusals_total", rule="DATASET_MISMATCH") == 1
    assert total("securealign_refusals_total", rule="WRONG_ROLE") == 1
    upload = trained.phases["upload"].bytes_up
    assert total("securealign_payload_bytes_total", direction="received", phase="upload") == upload > 0
    assert total("securealign_phase_seconds_count", phase="online") == 1


def test_the_audit_log_tells_who_did_what(certificates, provider, tmp_path):
    path = tmp_path / "audit.log"

    def details(party):
        return {"queries": getattr(party, "queries_answered", None)}

    with AuditLog(path) as audit:
        recorder = Recorder(provider.metrics, audit, details=details)
        with recorded(provider, certificates[0], recorder) as address:
            trained = run_sessions(provider, address, certificates)
        head = audit.head
    assert verify(path, head=head).entries == 8
    found = [(entry.event, entry.fields) for entry in entries(path)][1:]
    assert [event for event, _ in found] == [*["session opened", "session ended"] * 3, "stream refused"]
    assert all(fields["identity"] for _, fields in found[:6])
    assert len({fields["identity"] for _, fields in found[:6]}) == 1
    assert found[1][1]["received_bytes"] == trained.bytes_up
    ends = [(fields["phase"], fields["outcome"], fields["rule"], fields["queries"]) for _, fields in found[1:6:2]]
    assert ends == [
        ("training", "done", None, None),
        ("inference", "done", None, 3),
        ("training", "refused", "DATASET_MISMATCH", None),
    ]
    assert found[6][1]["rule"] == "WRONG_ROLE"


def test_a_session_that_cannot_be_recorded_is_not_served(certificates, provider, tmp_path):
    audit = AuditLog(tmp_path / "audit.log")
    with recorded(provider, certificates[0], Recorder(provider.metrics, audit)) as address:
        audit.close()
        with pytest.raises(SecurealignError):
            align(address, certificates[1], embeddings(300, 8, 3), provider.suites)


def test_a_session_that_is_kept_is_recorded_as_such():
    peer = Peer("ipv4:192.0.2.1:5", loopback=False, identity="acme")
    lost = TransportError("lost")
    report = SessionReport("training", peer, lost, RunStats({}), party=None, resumed=True, suspended=True)
    written = []
    audit = SimpleNamespace(append=lambda event, **fields: written.append((event, fields)))
    metrics = Metrics()
    recorder = Recorder(metrics, audit)
    recorder.opened(peer, "training", True)
    recorder.report(report)
    assert [event for event, _ in written] == ["session resumed", "session suspended"]
    assert written[1][1]["outcome"] == "suspended"
    assert written[1][1]["identity"] == "acme"
    assert metrics.registry.get_sample_value("securealign_sessions_resumed_total", {"phase": "training"}) == 1
    assert metrics.registry.get_sample_value("securealign_sessions_suspended_total", {"phase": "training"}) == 1
