"""Certificates from a leaf up to an authority that is trusted, with exact reasons where a link is missing.

TLS verifies a peer's chain; this finds it again, for what TLS does not do (revocation) or does not say (why). Nothing
of `cryptography.x509.verification` fits every supported release of it: its default profile is that of public web
sites, and asks of private authorities what TLS libraries do not.
"""

import datetime as dt
from collections.abc import Iterable, Sequence

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from securealign.errors import ErrorCode

#: More links than any organisation uses; bounds the work on a chain that a peer sent.
_MAX_LINKS = 8


class CertificateProblem(Exception):
    """Why a certificate is not acceptable, for the caller to put into words for its user."""

    def __init__(self, reason: str, code: ErrorCode = ErrorCode.PEER_UNTRUSTED) -> None:
        super().__init__(reason)
        self.reason = reason
        self.code = code


def now_utc() -> dt.datetime:
    """Return the time by this machine's clock."""
    return dt.datetime.now(dt.timezone.utc)


def find_path(
    leaf: x509.Certificate,
    intermediates: Sequence[x509.Certificate],
    anchors: Sequence[x509.Certificate],
    now: dt.datetime,
) -> list[x509.Certificate]:
    """Return the certificates from `leaf` to one of `anchors`, all valid now; raises `CertificateProblem`."""
    path = [leaf]
    check_dates(leaf, now)
    while path[-1] not in anchors:
        issuer = _issuer(path[-1], [*anchors, *intermediates], now)
        if issuer is None or issuer in path or len(path) == _MAX_LINKS:
            raise CertificateProblem("the certificate was not issued by an authority in ca.pem")
        check_dates(issuer, now, of=f"the issuer ({issuer.subject.rfc4514_string()})")
        path.append(issuer)
    return path


def check_dates(certificate: x509.Certificate, now: dt.datetime, of: str = "the certificate") -> None:
    """Raise `CertificateProblem` unless the certificate is valid now, naming both times."""
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    clock = f"this machine's clock says {now:%Y-%m-%d %H:%M} UTC"
    if now < start:
        raise CertificateProblem(f"{of} is valid from {start:%Y-%m-%d %H:%M} UTC only, and {clock}")
    if end < now:
        raise CertificateProblem(f"{of} expired on {end:%Y-%m-%d %H:%M} UTC, and {clock}")


def is_issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Return whether `issuer` is an authority and signed `certificate`."""
    if certificate.issuer != issuer.subject or not _may_issue(issuer):
        return False
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _issuer(
    certificate: x509.Certificate, candidates: Iterable[x509.Certificate], now: dt.datetime
) -> x509.Certificate | None:
    """Return who issued a certificate; of several certificates of one authority, one that is valid now."""
    found = [candidate for candidate in candidates if is_issued_by(certificate, candidate)]
    valid = (item for item in found if item.not_valid_before_utc <= now <= item.not_valid_after_utc)
    return next(valid, found[0] if found else None)


def _may_issue(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, ValueError):
        # Authorities of the first version of X.509 say nothing.
        return certificate.version is x509.Version.v1
