"""Invitations and requests as files: what is read, and what is refused."""

from __future__ import annotations

import datetime as dt
import hashlib

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import AttributeOID, NameOID
from support.pairing import ADDRESS, TEXTS, enrolment, template

from securealign.errors import ConfigurationError, ErrorCode, InputError
from securealign.keys.envelope import ScryptCost
from securealign.pki import enrolment as enrolling
from securealign.pki import invitations
from securealign.pki.authority import Authority
from securealign.pki.certificates import Role, create_certificates, identity_of
from securealign.pki.chains import now_utc
from securealign.pki.invitations import (
    check_authority,
    fingerprint,
    is_sealed,
    parse,
    read_bounded,
    render,
    seal,
    unseal,
)
from securealign.pki.requests import Request, make_request, read_request

NOW = now_utc()
PASSPHRASE = b"a long passphrase"


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificates") / "certs"
    create_certificates(folder, days=30)
    return folder


@pytest.fixture
def folder(tmp_path):
    create_certificates(tmp_path / "certs", days=30)
    return tmp_path / "certs"


@pytest.fixture(scope="module")
def invitation(shared):
    return enrolment(shared).invite(template(texts=TEXTS[:2]), "shared", days=7, renew=False)


@pytest.fixture
def quick_seal(monkeypatch):
    """Let a guess at a passphrase cost next to nothing."""
    monkeypatch.setattr(invitations, "ScryptCost", lambda: ScryptCost(log2_n=4))


@pytest.fixture(scope="module")
def data(shared, invitation):
    return render(invitation, Authority(shared).sign)


def refused(call, *arguments, code=ErrorCode.FILE_INVALID, kind=InputError, **named):
    """Require a typed refusal with advice, and return what it says."""
    with pytest.raises(kind) as caught:
        call(*arguments, **named)
    assert caught.value.code is code
    assert caught.value.hint
    return caught.value.message


def invite(folder, name="acme", **options):
    return enrolment(folder).invite(template(), name, **{"days": 7, "renew": False, **options})


def answer(invitation, key=None):
    return read_request(make_request(invitation, key or ec.generate_private_key(ec.SECP256R1())))


def test_an_invitation_says_what_was_written(shared, invitation, data):
    assert parse(data) == invitation
    assert invitation.address == ADDRESS
    assert invitation.expires - NOW > dt.timedelta(days=6, hours=23)
    check_authority(invitation, now_utc())  # the authority may have been made long after NOW
    digest = x509.load_pem_x509_certificate((shared / "ca" / "ca.pem").read_bytes()).fingerprint(hashes.SHA256())
    assert fingerprint(Authority(shared).certificate).replace(" ", "") == digest.hex()[:32]


def test_it_holds_no_private_key(data):
    assert b"PRIVATE" not in data
    assert parse(data).key is None


def test_an_invitation_with_any_byte_altered_is_refused(data):
    for place in range(len(data)):
        for flipped in (0x01, 0x20):
            altered = bytearray(data)
            altered[place] ^= flipped
            with pytest.raises(InputError) as caught:
                parse(bytes(altered))
            assert caught.value.code is ErrorCode.FILE_INVALID, place


def test_without_the_signature_an_altered_address_is_believed(data, monkeypatch):
    altered = data.replace(ADDRESS.encode(), b"attacker.example:50051")
    assert "was altered" in refused(parse, altered)
    monkeypatch.setattr(invitations, "_verify", lambda *_: None)
    assert parse(altered).address == "attacker.example:50051"


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.99])
def test_an_invitation_that_was_cut_is_refused(data, share):
    refused(parse, data[: int(len(data) * share)])
    refused(parse, data[:-1])
    refused(parse, data + b"\n")


def test_another_format_is_named(data):
    said = refused(parse, data.replace(b"invitation 1\n", b"invitation 2\n"))
    assert "another format" in said
    assert "is no invitation" in refused(parse, b"\x89PNG")


def test_an_authority_with_a_key_that_does_not_sign_is_refused(invitation):
    forged = invitation.model_copy(update={"authority": "no certificate"})
    refused(parse, render(forged, lambda _statement: b"\x30"))


def test_an_expired_invitation_is_refused_and_says_when(invitation):
    invitation.require_current(invitation.expires)
    late = invitation.expires + dt.timedelta(seconds=1)
    said = refused(invitation.require_current, late, code=ErrorCode.INPUT_INVALID)
    assert f"expired on {invitation.expires:%Y-%m-%d %H:%M} UTC" in said


def test_a_list_of_revoked_certificates_that_has_expired_is_refused(invitation):
    assert "expired" in refused(check_authority, invitation, NOW + dt.timedelta(days=91))


def test_an_address_cannot_end_a_line_of_a_configuration():
    for address in ("host\n[encoder]:1", "a b:1", "x" * 301):
        with pytest.raises(ValueError, match="address"):
            template(address=address)(
                identifier="0" * 32, token="0" * 64, name="acme", expires=NOW, authority="", revocations=""
            )


@pytest.mark.usefixtures("quick_seal")
def test_a_sealed_invitation_needs_its_passphrase(data):
    sealed = seal(data, PASSPHRASE)
    assert is_sealed(sealed)
    assert not is_sealed(data)
    assert ADDRESS.encode() not in sealed
    assert unseal(sealed, PASSPHRASE) == data
    said = refused(unseal, sealed, b"another passphrase", code=ErrorCode.PASSPHRASE_WRONG)
    assert "does not open this invitation" in said
    refused(parse, sealed, code=ErrorCode.PASSPHRASE_WRONG)
    assert "cut or altered" in refused(unseal, sealed[:-1], PASSPHRASE)
    for place in range(40, len(sealed), 97):
        altered = bytearray(sealed)
        altered[place] ^= 1
        refused(unseal, bytes(altered), PASSPHRASE)


@pytest.mark.usefixtures("quick_seal")
def test_a_sealed_invitation_whose_checksum_was_made_again_is_refused(data):
    sealed = bytearray(seal(data, PASSPHRASE))
    sealed[-40] ^= 1
    start = len(b"securealign sealed invitation 1\n")
    sealed[-32:] = hashlib.sha256(sealed[start:-32]).digest()
    assert "was altered" in refused(unseal, bytes(sealed), PASSPHRASE)


def test_files_that_cannot_be_read_are_named(tmp_path, monkeypatch):
    assert str(tmp_path / "nothing") in refused(read_bounded, tmp_path / "nothing")
    refused(read_bounded, tmp_path)
    (tmp_path / "file").write_bytes(b"12345")
    assert read_bounded(tmp_path / "file") == b"12345"
    monkeypatch.setattr(invitations, "MAX_BYTES", 4)
    refused(read_bounded, tmp_path / "file")


def test_a_request_is_signed_once(folder):
    invitation, key = invite(folder), ec.generate_private_key(ec.SECP256R1())
    request = answer(invitation, key)
    pem = enrolment(folder).sign(request, days=10)
    leaf, authority = x509.load_pem_x509_certificates(pem)
    assert leaf.public_key() == key.public_key()
    assert identity_of(pem).name == "acme"
    assert identity_of(pem).role is Role.CLIENT
    assert authority == Authority(folder).certificate
    assert b"X509 CRL" in pem
    said = refused(enrolment(folder).sign, request, days=10, code=ErrorCode.INPUT_INVALID)
    assert "used before" in said
    assert [item.identity.name for item in Authority(folder).issued()].count("acme") == 1


def test_of_two_that_sign_at_the_same_time_one_succeeds(folder, monkeypatch):
    request, other = answer(invite(folder)), enrolment(folder)
    record, done = other._record(request.invitation), []
    monkeypatch.setattr(
        other, "_record", lambda _identifier: (done.append(enrolment(folder).sign(request, days=1)), record)[1]
    )
    monkeypatch.setattr(other, "_check_name", lambda *_, **__: None)
    assert "used before" in refused(other.sign, request, days=1, code=ErrorCode.INPUT_INVALID)
    assert len(done) == 1


def test_an_invitation_stays_open_when_its_certificate_could_not_be_made(folder, monkeypatch):
    request, failing = answer(invite(folder)), enrolment(folder)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(failing._authority, "certify", full)
        with pytest.raises(OSError, match="No space"):
            failing.sign(request, days=1)
    assert enrolment(folder).sign(request, days=1)


def test_a_request_for_another_name_is_refused(folder):
    invitation = invite(folder)
    request = answer(invitation.model_copy(update={"name": "globex"}))
    said = refused(enrolment(folder).sign, request, days=1, code=ErrorCode.INPUT_INVALID)
    assert "'globex'" in said
    assert "'acme'" in said


def test_a_request_after_the_end_of_its_invitation_is_refused(folder):
    request = answer(invite(folder, days=2))
    late = enrolment(folder, clock=lambda: NOW + dt.timedelta(days=3))
    assert "expired" in refused(late.sign, request, days=1, code=ErrorCode.INPUT_INVALID)
    assert enrolment(folder).sign(request, days=1)


def test_a_request_of_an_invitation_that_was_withdrawn_is_refused(folder):
    request = answer(invite(folder))
    (folder / "ca" / "invitations" / f"{request.invitation}.json").unlink()
    assert "withdrawn" in refused(enrolment(folder).sign, request, days=1, code=ErrorCode.INPUT_INVALID)


def test_a_record_that_is_damaged_is_named(folder):
    request = answer(invite(folder))
    (folder / "ca" / "invitations" / f"{request.invitation}.json").write_text("{}")
    refused(enrolment(folder).sign, request, days=1)


def test_records_are_for_their_owner_alone(folder):
    request = answer(invite(folder))
    record = folder / "ca" / "invitations" / f"{request.invitation}.json"
    assert record.stat().st_mode & 0o777 == 0o600


def test_a_request_whose_key_was_exchanged_is_refused(folder, monkeypatch):
    invitation = invite(folder)
    honest = answer(invitation)
    assert invitation.token.encode() not in make_request(invitation, ec.generate_private_key(ec.SECP256R1()))
    attacker = ec.generate_private_key(ec.SECP256R1())
    forged = Request(honest.name, attacker.public_key(), honest.invitation, honest.proof)
    said = refused(enrolment(folder).sign, forged, days=1, code=ErrorCode.PEER_UNTRUSTED)
    assert "its key was exchanged" in said
    # Without the proof of the key, the attacker gets a certificate under the client's name.
    monkeypatch.setattr(enrolling, "prove", lambda *_: honest.proof)
    stolen = x509.load_pem_x509_certificates(enrolment(folder).sign(forged, days=1))[0]
    assert stolen.public_key() == attacker.public_key()


def csr(key, name="acme", challenge=b"0" * 32 + b":" + b"0" * 64):
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)] if name else [])
    )
    if challenge is not None:
        builder = builder.add_attribute(AttributeOID.CHALLENGE_PASSWORD, challenge)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def test_what_is_no_request_is_refused():
    key = ec.generate_private_key(ec.SECP256R1())
    assert read_request(csr(key)).name == "acme"
    for broken in (
        b"",
        b"\xff",
        csr(key)[:-60],
        csr(key, name=""),
        csr(key, name="x; y"),
        csr(key, challenge=None),
        csr(key, challenge=b"x"),
    ):
        assert "request" in refused(read_request, broken)
    assert "curve" in refused(read_request, csr(ec.generate_private_key(ec.SECP384R1())))


def test_a_request_that_was_altered_is_refused():
    der = bytearray(x509.load_pem_x509_csr(csr(ec.generate_private_key(ec.SECP256R1()))).public_bytes(
        serialization.Encoding.DER
    ))  # fmt: skip
    at = der.index(b"acme")
    der[at : at + 4] = b"evil"
    pem = x509.load_der_x509_csr(bytes(der)).public_bytes(serialization.Encoding.PEM)
    assert "was altered" in refused(read_request, pem)


def test_a_name_is_invited_again_only_when_that_is_said(folder):
    enrolment(folder).sign(answer(invite(folder)), days=1)
    said = refused(invite, folder, kind=ConfigurationError, code=ErrorCode.CONFIGURATION_INVALID)
    assert "taken" in said
    enrolment(folder).sign(answer(invite(folder, renew=True)), days=1)
    for name in ("globex", "provider"):
        refused(invite, folder, name, renew=True, kind=ConfigurationError, code=ErrorCode.CONFIGURATION_INVALID)
    refused(invite, folder, "a/b", kind=ConfigurationError, code=ErrorCode.CONFIGURATION_INVALID)


def test_of_two_invitations_under_one_name_the_second_gets_no_certificate(folder):
    first, second = invite(folder), invite(folder)
    enrolment(folder).sign(answer(first), days=1)
    refused(
        enrolment(folder).sign, answer(second), days=1, kind=ConfigurationError, code=ErrorCode.CONFIGURATION_INVALID
    )


def test_every_certificate_of_an_invitation_can_be_revoked(folder):
    enrolment(folder).sign(answer(invite(folder)), days=1)
    trial = enrolment(folder).invite_with_key(template(), "trial", days=7, renew=False)
    assert trial.key
    assert identity_of(trial.certificate.encode()).name == "trial"
    for name in ("acme", "trial"):
        assert [item.identity.name for item in Authority(folder).revoke(name)] == [name]
    refused(enrolment(folder).sign, answer(trial), days=1, code=ErrorCode.INPUT_INVALID)
