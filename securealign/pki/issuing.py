"""The certificates and lists that a private authority signs."""

from __future__ import annotations

import datetime as dt
import ipaddress
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from securealign.errors import ConfigurationError
from securealign.pki.identity import PARTY_NAME, Role, party_uri

#: Clocks of two organisations differ; certificates are valid from a little earlier.
CLOCK_SKEW = dt.timedelta(minutes=10)
_AUTHORITY = "securealign private CA"
_HOST_NAME = re.compile(
    r"(?=.{1,253}\Z)(?:\*\.)?(?:[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.)*"
    r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
)


class Window(NamedTuple):
    """When a certificate or a list is valid."""

    start: dt.datetime
    end: dt.datetime

    @classmethod
    def of_days(cls, now: dt.datetime, days: int) -> Window:
        """Return the window from a little before `now` until `days` after it."""
        return cls(now - CLOCK_SKEW, now + dt.timedelta(days=days))


class Issuer(NamedTuple):
    """An authority that can sign."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


class Subject(NamedTuple):
    """Whom a certificate is for: role, name, and the hosts that it names beside them."""

    role: Role
    name: str
    hosts: tuple[x509.GeneralName, ...] = ()


def make_authority(key: ec.EllipticCurvePrivateKey, window: Window) -> x509.Certificate:
    """Return a certificate with which `key` can issue others and revoke them."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, _AUTHORITY)])
    usage = _key_usage(key_cert_sign=True, crl_sign=True)
    return (
        _builder(name, name, key.public_key(), window)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def make_certificate(
    subject: Subject, key: ec.EllipticCurvePublicKey, issuer: Issuer, window: Window
) -> x509.Certificate:
    """Return a certificate for a party and its public key, valid no longer than its issuer."""
    common_name = f"securealign {subject.role.label} {subject.name}"[:64]
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    # Both purposes for both roles: the role is in the name, and a peer can then report the wrong role in words.
    purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    uri = x509.UniformResourceIdentifier(party_uri(subject.role, subject.name))
    alternatives = [x509.DNSName(subject.role.value), uri, *subject.hosts]
    end = min(window.end, issuer.certificate.not_valid_after_utc)
    return (
        _builder(name, issuer.certificate.subject, key, Window(window.start, end))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(_issuer_key(issuer), critical=False)
        .sign(issuer.key, hashes.SHA256())
    )


def make_list(
    issuer: Issuer, revoked: Iterable[x509.RevokedCertificate], number: int, window: Window
) -> x509.CertificateRevocationList:
    """Return a list of revoked certificates; `number` grows with each."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.certificate.subject)
        .last_update(window.start)
        .next_update(window.end)
        .add_extension(_issuer_key(issuer), critical=False)
        .add_extension(x509.CRLNumber(number), critical=False)
    )
    for entry in revoked:
        builder = builder.add_revoked_certificate(entry)
    return builder.sign(issuer.key, hashes.SHA256())


def revoked_entry(serial: int, now: dt.datetime) -> x509.RevokedCertificate:
    """Return the entry of a list that revokes a serial number from `now` on."""
    return x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now).build()


def check_name(name: str) -> str:
    """Return the name of a party; raises `ConfigurationError` for one that cannot name a folder and a certificate."""
    if not PARTY_NAME.fullmatch(name) or name == "ca":
        raise ConfigurationError(
            f"{name!r} is no name for a party.",
            hint="Use letters, digits, dots, hyphens and underscores, at most 63, such as acme; 'ca' is taken.",
        )
    return name


def parse_hosts(hosts: Sequence[str]) -> tuple[x509.GeneralName, ...]:
    """Return host names and addresses as a certificate names them; raises `ConfigurationError` for anything else."""
    return tuple(_host(host) for host in hosts)


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass
    # A role among the hosts would let one party pass for the other; so would a name with a wildcard that covers both.
    reserved = {*(role.value for role in Role), "*.securealign"}
    if not _HOST_NAME.fullmatch(host) or host.lower() in reserved:
        raise ConfigurationError(
            f"{host!r} is no host name or address.",
            hint="Give it without a port, in ASCII, such as provider.example.org.",
        )
    return x509.DNSName(host)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, window: Window
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(window.start)
        .not_valid_after(window.end)
    )


def _issuer_key(issuer: Issuer) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key())


def _key_usage(
    *, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )
