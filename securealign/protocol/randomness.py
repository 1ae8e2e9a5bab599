"""Randomness of one session, derived from a secret so that a restored session draws the same bytes again.

All draws of a client in a session derive from 32 bytes that hash a secret, the session id and the provider's Accept as
it was received. The keys of an interrupted session are not stored: the secret is, under a passphrase, and the keys are
derived again. The session id holds a fresh nonce of the provider, so that another session under the same secret draws
unrelated bytes. Two sessions with the same S and E would show P - P* = (A' - A'*) S, without any error.

A copy of a client's records has the same secret. A provider that answers the copy with another Accept gets unrelated
keys; one that repeats its Accept gets what it had, as long as what is encrypted is the same. Suites see to that: rows
take part in the randomness that encrypts them, and each pool of inference has a nonce that is never derived.
"""

from __future__ import annotations

import hashlib
from typing import Protocol

import numpy as np
import numpy.typing as npt

from securealign.he.entropy import Entropy, keystream

_DOMAIN = b"securealign/randomness/"
_SEED_BYTES = 32


class Root(Protocol):
    """A secret from which the randomness of sessions derives, such as a stored key."""

    def derive(self, context: bytes) -> bytes:
        """Return 32 secret bytes for a context."""


class FreshRoot:
    """A secret that is not stored: what was derived from it cannot be derived again."""

    def __init__(self, source: Entropy) -> None:
        self._source = source

    def derive(self, context: bytes) -> bytes:
        """Return 32 fresh bytes, whatever the context."""
        return self._source.octets(_SEED_BYTES).tobytes()


class SessionEntropy:
    """AES-256-CTR streams, one for each draw, under keys that hash a seed and the number of the draw."""

    def __init__(self, seed: bytes) -> None:
        self._seed = seed
        self._draws = 0

    @classmethod
    def of(cls, root: Root, session: bytes, accept_digest: bytes) -> SessionEntropy:
        """Return the randomness of a session under a root; `accept_digest` is SHA-256 of the Accept as received."""
        return cls(hashlib.sha256(_DOMAIN + session + accept_digest + root.derive(session)).digest())

    def octets(self, count: int) -> npt.NDArray[np.uint8]:
        """Return `count` random bytes, shape (count,), unrelated to those of any other draw."""
        key = hashlib.sha256(_DOMAIN + b"draw" + self._seed + self._draws.to_bytes(8, "big")).digest()
        self._draws += 1
        return keystream(key, count)

    def fork(self, purpose: str) -> SessionEntropy:
        """Return the source of a purpose, whose draws do not depend on how often this one was asked."""
        return SessionEntropy(hashlib.sha256(_DOMAIN + b"fork" + self._seed + purpose.encode()).digest())
