"""securealign doctor against parties that were misconfigured on purpose: each mistake is called by its name."""

from __future__ import annotations

import datetime as dt
import json
import shutil
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import grpc
import numpy as np
import pytest
from support.peers import Provider, embeddings, inference, random_head, serving
from typer.testing import CliRunner

from securealign.alignment import AlignmentMap
from securealign.cli import app
from securealign.data import dataset_digest
from securealign.errors import ErrorCode, ExitCode
from securealign.he.lwe.suite import LweSuite
from securealign.limits import ServerSettings
from securealign.pki.authority import Authority
from securealign.pki.certificates import Role, create_certificates, load_bundle
from securealign.protocol import negotiation
from securealign.protocol.messages import UNNAMED_SPACE
from securealign.transport.grpc_server import TRAINING_METHOD, ProviderServer

ROWS, DIM_A, DIM_B = 60, 12, 8
#: How a map names the coordinates of a provider without a space of its own.
UNNAMED = {"space": UNNAMED_SPACE.hex()}
TEXTS = [f"public text {index}" for index in range(ROWS)]

CLIENT = """
[provider]
certificates = "certs/client"
[public]
texts = "public.jsonl"
embeddings = "public.npy"
[state]
folder = "state"
"""


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificates") / "certs"
    create_certificates(folder, days=90)
    Authority(folder).issue(Role.PROVIDER, "rogue", days=90)
    return folder


@pytest.fixture
def site(certificates, tmp_path):
    """A client's folder in which nothing is wrong; beside it, the provider's certificates."""
    shutil.copytree(certificates, tmp_path / "certs")
    write_texts(tmp_path, TEXTS)
    np.save(tmp_path / "public.npy", embeddings(ROWS, DIM_B, 1))
    AlignmentMap(embeddings(DIM_B, DIM_A, 5), np.zeros(DIM_A), UNNAMED).save_pretrained(tmp_path / "alignment")
    (tmp_path / "client.toml").write_text(CLIENT, encoding="utf-8")
    return tmp_path


@pytest.fixture
def provider(monkeypatch):
    monkeypatch.setattr("support.peers.DIGEST", dataset_digest(TEXTS))
    head = random_head(DIM_A, "abc")
    return Provider(embeddings(ROWS, DIM_A, 2), head, [LweSuite()])


def write_texts(site, texts):
    lines = "".join(json.dumps({"text": text}) + "\n" for text in texts)
    (site / "public.jsonl").write_text(lines, encoding="utf-8")


def doctor(site, *arguments):
    """Run it and return exit code and findings."""
    done = CliRunner().invoke(app, ["doctor", "--config", str(site / "client.toml"), "--json", *arguments])
    return done.exit_code, json.loads(done.stdout)["findings"]


def peer(site, port, *arguments):
    address = f"provider.address=127.0.0.1:{port}"
    return doctor(site, "--peer", "--timeout", "600", "--set", address, *arguments)


def port_of(address):
    return int(address.rpartition(":")[2])


def diagnose(site, provider, *arguments, settings=None):
    with serving(provider, load_bundle(site / "certs" / "provider", Role.PROVIDER), settings) as (address, _):
        return peer(site, port_of(address), *arguments)


def the_failure(outcome, check, error):
    """Require one failure and no other, of this name and code, with advice; return what it says."""
    code, findings = outcome
    failures = [finding for finding in findings if finding["level"] == "failed"]
    assert [(finding["check"], finding["error"]) for finding in failures] == [(check, error.name)], findings
    assert code == error.exit_code
    assert failures[0]["hint"]
    return failures[0]["message"]


@contextmanager
def listening(answer):
    """Listen for connections, each handled by `answer`; yields the port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.1)
        over = threading.Event()

        def serve():
            while not over.is_set():
                try:
                    connection, _ = listener.accept()
                except TimeoutError:
                    continue
                with connection:
                    connection.settimeout(600)
                    answer(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            over.set()
            thread.join()


@contextmanager
def with_files_of(folder):
    """Serve nothing, with the certificates of a folder as they are; yields the port."""
    key, certificate, authority = ((folder / name).read_bytes() for name in ("key.pem", "cert.pem", "ca.pem"))
    server = grpc.server(ThreadPoolExecutor(1))
    credentials = grpc.ssl_server_credentials([(key, certificate)], authority, require_client_auth=True)
    port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    try:
        yield port
    finally:
        server.stop(0).wait()


def now():
    return dt.datetime.now(dt.timezone.utc)


# Nothing wrong


def test_where_nothing_is_wrong_every_check_passes_and_the_provider_keeps_nothing(site, provider):
    code, findings = diagnose(site, provider)
    assert code == ExitCode.OK
    assert {finding["level"] for finding in findings} <= {"ok", "warning"}
    assert {finding["check"] for finding in findings if finding["level"] == "ok"} >= {
        *("configuration", "clock", "certificates", "revocation", "permissions", "suite", "public data", "state"),
        *("address", "port", "tls", "authority", "role", "version", "parameters", "digest", "dimension", "head"),
    }
    assert [report.error.code for report in provider.reports] == [ErrorCode.CANCELLED] * 2


def test_a_person_reads_a_line_for_each_check(site, provider):
    with serving(provider, load_bundle(site / "certs" / "provider", Role.PROVIDER)) as (address, _):
        done = CliRunner().invoke(
            app, ["doctor", "--peer", "--config", str(site / "client.toml"), "--set", f"provider.address={address}"]
        )
    lines = done.stdout.splitlines()
    assert done.exit_code == ExitCode.OK
    assert all(line.startswith(("ok ", "warning ", "        ")) for line in lines), lines
    assert any(line.split()[:2] == ["ok", "digest"] for line in lines)


def test_the_configuration_of_the_working_folder_is_used(site, provider, monkeypatch):
    monkeypatch.chdir(site)
    with serving(provider, load_bundle(site / "certs" / "provider", Role.PROVIDER)) as (address, _):
        monkeypatch.setenv("SECUREALIGN_CLIENT__PROVIDER__ADDRESS", address)
        assert CliRunner().invoke(app, ["doctor", "--peer"]).exit_code == ExitCode.OK


# Ways to the provider


def test_a_wrong_port(site):
    message = the_failure(peer(site, 1), "port", ErrorCode.PEER_UNREACHABLE)
    assert "refused" in message


def test_a_port_that_a_firewall_closes(site, monkeypatch):
    def dropped(*_arguments, **_options):
        raise TimeoutError

    monkeypatch.setattr(socket, "create_connection", dropped)
    assert "No answer" in the_failure(peer(site, 1), "port", ErrorCode.PEER_UNREACHABLE)


def test_a_name_that_does_not_exist(site):
    outcome = doctor(site, "--peer", "--set", "provider.address=nowhere.invalid:5")
    assert "nowhere.invalid" in the_failure(outcome, "address", ErrorCode.PEER_UNREACHABLE)


@pytest.mark.parametrize("address", ["::1:52312", "provider.example"])
def test_an_address_that_is_none(site, address):
    outcome = doctor(site, "--peer", "--set", f"provider.address={address}")
    assert address in the_failure(outcome, "address", ErrorCode.CONFIGURATION_INVALID)


def test_a_server_without_tls(site):
    with listening(lambda connection: connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as port:
        message = the_failure(peer(site, port), "tls", ErrorCode.PEER_UNREACHABLE)
    assert "no TLS" in message


def test_a_server_that_says_nothing(site):
    with listening(lambda connection: connection.recv(65536) and connection.recv(1)) as port:
        message = the_failure(peer(site, port, "--timeout", "0.3"), "tls", ErrorCode.PEER_UNREACHABLE)
    assert "does not answer" in message


def test_a_server_with_tls_that_is_no_provider(site):
    """A web server that somebody gave the provider's certificate."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(site / "certs" / "provider" / "cert.pem", site / "certs" / "provider" / "key.pem")

    def web(connection):
        try:
            with context.wrap_socket(connection, server_side=True) as secured:
                secured.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        except OSError:
            pass

    with listening(web) as port:
        message = the_failure(peer(site, port), "grpc", ErrorCode.PEER_UNREACHABLE)
    assert "no provider" in message


def test_a_grpc_server_that_is_another_service(site):
    with with_files_of(site / "certs" / "provider") as port:
        code, findings = peer(site, port)
    assert code == ExitCode.OK
    assert [item["check"] for item in findings if item["level"] == "warning" and "does not serve" in item["message"]]


# Certificates


def test_a_provider_of_another_authority(site, tmp_path):
    create_certificates(tmp_path / "others", days=1)
    with with_files_of(tmp_path / "others" / "provider") as port:
        message = the_failure(peer(site, port), "authority", ErrorCode.PEER_UNTRUSTED)
    assert message.count("(key ") == 2


def test_a_client_of_another_authority(site, tmp_path):
    create_certificates(tmp_path / "others", days=90)
    ours = site / "certs" / "client"
    authority = (ours / "ca.pem").read_bytes()
    shutil.rmtree(ours)
    shutil.copytree(tmp_path / "others" / "client", ours)
    (ours / "ca.pem").write_bytes(authority + (tmp_path / "others" / "ca" / "ca.pem").read_bytes())
    (ours / "crl.pem").unlink()
    with with_files_of(site / "certs" / "provider") as port:
        message = the_failure(peer(site, port), "own certificate", ErrorCode.PEER_UNTRUSTED)
    assert "refused this party's certificate" in message


@pytest.mark.parametrize(("days", "says"), [(-200, "expired on"), (60, "is valid from")])
def test_a_provider_whose_certificate_is_of_another_time(site, days, says):
    there = now() + dt.timedelta(days=days)
    Authority(site / "certs", clock=lambda: there).renew(["provider"], days=90)
    Authority(site / "certs").renew_list()
    with with_files_of(site / "certs" / "provider") as port:
        message = the_failure(peer(site, port), "clock", ErrorCode.PEER_UNTRUSTED)
    assert f"provider's certificate {says}" in message
    assert f"this machine's clock says {now():%Y-%m-%d}" in message


def test_a_provider_with_a_clients_certificate(site):
    with with_files_of(site / "certs" / "client") as port:
        assert "client.securealign" in the_failure(peer(site, port), "role", ErrorCode.WRONG_ROLE)


def test_a_provider_that_was_revoked(site):
    Authority(site / "certs").revoke("rogue")
    with with_files_of(site / "certs" / "rogue") as port:
        assert "revoked on" in the_failure(peer(site, port), "revocation", ErrorCode.CERTIFICATE_REVOKED)


def test_a_client_that_was_revoked_and_has_not_heard_of_it(site, provider):
    before = (site / "certs" / "client" / "crl.pem").read_bytes()
    Authority(site / "certs").revoke("client")
    (site / "certs" / "client" / "crl.pem").write_bytes(before)
    code, findings = diagnose(site, provider)
    failures = {(item["check"], item["error"]) for item in findings if item["level"] == "failed"}
    assert failures == {("own certificate", "CERTIFICATE_REVOKED")}
    assert code == ExitCode.NETWORK


# What the parties have to agree on


def test_a_provider_of_another_release(site, provider, monkeypatch):
    answer = negotiation.answer_hello

    def newer(hello, *arguments, **options):
        return answer(replace(hello, versions=(99,)), *arguments, **options)

    monkeypatch.setattr("securealign.protocol.provider.answer_hello", newer)
    outcome = diagnose(site, provider)
    assert {item["check"] for item in outcome[1] if item["level"] == "failed"} == {"version"}
    assert outcome[0] == ExitCode.REFUSED


def test_a_suite_that_the_provider_does_not_allow(site, provider):
    outcome = diagnose(site, provider, "--set", 'provider.suites=["plaintext"]')
    failures = {(item["check"], item["error"]) for item in outcome[1] if item["level"] == "failed"}
    assert failures == {("suite", "SUITE_UNKNOWN")}
    assert outcome[0] == ExitCode.REFUSED


def test_other_parameters_under_the_same_name(site, provider):
    class Other(LweSuite):
        @property
        def info(self):
            return replace(super().info, parameter_digest=bytes(32))

    provider.suites = [Other()]
    outcome = diagnose(site, provider)
    failures = [item for item in outcome[1] if item["level"] == "failed"]
    assert {(item["check"], item["error"]) for item in failures} == {("parameters", "PARAMETERS_MISMATCH")}
    assert LweSuite().info.parameter_digest.hex()[:16] in failures[0]["message"]


def test_public_texts_that_differ_in_one_place(site, provider):
    write_texts(site, [*TEXTS[:-1], "another text"])
    message = the_failure(diagnose(site, provider), "digest", ErrorCode.DATASET_MISMATCH)
    assert dataset_digest([*TEXTS[:-1], "another text"]).hex()[:16] in message


def test_too_few_texts_for_the_clients_dimension(site, provider):
    np.save(site / "public.npy", embeddings(ROWS, ROWS, 1))
    message = the_failure(diagnose(site, provider), "dimension", ErrorCode.TOO_FEW_ROWS)
    assert f"dimension {ROWS}" in message


def test_a_map_into_a_space_of_another_dimension(site, provider):
    AlignmentMap(embeddings(DIM_B, DIM_A + 1, 5), np.zeros(DIM_A + 1), UNNAMED).save_pretrained(site / "alignment")
    the_failure(diagnose(site, provider), "dimension", ErrorCode.SHAPE_MISMATCH)


def test_a_provider_that_is_busy(site, provider):
    bundles = [load_bundle(site / "certs" / role.label, role) for role in Role]
    with (
        serving(provider, bundles[0], ServerSettings(max_sessions=1)) as (address, _),
        inference(address, bundles[1], DIM_A, [LweSuite()]),
    ):
        code, findings = peer(site, port_of(address))
    failures = {(item["check"], item["error"]) for item in findings if item["level"] == "failed"}
    assert failures == {("busy", "SERVER_BUSY")}
    assert code == ExitCode.NETWORK


def test_a_provider_that_serves_one_phase_only(site, provider):
    bundle = load_bundle(site / "certs" / "provider", Role.PROVIDER)
    server = ProviderServer("127.0.0.1:0", bundle, {TRAINING_METHOD: provider.make_training})
    server.start()
    code, findings = peer(site, server.port)
    server.stop(0)
    assert code == ExitCode.OK
    assert [item["check"] for item in findings if item["level"] == "warning"] == ["inference"]
