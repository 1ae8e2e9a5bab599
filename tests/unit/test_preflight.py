"""The client's first connection: addresses, and servers that end it at every point."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securealign.errors import ConfigurationError, ErrorCode
from securealign.pki.certificates import Role, create_certificates, load_bundle
from securealign.pki.chains import now_utc
from securealign.pki.identity import describe_authority, printable
from securealign.transport.preflight import PreflightError, Stage, connect, meet, split_target

SETTINGS = bytes.fromhex("000000040000000000")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificates") / "certs"
    create_certificates(folder, days=2)
    return folder


@pytest.fixture
def bundle(folder):
    return load_bundle(folder / "client", Role.CLIENT)


def server_context(folder, *, protocols=("h2",)):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "provider" / "cert.pem", folder / "provider" / "key.pem")
    context.load_verify_locations(folder / "provider" / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    if protocols:
        context.set_alpn_protocols(protocols)
    return context


@contextmanager
def serving(answer):
    """Give the first connection to `answer`; yields the target, and what `answer` returned in a list."""
    returned = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(600)

        def serve():
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(600)
                with suppress(OSError):
                    returned.append(answer(connection))

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}", returned
        finally:
            thread.join()


def speaking(context, data):
    """Return a server that ends its handshake, says `data`, and waits for the client to leave."""

    def answer(connection):
        with context.wrap_socket(connection, server_side=True) as secured:
            shown = secured.getpeercert()
            if data:
                secured.sendall(data)
                with suppress(OSError):
                    secured.recv(1)
            return shown

    return answer


def meeting(target, bundle, timeout=600):
    return meet(target, bundle, now=now_utc(), timeout=timeout)


def failure(target, bundle, timeout=600):
    with pytest.raises(PreflightError) as caught:
        meeting(target, bundle, timeout)
    return caught.value


def test_the_provider_is_met_and_sees_the_clients_certificate(folder, bundle):
    with serving(speaking(server_context(folder), SETTINGS)) as (target, seen):
        met = meeting(target, bundle)
    assert (met.identity.name, met.identity.role, met.tls_version) == ("provider", Role.PROVIDER, "TLSv1.3")
    assert met.certificate.strip() == (folder / "provider" / "cert.pem").read_bytes().strip()
    assert ("DNS", "client.securealign") in seen[0]["subjectAltName"]


def test_an_older_version_of_tls_is_refused(folder, bundle):
    context = server_context(folder)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with serving(speaking(context, SETTINGS)) as (target, _):
        error = failure(target, bundle)
    assert (error.stage, error.code) == (Stage.TLS, ErrorCode.PEER_UNREACHABLE)


@pytest.mark.parametrize("protocols", [(), ("http/1.1",)])
def test_a_server_without_http_2_is_no_provider(folder, bundle, protocols):
    with serving(speaking(server_context(folder, protocols=protocols), SETTINGS)) as (target, _):
        assert failure(target, bundle).stage in {Stage.GRPC, Stage.TLS}


@pytest.mark.parametrize("data", [b"HTTP/1.1 400 Bad Request\r\n\r\n", bytes(9), b"\x00\x00\x00\x06" + bytes(5)])
def test_a_server_that_begins_with_another_frame_is_no_provider(folder, bundle, data):
    with serving(speaking(server_context(folder), data)) as (target, _):
        assert failure(target, bundle).stage is Stage.GRPC


def test_a_server_that_hangs_up_in_the_middle_of_a_frame_is_no_provider(folder, bundle):
    def answer(connection):
        with server_context(folder).wrap_socket(connection, server_side=True) as secured:
            secured.sendall(SETTINGS[:5])
            secured.unwrap()

    with serving(answer) as (target, _):
        assert failure(target, bundle).stage is Stage.GRPC


@pytest.mark.thorough
def test_a_server_that_says_nothing_after_the_handshake_is_not_waited_for(folder, bundle):
    def answer(connection):
        with server_context(folder).wrap_socket(connection, server_side=True) as secured:
            return secured.recv(1)

    with serving(answer) as (target, _):
        assert failure(target, bundle, timeout=3).stage is Stage.GRPC


def test_a_server_that_refuses_our_certificate_with_an_alert_is_quoted(folder, bundle, tmp_path):
    create_certificates(tmp_path / "others", days=2)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "provider" / "cert.pem", folder / "provider" / "key.pem")
    context.load_verify_locations(tmp_path / "others" / "ca" / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    context.set_alpn_protocols(["h2"])
    with serving(speaking(context, SETTINGS)) as (target, _):
        error = failure(target, bundle)
    assert (error.stage, error.code) == (Stage.OWN_CERTIFICATE, ErrorCode.PEER_UNTRUSTED)
    assert "alert" in error.message


def test_a_server_that_hangs_up_without_a_word_has_refused_our_certificate(folder, bundle):
    with serving(speaking(server_context(folder), b"")) as (target, _):
        assert failure(target, bundle).stage is Stage.OWN_CERTIFICATE


def test_a_server_that_hangs_up_at_once_speaks_no_tls(bundle):
    with serving(lambda connection: None) as (target, _):
        assert failure(target, bundle).stage is Stage.TLS


def test_nobody_listens(bundle):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    error = failure(f"127.0.0.1:{port}", bundle)
    assert (error.stage, error.code) == (Stage.PORT, ErrorCode.PEER_UNREACHABLE)


@pytest.mark.parametrize(
    ("raised", "stage", "says"),
    [
        (TimeoutError(), Stage.PORT, "No answer"),
        (ConnectionRefusedError(), Stage.PORT, "refused"),
        (OSError(113, "No route to host"), Stage.PORT, "No route to host"),
        (socket.gaierror(-2, "unknown"), Stage.NAME, "does not resolve"),
        (UnicodeError("label too long"), Stage.NAME, "does not resolve"),
    ],
)
def test_every_way_not_to_connect_has_words(monkeypatch, raised, stage, says):
    def fail(*_arguments, **_options):
        raise raised

    monkeypatch.setattr(socket, "create_connection", fail)
    with pytest.raises(PreflightError, match=says) as caught:
        connect("host", 5, 1.0)
    assert caught.value.stage is stage
    assert caught.value.hint


def test_the_key_is_nowhere_in_clear_while_openssl_reads_it(folder, bundle, monkeypatch):
    read = []
    load = ssl.SSLContext.load_cert_chain

    def watch(self, path, **options):
        read.append((path, path.read_bytes(), path.parent.stat().st_mode & 0o777))
        return load(self, path, **options)

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", watch)
    with serving(speaking_plain) as (target, _):
        failure(target, bundle)
    ((path, content, mode),) = read
    assert b"ENCRYPTED PRIVATE KEY" in content
    assert not any(line in content for line in bundle.private_key.splitlines()[1:-1])
    assert mode == 0o700
    assert not path.parent.exists()


def speaking_plain(connection):
    connection.sendall(b"hello")


HARDENED = """
import os, sys
from pathlib import Path
from securealign.hardening import harden_process
from securealign.pki.certificates import Role, load_bundle
from securealign.transport import preflight
os.chdir("/")
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
harden_process()
preflight._context(load_bundle(Path(sys.argv[1]), Role.CLIENT))
"""


def test_a_process_that_allows_no_core_dumps_can_use_its_key(folder, tmp_path):
    """/proc is closed to such a process, unless it runs as root."""
    with tempfile.TemporaryDirectory() as name:
        copy = Path(shutil.copytree(folder / "client", f"{name}/client"))
        for path in (copy.parent, copy, *copy.iterdir()):
            path.chmod(0o755)
        done = subprocess.run(
            [sys.executable, "-c", HARDENED, str(copy)], capture_output=True, text=True, check=False, timeout=600
        )
    assert done.returncode == 0, done.stderr


# Addresses


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("host.example:5", ("host.example", 5)),
        ("10.0.0.1:65535", ("10.0.0.1", 65535)),
        ("[::1]:50051", ("::1", 50051)),
        ("dns:///host.example:5", ("host.example", 5)),
    ],
)
def test_addresses(target, expected):
    assert split_target(target) == expected


@pytest.mark.parametrize("target", ["", "host", ":5", "host:", "host:0", "host:65536", "host:-1", "host:²", "host:5a"])
def test_what_is_no_address_is_refused(target):
    with pytest.raises(ConfigurationError, match="no address"):
        split_target(target)


@pytest.mark.parametrize("target", ["::1:50051", "2001:db8::7:50051", "dns:///::1:50051", "[::1:50051", "::1]:50051"])
def test_an_address_of_ipv6_without_brackets_is_refused_with_an_example(target):
    with pytest.raises(ConfigurationError, match="no brackets") as caught:
        split_target(target)
    assert "[2001:db8::1]:50051" in caught.value.hint


@given(st.text(max_size=40))
def test_any_text_is_an_address_or_refused(text):
    try:
        host, port = split_target(text)
    except ConfigurationError:
        return
    assert host
    assert 0 < port < 65536


# What a stranger's certificate says


@given(st.text(max_size=400))
def test_names_of_strangers_cannot_write_to_a_terminal(text):
    shown = printable(text)
    assert shown.isprintable()
    assert len(shown) <= 200


def test_authorities_of_one_name_are_told_apart_by_key(folder, tmp_path):
    from cryptography import x509

    create_certificates(tmp_path / "others", days=2)
    names = set()
    for path in (folder, tmp_path / "others"):
        authority = x509.load_pem_x509_certificate((path / "ca" / "ca.pem").read_bytes())
        key = x509.SubjectKeyIdentifier.from_public_key(authority.public_key()).digest
        names.add(describe_authority(authority.subject, key))
    assert len(names) == 2
