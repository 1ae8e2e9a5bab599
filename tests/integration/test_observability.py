"""Health, reflection and metrics of a real server behind mutual TLS."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from support import peers
from support.peers import Provider, align, bundles, embeddings, inference
from support.toy import TOY

from securealign.alignment import LinearHead
from securealign.errors import PeerAborted
from securealign.he.lwe.suite import LweSuite
from securealign.keys.certificates import Role
from securealign.observability import SERVICES, Metrics, add_health, add_reflection

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


def check(link, service=""):
    request = health_pb2.HealthCheckRequest(service=service)
    return health_pb2_grpc.HealthStub(link).Check(request, timeout=20).status


def test_the_services_are_those_of_the_protocol():
    assert set(SERVICES) == {TRAINING, INFERENCE}


def test_health_tells_what_is_served_until_the_server_drains(certificates):
    made = []
    with (
        serving(certificates[0], lambda server: made.append(add_health(server, [TRAINING]))) as address,
        channel(address, certificates[1]) as link,
    ):
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
        serving(certificates[0], lambda server: add_health(server, SERVICES)) as address,
        channel(address, certificates[1]) as link,
        pytest.raises(grpc.RpcError) as caught,
    ):
        list(health_pb2_grpc.HealthStub(link).Watch(health_pb2.HealthCheckRequest(), timeout=20))
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
        serving(certificates[0], lambda server: add_health(server, SERVICES, admit=refuse)) as address,
        channel(address, certificates[1]) as link,
        pytest.raises(grpc.RpcError) as caught,
    ):
        check(link)
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED


def reflected(link):
    requests = [reflection_pb2.ServerReflectionRequest(list_services="")]
    requests += [reflection_pb2.ServerReflectionRequest(file_containing_symbol=name) for name in SERVICES]
    stub = reflection_pb2_grpc.ServerReflectionStub(link)
    return list(stub.ServerReflectionInfo(iter(requests), timeout=20))


def test_reflection_shows_the_services_and_their_messages(certificates):
    with (
        serving(certificates[0], add_reflection) as address,
        channel(address, certificates[1]) as link,
    ):
        services, *files = reflected(link)
    assert {TRAINING, INFERENCE} <= {service.name for service in services.list_services_response.service}
    for answer in files:
        assert b"TrainingMessage" in b"".join(answer.file_descriptor_response.file_descriptor_proto)


def test_reflection_is_off_unless_added(certificates):
    with (
        serving(certificates[0], lambda server: add_health(server, SERVICES)) as address,
        channel(address, certificates[1]) as link,
        pytest.raises(grpc.RpcError) as caught,
    ):
        reflected(link)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


class Watched(Provider):
    """A provider whose sessions feed metrics."""

    metrics: Metrics

    def make_training(self, peer, observer):
        self.metrics.session_opened("training")
        return super().make_training(peer, self.metrics.watching(observer))

    def make_inference(self, peer, observer):
        self.metrics.session_opened("inference")
        return super().make_inference(peer, self.metrics.watching(observer))

    def report(self, report):
        self.metrics.session_ended(report)
        super().report(report)


def test_metrics_count_real_sessions(certificates):
    rng = np.random.default_rng(1)
    head = LinearHead(rng.normal(size=(12, 5)), rng.normal(size=5), tuple("abcde"))
    provider = Watched(embeddings(300, 12, 2), head, [LweSuite(TOY)])
    provider.metrics = metrics = Metrics()
    with peers.serving(provider, certificates[0]) as (address, _):
        align(address, certificates[1], embeddings(300, 8, 3), provider.suites)
        trained = provider.next_report().stats
        with inference(address, certificates[1], 12, provider.suites) as session:
            session.logits(embeddings(3, 12, 4))
            session.close()
        provider.next_report()
        with pytest.raises(PeerAborted):
            align(address, certificates[1], embeddings(300, 8), provider.suites, digest=bytes(32))
        provider.next_report()

    def total(name, **labels):
        return metrics.registry.get_sample_value(name, labels)

    assert total("securealign_sessions_opened_total", phase="training") == 2
    assert total("securealign_sessions_active", phase="training") == 0
    assert total("securealign_sessions_ended_total", phase="training", outcome="done") == 1
    assert total("securealign_sessions_ended_total", phase="inference", outcome="done") == 1
    assert total("securealign_refusals_total", rule="DATASET_MISMATCH") == 1
    upload = trained.phases["upload"].bytes_up
    assert total("securealign_payload_bytes_total", direction="received", phase="upload") == upload > 0
    assert total("securealign_phase_seconds_count", phase="online") == 1
