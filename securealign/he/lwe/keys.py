"""The client's secret key and the public key made from it.

Secret S in {-1, 0, 1}^(n x w). Public key P = A' S + E' with A' expanded from a seed: w columns of encryptions of zero,
from which the provider re-randomises its answers. The key's name is the hash of its public part.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

import numpy as np
import numpy.typing as npt

from securealign.he.blobs import Binding, Kind
from securealign.he.entropy import Entropy, keystream
from securealign.he.lwe import sampling
from securealign.he.lwe.parameters import RESIDUE_BYTES, LweParameters
from securealign.he.lwe.planner import BitBudget
from securealign.he.lwe.products import BLOCK_ROWS, Planes, public_times_ternary, tiles
from securealign.he.lwe.residues import IntMatrix, Residues, centre, pack, planes, reduce, unpack


@dataclass(frozen=True)
class PublicMatrix:
    """A pseudorandom matrix over Z_q that both parties expand from a seed, so that it never travels.

    It has `columns` columns and as many rows as are asked for. The entries of row i are ten bytes each at offset
    i * n * 10 of an AES-256-CTR keystream, in the wire order of a row; any range of rows can be expanded alone. The key
    hashes the purpose, the session (to which both parties contributed) and the client's seed, so a client cannot choose
    the matrix.
    """

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


_SEED_BYTES = 32


class SecretKey:
    """A ternary LWE secret; has no method that returns it, refuses pickling, and prints its parameter set only."""

    def __init__(self, plan: BitBudget, kind: Kind, session: bytes, entropy: Entropy) -> None:
        parameters = plan.parameters
        self._parameters, self._session = parameters, session
        entropy = entropy.fork("key")
        self._secret = sampling.ternary(entropy, (parameters.dimension, plan.width)).astype(np.float64)
        self._seed = entropy.octets(_SEED_BYTES).tobytes()
        mask_seed = entropy.octets(_SEED_BYTES).tobytes()
        mask = PublicMatrix.derive("mask", session, mask_seed, parameters.dimension)
        zeros = (
            pack(block)
            for first, count in tiles(parameters.dimension)
            for block in self._blocks(mask, first, sampling.gaussian(entropy, (count, plan.width)))
        )
        self.public = binding(parameters, session).seal_pieces(
            kind, chain([self._seed, mask_seed], zeros), rows=parameters.dimension, columns=plan.width
        )
        #: Binds ciphertexts under this key.
        self.binding = binding(parameters, session, key_name(self.public))

    def __repr__(self) -> str:
        return f"<SecretKey of {self._parameters.name}>"

    def __reduce__(self) -> str:
        raise TypeError("a secret key cannot be pickled or copied")

    def matrix(self, purpose: str, nonce: bytes = b"") -> PublicMatrix:
        """Return the public matrix of a purpose under this key's seed, and a pool's nonce."""
        return PublicMatrix.derive(purpose, self._session, self._seed, self._parameters.dimension, nonce)

    def encrypt(self, public: PublicMatrix, first: int, messages: IntMatrix, entropy: Entropy) -> Residues:
        """Return A S + E + M for rows `first`, ... of a public matrix; `messages` (rows, w) is at most 2^62.9 in size.

        A row of a public matrix encrypts one message only: two under one row reveal their difference.
        """
        errors = sampling.gaussian(entropy, messages.shape)
        sums = Residues(np.empty(messages.shape, dtype=np.int64), np.empty(messages.shape, dtype=np.int64))
        start = 0
        for block in self._blocks(public, first, messages + errors):
            for whole, part in zip(sums, block, strict=True):
                whole[start : start + len(part)] = part
            start += len(block.low)
        return sums

    def _blocks(self, public: PublicMatrix, first: int, messages: npt.NDArray[np.signedinteger]) -> Iterator[Residues]:
        """Yield A S + M for the rows from `first` on, a few at a time: A is ten times as large as M is in a key."""
        for start, count in tiles(len(messages), BLOCK_ROWS):
            rows = planes(public.rows(first + start, count), public.columns)
            low, high = public_times_ternary(rows, self._secret, self._parameters.log_q)
            # Sums of 8,192 terms below 2^40 leave the message room within int64.
            low += messages[start : start + count]
            yield reduce(low, high, self._parameters.log_q)

    def unmask(self, hint: IntMatrix, answer: IntMatrix, columns: slice) -> IntMatrix:
        """Return Y - H S modulo the answer modulus, centred: H (m, n), Y (m, columns) in [0, 2^40)."""
        return centre(answer - self.unmask_hint(hint, columns))

    def unmask_hint(self, hint: IntMatrix, columns: slice = slice(None)) -> IntMatrix:
        """Return H S for some columns of S, exact: sums of at most 8,192 terms below 2^40."""
        return (hint.astype(np.float64) @ self._secret[:, columns]).astype(np.int64)


class PublicKey:
    """What the provider holds of a client's key; made from checked bytes only."""

    def __init__(self, plan: BitBudget, kind: Kind, session: bytes, data: bytes) -> None:
        parameters = plan.parameters
        n, width = parameters.dimension, plan.width
        body = binding(parameters, session).open(
            kind, data, 2 * _SEED_BYTES + n * width * RESIDUE_BYTES, rows=n, columns=width
        )
        self._parameters, self._session = parameters, session
        self._seed = bytes(body[:_SEED_BYTES])
        mask_seed = bytes(body[_SEED_BYTES : 2 * _SEED_BYTES])
        self._mask = PublicMatrix.derive("mask", session, mask_seed, n)
        zeros = np.frombuffer(body[2 * _SEED_BYTES :], dtype=np.uint8).reshape(n, width * RESIDUE_BYTES)
        self._zeros = unpack(zeros, width, parameters.log_q)
        self.binding = binding(parameters, session, key_name(data))

    def matrix(self, purpose: str, nonce: bytes = b"") -> PublicMatrix:
        """Return the public matrix of a purpose under the client's seed, and a pool's nonce."""
        return PublicMatrix.derive(purpose, self._session, self._seed, self._parameters.dimension, nonce)

    def mask_tile(self, first: int, count: int, columns: slice) -> list[Planes]:
        """Return rows of A' and of some columns of P, side by side."""
        words, halves = self._zeros
        rows = slice(first, first + count)
        return [
            planes(self._mask.rows(first, count), self._mask.columns),
            (words[rows, columns], halves[rows, columns]),
        ]


def binding(parameters: LweParameters, session: bytes, key: bytes = b"") -> Binding:
    """Return what binds the blobs of the suite to a session and a key."""
    return Binding(b"SLWE", parameters.digest, session, key)


def key_name(public: bytes) -> bytes:
    """Return the name of a key: the SHA-256 of its public part."""
    digest = hashlib.sha256(b"securealign/lwe/key")
    digest.update(public)
    return digest.digest()
