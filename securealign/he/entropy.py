"""The only source of secret randomness: a CSPRNG behind a one-method interface.

Tests inject a seeded source to make transcripts reproducible; nothing in this package offers one.
"""

from __future__ import annotations

import secrets
from typing import Protocol

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

#: Below this size the operating system is asked directly; above it, it keys one AES-256-CTR stream per call.
_DIRECT_BYTES = 1024


class Entropy(Protocol):
    """A source of uniform random bytes."""

    def octets(self, count: int) -> npt.NDArray[np.uint8]:
        """Return `count` fresh random bytes, shape (count,)."""

    def fork(self, purpose: str) -> Entropy:
        """Return a source for one purpose; one that can be made again gives the same bytes for the same purpose."""


def keystream(key: bytes, count: int, *, offset: int = 0) -> npt.NDArray[np.uint8]:
    """Return bytes `offset` to `offset + count` of the AES-256-CTR stream under `key`; offset is a multiple of 16."""
    out = np.zeros(count, dtype=np.uint8)
    # CTR mode is a stream cipher: encrypting the zeros in place leaves the keystream, without a second buffer.
    add_keystream(key, out.data, out.data, offset=offset)
    return out


def add_keystream(key: bytes, source: memoryview, target: memoryview, *, offset: int = 0) -> None:
    """Write the XOR of `source` and a keystream to `target`, of equal size, which may be the same memory."""
    if offset % 16:
        raise ValueError("the offset of a keystream is a multiple of the block size, 16 bytes")
    encryptor = Cipher(algorithms.AES(key), modes.CTR((offset // 16).to_bytes(16, "big"))).encryptor()
    encryptor.update_into(source, target)


def gaussian(octets: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Return a standard normal number for every eight uniform bytes, by inverting the distribution at 52 bits."""
    from scipy.special import ndtri  # Importing scipy.special takes a tenth of a second, and few programs need it.

    # 52 bits, one less than a float64 holds: with the added half, the largest value would otherwise round to one.
    uniform = ((octets.view("<u8") >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52
    numbers: npt.NDArray[np.float64] = ndtri(uniform)
    return numbers


class SystemEntropy:
    """Randomness of the operating system, stretched by AES-256-CTR under a fresh key for every large request."""

    def octets(self, count: int) -> npt.NDArray[np.uint8]:
        """Return `count` fresh random bytes, shape (count,)."""
        if count <= _DIRECT_BYTES:
            return np.frombuffer(secrets.token_bytes(count), dtype=np.uint8)
        return keystream(secrets.token_bytes(32), count)

    def fork(self, purpose: str) -> Entropy:
        """Return this source: its bytes are fresh whatever they are for."""
        return self
