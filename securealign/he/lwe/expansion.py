"""Public matrices over Z_q that both parties expand from a seed, so that they never travel.

The entries of row i are ten bytes each at offset i * n * 10 of an AES-256-CTR keystream, in the wire order of a row;
any range of rows can be expanded alone. The key hashes the purpose, the session (to which both parties contributed) and
the client's seed, so a client cannot choose the matrix.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from securealign.he.entropy import keystream
from securealign.he.lwe.parameters import RESIDUE_BYTES


@dataclass(frozen=True)
class PublicMatrix:
    """A pseudorandom matrix of `columns` columns and as many rows as are asked for."""

    key: bytes
    columns: int

    @classmethod
    def derive(cls, purpose: str, session: bytes, seed: bytes, columns: int, nonce: bytes = b"") -> PublicMatrix:
        """Derive the matrix of a `purpose` ("rows", "mask", "pool 3", ...) in one session.

        `nonce` is that of a pool, 32 bytes.
        """
        label = purpose.encode()
        prefix = b"securealign/lwe/matrix" + len(label).to_bytes(2, "big") + label
        return cls(hashlib.sha256(prefix + session + seed + nonce).digest(), columns)

    def rows(self, first: int, count: int) -> npt.NDArray[np.uint8]:
        """Return rows `first` to `first + count` in wire form, shape (count, columns * 10)."""
        width = self.columns * RESIDUE_BYTES
        return keystream(self.key, count * width, offset=first * width).reshape(count, width)
