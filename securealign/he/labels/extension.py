"""Extension of 128 base transfers (Ishai et al. 2003), with the check of SoftSpokenOT (ePrint 2022/192, k = 1).

The client sends, for each base transfer, a column: the sum of two keystreams and its choices. A client that adds other
choices to some columns would learn the provider's s from what follows; a random linear hash of the columns shows it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from securealign.errors import CiphertextError
from securealign.he.entropy import keystream
from securealign.he.labels.garbling import Buffer, Labels, permutation
from securealign.he.labels.transfer import TRANSFERS

Octets = npt.NDArray[np.uint8]
#: Returns a range of bytes of each of several rows of bits.
Part = Callable[[int, int], Octets]

_DOMAIN = b"securealign/label/"
#: Bytes of a hash of 128 bits.
_HASH_BYTES = TRANSFERS // 8
#: Words of each column that are hashed at a time, so that temporaries stay in the cache.
_HASH_WORDS = 320
#: Bytes of each column that are made at a time: memory follows this, and not the pool. A multiple of 16.
_STRETCH_BYTES = 1 << 15
_PARITY = np.array([value.bit_count() & 1 for value in range(256)], dtype=np.uint8)


def padded(transfers: int) -> int:
    """Return the transfers that are made for so many: the next multiple of 128."""
    return -(-transfers // TRANSFERS) * TRANSFERS


def choices_bytes(transfers: int) -> int:
    """Return the bytes of the choices of `transfers`, a multiple of 128: columns, then hashes."""
    return TRANSFERS * _width(transfers) + _HASH_BYTES * (1 + TRANSFERS)


def _width(transfers: int) -> int:
    """Return the bytes of a column: the choices, and 128 random bits that mask their hash."""
    return transfers // 8 + _HASH_BYTES


def place(session: bytes, pool: int, nonce: bytes) -> bytes:
    """Return what names a pool in every hash; without the nonce, a copy of a client's state would reuse keystreams."""
    return session + pool.to_bytes(8, "big") + nonce


def _columns(keys: list[bytes], where: bytes) -> Part:
    """Return what makes a range of bytes of the keystreams of a pool, shape (128, stop - start)."""
    streams = [hashlib.sha256(_DOMAIN + b"column" + key + where).digest() for key in keys]

    @lru_cache(maxsize=1)  # Columns of one stretch are checked and then used.
    def made(start: int, stop: int) -> Octets:
        return np.stack([keystream(stream, stop - start, offset=start) for stream in streams])

    return made


def _stretches(width: int) -> Iterator[tuple[int, int]]:
    """Yield the first byte of a column and the one after the last, stretch by stretch."""
    return ((start, min(width, start + _STRETCH_BYTES)) for start in range(0, width, _STRETCH_BYTES))


def choose(zeros: list[bytes], ones: list[bytes], where: bytes, choices: Octets, tail: Octets) -> bytes:
    """Return columns and their hashes for choice bits (transfers,); `tail` holds 16 random bytes."""
    packed = np.concatenate([np.packbits(choices, bitorder="little"), tail])
    width = len(packed)
    data = np.empty(choices_bytes(len(choices)), dtype=np.uint8)
    sent = data[: TRANSFERS * width].reshape(TRANSFERS, width)
    own, other = _columns(zeros, where), _columns(ones, where)
    for start, stop in _stretches(width):
        np.bitwise_xor(own(start, stop), other(start, stop), out=sent[:, start:stop])
    sent ^= packed

    def kept(start: int, stop: int) -> Octets:
        return np.vstack([packed[start:stop], own(start, stop)])

    data[sent.size :] = _hashes(where, sent, kept).ravel()
    return data.tobytes()


class Accepted:
    """The provider's side of a pool's transfers; rows are made for a range of them at a time."""

    def __init__(self, secret: Octets, keys: list[bytes], where: bytes, data: memoryview, transfers: int) -> None:
        """Take s, 128 bits, the keys of its branches and a client's choices; checks nothing."""
        self._where, self._streams = where, _columns(keys, where)
        self._sent = np.frombuffer(data, dtype=np.uint8, count=TRANSFERS * _width(transfers)).reshape(TRANSFERS, -1)
        self._hashes = np.frombuffer(data, dtype=np.uint8, offset=self._sent.size).reshape(-1, _HASH_BYTES)
        self._chosen = (np.uint8(0) - secret)[:, None]

    def check(self) -> None:
        """Raise `CiphertextError` for inconsistent columns."""
        expected = self._hashes[1:] ^ (self._hashes[0] & self._chosen)
        if (_hashes(self._where, self._sent, self._columns) != expected).any():
            raise CiphertextError("The columns of a transfer are not consistent.")

    def rows(self, first: int, count: int) -> Labels:
        """Return the rows of `count` transfers from `first` on, (count, 2)."""
        return _rows(self._columns, first, count)

    def _columns(self, start: int, stop: int) -> Octets:
        columns: Octets = self._streams(start, stop) ^ (self._sent[:, start:stop] & self._chosen)
        return columns


def accept(secret: Octets, keys: list[bytes], where: bytes, data: memoryview, transfers: int) -> Accepted:
    """Return the provider's side of `transfers`; raises `CiphertextError` for inconsistent columns."""
    accepted = Accepted(secret, keys, where, data, transfers)
    accepted.check()
    return accepted


def receive(zeros: list[bytes], where: bytes, first: int, count: int) -> Labels:
    """Return the client's rows of `count` transfers from `first` on, (count, 2)."""
    return _rows(_columns(zeros, where), first, count)


def _rows(columns: Part, first: int, count: int) -> Labels:
    """Return rows of transfers; keystreams begin at a multiple of 128 of them."""
    start, stop = first // TRANSFERS, -(-(first + count) // TRANSFERS)
    skipped = first - start * TRANSFERS
    return _transposed(columns(start * _HASH_BYTES, stop * _HASH_BYTES))[skipped : skipped + count]


def correlate(rows: Labels, where: bytes, first: int = 0) -> Labels:
    """Return TMMO of rows (n, 2) of the transfers from `first` on, with the number of the transfer as tweak."""
    cipher = permutation(hashlib.sha256(_DOMAIN + b"row" + where).digest()[:16])
    once, twice = Buffer(*rows.shape), Buffer(*rows.shape)
    once.words[...] = rows
    cipher.update_into(once.octets, once.padded)
    twice.words[...] = once.words
    twice.words[:, 0] ^= np.arange(first, first + len(rows), dtype=np.uint64)
    cipher.update_into(twice.octets, twice.padded)
    twice.words ^= once.words
    return twice.words


def _hashes(where: bytes, sent: Octets, vectors: Part) -> Octets:
    """Return [M | I] times each of k rows of bits, shape (k, 16): M (128, bits) is drawn from a hash of `sent`.

    `vectors` returns a range of bytes of each row, (k, stop - start).
    """
    digest = hashlib.sha256(_DOMAIN + b"check" + where)
    digest.update(sent.data)
    seed, width = digest.digest(), sent.shape[1] - _HASH_BYTES
    tails = vectors(width, sent.shape[1])
    sums = np.zeros((TRANSFERS, len(tails)), dtype=np.uint64)
    for start, stop in _stretches(width):
        words = np.ascontiguousarray(vectors(start, stop)).view("<u8")
        matrix = _matrix(seed, width, start, stop)
        for first in range(0, words.shape[1], _HASH_WORDS):
            part = np.ascontiguousarray(words[:, first : first + _HASH_WORDS])
            product = np.empty_like(part)
            for row, factors in enumerate(matrix[:, first : first + _HASH_WORDS]):
                np.bitwise_and(part, factors, out=product)
                sums[row] ^= np.bitwise_xor.reduce(product, axis=1)
    for shift in (32, 16, 8):
        sums ^= sums >> np.uint64(shift)
    parities = _PARITY[(sums & np.uint64(255)).astype(np.uint8)]
    return np.packbits(parities.T, axis=1, bitorder="little") ^ tails


def _matrix(seed: bytes, width: int, start: int, stop: int) -> Labels:
    """Return bytes `start` to `stop` of each row of M, whose rows of `width` bytes follow each other, as words."""
    if stop - start == width:
        return keystream(seed, TRANSFERS * width).view("<u8").reshape(TRANSFERS, -1)
    rows = [keystream(seed, stop - start, offset=row * width + start) for row in range(TRANSFERS)]
    return np.stack(rows).view("<u8")


def _transposed(columns: Octets) -> Labels:
    """Return the rows of 128 columns of bits (128, n / 8), shape (n, 2): six rounds of swaps in blocks of 64 by 64."""
    # Axes: half of a label, bit of a half, word of transfers.
    words = np.array(columns).view("<u8").reshape(2, 64, -1)
    distance, mask = 32, np.uint64((1 << 32) - 1)
    while distance:
        pairs = words.reshape(2, 32 // distance, 2, distance, -1)
        low, high = pairs[:, :, 0], pairs[:, :, 1]
        exchanged = ((low >> np.uint64(distance)) ^ high) & mask
        high ^= exchanged
        low ^= exchanged << np.uint64(distance)
        distance //= 2
        mask ^= mask << np.uint64(distance)
    return np.ascontiguousarray(words.transpose(2, 1, 0)).reshape(-1, 2)
