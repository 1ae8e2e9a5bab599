"""Whom a certificate is for: the role that it allows, and the owner's name, which later certificates keep."""

import re
from dataclasses import dataclass
from enum import Enum

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from securealign.errors import ErrorCode, TransportError

#: Names of parties in certificates of the private authority, and so of their folders.
PARTY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")

#: Longest text of a certificate in a message.
_SHOWN_CHARACTERS = 200


class Role(Enum):
    """The two parties, by the DNS name that their certificates carry."""

    PROVIDER = "provider.securealign"
    CLIENT = "client.securealign"

    @property
    def label(self) -> str:
        """Name of the party in folders and messages."""
        return self.name.lower()


@dataclass(frozen=True)
class Identity:
    """A party as its certificate names it: the name outlives the certificate, the fingerprint (SHA-256) does not."""

    name: str
    role: Role
    fingerprint: str


def party_uri(role: Role, name: str) -> str:
    """Return the URI by which a certificate names its owner."""
    return f"securealign:{role.label}:{name}"


def printable(text: str) -> str:
    """Return a text of a certificate, which anybody may have made, as it can be shown to a person."""
    return "".join(item if item.isprintable() else "?" for item in text)[:_SHOWN_CHARACTERS]


def describe_authority(subject: x509.Name, key: bytes | None) -> str:
    """Return how an authority is named in messages: its subject and, where known, the identifier of its key.

    Authorities may share a subject, as those of this program do; the key tells them apart.
    """
    return printable(subject.rfc4514_string()) + (f" (key {key.hex()[:16]})" if key else "")


def identity_of(pem: bytes) -> Identity:
    """Return who the first certificate of `pem` is for.

    Raises `TransportError`: with `WRONG_ROLE` for a certificate of no role or of both, and with `PEER_UNTRUSTED` for
    bytes that are no certificate, or a certificate that names nobody.
    """
    try:
        certificate = x509.load_pem_x509_certificate(pem)
    except ValueError as error:
        raise TransportError("The peer's certificate cannot be read.", code=ErrorCode.PEER_UNTRUSTED) from error
    return identity_of_certificate(certificate)


def identity_of_certificate(certificate: x509.Certificate) -> Identity:
    """Return who a certificate is for; raises as `identity_of` does."""
    names = _alternatives(certificate)
    roles = [role for role in Role if names is not None and role.value in names.get_values_for_type(x509.DNSName)]
    if names is None or len(roles) != 1:
        raise TransportError(
            f"A certificate names {'both roles' if roles else 'no role'} of securealign.",
            hint="It needs exactly one of the DNS names provider.securealign and client.securealign.",
            code=ErrorCode.WRONG_ROLE,
        )
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    name = _name(roles[0], uris) or certificate.subject.rfc4514_string()
    if not name:
        raise TransportError(
            "A certificate names nobody: neither its subject nor a URI says whose it is.",
            hint=f"It needs a subject, or the URI {party_uri(roles[0], 'NAME')}.",
            code=ErrorCode.PEER_UNTRUSTED,
        )
    return Identity(name, roles[0], certificate.fingerprint(hashes.SHA256()).hex())


def _alternatives(certificate: x509.Certificate) -> x509.SubjectAlternativeName | None:
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return None


def _name(role: Role, uris: list[str]) -> str:
    """Return the name in the URI of a role, or nothing; two of them, or one of another form, would be ambiguous."""
    prefix = party_uri(role, "")
    names = [uri.removeprefix(prefix) for uri in uris if uri.startswith(prefix)]
    if len(names) > 1 or not all(PARTY_NAME.fullmatch(name) for name in names):
        raise TransportError(
            "A certificate does not name its owner as one.",
            hint=f"It needs one URI {prefix}NAME, of letters, digits, dots, hyphens and underscores.",
            code=ErrorCode.PEER_UNTRUSTED,
        )
    return names[0] if names else ""
