"""Requests for a certificate: PKCS#10, with the name of the party and a proof that it holds an invitation.

The attribute challengePassword holds the identifier of the invitation and an HMAC of the public key under its token. So
a request whose key somebody has exchanged is refused, and the token itself is in no request.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import AttributeOID, NameOID

from securealign.errors import ErrorCode, InputError
from securealign.pki.identity import PARTY_NAME
from securealign.pki.invitations import Invitation, spoken

_DOMAIN = b"securealign/request/v1\x00"
_CHALLENGE = re.compile(r"([0-9a-f]{32}):([0-9a-f]{64})")


@dataclass(frozen=True)
class Request:
    """Who asks for a certificate, for which public key, by which invitation, and the proof (hexadecimal)."""

    name: str
    key: ec.EllipticCurvePublicKey
    invitation: str
    proof: str


def make_request(invitation: Invitation, key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return the request of whom the invitation is for, in PEM."""
    proof = prove(invitation.token, key.public_key())
    return (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, invitation.name)]))
        .add_attribute(AttributeOID.CHALLENGE_PASSWORD, f"{invitation.identifier}:{proof}".encode())
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )


def read_request(data: bytes) -> Request:
    """Return what a request says; raises `InputError` for a file that is none, or was altered."""
    try:
        request = x509.load_pem_x509_csr(data)
        names = request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        challenge = request.attributes.get_attribute_for_oid(AttributeOID.CHALLENGE_PASSWORD).value
        found = _CHALLENGE.fullmatch(challenge.decode("ascii"))
        key = request.public_key()
        sound = request.is_signature_valid
    except (ValueError, UnsupportedAlgorithm, x509.AttributeNotFound, x509.InvalidVersion) as error:
        raise _refused("is no request of 'securealign join', or was altered") from error
    if not sound:
        raise _refused("was altered: its signature does not fit")
    name = str(names[0].value) if len(names) == 1 else ""
    if found is None or not PARTY_NAME.fullmatch(name) or not isinstance(key, ec.EllipticCurvePublicKey):
        raise _refused("is no request of 'securealign join'")
    if not isinstance(key.curve, ec.SECP256R1):
        raise _refused("has a key of another curve than P-256")
    return Request(name, key, found[1], found[2])


def prove(token: str, key: ec.EllipticCurvePublicKey) -> str:
    """Return the proof that whoever has `key` knows the token of an invitation."""
    return hmac.new(bytes.fromhex(token), _DOMAIN + _encoded(key), hashlib.sha256).hexdigest()


def key_fingerprint(key: ec.EllipticCurvePublicKey) -> str:
    """Return by what people recognise a public key."""
    return spoken(hashlib.sha256(_encoded(key)).digest())


def _encoded(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _refused(what: str) -> InputError:
    return InputError(
        f"The request {what}.",
        hint="Have the client send the file NAME.request again, as 'securealign join' wrote it.",
        code=ErrorCode.FILE_INVALID,
    )
