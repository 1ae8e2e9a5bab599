"""Extension of 128 base transfers (Ishai et al. 2003), with the check of SoftSpokenOT (ePrint 2022/192, k = 1).

The client sends, for each base transfer, a column: the sum of two keystreams and its choices. A client that adds other
choices to some columns would learn the provider's s from what follows; a random linear hash of the columns shows it.
"""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

from securealign.errors import CiphertextError
from securealign.he.entropy import keystream
from securealign.he.labels.garbling import Buffer, Labels, Permutation
from securealign.he.labels.transfer import TRANSFERS

Octets = npt.NDArray[np.uint8]

_DOMAIN = b"securealign/label/"
#: Bytes of a hash of 128 bits.
_HASH_BYTES = TRANSFERS // 8
#: Words of each column that are hashed at a time, so that temporaries stay in the cache.
_HASH_WORDS = 256
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


def _columns(keys: list[bytes], where: bytes, width: int) -> Octets:
    """Return the keystreams of a pool, shape (128, width)."""
    return np.stack([keystream(hashlib.sha256(_DOMAIN + b"column" + key + where).digest(), width) for key in keys])


def choose(zeros: list[bytes], ones: list[bytes], where: bytes, choices: Octets, tail: Octets) -> bytes:
    """Return columns and their hashes for choice bits (transfers,); `tail` holds 16 random bytes."""
    packed = np.concatenate([np.packbits(choices, bitorder="little"), tail])
    kept = _columns(zeros, where, len(packed))
    sent = _columns(ones, where, len(packed))
    sent ^= kept
    sent ^= packed
    hashes = _hashes(where, sent, np.vstack([packed, kept]))
    return sent.tobytes() + hashes.tobytes()


def accept(secret: Octets, keys: list[bytes], where: bytes, data: memoryview, transfers: int) -> Labels:
    """Return the provider's row of each transfer, (transfers, 2).

    `secret` is s, 128 bits, and `keys` those of its branches. Raises `CiphertextError` for inconsistent columns.
    """
    width = _width(transfers)
    sent = np.frombuffer(data, dtype=np.uint8, count=TRANSFERS * width).reshape(TRANSFERS, width)
    hashes = np.frombuffer(data, dtype=np.uint8, offset=sent.size).reshape(1 + TRANSFERS, _HASH_BYTES)
    chosen = (np.uint8(0) - secret)[:, None]
    columns = _columns(keys, where, width)
    columns ^= sent & chosen
    if (_hashes(where, sent, columns) != hashes[1:] ^ (hashes[0] & chosen)).any():
        raise CiphertextError("The columns of a transfer are not consistent.")
    return _transposed(columns)[:transfers]


def receive(zeros: list[bytes], where: bytes, transfers: int) -> Labels:
    """Return the client's row of each transfer, (transfers, 2)."""
    return _transposed(_columns(zeros, where, _width(transfers)))[:transfers]


def correlate(rows: Labels, where: bytes) -> Labels:
    """Return TMMO of rows (n, 2), with the number of the transfer as tweak."""
    cipher = Permutation(hashlib.sha256(_DOMAIN + b"row" + where).digest()[:16])
    once, twice = Buffer(*rows.shape), Buffer(*rows.shape)
    once.words[...] = rows
    cipher.apply(once, once)
    twice.words[...] = once.words
    twice.words[:, 0] ^= np.arange(len(rows), dtype=np.uint64)
    cipher.apply(twice, twice)
    twice.words ^= once.words
    return twice.words


def _hashes(where: bytes, sent: Octets, columns: Octets) -> Octets:
    """Return [M | I] times each row of bits (k, width), shape (k, 16): M (128, bits) is drawn from a hash of `sent`."""
    seed = hashlib.sha256(_DOMAIN + b"check" + where + sent.tobytes()).digest()
    width = columns.shape[1] - _HASH_BYTES
    matrix = keystream(seed, TRANSFERS * width).view("<u8").reshape(TRANSFERS, -1)
    words = np.ascontiguousarray(columns[:, :width]).view("<u8")
    sums = np.zeros((TRANSFERS, len(columns)), dtype=np.uint64)
    for first in range(0, words.shape[1], _HASH_WORDS):
        part = np.ascontiguousarray(words[:, first : first + _HASH_WORDS])
        for row, factors in enumerate(matrix[:, first : first + _HASH_WORDS]):
            sums[row] ^= np.bitwise_xor.reduce(part & factors, axis=1)
    for shift in (32, 16, 8):
        sums ^= sums >> np.uint64(shift)
    parities = _PARITY[(sums & np.uint64(255)).astype(np.uint8)]
    return np.packbits(parities.T, axis=1, bitorder="little") ^ columns[:, width:]


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
