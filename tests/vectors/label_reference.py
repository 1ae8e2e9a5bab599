"""Label-only answers of docs/label-spec.md in plain integers, gate by gate: slow, and without code of the package."""

from __future__ import annotations

import functools
import hashlib
import struct
from collections.abc import Callable
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from .reference import Randomness, aes_ctr

PRIME = 2**256 - 2**224 + 2**192 + 2**96 - 1
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
COLOUR = 1 << 63

Point = tuple[int, int]
Number = list[int]


def sha(name: str, *parts: bytes) -> bytes:
    return hashlib.sha256(b"securealign/label/" + name.encode() + b"".join(parts)).digest()


# Base transfer


def scalar(data: bytes) -> int:
    return 1 + int.from_bytes(data, "big") % (ORDER - 1)


def private(value: int) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(value, ec.SECP256R1())


def times_generator(value: int) -> Point:
    numbers = private(value).public_key().public_numbers()
    return numbers.x, numbers.y


def shared_x(value: int, point: Point) -> bytes:
    public = ec.EllipticCurvePublicNumbers(*point, ec.SECP256R1()).public_key()
    return private(value).exchange(ec.ECDH(), public)


def plus(a: Point, b: Point) -> Point:
    slope = (b[1] - a[1]) * pow(b[0] - a[0], PRIME - 2, PRIME)
    x = (slope * slope - a[0] - b[0]) % PRIME
    return x, (slope * (a[0] - x) - a[1]) % PRIME


def encode(point: Point) -> bytes:
    return point[0].to_bytes(32, "big") + point[1].to_bytes(32, "big")


def mask(session: bytes, index: int, branch: int, point: Point) -> Point:
    counter = 0
    while True:
        data = struct.pack(">I", counter) + session + bytes([index, branch]) + encode(point)
        digest = hashlib.sha512(b"securealign/label/curve" + data).digest()
        x = int.from_bytes(digest[:48], "big") % PRIME
        square = (pow(x, 3, PRIME) - 3 * x + B) % PRIME
        y = pow(square, (PRIME + 1) // 4, PRIME)
        if y * y % PRIME == square:
            return x, PRIME - y if (y ^ digest[63]) & 1 else y
        counter += 1


@dataclass(frozen=True)
class Base:
    """The base transfers: s, and both keys of each pair."""

    offer: bytes
    reply: bytes
    s: int
    zeros: list[bytes]
    ones: list[bytes]


@functools.cache
def base_transfer(session: bytes, transfer_seed: bytes, client_scalars: bytes) -> Base:
    source = aes_ctr(sha("transfer", transfer_seed, session), 0, 16 + 256 * 48)
    s = int.from_bytes(source[:16], "little")
    offer, reply = b"", b""
    keys: tuple[list[bytes], list[bytes]] = ([], [])
    for i in range(128):
        chosen, other = (scalar(source[16 + 48 * n : 64 + 48 * n]) for n in (2 * i, 2 * i + 1))
        bit = s >> i & 1
        away = times_generator(other)
        x, y = mask(session, i, bit, away)
        own = plus(times_generator(chosen), (x, PRIME - y))
        points = (away, own) if bit else (own, away)
        offered = encode(points[0]) + encode(points[1])
        value = scalar(client_scalars[48 * i : 48 * i + 48])
        answer = times_generator(value)
        for j in range(2):
            point = plus(points[j], mask(session, i, j, points[1 - j]))
            keys[j].append(sha("base", session, bytes([i, j]), offered, encode(answer), shared_x(value, point)))
        assert keys[bit][i] == sha("base", session, bytes([i, bit]), offered, encode(answer), shared_x(chosen, answer))
        offer += offered
        reply += encode(answer)
    return Base(offer, reply, s, *keys)


# Garbling


def aes(key: bytes) -> Callable[[int], int]:
    encryptor = Cipher(algorithms.AES(key), modes.ECB()).encryptor()  # noqa: S305
    return lambda value: int.from_bytes(encryptor.update(value.to_bytes(16, "little")), "little")


def tmmo(p: Callable[[int], int], x: int, first: int, second: int) -> int:
    y = p(x)
    return p(y ^ first ^ second << 64) ^ y


def colour(label: int) -> int:
    return label >> 63 & 1


class Circuit:
    """Runs the circuit; subclasses say what AND and NOT are."""

    def conjunction(self, a: int, b: int) -> int:
        raise NotImplementedError

    def negation(self, a: int) -> int:
        raise NotImplementedError

    def add(self, v: list[Number], g: list[Number]) -> list[Number]:
        bits, rows = len(v[0]), range(len(v))
        sums = [[v[k][0] ^ g[k][0]] for k in rows]
        carries = [0] * len(v)
        for i in range(bits - 1):
            ands = [self.conjunction(v[k][i] ^ carries[k], g[k][i] ^ carries[k]) for k in rows]
            carries = [carries[k] ^ ands[k] for k in rows]
            for k in rows:
                sums[k].append(v[k][i + 1] ^ g[k][i + 1] ^ carries[k])
        return sums

    def greater(self, pairs: list[tuple[Number, Number]], segments: int) -> list[int]:
        bits = len(pairs[0][0])
        if bits % segments:
            segments = 1
        d, items = bits // segments, range(len(pairs))
        x = [[*left[:-1], right[-1]] for left, right in pairs]
        y = [[*right[:-1], left[-1]] for left, right in pairs]
        more = [[x[n][d * s] ^ self.conjunction(x[n][d * s], y[n][d * s]) for n in items] for s in range(segments)]
        equal = [[self.negation(x[n][d * s] ^ y[n][d * s]) for n in items] for s in range(segments)]
        for i in range(1, d):
            for s in range(segments):
                for n in items:
                    a, b, before = x[n][d * s + i], y[n][d * s + i], more[s][n]
                    more[s][n] = a ^ self.conjunction(a ^ before, b ^ before)
            for s in range(1, segments):
                for n in items:
                    same = self.negation(x[n][d * s + i] ^ y[n][d * s + i])
                    equal[s][n] = self.conjunction(equal[s][n], same)
        while len(more) > 1:
            p = range(len(more) // 2)
            joined = [
                [self.conjunction(equal[2 * i + 1][n], more[2 * i][n]) ^ more[2 * i + 1][n] for n in items] for i in p
            ]
            equal = [[], *([self.conjunction(equal[2 * i + 1][n], equal[2 * i][n]) for n in items] for i in p[1:])]
            more = joined
        return more[0]

    def largest(self, numbers: list[Number], segments: int, *, whole: bool) -> tuple[Number, Number]:
        indexes: list[Number] = [[] for _ in numbers]
        while len(numbers) > 1:
            pairs = [(2 * i, 2 * i + 1) for i in range(len(numbers) // 2)]
            wins = self.greater([(numbers[odd], numbers[even]) for even, odd in pairs], segments)
            first = 0 if whole or len(numbers) > 2 else len(numbers[0]) - 1
            columns = [[*number[first:], *index] for number, index in zip(numbers, indexes, strict=True)]
            kept = len(numbers[0]) - first
            winners: list[Number] = [[] for _ in pairs]
            for bit in range(len(columns[0])):
                for i, (even, odd) in enumerate(pairs):
                    a, b = columns[even][bit], columns[odd][bit]
                    winners[i].append(a ^ self.conjunction(a ^ b, wins[i]))
            waiting = columns[2 * len(pairs) :]
            numbers = [column[:kept] for column in winners + waiting]
            indexes = [
                [*column[kept:], bit] for column, bit in zip(winners + waiting, wins + [0] * len(waiting), strict=True)
            ]
        return indexes[0], numbers[0]

    def label(self, v: list[Number], g: list[Number], classes: int, segments: int, buckets: int) -> Number:
        numbers = self.add(v, g)
        index, top = self.largest(numbers[: classes - 1], segments, whole=buckets > 0)
        r, outputs = classes - 1, []
        for i, bit in enumerate(index):
            flipped = self.negation(bit) if r >> i & 1 else bit
            masked = self.conjunction(flipped, self.negation(top[-1]))
            outputs.append(self.negation(masked) if r >> i & 1 else masked)
        if len(index) < r.bit_length():
            outputs.append(top[-1])
        if buckets:
            outputs += self.greater([(top, threshold) for threshold in numbers[classes - 1 :]], segments)
        return outputs


@dataclass
class GarblingCircuit(Circuit):
    key: bytes
    slot: int
    delta: int
    first: list[int] = field(default_factory=list)
    second: list[int] = field(default_factory=list)

    def conjunction(self, a: int, b: int) -> int:
        p, gate, delta = aes(self.key), 2 * len(self.first), self.delta
        t0 = tmmo(p, a, gate, self.slot) ^ tmmo(p, a ^ delta, gate, self.slot) ^ colour(b) * delta
        t1 = tmmo(p, b, gate + 1, self.slot) ^ tmmo(p, b ^ delta, gate + 1, self.slot) ^ a
        self.first.append(t0)
        self.second.append(t1)
        zero = tmmo(p, a, gate, self.slot) ^ colour(a) * t0
        return zero ^ tmmo(p, b, gate + 1, self.slot) ^ colour(b) * (t1 ^ a)

    def negation(self, a: int) -> int:
        return a ^ self.delta


@dataclass
class EvaluatingCircuit(Circuit):
    key: bytes
    slot: int
    first: list[int]
    second: list[int]
    gate: int = 0

    def conjunction(self, a: int, b: int) -> int:
        p, gate = aes(self.key), self.gate
        self.gate += 1
        left = tmmo(p, a, 2 * gate, self.slot) ^ colour(a) * self.first[gate]
        return left ^ tmmo(p, b, 2 * gate + 1, self.slot) ^ colour(b) * (self.second[gate] ^ a)

    def negation(self, a: int) -> int:
        return a


# Both parties


@dataclass(frozen=True)
class Labels:
    """Bodies of all blobs, in order, and the result of each slot: index, then bits."""

    offer: bytes
    reply: bytes
    choices: bytes
    tables: bytes
    answers: list[bytes]
    results: list[list[int]]


def xor(a: bytes, b: bytes) -> bytes:
    return bytes(x ^ y for x, y in zip(a, b, strict=True))


def packed(bits: list[int]) -> bytes:
    return sum(bit << n for n, bit in enumerate(bits)).to_bytes(-(-len(bits) // 8), "little")


def row(columns: list[int], n: int) -> int:
    return sum((column >> n & 1) << i for i, column in enumerate(columns))


def hasher(place: bytes, sent: bytes, transfers: int) -> Callable[[int], int]:
    """The hash of the check."""
    width = transfers // 8
    matrix = aes_ctr(sha("check", place, sent), 0, 128 * width)
    rows = [int.from_bytes(matrix[width * r : width * (r + 1)], "little") for r in range(128)]

    def h(z: int) -> int:
        first = z & (1 << transfers) - 1
        return sum(((factors & first).bit_count() & 1) << r for r, factors in enumerate(rows)) ^ z >> transfers

    return h


def slot_secrets(seed: bytes, slot: int, wires: int) -> tuple[int, bytes, list[int]]:
    """Delta, cover key, labels of 0."""
    size = 16 * (3 + wires)
    data = aes_ctr(seed, size * slot, size)
    words = [int.from_bytes(data[n : n + 16], "little") for n in range(0, size, 16)]
    return words[0] | COLOUR, data[16:48], words[3:]


def run(
    session: bytes,
    nonce: bytes,
    pool: int,
    transfer_seed: bytes,
    seeds: tuple[bytes, bytes],
    *,
    classes: int,
    bits: int,
    segments: int,
    buckets: int,
    v: list[Number],
    g: list[Number],
    batches: list[tuple[int, int]],
) -> Labels:
    """One pool: shares v and g are (m, w); batches are (first slot, count)."""
    client, provider = Randomness(seeds[0]), Randomness(seeds[1])
    base = base_transfer(session, transfer_seed, client.octets(128 * 48))
    place = session + struct.pack(">Q", pool) + nonce
    m, w = len(v), len(v[0])
    transfers = -(-w * bits * m // 128) * 128
    numbers = [(j, i, k) for j in range(w) for i in range(bits) for k in range(m)]

    # Client: choices
    size = transfers // 8 + 16
    x = sum((g[k][j] >> i & 1) << n for n, (j, i, k) in enumerate(numbers))
    x |= int.from_bytes(client.octets(16), "little") << transfers

    def stream(key: bytes) -> int:
        return int.from_bytes(aes_ctr(sha("column", key, place), 0, size), "little")

    t = [stream(key) for key in base.zeros]
    u = [t[i] ^ stream(key) ^ x for i, key in enumerate(base.ones)]
    sent = b"".join(column.to_bytes(size, "little") for column in u)
    h = hasher(place, sent, transfers)
    choices = sent + b"".join(h(z).to_bytes(16, "little") for z in [x, *t])

    # Provider: check, tables
    s = base.s
    q = [t[i] ^ (s >> i & 1) * x for i in range(128)]
    assert all(h(q[i]) == h(t[i]) ^ (s >> i & 1) * h(x) for i in range(128))
    seed, salt = provider.octets(32), provider.octets(16)
    p = aes(sha("row", place)[:16])

    secrets = [slot_secrets(seed, j, bits * m) for j in range(w)]
    zeros, corrections, active = {}, b"", {}
    for n, (j, i, k) in enumerate(numbers):
        zeros[j, i, k] = tmmo(p, row(q, n), n, 0)
        e = zeros[j, i, k] ^ tmmo(p, row(q, n) ^ s, n, 0) ^ secrets[j][0]
        corrections += e.to_bytes(16, "little")
        active[j, i, k] = tmmo(p, row(t, n), n, 0) ^ (g[k][j] >> i & 1) * e
    tables, decode, garbled = b"", [], []
    for j, (delta, cover, own) in enumerate(secrets):
        key = sha("block", place, struct.pack(">I", j // 16), salt)[:16]
        circuit = GarblingCircuit(key, j % 16, delta)
        left = [[own[i * m + k] for i in range(bits)] for k in range(m)]
        right = [[zeros[j, i, k] for i in range(bits)] for k in range(m)]
        outputs = circuit.label(left, right, classes, segments, buckets)
        decode.append([colour(output) for output in outputs])
        plain = b"".join(table.to_bytes(16, "little") for table in circuit.first + circuit.second)
        tables += xor(plain, aes_ctr(cover, 0, len(plain)))
        garbled.append((key, circuit))

    # Answers
    answers, results = [], []
    for first, count in batches:
        labels, covers, shown = b"", b"", []
        for j in range(first, first + count):
            delta, cover, own = secrets[j]
            mine = [[own[i * m + k] ^ (v[k][j] >> i & 1) * delta for i in range(bits)] for k in range(m)]
            labels += b"".join(mine[k][i].to_bytes(16, "little") for i in range(bits) for k in range(m))
            covers += cover
            shown += decode[j]
            key, circuit = garbled[j]
            theirs = [[active[j, i, k] for i in range(bits)] for k in range(m)]
            evaluating = EvaluatingCircuit(key, j % 16, circuit.first, circuit.second)
            outputs = evaluating.label(mine, theirs, classes, segments, buckets)
            results.append([colour(output) ^ bit for output, bit in zip(outputs, decode[j], strict=True)])
        answers.append(labels + covers + packed(shown))
    return Labels(base.offer, base.reply, choices, salt + corrections + tables, answers, results)
