"""Certificates: authority, bundles, revocation, chains."""
