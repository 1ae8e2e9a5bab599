"""Lists of revoked certificates: reading them, and looking a certificate up.

A list counts only if the issuer of the certificate signed it and it has not expired. Where a party has lists at all,
one of them has to cover the issuer of its peer's certificate: otherwise a list that is missing would revoke nothing.
"""

import datetime as dt
import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from securealign.errors import ErrorCode
from securealign.pki.chains import CertificateProblem

_PEM = re.compile(rb"-----BEGIN X509 CRL-----.+?-----END X509 CRL-----", re.DOTALL)
Lists = Sequence[x509.CertificateRevocationList]


@lru_cache(maxsize=8)
def parse_lists(pem: bytes) -> tuple[x509.CertificateRevocationList, ...]:
    """Return the lists in a file of them, none for an empty one; raises `CertificateProblem`."""
    found = _PEM.findall(pem)
    if pem.strip() and not found:
        raise CertificateProblem("crl.pem holds no list of revoked certificates in PEM", ErrorCode.FILE_INVALID)
    try:
        lists = tuple(x509.load_pem_x509_crl(block) for block in found)
        for item in lists:
            _require_complete(item)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise CertificateProblem(f"crl.pem cannot be read: {error}", ErrorCode.FILE_INVALID) from error
    return lists


def check_lists(lists: Lists, known: Sequence[x509.Certificate], now: dt.datetime) -> None:
    """Raise `CertificateProblem` unless each list is valid now, and signed by its issuer where that is `known`.

    The list of an authority that only a peer's chain names is kept: it counts once such a peer has shown the chain.
    """
    for item in lists:
        namesakes = [issuer for issuer in known if issuer.subject == item.issuer]
        if namesakes and not any(_signed(item, issuer) for issuer in namesakes):
            raise CertificateProblem(
                f"crl.pem holds a list that no authority in ca.pem signed ({item.issuer.rfc4514_string()})",
                ErrorCode.FILE_INVALID,
            )
        _check_dates(item, now)


def check_revocation(path: Sequence[x509.Certificate], lists: Lists, now: dt.datetime) -> None:
    """Raise `CertificateProblem` when a certificate of the path from leaf to authority is revoked.

    Lists for the issuers of intermediate certificates are consulted where there are any; one for the leaf's is required
    unless there are no lists at all.
    """
    for number, (certificate, issuer) in enumerate(pairwise(path)):
        covering = [item for item in lists if _signed(item, issuer)]
        if number == 0 and lists and not covering:
            raise CertificateProblem(
                "crl.pem holds no list of the authority that issued the certificate", ErrorCode.FILE_INVALID
            )
        for item in covering:
            _check_dates(item, now)
            entry = item.get_revoked_certificate_by_serial_number(certificate.serial_number)
            if entry is not None:
                raise CertificateProblem(
                    f"the certificate was revoked on {entry.revocation_date_utc:%Y-%m-%d}",
                    ErrorCode.CERTIFICATE_REVOKED,
                )


def _check_dates(item: x509.CertificateRevocationList, now: dt.datetime) -> None:
    clock = f"this machine's clock says {now:%Y-%m-%d %H:%M} UTC"
    if now < item.last_update_utc:
        start = f"{item.last_update_utc:%Y-%m-%d %H:%M} UTC"
        raise CertificateProblem(f"crl.pem is valid from {start} only, and {clock}", ErrorCode.FILE_INVALID)
    end = item.next_update_utc
    if end is not None and end < now:
        raise CertificateProblem(
            f"crl.pem, the list of revoked certificates, expired on {end:%Y-%m-%d %H:%M} UTC, and {clock}",
            ErrorCode.FILE_INVALID,
        )


def _signed(item: x509.CertificateRevocationList, issuer: x509.Certificate) -> bool:
    try:
        # Authorities may share a name, as those of this program do: the key decides.
        return item.issuer == issuer.subject and item.is_signature_valid(issuer.public_key())  # type: ignore[arg-type]
    except (TypeError, UnsupportedAlgorithm):
        return False


def _require_complete(item: x509.CertificateRevocationList) -> None:
    """Refuse a list that says, in a critical extension, that it is a part of one or means something else."""
    for extension in item.extensions:
        if extension.critical and not _names_a_place_only(extension.value):
            raise ValueError(
                f"it has the critical extension {extension.oid.dotted_string}, so it may be a partial list"
            )


def _names_a_place_only(value: x509.ExtensionType) -> bool:
    return isinstance(value, x509.IssuingDistributionPoint) and not any(
        (
            value.only_contains_user_certs,
            value.only_contains_ca_certs,
            value.only_contains_attribute_certs,
            value.only_some_reasons,
            value.indirect_crl,
        )
    )
