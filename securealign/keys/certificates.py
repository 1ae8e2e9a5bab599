"""A private certificate authority for one collaboration, and one bundle for each party.

The role of a party is a DNS name in its certificate, so that TLS itself refuses a peer of the wrong role.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from securealign.errors import ConfigurationError, ErrorCode, InputError
from securealign.files import write_atomically

_AUTHORITY = "securealign private CA"
#: Clocks of two organisations differ; certificates are valid from a little earlier.
_CLOCK_SKEW = dt.timedelta(minutes=10)
_HOST_NAME = re.compile(
    r"(?=.{1,253}\Z)(?:\*\.)?(?:[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.)*"
    r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
)


class Role(Enum):
    """The two parties, by the DNS name that their certificates carry."""

    PROVIDER = "provider.securealign"
    CLIENT = "client.securealign"

    @property
    def label(self) -> str:
        """Name of the party in folders and messages."""
        return self.name.lower()


@dataclass(frozen=True)
class Bundle:
    """What one party needs for mutual TLS: PEM bytes; the private key is never printed."""

    authority: bytes
    certificate: bytes
    private_key: bytes
    role: Role

    def __repr__(self) -> str:
        return f"<Bundle of the {self.role.label}>"


class _Window(NamedTuple):
    start: dt.datetime
    end: dt.datetime


class _Issuer(NamedTuple):
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    window: _Window


def create_certificates(
    folder: Path, *, days: int, provider_hosts: Sequence[str] = (), client_hosts: Sequence[str] = ()
) -> list[Path]:
    """Write a new CA and a bundle for each party below `folder` and return the bundle folders.

    Private keys get mode 0600 in folders of mode 0700. Raises `ConfigurationError` for a host that no certificate can
    name, and when `folder` already holds an authority or a bundle: replacing it would cut off both parties.
    """
    if any((folder / name).exists() for name in ("ca", *(role.label for role in Role))):
        raise ConfigurationError(
            f"{folder} already holds a certificate authority or what one issued.",
            hint="Name an empty folder, or delete the old one first.",
        )
    parties = {
        Role.PROVIDER: [_host(host) for host in provider_hosts],
        Role.CLIENT: [_host(host) for host in client_hosts],
    }
    now = dt.datetime.now(dt.timezone.utc)
    window = _Window(now - _CLOCK_SKEW, now + dt.timedelta(days=days))
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority = _authority(authority_key, window)
    issuer = _Issuer(authority, authority_key, window)
    _write(folder / "ca", {"ca.pem": _pem(authority)}, {"ca.key": authority_key})
    bundles = []
    for role, hosts in parties.items():
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _party(role, hosts, key, issuer)
        bundle = folder / role.label
        _write(bundle, {"ca.pem": _pem(authority), "cert.pem": _pem(certificate)}, {"key.pem": key})
        bundles.append(bundle)
    return bundles


def load_bundle(folder: Path, role: Role) -> Bundle:
    """Read the bundle of a party.

    Raises `InputError` when a file is missing or broken, the key does not match, the certificate has expired, or it is
    for the other role.
    """
    try:
        parts = [(folder / name).read_bytes() for name in ("ca.pem", "cert.pem", "key.pem")]
        certificate = x509.load_pem_x509_certificate(parts[1])
        authority = x509.load_pem_x509_certificate(parts[0])
        key = serialization.load_pem_private_key(parts[2], password=None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise _broken(folder, type(error).__name__ if isinstance(error, ValueError) else str(error)) from error
    if key.public_key() != certificate.public_key():
        raise _broken(folder, "key.pem does not belong to cert.pem")
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature) as error:
        raise _broken(folder, "cert.pem was not issued by ca.pem") from error
    if role.value not in _names(certificate):
        raise InputError(
            f"The certificate in {folder} is not for the role {role.label}.",
            hint=f"Point to the folder {role.label!r} that 'securealign certs init' made.",
            code=ErrorCode.WRONG_ROLE,
        )
    now = dt.datetime.now(dt.timezone.utc)
    if now < certificate.not_valid_before_utc:
        raise _broken(
            folder, f"the certificate is valid from {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC only"
        )
    if certificate.not_valid_after_utc < now:
        raise _broken(folder, f"the certificate expired on {certificate.not_valid_after_utc:%Y-%m-%d}")
    return Bundle(parts[0], parts[1], parts[2], role)


def _broken(folder: Path, reason: str) -> InputError:
    return InputError(
        f"The certificate bundle in {folder} cannot be used: {reason}.",
        hint="Make one with 'securealign certs init DIR' and point to DIR/provider or DIR/client.",
        code=ErrorCode.FILE_INVALID,
    )


def _names(certificate: x509.Certificate) -> list[str]:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    return extension.value.get_values_for_type(x509.DNSName)


def _authority(key: ec.EllipticCurvePrivateKey, window: _Window) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, _AUTHORITY)])
    usage = _key_usage(key_cert_sign=True, crl_sign=True)
    return (
        _builder(name, name, key, window)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def _party(
    role: Role, hosts: Sequence[x509.GeneralName], key: ec.EllipticCurvePrivateKey, issuer: _Issuer
) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"securealign {role.label}")])
    # Both purposes for both: the role is in the name, where the peer can say in words that it is the wrong one.
    purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    alternatives = [x509.DNSName(role.value), *hosts]
    issuer_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key())
    return (
        _builder(name, issuer.certificate.subject, key, issuer.window)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(issuer_key, critical=False)
        .sign(issuer.key, hashes.SHA256())
    )


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass
    # A role among the hosts would let one party pass for the other.
    if not _HOST_NAME.fullmatch(host) or host.lower() in {role.value for role in Role}:
        raise ConfigurationError(
            f"{host!r} is no host name or address.",
            hint="Give it without a port, in ASCII, such as provider.example.org.",
        )
    return x509.DNSName(host)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    window: _Window,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(window.start)
        .not_valid_after(window.end)
    )


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


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _write(folder: Path, public: dict[str, bytes], private: dict[str, ec.EllipticCurvePrivateKey]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    os.chmod(folder, 0o700)  # noqa: PTH101 - mkdir's mode is subject to the umask
    for name, key in private.items():
        data = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        write_atomically(folder / name, data, mode=0o600)
    for name, data in public.items():
        write_atomically(folder / name, data)
