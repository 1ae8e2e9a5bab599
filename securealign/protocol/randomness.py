"""Randomness that belongs to one session, even where the source of it repeats itself.

A client restored from a snapshot of its memory may draw the same bytes again. Two sessions with the same S and E show
P - P* = (A' - A'*) S, without any error: the provider would solve for the key. The session id holds a fresh nonce of
the provider, so draws that hash it are unrelated as long as the provider does not repeat itself as well.
"""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

from securealign.he.entropy import Entropy, keystream

_DOMAIN = b"securealign/randomness/"
_SEED_BYTES = 32


class SessionEntropy:
    """Stretches 32 fresh bytes of a source for each draw by AES-256-CTR, under a key that hashes the session id too."""

    def __init__(self, source: Entropy, session: bytes) -> None:
        self._source = source
        self._session = session

    def octets(self, count: int) -> npt.NDArray[np.uint8]:
        """Return `count` fresh random bytes, shape (count,)."""
        fresh = self._source.octets(_SEED_BYTES).tobytes()
        return keystream(hashlib.sha256(_DOMAIN + self._session + fresh).digest(), count)
