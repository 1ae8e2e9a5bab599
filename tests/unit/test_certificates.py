"""Certificates that the authority makes, and bundles that are refused when they are loaded."""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import shutil
import stat
import traceback
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509 import verification
from cryptography.x509.oid import ExtendedKeyUsageOID

from securealign.errors import ConfigurationError, ErrorCode, InputError
from securealign.pki.certificates import Bundle, Role, create_certificates, load_bundle
from securealign.pki.chains import now_utc

ROLES = list(Role)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """An authority and its bundles, which no test changes."""
    folder = tmp_path_factory.mktemp("made") / "certs"
    create_certificates(folder, days=30, provider_hosts=["host.example.org", "10.1.2.3", "::1"])
    return folder


@pytest.fixture
def folder(made, tmp_path):
    """A copy that a test may break."""
    shutil.copytree(made, tmp_path / "certs")
    return tmp_path / "certs"


def read(path):
    return x509.load_pem_x509_certificate(path.read_bytes())


def alternatives(path):
    return read(path).extensions.get_extension_for_class(x509.SubjectAlternativeName).value


def refusal(folder, role=Role.PROVIDER):
    with pytest.raises(InputError) as caught:
        load_bundle(folder, role)
    return caught.value


@pytest.mark.parametrize("role", ROLES)
def test_the_chain_verifies(made, role):
    authority, certificate = read(made / "ca" / "ca.pem"), read(made / role.label / "cert.pem")
    certificate.verify_directly_issued_by(authority)
    authority.verify_directly_issued_by(authority)
    assert (made / role.label / "ca.pem").read_bytes() == (made / "ca" / "ca.pem").read_bytes()
    builder = verification.PolicyBuilder().store(verification.Store([authority])).time(now_utc())
    chain = builder.build_server_verifier(x509.DNSName(role.value)).verify(certificate, [])
    assert chain == [certificate, authority]


def test_only_the_authority_can_issue(made):
    assert read(made / "ca" / "ca.pem").extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    for role in ROLES:
        extensions = read(made / role.label / "cert.pem").extensions
        assert not extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        assert not extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
        purposes = set(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
        assert purposes == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}


def test_each_certificate_names_its_own_role_and_no_other(made):
    provider, client = (alternatives(made / role.label / "cert.pem") for role in (Role.PROVIDER, Role.CLIENT))
    assert provider.get_values_for_type(x509.DNSName) == [Role.PROVIDER.value, "host.example.org"]
    assert provider.get_values_for_type(x509.IPAddress) == [
        ipaddress.ip_address("10.1.2.3"),
        ipaddress.ip_address("::1"),
    ]
    assert client.get_values_for_type(x509.DNSName) == [Role.CLIENT.value]
    for names, role in ((provider, Role.PROVIDER), (client, Role.CLIENT)):
        assert names.get_values_for_type(x509.UniformResourceIdentifier) == [f"securealign:{role.label}:{role.label}"]


def test_three_keys_are_three_keys(made):
    keys = {path.read_bytes() for path in made.rglob("*.pem") if path.name == "key.pem"}
    keys.add((made / "ca" / "ca.key").read_bytes())
    assert len(keys) == 3


def test_private_keys_are_for_their_owner_alone(made):
    modes = {str(path.relative_to(made)): stat.S_IMODE(path.stat().st_mode) for path in made.rglob("*")}
    for name in ("ca", "provider", "client"):
        assert modes[name] == 0o700
    for name in ("ca/ca.key", "provider/key.pem", "client/key.pem"):
        assert modes[name] == 0o600


def test_a_wide_umask_does_not_widen_them(tmp_path):
    before = os.umask(0)
    try:
        create_certificates(tmp_path / "certs", days=1)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "certs" / "client").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "certs" / "client" / "key.pem").stat().st_mode) == 0o600


def test_days_are_days(made):
    for path, days in (("ca/ca.pem", 3650), ("provider/cert.pem", 30), ("client/cert.pem", 30)):
        certificate = read(made / path)
        assert abs(certificate.not_valid_after_utc - now_utc() - dt.timedelta(days=days)) < dt.timedelta(minutes=10)
        assert certificate.not_valid_before_utc < now_utc()


@pytest.mark.parametrize("kept", ["ca", "provider", "client"])
def test_nothing_that_is_in_use_is_replaced(folder, kept):
    for name in {"ca", "provider", "client"} - {kept}:
        shutil.rmtree(folder / name)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(ConfigurationError, match="already holds"):
        create_certificates(folder, days=1)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    "host", ["", "two words", "host:50051", "10.0.0.1:50051", "https://host", "bücher.example", "-a.example", "a" * 64]
)
def test_a_host_that_no_certificate_can_name_leaves_nothing_behind(tmp_path, host):
    with pytest.raises(ConfigurationError, match="no host name or address"):
        create_certificates(tmp_path / "certs", days=1, provider_hosts=["fine.example", host])
    assert not (tmp_path / "certs").exists()


@pytest.mark.parametrize("side", ["provider_hosts", "client_hosts"])
@pytest.mark.parametrize("name", ["client.securealign", "Provider.SecureAlign"])
def test_a_role_is_no_host(tmp_path, side, name):
    with pytest.raises(ConfigurationError, match="no host name or address"):
        create_certificates(tmp_path / "certs", days=1, **{side: [name]})


@pytest.mark.parametrize("host", ["localhost", "a.b-c.example", "*.example.org", "xn--bcher-kva.example", "db_1"])
def test_other_hosts_are_named(tmp_path, host):
    create_certificates(tmp_path / "certs", days=1, client_hosts=[host])
    names = alternatives(tmp_path / "certs" / "client" / "cert.pem").get_values_for_type(x509.DNSName)
    assert names == [Role.CLIENT.value, host]


@pytest.mark.parametrize("role", ROLES)
def test_a_bundle_holds_what_tls_needs(made, role):
    bundle = load_bundle(made / role.label, role)
    assert bundle.role is role
    assert bundle.certificate == (made / role.label / "cert.pem").read_bytes()
    assert bundle.private_key == (made / role.label / "key.pem").read_bytes()


def test_a_bundle_of_another_user_is_to_be_given_to_this_one(made, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", refuse)
        with pytest.raises(InputError, match="Permission denied") as caught:
            load_bundle(made / "client", Role.CLIENT)
    assert "chown -R USER" in caught.value.hint
    load_bundle(made / "client", Role.CLIENT)


@pytest.mark.parametrize(("role", "other"), [(Role.PROVIDER, Role.CLIENT), (Role.CLIENT, Role.PROVIDER)])
def test_a_bundle_of_the_other_role_is_refused(made, role, other):
    error = refusal(made / other.label, role)
    assert error.code is ErrorCode.WRONG_ROLE
    assert role.label in error.hint


@pytest.mark.parametrize("role", ROLES)
def test_a_key_of_another_certificate_is_refused(folder, made, role):
    other = ROLES[1 - ROLES.index(role)]
    shutil.copy(made / other.label / "key.pem", folder / role.label / "key.pem")
    error = refusal(folder / role.label, role)
    assert "key.pem does not belong to cert.pem" in error.message
    assert error.code is ErrorCode.FILE_INVALID


def test_a_certificate_of_another_authority_is_refused(folder, tmp_path):
    create_certificates(tmp_path / "others", days=1)
    shutil.copy(tmp_path / "others" / "ca" / "ca.pem", folder / "provider" / "ca.pem")
    assert "not issued by an authority in ca.pem" in refusal(folder / "provider").message


def test_a_certificate_without_names_has_no_role(folder):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now_utc(), now_utc() + dt.timedelta(days=1))
    certificate = builder.sign(key, hashes.SHA256())
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    write_key(folder, key)
    for file in ("ca.pem", "cert.pem"):
        (folder / "provider" / file).write_bytes(pem)
    assert refusal(folder / "provider").code is ErrorCode.WRONG_ROLE


@pytest.mark.parametrize(
    ("shift", "reason"),
    [(dt.timedelta(days=31), "the certificate expired on"), (dt.timedelta(hours=-1), "the certificate is valid from")],
)
def test_a_certificate_of_another_time_is_refused(made, shift, reason):
    moment = now_utc() + shift
    for role in ROLES:
        with pytest.raises(InputError, match=reason) as caught:
            load_bundle(made / role.label, role, now=moment)
        assert caught.value.code is ErrorCode.FILE_INVALID
        assert f"clock says {moment:%Y-%m-%d %H:%M} UTC" in caught.value.message


@pytest.mark.parametrize("name", ["ca.pem", "cert.pem", "key.pem"])
def test_a_missing_file_is_named(folder, name):
    (folder / "provider" / name).unlink()
    error = refusal(folder / "provider")
    assert name in error.message
    assert error.code is ErrorCode.FILE_INVALID
    assert "certs init" in error.hint


def test_a_missing_folder_is_named(tmp_path):
    assert "nowhere" in refusal(tmp_path / "nowhere").message


GARBAGE = (b"", b"garbage", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", bytes(range(256)))


@pytest.mark.parametrize("name", ["ca.pem", "cert.pem", "key.pem"])
@pytest.mark.parametrize("content", GARBAGE)
def test_a_file_that_is_no_pem_is_refused(folder, name, content):
    (folder / "provider" / name).write_bytes(content)
    assert refusal(folder / "provider").code is ErrorCode.FILE_INVALID


def write_key(folder, key, encryption=None):
    encryption = encryption or serialization.NoEncryption()
    data = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    (folder / "provider" / "key.pem").write_bytes(data)


def test_a_key_of_another_kind_is_refused(folder):
    write_key(folder, rsa.generate_private_key(65537, 2048))
    assert "does not belong" in refusal(folder / "provider").message


def test_a_key_under_a_passphrase_is_refused(folder):
    write_key(folder, ec.generate_private_key(ec.SECP256R1()), serialization.BestAvailableEncryption(b"passphrase"))
    assert refusal(folder / "provider").code is ErrorCode.FILE_INVALID


def secret_lines(bundle):
    """Return the lines of base64 that make up a private key."""
    return [line for line in bundle.private_key.decode().splitlines() if not line.startswith("-----")]


def test_a_bundle_never_prints_its_key(made):
    bundle = load_bundle(made / "client", Role.CLIENT)
    shown = f"{bundle!r} {bundle} {bundle!s:>80} {[bundle]} { ({'bundle': bundle}) }"
    assert "<Bundle of the client>" in shown
    assert not any(line in shown for line in secret_lines(bundle))
    # What would be shown without the protection.
    assert all(line in str(vars(bundle)) for line in secret_lines(bundle))


@pytest.mark.parametrize("spoil", ["truncate", "swap", "certificate"])
def test_an_error_never_holds_a_key(folder, made, spoil):
    path = folder / "provider" / "key.pem"
    key = path.read_bytes()
    if spoil == "truncate":
        path.write_bytes(key[:-40])
    elif spoil == "swap":
        shutil.copy(made / "client" / "cert.pem", folder / "provider" / "cert.pem")
    else:
        (folder / "provider" / "cert.pem").write_bytes(key)
    error = refusal(folder / "provider")
    shown = "".join(traceback.format_exception(error)) + repr(error.__cause__) + repr(error.args)
    lines = secret_lines(Bundle(b"", b"", key, Role.PROVIDER))
    assert not any(line in shown for line in lines)
