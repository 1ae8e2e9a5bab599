"""When the certificates of a party expire, so that alerts come before refusals."""

from __future__ import annotations

import math
from datetime import datetime

from cryptography import x509

from securealign.ops.observability.metrics import Metrics
from securealign.pki.bundles import Bundle
from securealign.pki.revocation import parse_lists
from securealign.transport.credentials import Source


def watch_certificates(metrics: Metrics, source: Source) -> None:
    """Show the expiry of the bundle that `source` holds whenever the metrics are read.

    "own" is the party's certificate, "authority" and "revocation list" the first of its files to expire; infinite
    without one.
    """
    metrics.certificate_expires("own", lambda: _own(source.current()))
    metrics.certificate_expires("authority", lambda: _authority(source.current()))
    metrics.certificate_expires("revocation list", lambda: _revocations(source.current()))


def _own(bundle: Bundle) -> float:
    return _first(x509.load_pem_x509_certificates(bundle.certificate)[0].not_valid_after_utc)


def _authority(bundle: Bundle) -> float:
    return _first(*(found.not_valid_after_utc for found in x509.load_pem_x509_certificates(bundle.authority)))


def _revocations(bundle: Bundle) -> float:
    return _first(*(found.next_update_utc for found in parse_lists(bundle.revocations)))


def _first(*ends: datetime | None) -> float:
    return min((end.timestamp() for end in ends if end is not None), default=math.inf)
