"""What one party needs for mutual TLS, read from a folder and checked before it is used.

A bundle is ca.pem (the authorities trusted), cert.pem (the party's certificate, then any intermediate ones), key.pem,
and crl.pem (what the authorities revoked; without the file, nothing is).
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, replace
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from securealign.errors import ErrorCode, InputError, TransportError
from securealign.pki.chains import CertificateProblem, find_path, now_utc
from securealign.pki.identity import Identity, Role, identity_of_certificate
from securealign.pki.revocation import check_lists, check_revocation, parse_lists

#: The files of a bundle; all but the last are required.
FILES = ("ca.pem", "cert.pem", "key.pem", "crl.pem")


@dataclass(frozen=True)
class Bundle:
    """What one party needs for mutual TLS: PEM bytes; the private key is never printed."""

    authority: bytes
    certificate: bytes
    private_key: bytes
    role: Role
    revocations: bytes = b""

    def __repr__(self) -> str:
        return f"<Bundle of the {self.role.label}>"


def load_bundle(folder: Path, role: Role, *, now: dt.datetime | None = None) -> Bundle:
    """Read the bundle of a party and check that it can be used now, by default at the time of this machine's clock.

    Raises `InputError` when a file is missing or broken, the key does not match or is of a kind that gRPC does not
    take, the certificate or its chain has expired, was revoked or does not lead to ca.pem, the list of revoked
    certificates has expired, or the certificate is for the other role.
    """
    now = now or now_utc()
    bundle = _read(folder, role)
    check_bundle(bundle, folder, now=now)
    return bundle


def check_bundle(bundle: Bundle, folder: Path, *, now: dt.datetime) -> None:
    """Raise `InputError`, as `load_bundle` does, unless a bundle that is to lie in `folder` can be used now."""
    try:
        _check(bundle, folder, now)
    except CertificateProblem as problem:
        code = ErrorCode.FILE_INVALID if problem.code is ErrorCode.PEER_UNTRUSTED else problem.code
        raise _unusable(folder, problem.reason, code) from problem


def renew_revocations(bundle: Bundle, folder: Path, *, now: dt.datetime) -> Bundle:
    """Return `bundle` with the list of revoked certificates that `folder` holds now.

    Raises `InputError` for a list that is missing, broken, expired or of another authority.
    """
    try:
        revocations = (folder / "crl.pem").read_bytes()
        lists, anchors = parse_lists(revocations), _certificates(bundle.authority)
        check_lists(lists, [*anchors, *_chain(bundle)], now)
        leaf = _certificates(bundle.certificate)[0]
        check_revocation(find_path(leaf, _chain(bundle), anchors, now), lists, now)
    except OSError as error:
        raise _unusable(folder, str(error)) from error
    except CertificateProblem as problem:
        # A list may revoke the certificate of the party that reads it, and is still valid.
        if problem.code is not ErrorCode.CERTIFICATE_REVOKED:
            raise _unusable(folder, problem.reason, problem.code) from problem
    return replace(bundle, revocations=revocations)


def verify_peer(chain: bytes, bundle: Bundle, role: Role, *, now: dt.datetime) -> Identity:
    """Return who presented the certificates `chain`, the leaf first, to the owner of `bundle`.

    TLS has verified the chain; this checks the role and what TLS does not: that nothing in it is revoked now, and that
    it is still trusted and valid on a connection that was opened before. Raises `TransportError` with `WRONG_ROLE`,
    `CERTIFICATE_REVOKED` or `PEER_UNTRUSTED`.
    """
    return _verify("The peer's certificate", chain, bundle, role, now)


def verify_own(bundle: Bundle, *, now: dt.datetime) -> Identity:
    """Return who the owner of `bundle` is; raises `TransportError` when no peer would accept its certificate now."""
    return _verify("This party's own certificate", bundle.certificate, bundle, bundle.role, now)


def _verify(what: str, chain: bytes, bundle: Bundle, role: Role, now: dt.datetime) -> Identity:
    try:
        leaf, *others = _certificates(chain)
        identity = identity_of_certificate(leaf)
        if identity.role is not role:
            raise TransportError(
                f"{what} is for the role {identity.role.label}, not {role.label}.",
                hint="The provider needs the bundle 'provider', the client the bundle 'client'.",
                code=ErrorCode.WRONG_ROLE,
            )
        path = find_path(leaf, [*others, *_chain(bundle)], _certificates(bundle.authority), now)
        check_revocation(path, parse_lists(bundle.revocations), now)
    except CertificateProblem as problem:
        # A list that cannot be used is a fault of this side; the peer is refused all the same.
        code = ErrorCode.PEER_UNTRUSTED if problem.code is ErrorCode.FILE_INVALID else problem.code
        raise TransportError(f"{what} is not accepted: {problem.reason}.", hint=_HINTS[code], code=code) from problem
    except ValueError as error:
        raise TransportError(f"{what} cannot be read.", code=ErrorCode.PEER_UNTRUSTED) from error
    return identity


_HINTS = {
    ErrorCode.PEER_UNTRUSTED: "Compare the clocks, the dates of certificates and lists, and ca.pem of both parties: "
    "'securealign certs show'.",
    ErrorCode.CERTIFICATE_REVOKED: "Its operator asks the authority for a new one: 'securealign certs renew'.",
}


def _read(folder: Path, role: Role) -> Bundle:
    request = next(iter(folder.parent.glob("*.request")), None)
    if request is not None and (folder / "key.pem").exists() and not (folder / "cert.pem").exists():
        raise InputError(
            f"The certificate of this party is still missing in {folder}.",
            hint=f"Send {request} to the provider's operator, and when the certificate has come, run: "
            f"securealign join --certificate {request.stem}.cert",
            code=ErrorCode.FILE_INVALID,
        )
    try:
        parts = [(folder / name).read_bytes() for name in FILES[:3]]
        revocations = (folder / "crl.pem").read_bytes() if (folder / "crl.pem").exists() else b""
    except OSError as error:
        raise _unusable(folder, str(error)) from error
    return Bundle(parts[0], parts[1], parts[2], role, revocations)


def _check(bundle: Bundle, folder: Path, now: dt.datetime) -> None:
    leaf = _named(bundle.certificate, "cert.pem")[0]
    anchors = _named(bundle.authority, "ca.pem")
    key = _key(bundle.private_key)
    if key.public_key() != leaf.public_key():
        raise CertificateProblem("key.pem does not belong to cert.pem", ErrorCode.FILE_INVALID)
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise CertificateProblem("gRPC takes keys of RSA and of elliptic curves (ECDSA) only", ErrorCode.FILE_INVALID)
    path = find_path(leaf, _chain(bundle), anchors, now)
    _check_role(leaf, bundle.role, folder)
    lists = parse_lists(bundle.revocations)
    check_lists(lists, [*anchors, *_chain(bundle)], now)
    check_revocation(path, lists, now)


def _check_role(leaf: x509.Certificate, role: Role, folder: Path) -> None:
    try:
        identity = identity_of_certificate(leaf)
    except TransportError as error:
        raise InputError(
            f"The certificate in {folder} cannot be used: {error.message}", hint=error.hint, code=error.code
        ) from error
    if identity.role is not role:
        raise InputError(
            f"The certificate in {folder} is not for the role {role.label}.",
            hint=f"Point to the folder {role.label!r} that 'securealign certs init' made.",
            code=ErrorCode.WRONG_ROLE,
        )


def _named(pem: bytes, name: str) -> list[x509.Certificate]:
    try:
        return _certificates(pem)
    except ValueError as error:
        raise CertificateProblem(f"{name} holds no certificate in PEM", ErrorCode.FILE_INVALID) from error


def _certificates(pem: bytes) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(pem)


def _chain(bundle: Bundle) -> list[x509.Certificate]:
    return _certificates(bundle.certificate)[1:]


def _key(pem: bytes) -> PrivateKeyTypes:
    try:
        return serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        # The cause names the form only: errors of the library hold none of the bytes.
        raise CertificateProblem(
            f"key.pem holds no private key in PEM without a passphrase ({type(error).__name__})", ErrorCode.FILE_INVALID
        ) from error


def _unusable(folder: Path, reason: str, code: ErrorCode = ErrorCode.FILE_INVALID) -> InputError:
    hint = "Make one with 'securealign certs init DIR' and point to DIR/provider or DIR/client."
    if "expired" in reason or "revoked" in reason:
        hint = "Ask whoever keeps the authority for new files, made with 'securealign certs renew DIR'."
    elif "Permission denied" in reason:
        hint = f"Give the folder to the user that runs this party: chown -R USER {folder}"
    return InputError(f"The certificate bundle in {folder} cannot be used: {reason}.", hint=hint, code=code)
