"""Certificates between a real server and real channels: renewed, revoked, of other roles, times and authorities."""

from __future__ import annotations

import datetime as dt
import shutil
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from structlog.testing import capture_logs

from securealign.errors import ErrorCode, InputError, TransportError
from securealign.pki.authority import Authority
from securealign.pki.certificates import Role, create_certificates
from securealign.pki.issuing import Issuer, Window, make_list, revoked_entry
from securealign.transport.credentials import BundleSource, peer_identity, server_credentials
from securealign.transport.preflight import meet, pinned_channel
from securealign.transport.status import ERROR_KEY, status_of

METHOD = "/test/Who"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / "certs"
    create_certificates(folder, days=30)
    authority = Authority(folder)
    authority.issue(Role.CLIENT, "acme", days=30)
    authority.issue(Role.PROVIDER, "rogue", days=30)
    return folder


@pytest.fixture
def folder(made, tmp_path):
    shutil.copytree(made, tmp_path / "certs")
    return tmp_path / "certs"


class Who(grpc.GenericRpcHandler):
    """Answers every call with the name of its caller, as the provider's server does at the start of a stream."""

    def __init__(self, source):
        self._source = source

    def service(self, handler_call_details):
        def handle(_request, context):
            try:
                return peer_identity(context, self._source).name.encode()
            except TransportError as error:
                context.set_trailing_metadata(((ERROR_KEY, error.code.name),))
                context.abort(status_of(error.code), error.code.sentence)

        return grpc.unary_unary_rpc_method_handler(handle)


@contextmanager
def serving(folder, role=Role.PROVIDER, clock=None):
    """Serve with the bundle in `folder`; yields the port."""
    source = BundleSource(folder, role, **({"clock": clock} if clock else {}))
    server = grpc.server(ThreadPoolExecutor(2), handlers=(Who(source),))
    port = server.add_secure_port("127.0.0.1:0", server_credentials(source))
    server.start()
    try:
        yield port
    finally:
        server.stop(0).wait()


def client(folder, name="acme"):
    return BundleSource(folder / name, Role.CLIENT)


def ask(channel):
    return channel.unary_unary(METHOD)(b"", timeout=600).decode()


def open_channel(port, source, options=()):
    """Return a channel to the provider that answers at the port, and its identity."""
    bundle, target = source.current(), f"127.0.0.1:{port}"
    met = meet(target, bundle, now=source.clock(), timeout=600)
    return pinned_channel(target, bundle, met.certificate, options), met.identity


def who(port, source):
    """Ask over a channel of its own."""
    channel, provider = open_channel(port, source)
    with channel:
        return ask(channel), provider.name


def refusal(port, source, **options):
    with pytest.raises(TransportError) as caught:
        open_channel(port, source, **options)
    return caught.value


def named_code(caught):
    return dict(caught.value.trailing_metadata())[ERROR_KEY]


def test_both_parties_learn_each_others_names(folder):
    with serving(folder / "provider") as port:
        assert who(port, client(folder)) == ("acme", "provider")
        assert who(port, client(folder, "client")) == ("client", "provider")


# Renewal


def test_a_provider_that_was_renewed_serves_its_new_certificate_without_a_restart(folder):
    with serving(folder / "provider") as port:
        bundle = client(folder).current()
        before = meet(f"127.0.0.1:{port}", bundle, now=now(), timeout=600)
        channel, _ = open_channel(port, client(folder))
        with channel:
            assert ask(channel) == "acme"
            Authority(folder).renew(["provider"], days=60)
            after = meet(f"127.0.0.1:{port}", bundle, now=now(), timeout=600)
            # A connection that is open stays open.
            assert ask(channel) == "acme"
        assert who(port, client(folder)) == ("acme", "provider")
    assert after.identity.name == before.identity.name
    assert after.identity.fingerprint != before.identity.fingerprint


def test_a_client_that_was_renewed_uses_its_new_certificate_from_the_next_channel_on(folder):
    source = client(folder)
    with serving(folder / "provider") as port:
        first = source.current()
        assert who(port, source)[0] == "acme"
        Authority(folder).renew(["acme"], days=60)
        assert source.current().certificate != first.certificate
        assert who(port, source)[0] == "acme"


def test_a_new_bundle_that_cannot_be_used_is_not_taken_and_said_once(folder):
    source = client(folder)
    before = source.current()
    (folder / "acme" / "cert.pem").write_bytes(b"half a fi")
    with capture_logs() as logs:
        assert source.current() == before
        assert source.current() == before
    assert [(entry["log_level"], entry["event"]) for entry in logs] == [("warning", "certificates not renewed")]
    (folder / "acme" / "cert.pem").write_bytes(before.certificate)
    with capture_logs() as logs:
        assert source.current() == before
    assert [entry["event"] for entry in logs] == ["certificates renewed"]


def test_nobody_stays_let_in_because_another_file_is_broken(folder):
    source = BundleSource(folder / "provider", Role.PROVIDER)
    with serving(folder / "provider") as port:
        Authority(folder).revoke("acme")
        (folder / "provider" / "cert.pem").unlink()
        channel, _ = open_channel(port, unrevoked(folder))
        with channel, pytest.raises(grpc.RpcError) as caught:
            ask(channel)
        assert named_code(caught) == "CERTIFICATE_REVOKED"
    assert source.current().revocations == (folder / "ca" / "crl.pem").read_bytes()


def test_a_broken_list_does_not_replace_one_that_revokes(folder):
    source = BundleSource(folder / "provider", Role.PROVIDER)
    Authority(folder).revoke("acme")
    revoking = source.current().revocations
    (folder / "provider" / "crl.pem").write_bytes(b"garbage")
    with capture_logs() as logs:
        assert source.current().revocations == revoking
    assert [entry["log_level"] for entry in logs] == ["warning", "warning"]


def test_a_bundle_that_cannot_be_used_at_the_start_is_an_error(folder):
    (folder / "provider" / "key.pem").unlink()
    with pytest.raises(InputError):
        BundleSource(folder / "provider", Role.PROVIDER)


# Revocation


def unrevoked(folder, name="acme"):
    """Return a bundle of a party that does not know of its revocation: an attacker with a stolen key."""
    (folder / name / "crl.pem").unlink(missing_ok=True)
    return client(folder, name)


def test_a_client_that_is_revoked_is_refused_on_a_connection_that_is_open(folder):
    with serving(folder / "provider") as port:
        channel, _ = open_channel(port, client(folder))
        with channel:
            assert ask(channel) == "acme"
            Authority(folder).revoke("acme")
            with pytest.raises(grpc.RpcError) as caught:
                ask(channel)
            assert named_code(caught) == "CERTIFICATE_REVOKED"
            # Nor does it help that the list disappears.
            (folder / "provider" / "crl.pem").unlink()
            with pytest.raises(grpc.RpcError) as caught:
                ask(channel)
            assert named_code(caught) == "CERTIFICATE_REVOKED"
    # The control: a provider that never had the list serves the same client.
    with serving(folder / "provider") as port:
        assert who(port, unrevoked(folder))[0] == "acme"


def test_a_client_that_knows_of_its_revocation_does_not_try(folder):
    source = client(folder)
    Authority(folder).revoke("acme")
    error = refusal(1, source)
    assert error.code is ErrorCode.CERTIFICATE_REVOKED
    assert "own certificate" in error.message


def test_a_provider_that_is_revoked_is_refused_by_the_client(folder):
    shutil.copytree(folder / "rogue", folder.parent / "stolen")
    Authority(folder).revoke("rogue")
    with serving(folder.parent / "stolen") as port:
        error = refusal(port, client(folder))
        assert error.code is ErrorCode.CERTIFICATE_REVOKED
        assert "peer's certificate" in error.message
        # The control: without a list the client trusts it.
        assert who(port, unrevoked(folder)) == ("acme", "rogue")


def pump(source, sink):
    """Forward bytes one way until either end is gone."""
    try:
        while data := source.recv(65536):
            sink.sendall(data)
    except OSError:
        pass
    finally:
        # The thread of the other direction wakes up from this.
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@contextmanager
def interceptor(first, then):
    """Forward the first connection to one port and all others to another; yields its own port."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.2)
    over = threading.Event()

    def accept():
        port = first
        while not over.is_set():
            try:
                near, _ = listener.accept()
            except TimeoutError:
                continue
            near.settimeout(600)
            far = socket.create_connection(("127.0.0.1", port), timeout=600)
            port = then
            ends.extend((near, far))
            threads.extend(threading.Thread(target=pump, args=pair) for pair in ((near, far), (far, near)))
            for thread in threads[-2:]:
                thread.start()

    threads, ends = [], []
    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield listener.getsockname()[1]
    finally:
        over.set()
        accepting.join()
        listener.close()
        for thread in threads:
            thread.join()
        for end in ends:
            end.close()


def test_nobody_with_a_revoked_certificate_can_stand_in_between(folder):
    """The first connection reaches the provider; the channel meets a certificate that the same authority revoked."""
    shutil.copytree(folder / "rogue", folder.parent / "stolen")
    (folder.parent / "stolen" / "crl.pem").unlink()
    Authority(folder).revoke("rogue")
    source = client(folder)
    with serving(folder / "provider") as true, serving(folder.parent / "stolen") as rogue:
        with interceptor(true, rogue) as port:
            channel, provider = open_channel(port, source)
            assert provider.name == "provider"
            with channel, pytest.raises(grpc.RpcError) as caught:
                ask(channel)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "CERTIFICATE_VERIFY_FAILED" in caught.value.details()
        # The control: a channel that trusts the authority, as gRPC does by itself, talks to the intruder.
        bundle = source.current()
        with interceptor(true, rogue) as port:
            meet(f"127.0.0.1:{port}", bundle, now=now(), timeout=600)
            credentials = grpc.ssl_channel_credentials(bundle.authority, bundle.private_key, bundle.certificate)
            options = (("grpc.ssl_target_name_override", Role.PROVIDER.value),)
            with grpc.secure_channel(f"127.0.0.1:{port}", credentials, options=options) as unpinned:
                assert ask(unpinned) == "acme"


# Roles, times and authorities


def now():
    return dt.datetime.now(dt.timezone.utc)


def test_a_server_with_a_clients_certificate_is_refused(folder):
    with serving(folder / "acme", Role.CLIENT) as port:
        error = refusal(port, client(folder))
    assert error.code is ErrorCode.WRONG_ROLE
    assert "client.securealign" in error.message


def test_a_client_with_a_providers_certificate_is_refused_by_the_provider(folder):
    with serving(folder / "provider") as port:
        channel, _ = open_channel(port, BundleSource(folder / "rogue", Role.PROVIDER))
        with channel, pytest.raises(grpc.RpcError) as caught:
            ask(channel)
    assert named_code(caught) == "WRONG_ROLE"


@pytest.mark.parametrize(
    ("shift", "says"),
    [(dt.timedelta(days=-60), "provider's certificate expired on"), (dt.timedelta(days=60), "valid from")],
)
def test_a_provider_of_another_time_is_told_apart(folder, shift, says):
    Authority(folder, clock=lambda: now() + shift).renew(["provider"], days=30)
    key, certificate, authority = (
        (folder / "provider" / name).read_bytes() for name in ("key.pem", "cert.pem", "ca.pem")
    )
    # Not through a source, which would refuse to begin.
    server = grpc.server(ThreadPoolExecutor(1))
    credentials = grpc.ssl_server_credentials([(key, certificate)], authority, require_client_auth=True)
    port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    Authority(folder).renew_list()
    error = refusal(port, client(folder))
    server.stop(0).wait()
    assert error.code is ErrorCode.PEER_UNTRUSTED
    assert says in error.message
    assert f"clock says {now():%Y-%m-%d}" in error.message


def test_a_client_whose_certificate_expires_on_an_open_connection_is_refused(folder):
    time = {"now": now()}
    with serving(folder / "provider", clock=lambda: time["now"]) as port:
        channel, _ = open_channel(port, client(folder))
        with channel:
            assert ask(channel) == "acme"
            time["now"] += dt.timedelta(days=31)
            with pytest.raises(grpc.RpcError) as caught:
                ask(channel)
    assert named_code(caught) == "PEER_UNTRUSTED"


def test_a_provider_of_another_authority_is_told_with_both_keys(folder, tmp_path):
    create_certificates(tmp_path / "others", days=1)
    with serving(tmp_path / "others" / "provider") as port:
        error = refusal(port, client(folder))
    assert error.code is ErrorCode.PEER_UNTRUSTED
    assert error.message.count("(key ") == 2


def test_a_client_of_another_authority_is_told_that_it_was_refused(folder, tmp_path):
    create_certificates(tmp_path / "others", days=1)
    mixed = tmp_path / "others" / "client"
    (mixed / "ca.pem").write_bytes((folder / "ca" / "ca.pem").read_bytes() + (mixed / "ca.pem").read_bytes())
    (mixed / "crl.pem").unlink()
    with serving(folder / "provider") as port:
        error = refusal(port, BundleSource(mixed, Role.CLIENT))
    assert error.code is ErrorCode.PEER_UNTRUSTED
    assert "refused this party's certificate" in error.message


# The PKI of a company


def signed(subject, issuer, key, *, role=None):
    """Return a certificate of an authority, or of a party if a role is given, as a company's PKI makes it."""
    name = x509.Name.from_rfc4514_string(subject)
    builder = x509.CertificateBuilder(
        issuer[0].subject if issuer else name,
        name,
        key.public_key(),
        x509.random_serial_number(),
        now() - dt.timedelta(days=1),
        now() + dt.timedelta(days=9),
    ).add_extension(x509.BasicConstraints(ca=role is None, path_length=None), critical=True)
    if role is not None:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(role.value)]), critical=False)
    return builder.sign(issuer[1] if issuer else key, hashes.SHA256())


def pem(*items):
    return b"".join(item.public_bytes(serialization.Encoding.PEM) for item in items)


@pytest.fixture
def company(tmp_path):
    """Bundles of two parties, each under an intermediate authority of its own, and the authorities: RSA and ECDSA."""
    root_key = ec.generate_private_key(ec.SECP384R1())
    root = (signed("CN=Root", None, root_key), root_key)
    authorities = {"root": root}
    for role in Role:
        key = ec.generate_private_key(ec.SECP256R1())
        authorities[role.label] = (signed(f"CN=Issuing {role.label}", root, key), key)
        own = rsa.generate_private_key(65537, 2048)
        leaf = signed(f"CN={role.label},O=Acme", authorities[role.label], own, role=role)
        folder = tmp_path / "company" / role.label
        folder.mkdir(parents=True)
        (folder / "ca.pem").write_bytes(pem(root[0]))
        (folder / "cert.pem").write_bytes(pem(leaf, authorities[role.label][0]))
        (folder / "key.pem").write_bytes(
            own.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
            )
        )
    return tmp_path / "company", authorities


def revoking(issuer, *serials):
    entries = [revoked_entry(serial, now()) for serial in serials]
    return pem(make_list(Issuer(*issuer), entries, 1, Window.of_days(now(), 3)))


def test_parties_of_a_companys_own_pki_meet(company):
    folder, _ = company
    with serving(folder / "provider") as port:
        assert who(port, client(folder, "client")) == ("CN=client,O=Acme", "CN=provider,O=Acme")


@pytest.mark.parametrize("refused", list(Role))
def test_an_authority_in_between_that_was_revoked_takes_its_parties_with_it(company, refused):
    """Each party trusts the root alone, and learns of the other's authority from its chain."""
    folder, authorities = company
    good = b"".join(revoking(authorities[name]) for name in ("root", "provider", "client"))
    for role in Role:
        (folder / role.label / "crl.pem").write_bytes(good)
    with serving(folder / "provider") as port:
        channel, _ = open_channel(port, client(folder, "client"))
        with channel:
            assert ask(channel) == "CN=client,O=Acme"
            revoked = revoking(authorities["root"], authorities[refused.label][0].serial_number)
            rest = b"".join(revoking(authorities[role.label]) for role in Role)
            reader = Role.CLIENT if refused is Role.PROVIDER else Role.PROVIDER
            (folder / reader.label / "crl.pem").write_bytes(revoked + rest)
            if reader is Role.CLIENT:
                assert refusal(port, client(folder, "client")).code is ErrorCode.CERTIFICATE_REVOKED
            else:
                with pytest.raises(grpc.RpcError) as caught:
                    ask(channel)
                assert named_code(caught) == "CERTIFICATE_REVOKED"


def test_a_party_without_the_list_of_its_peers_authority_refuses_it(company):
    folder, authorities = company
    (folder / "client" / "crl.pem").write_bytes(revoking(authorities["root"]) + revoking(authorities["client"]))
    with serving(folder / "provider") as port:
        assert "no list of the authority" in refusal(port, client(folder, "client")).message


def test_a_chain_without_its_link_is_refused(company):
    folder, authorities = company
    leaf = (folder / "provider" / "cert.pem").read_bytes().removesuffix(pem(authorities["provider"][0]))
    key, authority = ((folder / "provider" / name).read_bytes() for name in ("key.pem", "ca.pem"))
    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_secure_port(
        "127.0.0.1:0", grpc.ssl_server_credentials([(key, leaf)], authority, require_client_auth=True)
    )
    server.start()
    error = refusal(port, client(folder, "client"))
    server.stop(0).wait()
    assert error.code is ErrorCode.PEER_UNTRUSTED
    assert "CN=Issuing provider" in error.message
