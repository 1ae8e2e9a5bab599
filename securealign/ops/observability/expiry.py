"""When the certificates of a party expire, so that alerts come before refusals."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
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

    def show(name: str, ends: Callable[[Bundle], Iterable[datetime | None]]) -> None:
        metrics.certificate_expires(name, lambda: _first(ends(source.current())))

    load = x509.load_pem_x509_certificates
    show("own", lambda bundle: [load(bundle.certificate)[0].not_valid_after_utc])
    show("authority", lambda bundle: (found.not_valid_after_utc for found in load(bundle.authority)))
    show("revocation list", lambda bundle: (found.next_update_utc for found in parse_lists(bundle.revocations)))


def _first(ends: Iterable[datetime | None]) -> float:
    return min((end.timestamp() for end in ends if end is not None), default=math.inf)
