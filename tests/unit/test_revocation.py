"""Issuing, renewing and revoking under a private authority, and what the lists of revoked certificates do to peers."""

from __future__ import annotations

import datetime as dt
import shutil
import stat

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from securealign.errors import ConfigurationError, ErrorCode, InputError, TransportError
from securealign.files import write_atomically
from securealign.pki.authority import Authority
from securealign.pki.certificates import Bundle, Role, create_certificates, identity_of, load_bundle, verify_peer
from securealign.pki.chains import CertificateProblem, now_utc
from securealign.pki.issuing import Issuer, Window, make_list, revoked_entry
from securealign.pki.revocation import parse_lists


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / "certs"
    create_certificates(folder, days=30, provider_hosts=["host.example.org", "10.1.2.3"])
    Authority(folder).issue(Role.CLIENT, "acme", days=30)
    return folder


@pytest.fixture
def folder(made, tmp_path):
    shutil.copytree(made, tmp_path / "certs")
    return tmp_path / "certs"


def provider_sees(folder, name, now=None):
    """Return what the provider makes of the certificate of a party."""
    now = now or now_utc()
    bundle = load_bundle(folder / "provider", Role.PROVIDER, now=now)
    return verify_peer((folder / name / "cert.pem").read_bytes(), bundle, Role.CLIENT, now=now)


def files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def pem(certificate):
    return certificate.public_bytes(serialization.Encoding.PEM)


def key_pem(key):
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


# Issuing


def test_a_further_party_has_a_name_of_its_own(folder):
    assert provider_sees(folder, "acme").name == "acme"
    assert provider_sees(folder, "client").name == "client"
    assert load_bundle(folder / "acme", Role.CLIENT).role is Role.CLIENT
    assert stat.S_IMODE((folder / "acme").stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "acme" / "key.pem").stat().st_mode) == 0o600


@pytest.mark.parametrize("name", ["acme", "client", "provider"])
def test_a_name_is_given_once(folder, name):
    before = files(folder)
    with pytest.raises(ConfigurationError, match="already issued"):
        Authority(folder).issue(Role.CLIENT, name, days=1)
    assert files(folder) == before


def test_a_name_stays_taken_when_its_folder_has_gone_to_the_party(folder):
    shutil.rmtree(folder / "acme")
    with pytest.raises(ConfigurationError, match="already issued"):
        Authority(folder).issue(Role.CLIENT, "acme", days=1)


@pytest.mark.parametrize("name", ["", "ca", "..", "a/b", "-a", "a b", "a" * 64, "é", "a\n"])
def test_a_name_that_is_none_is_refused(folder, name):
    before = files(folder)
    with pytest.raises(ConfigurationError, match="no name for a party"):
        Authority(folder).issue(Role.CLIENT, name, days=1)
    assert files(folder) == before


def test_no_certificate_outlives_its_authority(tmp_path):
    create_certificates(tmp_path / "certs", days=1, authority_days=2)
    Authority(tmp_path / "certs").issue(Role.CLIENT, "acme", days=500)
    certificate = x509.load_pem_x509_certificate((tmp_path / "certs" / "acme" / "cert.pem").read_bytes())
    assert certificate.not_valid_after_utc < now_utc() + dt.timedelta(days=3)


@pytest.mark.parametrize("spoil", ["missing", "other", "garbage"])
def test_without_its_key_there_is_no_authority(folder, tmp_path, spoil):
    path = folder / "ca" / "ca.key"
    path.unlink() if spoil == "missing" else path.write_bytes(
        key_pem(ec.generate_private_key(ec.SECP256R1())) if spoil == "other" else b"garbage"
    )
    with pytest.raises(InputError, match="no usable authority"):
        Authority(folder)


# Identity


def test_an_identity_survives_renewal_and_the_fingerprint_does_not(folder):
    before = provider_sees(folder, "acme")
    Authority(folder).renew(["acme"], days=30)
    after = provider_sees(folder, "acme")
    assert (after.name, after.role) == (before.name, before.role)
    assert after.fingerprint != before.fingerprint


def certificate_of(names, subject="CN=x", issuer=None, key=None, subject_key=None):
    """A certificate with these names, signed by itself or by (certificate, key)."""
    key = subject_key or ec.generate_private_key(ec.SECP256R1())
    name = x509.Name.from_rfc4514_string(subject) if subject else x509.Name([])
    signer = issuer[1] if issuer else key
    builder = x509.CertificateBuilder(
        issuer[0].subject if issuer else name,
        name,
        key.public_key(),
        x509.random_serial_number(),
        now_utc() - dt.timedelta(days=1),
        now_utc() + dt.timedelta(days=9),
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=not subject)
    return builder.sign(signer, None if isinstance(signer, ed25519.Ed25519PrivateKey) else hashes.SHA256()), key


CLIENT_NAME, PROVIDER_NAME = x509.DNSName("client.securealign"), x509.DNSName("provider.securealign")
URI = x509.UniformResourceIdentifier


@pytest.mark.parametrize(
    ("names", "subject", "expected"),
    [
        ([CLIENT_NAME], "CN=acme,O=Acme", "CN=acme,O=Acme"),
        ([CLIENT_NAME, URI("securealign:client:acme")], "CN=x", "acme"),
        ([CLIENT_NAME, URI("securealign:client:acme")], "", "acme"),
        ([CLIENT_NAME, URI("securealign:provider:acme"), URI("spiffe://a/b")], "CN=x", "CN=x"),
    ],
)
def test_a_party_is_known_by_its_uri_or_else_its_subject(names, subject, expected):
    identity = identity_of(pem(certificate_of(names, subject)[0]))
    assert (identity.name, identity.role) == (expected, Role.CLIENT)
    assert len(identity.fingerprint) == 64


@pytest.mark.parametrize(
    ("names", "subject", "code"),
    [
        ([], "CN=x", ErrorCode.WRONG_ROLE),
        ([x509.DNSName("*.securealign")], "CN=x", ErrorCode.WRONG_ROLE),
        ([CLIENT_NAME, PROVIDER_NAME], "CN=x", ErrorCode.WRONG_ROLE),
        ([CLIENT_NAME], "", ErrorCode.PEER_UNTRUSTED),
        ([CLIENT_NAME, URI("securealign:client:a"), URI("securealign:client:b")], "CN=x", ErrorCode.PEER_UNTRUSTED),
        ([CLIENT_NAME, URI("securealign:client:")], "CN=x", ErrorCode.PEER_UNTRUSTED),
        ([CLIENT_NAME, URI("securealign:client:a%0ab")], "CN=x", ErrorCode.PEER_UNTRUSTED),
    ],
)
def test_a_certificate_that_is_not_clear_about_its_owner_is_refused(names, subject, code):
    with pytest.raises(TransportError) as caught:
        identity_of(pem(certificate_of(names, subject)[0]))
    assert caught.value.code is code


@given(st.binary(max_size=200))
@settings(max_examples=50)
def test_bytes_that_are_no_certificate_are_an_error_of_the_peer(data):
    with pytest.raises(TransportError) as caught:
        identity_of(data)
    assert caught.value.code is ErrorCode.PEER_UNTRUSTED


# Renewal


def test_renewal_gives_new_keys_to_the_same_parties_and_keeps_what_was(folder):
    before = {name: (folder / name / "key.pem").read_bytes() for name in ("provider", "client", "acme")}
    renewed = Authority(folder).renew(days=60)
    assert {item.name for item in renewed} == set(before)
    for name, key in before.items():
        assert (folder / name / "key.pem").read_bytes() != key
        assert (folder / name / "previous" / "key.pem").read_bytes() == key
        assert stat.S_IMODE((folder / name / "previous" / "key.pem").stat().st_mode) == 0o600
    bundle = load_bundle(folder / "provider", Role.PROVIDER, now=now_utc() + dt.timedelta(days=45))
    names = x509.load_pem_x509_certificate(bundle.certificate).extensions
    hosts = names.get_extension_for_class(x509.SubjectAlternativeName).value
    assert hosts.get_values_for_type(x509.DNSName) == ["provider.securealign", "host.example.org"]
    assert [str(item) for item in hosts.get_values_for_type(x509.IPAddress)] == ["10.1.2.3"]


def test_a_renewal_that_stopped_half_way_is_healed_by_the_next(folder):
    good = (folder / "acme" / "key.pem").read_bytes()
    Authority(folder).renew(["acme"], days=30)
    (folder / "acme" / "key.pem").write_bytes(key_pem(ec.generate_private_key(ec.SECP256R1())))
    Authority(folder).renew(["acme"], days=30)
    assert provider_sees(folder, "acme").name == "acme"
    # What did not fit was not kept in place of what did.
    assert (folder / "acme" / "previous" / "key.pem").read_bytes() == good


def test_renewal_of_a_bundle_that_is_not_there_changes_nothing(folder):
    before = files(folder)
    with pytest.raises(InputError, match="no bundle 'nobody'"):
        Authority(folder).renew(["acme", "nobody"], days=30)
    assert files(folder) == before


def test_renewal_leaves_an_authority_file_alone_to_which_others_were_added(folder):
    path = folder / "acme" / "ca.pem"
    path.write_bytes(path.read_bytes() + pem(certificate_of([])[0]))
    before = path.read_bytes()
    Authority(folder).renew(days=30)
    assert path.read_bytes() == before


def test_renewal_does_not_bring_back_a_party_that_was_revoked_unless_it_is_named(folder):
    authority = Authority(folder)
    authority.revoke("acme")
    assert "acme" not in {item.name for item in authority.renew(days=30)}
    with pytest.raises(TransportError):
        provider_sees(folder, "acme")
    authority.renew(["acme"], days=30)
    assert provider_sees(folder, "acme").name == "acme"


# Revocation


def test_a_revoked_party_is_refused_and_others_are_not(folder):
    Authority(folder).revoke("acme")
    with pytest.raises(TransportError) as caught:
        provider_sees(folder, "acme")
    assert caught.value.code is ErrorCode.CERTIFICATE_REVOKED
    assert f"{now_utc():%Y-%m-%d}" in caught.value.message
    assert provider_sees(folder, "client").name == "client"
    # The control: without the list the same certificate is accepted.
    for name in ("provider", "acme"):
        (folder / name / "crl.pem").unlink()
    assert provider_sees(folder, "acme").name == "acme"


def test_a_party_finds_out_that_it_was_revoked_itself(folder):
    Authority(folder).revoke("acme")
    with pytest.raises(InputError) as caught:
        load_bundle(folder / "acme", Role.CLIENT)
    assert caught.value.code is ErrorCode.CERTIFICATE_REVOKED
    assert "certs renew" in caught.value.hint


def test_certificates_from_before_a_renewal_are_revoked_too(folder):
    old = (folder / "acme" / "cert.pem").read_bytes()
    authority = Authority(folder)
    authority.renew(["acme"], days=30)
    assert len(authority.revoke("acme")) == 2
    bundle = load_bundle(folder / "provider", Role.PROVIDER)
    with pytest.raises(TransportError) as caught:
        verify_peer(old, bundle, Role.CLIENT, now=now_utc())
    assert caught.value.code is ErrorCode.CERTIFICATE_REVOKED


def test_lists_grow_and_never_forget(folder):
    authority = Authority(folder)
    first = authority.revoke("acme")
    authority.revoke("client")
    authority.revoke("acme")
    authority.renew_list(list_days=5)
    for item in authority.issued():
        assert (item.revoked is not None) == (item.identity.name in {"acme", "client"})
    assert [item.revoked for item in authority.issued() if item.identity.name == "acme"] == [first[0].revoked]
    (found,) = parse_lists((folder / "provider" / "crl.pem").read_bytes())
    assert found.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number == 5


def test_a_name_that_nobody_has_cannot_be_revoked(folder):
    before = files(folder)
    with pytest.raises(InputError, match="issued nothing to 'nobody'"):
        Authority(folder).revoke("nobody")
    assert files(folder) == before


@pytest.mark.parametrize("content", [b"garbage", b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n"])
def test_a_broken_list_of_the_authority_is_never_replaced_by_an_empty_one(folder, content):
    path = folder / "ca" / "crl.pem"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"crl\.pem"):
        Authority(folder).revoke("acme")
    assert path.read_bytes() == content


def test_a_list_that_has_expired_is_refused_with_its_date(folder):
    later = now_utc() + dt.timedelta(days=10)
    Authority(folder).renew_list(list_days=5)
    with pytest.raises(InputError, match="list of revoked certificates, expired on") as caught:
        load_bundle(folder / "provider", Role.PROVIDER, now=later)
    assert "certs renew" in caught.value.hint
    # A provider that was started before refuses its peers, rather than let everybody in.
    bundle = load_bundle(folder / "provider", Role.PROVIDER, now=now_utc())
    with pytest.raises(TransportError, match="expired on") as refused:
        verify_peer((folder / "acme" / "cert.pem").read_bytes(), bundle, Role.CLIENT, now=later)
    assert refused.value.code is ErrorCode.PEER_UNTRUSTED


def test_a_list_of_tomorrow_is_refused(folder):
    Authority(folder, clock=lambda: now_utc() + dt.timedelta(days=1)).renew_list()
    with pytest.raises(InputError, match=r"crl\.pem is valid from"):
        load_bundle(folder / "provider", Role.PROVIDER)


def test_a_list_of_another_authority_counts_for_nothing(folder, tmp_path):
    create_certificates(tmp_path / "others", days=1)
    shutil.copy(tmp_path / "others" / "ca" / "crl.pem", folder / "provider" / "crl.pem")
    with pytest.raises(InputError, match=r"no authority in ca\.pem signed"):
        load_bundle(folder / "provider", Role.PROVIDER)


def test_a_list_has_to_cover_the_authority_of_the_peer(folder, tmp_path):
    """Two authorities are trusted, and only one has a list: the other's parties could never be revoked."""
    create_certificates(tmp_path / "others", days=1)
    own = folder / "provider" / "ca.pem"
    own.write_bytes(own.read_bytes() + (tmp_path / "others" / "ca" / "ca.pem").read_bytes())
    bundle = load_bundle(folder / "provider", Role.PROVIDER)
    stranger = (tmp_path / "others" / "client" / "cert.pem").read_bytes()
    with pytest.raises(TransportError, match="no list of the authority"):
        verify_peer(stranger, bundle, Role.CLIENT, now=now_utc())
    both = (folder / "provider" / "crl.pem").read_bytes() + (tmp_path / "others" / "ca" / "crl.pem").read_bytes()
    (folder / "provider" / "crl.pem").write_bytes(both)
    bundle = load_bundle(folder / "provider", Role.PROVIDER)
    assert verify_peer(stranger, bundle, Role.CLIENT, now=now_utc()).name == "client"


@pytest.mark.parametrize(("partial", "fine"), [(True, False), (False, True)])
def test_a_list_that_covers_a_part_only_is_refused(folder, partial, fine):
    """Such a list would let everybody in whom another part revokes."""
    issuer = Authority(folder)._issuer
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.certificate.subject)
        .last_update(now_utc() - dt.timedelta(days=1))
        .next_update(now_utc() + dt.timedelta(days=1))
        .add_extension(
            x509.IssuingDistributionPoint(
                [x509.UniformResourceIdentifier("http://a/")], None, partial, False, None, False, False
            ),
            critical=True,
        )
    )
    data = builder.sign(issuer.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    if fine:
        assert len(parse_lists(data)) == 1
    else:
        with pytest.raises(CertificateProblem, match="partial list"):
            parse_lists(data)


# Other authorities


def other_pki(tmp_path, *, leaf_key=None, authority_key=None, role=CLIENT_NAME):
    """A bundle as a company's own PKI makes it: a root, an intermediate authority, a leaf."""
    root = authority(None, "CN=Root", authority_key)
    middle = authority(root, "CN=Issuing")
    leaf, key = certificate_of([role], "CN=acme,O=Acme", issuer=middle, subject_key=leaf_key)
    folder = tmp_path / "pki"
    for name, data in {"ca.pem": pem(root[0]), "cert.pem": pem(leaf) + pem(middle[0]), "key.pem": key_pem(key)}.items():
        write_atomically(folder / name, data)
    return folder, root, middle, leaf


def authority(issuer, subject, key=None):
    key = key or ec.generate_private_key(ec.SECP256R1())
    name = x509.Name.from_rfc4514_string(subject)
    signer = issuer[1] if issuer else key
    builder = x509.CertificateBuilder(
        issuer[0].subject if issuer else name,
        name,
        key.public_key(),
        x509.random_serial_number(),
        now_utc() - dt.timedelta(days=1),
        now_utc() + dt.timedelta(days=9),
    ).add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return builder.sign(signer, None if isinstance(signer, ed25519.Ed25519PrivateKey) else hashes.SHA256()), key


@pytest.mark.parametrize(
    "keys",
    [{}, {"leaf_key": rsa.generate_private_key(65537, 2048)}, {"authority_key": ed25519.Ed25519PrivateKey.generate()}],
)
def test_bundles_of_another_pki_are_taken(tmp_path, keys):
    folder, *_ = other_pki(tmp_path, **keys)
    shown = load_bundle(folder, Role.CLIENT).certificate
    provider = Bundle((folder / "ca.pem").read_bytes(), (folder / "cert.pem").read_bytes(), b"", Role.PROVIDER)
    assert verify_peer(shown, provider, Role.CLIENT, now=now_utc()).name == "CN=acme,O=Acme"


def test_a_chain_with_a_link_missing_is_refused(tmp_path):
    folder, _, _, leaf = other_pki(tmp_path)
    (folder / "cert.pem").write_bytes(pem(leaf))
    with pytest.raises(InputError, match=r"not issued by an authority in ca\.pem"):
        load_bundle(folder, Role.CLIENT)


def test_a_leaf_cannot_issue(tmp_path):
    folder, _, middle, _ = other_pki(tmp_path)
    leaf, key = certificate_of([CLIENT_NAME], issuer=middle)
    below, below_key = certificate_of([CLIENT_NAME], "CN=forged", issuer=(leaf, key))
    (folder / "cert.pem").write_bytes(pem(below) + pem(leaf) + pem(middle[0]))
    (folder / "key.pem").write_bytes(key_pem(below_key))
    with pytest.raises(InputError, match=r"not issued by an authority in ca\.pem"):
        load_bundle(folder, Role.CLIENT)


def test_keys_that_grpc_does_not_take_are_refused_at_once(tmp_path):
    folder, *_ = other_pki(tmp_path, leaf_key=ed25519.Ed25519PrivateKey.generate())
    with pytest.raises(InputError, match="RSA and of elliptic curves"):
        load_bundle(folder, Role.CLIENT)


def test_an_intermediate_authority_can_be_revoked(tmp_path):
    folder, root, middle, _ = other_pki(tmp_path)
    window = Window.of_days(now_utc(), 3)
    lists = [
        make_list(Issuer(*root), [revoked_entry(middle[0].serial_number, now_utc())], 1, window),
        make_list(Issuer(*middle), [], 1, window),
    ]
    encoded = [item.public_bytes(serialization.Encoding.PEM) for item in lists]
    (folder / "crl.pem").write_bytes(encoded[1])
    assert load_bundle(folder, Role.CLIENT).role is Role.CLIENT
    (folder / "crl.pem").write_bytes(b"".join(encoded))
    with pytest.raises(InputError) as caught:
        load_bundle(folder, Role.CLIENT)
    assert caught.value.code is ErrorCode.CERTIFICATE_REVOKED


def test_of_an_authority_that_was_renewed_the_certificate_that_is_valid_counts(tmp_path):
    folder, root, _, _ = other_pki(tmp_path)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Root")])
    old = (
        x509.CertificateBuilder(
            name, name, root[1].public_key(), 7, now_utc() - dt.timedelta(9), now_utc() - dt.timedelta(5)
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(root[1], hashes.SHA256())
    )
    (folder / "ca.pem").write_bytes(pem(old) + pem(root[0]))
    assert load_bundle(folder, Role.CLIENT).role is Role.CLIENT
    (folder / "ca.pem").write_bytes(pem(old))
    with pytest.raises(InputError, match=r"the issuer \(CN=Root\) expired on"):
        load_bundle(folder, Role.CLIENT)
