"""128 base transfers of Masny and Rindal (ePrint 2019/706) on P-256: one offer, one reply.

The receiver of the base transfers is the provider, who sends in their extension. Its scalars and choices derive from a
seed, so that a restarted provider makes the same offer.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.asymmetric import ec

from securealign.errors import CiphertextError
from securealign.he.entropy import Entropy, keystream

#: Base transfers, and bits of a choice vector s.
TRANSFERS = 128
POINT_BYTES = 64
OFFER_BYTES = TRANSFERS * 2 * POINT_BYTES
REPLY_BYTES = TRANSFERS * POINT_BYTES

_CURVE = ec.SECP256R1()
_PRIME = 2**256 - 2**224 + 2**192 + 2**96 - 1
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_CONSTANT = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
#: Bytes of which a scalar is the remainder: 128 bits more than the order has make it uniform but for 2^-128.
_SCALAR_BYTES = 48
_DOMAIN = b"securealign/label/"


class Point(NamedTuple):
    """A point of the curve other than infinity."""

    x: int
    y: int

    def encode(self) -> bytes:
        """Return both coordinates, 64 bytes."""
        return self.x.to_bytes(32, "big") + self.y.to_bytes(32, "big")

    @classmethod
    def decode(cls, data: bytes) -> Point:
        """Return the point of 64 bytes; raises `CiphertextError` unless it is on the curve."""
        x, y = int.from_bytes(data[:32], "big"), int.from_bytes(data[32:], "big")
        if x >= _PRIME or y >= _PRIME or (y * y - _right_side(x)) % _PRIME:
            raise CiphertextError("A transfer holds a point that is not on the curve.")
        return cls(x, y)

    def plus(self, other: Point) -> Point:
        """Return the sum; raises `CiphertextError` for equal and opposite points, which honest parties never add."""
        if self.x == other.x:
            raise CiphertextError("A transfer holds points that cannot be added.")
        slope = (other.y - self.y) * pow(other.x - self.x, -1, _PRIME) % _PRIME
        x = (slope * slope - self.x - other.x) % _PRIME
        return Point(x, (slope * (self.x - x) - self.y) % _PRIME)

    def minus(self, other: Point) -> Point:
        """Return the difference; raises `CiphertextError` as `plus` does."""
        return self.plus(Point(other.x, _PRIME - other.y))


def _right_side(x: int) -> int:
    return (x * x * x - 3 * x + _CONSTANT) % _PRIME


def hash_to_curve(data: bytes) -> Point:
    """Return a point whose logarithm nobody knows, by trying counters; its time depends on `data`, which is public."""
    counter = 0
    while True:
        digest = hashlib.sha512(_DOMAIN + b"curve" + counter.to_bytes(4, "big") + data).digest()
        x = int.from_bytes(digest[:48], "big") % _PRIME
        square = _right_side(x)
        y = pow(square, (_PRIME + 1) // 4, _PRIME)
        if y * y % _PRIME == square:
            return Point(x, y if (y ^ digest[-1]) & 1 == 0 else _PRIME - y)
        counter += 1


def _private(octets: bytes) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(1 + int.from_bytes(octets, "big") % (_ORDER - 1), _CURVE)


def _public(private: ec.EllipticCurvePrivateKey) -> Point:
    numbers = private.public_key().public_numbers()
    return Point(numbers.x, numbers.y)


def _shared(private: ec.EllipticCurvePrivateKey, point: Point) -> bytes:
    return private.exchange(ec.ECDH(), ec.EllipticCurvePublicNumbers(*point, _CURVE).public_key())


def _mask(session: bytes, index: int, branch: int, other: bytes) -> Point:
    """Return what is added to the point of a branch: a hash of the point of the other branch."""
    return hash_to_curve(session + bytes([index, branch]) + other)


def _key(session: bytes, index: int, branch: int, messages: bytes, shared: bytes) -> bytes:
    """Return the key of a branch: it depends on both points of the offer, on the reply and on their secret."""
    return hashlib.sha256(_DOMAIN + b"base" + session + bytes([index, branch]) + messages + shared).digest()


def _pieces(data: bytes, size: int) -> list[bytes]:
    return [data[first : first + size] for first in range(0, len(data), size)]


class BaseReceiver:
    """The provider's side: of each pair of keys, it learns the one that its choice names."""

    def __init__(self, session: bytes, seed: bytes) -> None:
        self._session = session
        source = keystream(
            hashlib.sha256(_DOMAIN + b"transfer" + seed + session).digest(), 16 + TRANSFERS * 2 * _SCALAR_BYTES
        ).tobytes()
        #: s, 128 bits.
        self.choices: npt.NDArray[np.uint8] = np.unpackbits(np.frombuffer(source[:16], np.uint8), bitorder="little")
        scalars = [_private(octets) for octets in _pieces(source[16:], _SCALAR_BYTES)]
        self._privates = scalars[0::2]
        offered = []
        for index, choice in enumerate(self.choices.tolist()):
            other = _public(scalars[2 * index + 1])
            own = _public(scalars[2 * index]).minus(_mask(session, index, choice, other.encode()))
            # The time of hashing to the curve varies. Hashing both points keeps it independent of the choice.
            _mask(session, index, 1 - choice, own.encode())
            offered.append(other.encode() + own.encode() if choice else own.encode() + other.encode())
        self.offer = b"".join(offered)

    def keys(self, reply: bytes) -> list[bytes]:
        """Return the chosen keys, 32 bytes each; raises `CiphertextError` for a reply that is no list of points."""
        if len(reply) != REPLY_BYTES:
            raise CiphertextError(f"The reply to a transfer has {len(reply)} bytes, expected {REPLY_BYTES}.")
        keys = []
        offered = _pieces(self.offer, 2 * POINT_BYTES)
        for index, point in enumerate(_pieces(reply, POINT_BYTES)):
            shared = _shared(self._privates[index], Point.decode(point))
            keys.append(_key(self._session, index, int(self.choices[index]), offered[index] + point, shared))
        return keys


class BasePairs(NamedTuple):
    """The client's side after its reply: the keys of both branches."""

    reply: bytes
    zeros: list[bytes]
    ones: list[bytes]


def answer_offer(session: bytes, offer: bytes, entropy: Entropy) -> BasePairs:
    """Return the reply to an offer and both keys of each pair; raises `CiphertextError` for a malformed offer."""
    if len(offer) != OFFER_BYTES:
        raise CiphertextError(f"The offer of a transfer has {len(offer)} bytes, expected {OFFER_BYTES}.")
    scalars = _pieces(entropy.octets(TRANSFERS * _SCALAR_BYTES).tobytes(), _SCALAR_BYTES)
    reply: list[bytes] = []
    keys: tuple[list[bytes], list[bytes]] = ([], [])
    for index, points in enumerate(_pieces(offer, 2 * POINT_BYTES)):
        private = _private(scalars[index])
        reply.append(_public(private).encode())
        branches = points[:POINT_BYTES], points[POINT_BYTES:]
        for branch in range(2):
            point = Point.decode(branches[branch]).plus(_mask(session, index, branch, branches[1 - branch]))
            keys[branch].append(_key(session, index, branch, points + reply[-1], _shared(private, point)))
    return BasePairs(b"".join(reply), *keys)
