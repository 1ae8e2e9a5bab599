"""Sessions between a real gRPC server and real clients on loopback."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
from support.peers import DIGEST, Provider, align, bundles, clear_weight, embeddings, inference, random_head, serving
from support.toy import TOY

from securealign.errors import ErrorCode, PeerAborted, RemoteProtocolError, SuiteError, TransportError
from securealign.he.entropy import SystemEntropy
from securealign.he.lwe.suite import LweSuite
from securealign.he.plaintext import PlaintextSuite
from securealign.limits import MAX_FRAME_BYTES, ServerSettings
from securealign.pki.certificates import Bundle, Role
from securealign.protocol.messages import RowBatch, TrainingHello
from securealign.protocol.negotiation import make_hello
from securealign.protocol.policy.rules import Policy
from securealign.transport.grpc_client import is_loopback
from securealign.transport.grpc_server import TRAINING_METHOD
from securealign.wire import TrainingCodec
from securealign.wire.v1 import common_pb2, training_pb2

ROWS, DIM_A, DIM_B = 300, 12, 8
SUITES = [LweSuite(TOY)]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    return bundles(tmp_path_factory.mktemp("certificates") / "certs")


@pytest.fixture
def provider():
    head = random_head(DIM_A, "abcde")
    return Provider(embeddings(ROWS, DIM_A, 2), head, list(SUITES))


@pytest.fixture
def z_b():
    return embeddings(ROWS, DIM_B, 3)


def raw_stream(address, bundle, frames, method=TRAINING_METHOD):
    """Send frames as they are and return what comes back: the answers, and how the call ended."""
    credentials = grpc.ssl_channel_credentials(bundle.authority, bundle.private_key, bundle.certificate)
    options = (("grpc.ssl_target_name_override", Role.PROVIDER.value),)
    with grpc.secure_channel(address, credentials, options=options) as channel:
        call = channel.stream_stream(method)(iter(frames), timeout=600)
        answers = []
        try:
            answers.extend(call)
        except grpc.RpcError as error:
            return answers, error
        return answers, None


def abort_code(frame: bytes) -> int:
    message = training_pb2.TrainingMessage.FromString(frame)
    assert message.WhichOneof("message") == "abort"
    return message.abort.code


def test_training_gives_the_map_and_both_sides_count_the_same_bytes(provider, certificates, z_b):
    with serving(provider, certificates[0]) as (address, _):
        fitted = align(address, certificates[1], z_b, SUITES)
        report = provider.next_report()
    assert np.allclose(fitted.weight, clear_weight(z_b, provider.rows), atol=1e-3)
    assert report.error is None
    assert report.peer.loopback
    assert report.stats.bytes_up > ROWS * (DIM_B + 1) * 10
    assert report.stats.provider_seconds > 0


def test_inference_gives_logits_over_several_pools(provider, certificates):
    queries = embeddings(11, DIM_A, 4)
    with serving(provider, certificates[0]) as (address, _):
        with inference(address, certificates[1], DIM_A, SUITES) as session:
            logits = np.vstack([session.logits(queries[:3]), session.logits(queries[3:])])
            session.prepare()
            session.close()
        report = provider.next_report()
    assert np.allclose(logits, provider.head.logits(queries), atol=0.01)
    assert session.accepted.class_names == ("a", "b", "c", "d", "e")
    assert report.error is None
    assert report.party.queries_answered == 11


def test_a_server_serves_others_after_every_kind_of_bad_session(provider, certificates, z_b):
    with serving(provider, certificates[0]) as (address, _):
        for frames in ([b"\xff" * 40], [b""], [b"\x00" * (MAX_FRAME_BYTES + 1)], [bytes(5 << 20)]):
            raw_stream(address, certificates[1], frames)
        with pytest.raises(PeerAborted):
            align(address, certificates[1], z_b, SUITES, digest=bytes(32))
        assert align(address, certificates[1], z_b, SUITES).weight.shape == (DIM_B, DIM_A)


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (b"\xff" * 40, ErrorCode.FRAME_MALFORMED),
        (b"", ErrorCode.FRAME_MALFORMED),
        (b"\x00" * (MAX_FRAME_BYTES + 1), ErrorCode.FRAME_TOO_LARGE),
        (
            training_pb2.TrainingMessage(ack=common_pb2.UploadAck(uploads=1)).SerializeToString(),
            ErrorCode.UNEXPECTED_MESSAGE,
        ),
    ],
)
def test_a_bad_frame_is_named_on_both_sides(provider, certificates, frame, code):
    with serving(provider, certificates[0]) as (address, _):
        answers, _ = raw_stream(address, certificates[1], [frame])
        report = provider.next_report()
    assert abort_code(answers[-1]) == code.number
    assert isinstance(report.error, RemoteProtocolError)
    assert report.error.code is code


def test_a_frame_beyond_the_limit_of_grpc_is_refused_by_it(provider, certificates):
    with serving(provider, certificates[0]) as (address, _):
        answers, error = raw_stream(address, certificates[1], [bytes(5 << 20)])
    assert not answers
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_another_data_set_is_named_on_both_sides(provider, certificates, z_b):
    with serving(provider, certificates[0]) as (address, _):
        with pytest.raises(PeerAborted) as caught:
            align(address, certificates[1], z_b, SUITES, digest=bytes(32))
        report = provider.next_report()
    assert caught.value.code is ErrorCode.DATASET_MISMATCH
    assert report.error.code is ErrorCode.DATASET_MISMATCH


def test_too_few_rows_are_named_on_both_sides(provider, certificates):
    provider.rows = provider.rows[:DIM_B]
    with serving(provider, certificates[0]) as (address, _):
        with pytest.raises(PeerAborted) as caught:
            align(address, certificates[1], embeddings(DIM_B, DIM_B), SUITES)
        report = provider.next_report()
    assert caught.value.code is report.error.code is ErrorCode.TOO_FEW_ROWS


def test_plaintext_is_refused_by_a_provider_that_is_not_on_loopback(provider, certificates, z_b):
    provider.suites.append(PlaintextSuite())
    provider.policy = Policy(allow_unencrypted=False)
    with serving(provider, certificates[0]) as (address, _):
        with pytest.raises(PeerAborted) as caught:
            align(address, certificates[1], z_b, [PlaintextSuite()])
        report = provider.next_report()
    assert caught.value.code is report.error.code is ErrorCode.SUITE_REFUSED
    assert isinstance(report.error, SuiteError)


def test_a_client_with_the_providers_certificate_is_refused(provider, certificates, z_b):
    with serving(provider, certificates[0]) as (address, _), pytest.raises(TransportError) as caught:
        align(address, certificates[0], z_b, SUITES)
    assert caught.value.code is ErrorCode.WRONG_ROLE


def test_a_server_with_the_clients_certificate_is_refused(provider, certificates, z_b):
    with serving(provider, certificates[1]) as (address, _), pytest.raises(TransportError) as caught:
        align(address, certificates[1], z_b, SUITES)
    assert caught.value.code is ErrorCode.WRONG_ROLE


def test_a_provider_of_an_unknown_authority_is_refused(provider, certificates, z_b, tmp_path):
    stranger = bundles(tmp_path / "others")
    with serving(provider, stranger[0]) as (address, _), pytest.raises(TransportError) as caught:
        align(address, certificates[1], z_b, SUITES)
    assert caught.value.code is ErrorCode.PEER_UNTRUSTED


def test_a_client_of_an_unknown_authority_is_refused(provider, certificates, z_b, tmp_path):
    stranger = bundles(tmp_path / "others")[1]
    mixed = Bundle(certificates[1].authority, stranger.certificate, stranger.private_key, Role.CLIENT)
    with serving(provider, certificates[0]) as (address, _), pytest.raises(TransportError) as caught:
        align(address, mixed, z_b, SUITES)
    assert caught.value.code is ErrorCode.PEER_UNTRUSTED
    assert not provider.reports


def test_nobody_at_the_address(certificates, z_b):
    with pytest.raises(TransportError) as caught:
        align("127.0.0.1:1", certificates[1], z_b, SUITES)
    assert caught.value.code is ErrorCode.PEER_UNREACHABLE


def test_a_provider_that_dies_in_the_middle_is_a_lost_connection(provider, certificates, z_b):
    with serving(provider, certificates[0]) as (address, server):
        # The server must not wait for the session that is being served by the thread that stops it.
        provider.on_event = lambda event: (
            event.message is RowBatch and threading.Thread(target=server.stop, args=(0,)).start()
        )
        many = embeddings(20_000, DIM_B)
        provider.rows = embeddings(20_000, DIM_A)
        with pytest.raises(TransportError) as caught:
            align(address, certificates[1], many, SUITES)
    assert caught.value.code is ErrorCode.CONNECTION_LOST


def test_a_client_that_vanishes_is_reported_and_frees_its_place(provider, certificates, z_b):
    settings = ServerSettings(max_sessions=1)
    with serving(provider, certificates[0], settings) as (address, _):
        with inference(address, certificates[1], DIM_A, SUITES):
            pass  # and leaves without a farewell
        assert provider.next_report().error.code is ErrorCode.CONNECTION_LOST
        assert align(address, certificates[1], z_b, SUITES).weight.shape == (DIM_B, DIM_A)


def test_a_full_server_says_so(provider, certificates, z_b):
    settings = ServerSettings(max_sessions=1)
    with (
        serving(provider, certificates[0], settings) as (address, _),
        inference(address, certificates[1], DIM_A, SUITES),
        pytest.raises(TransportError) as caught,
    ):
        align(address, certificates[1], z_b, SUITES)
    assert caught.value.code is ErrorCode.SERVER_BUSY


@pytest.mark.parametrize(
    "settings", [ServerSettings(idle_seconds=1), ServerSettings(session_seconds=1)], ids=["silent", "too long"]
)
def test_a_client_that_is_silent_or_takes_too_long_is_cut_off(provider, certificates, settings):
    over = threading.Event()
    hello = make_hello(SUITES, SystemEntropy(), allow_unencrypted=True)

    def frames():
        yield TrainingCodec().encode(TrainingHello(hello=hello, client_dim=DIM_B, rows=ROWS, dataset_digest=DIGEST))
        over.wait(600)

    with serving(provider, certificates[0], settings) as (address, _):
        _, error = raw_stream(address, certificates[1], frames())
        over.set()
        report = provider.next_report()
    assert error.code() is grpc.StatusCode.CANCELLED
    assert report.error.code is ErrorCode.DEADLINE_EXCEEDED


@pytest.mark.thorough
def test_the_clients_deadline_is_named(provider, certificates, z_b):
    hold = threading.Event()
    provider.on_event = lambda event: event.message is RowBatch and hold.wait(600)
    with serving(provider, certificates[0]) as (address, _):
        with pytest.raises(TransportError) as caught:
            align(address, certificates[1], z_b, SUITES, deadline=3)
        hold.set()
    assert caught.value.code is ErrorCode.DEADLINE_EXCEEDED


def test_sessions_do_not_disturb_each_other(provider, certificates):
    with serving(provider, certificates[0]) as (address, _):

        def one(seed):
            queries = embeddings(9, DIM_A, seed)
            with inference(address, certificates[1], DIM_A, SUITES) as session:
                logits = session.logits(queries)
                session.close()
            return np.abs(logits - provider.head.logits(queries)).max()

        with ThreadPoolExecutor(6) as pool:
            errors = list(pool.map(one, range(6)))
    assert max(errors) < 0.01


def test_a_port_in_use_is_a_configuration_error(provider, certificates):
    from securealign.errors import ConfigurationError
    from securealign.transport.grpc_server import ProviderServer

    with serving(provider, certificates[0]) as (address, _), pytest.raises(ConfigurationError, match="Cannot listen"):
        ProviderServer(address, certificates[0], {})


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("127.0.0.1:5", True),
        ("127.8.9.1:5", True),
        ("[::1]:5", True),
        ("localhost:5", True),
        ("10.0.0.1:5", False),
        ("example.org:5", False),
    ],
)
def test_loopback_targets(target, expected):
    assert is_loopback(target) is expected
