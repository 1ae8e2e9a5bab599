"""Certificates for mutual TLS: the bundle of a party, whose it is, and the private authority that makes them.

The role of a party is a DNS name in its certificate, so that TLS itself refuses a peer of the wrong role.
"""

from securealign.pki.authority import Authority, Issued, create_certificates
from securealign.pki.bundles import Bundle, load_bundle, verify_peer
from securealign.pki.identity import Identity, Role, identity_of

__all__ = [
    "Authority",
    "Bundle",
    "Identity",
    "Issued",
    "Role",
    "create_certificates",
    "identity_of",
    "load_bundle",
    "verify_peer",
]
