"""The `lwe` suite of docs/lwe-spec.md in plain integers and lists: slow, obvious, and without code of the package."""

from __future__ import annotations

import bisect
import hashlib
import json
import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, localcontext
from itertools import compress

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

Vector = list[int]
Matrix = list[Vector]

LOG_ANSWER = 40
TILE = 2048
GROUP = 1025
OPERAND_NORM = 100_000.0
SIGMA = 3.19
PI = Decimal(
    "3.14159265358979323846264338327950288419716939937510582097494459230781640628620899862803482534211706798215"
)

KINDS = {
    "covariance key": 1,
    "covariance rows": 2,
    "covariance result": 3,
    "head key": 4,
    "head pool": 5,
    "head query": 6,
    "head answer": 7,
}


@dataclass(frozen=True)
class Parameters:
    """A parameter set."""

    name: str
    dimension: int
    log_q: int
    classical_bits: int = 0
    quantum_bits: int = 0

    @property
    def digest(self) -> bytes:
        text = json.dumps(
            {
                "classical_bits": self.classical_bits,
                "dimension": self.dimension,
                "format": 2,
                "log_answer_modulus": 40,
                "log_q": self.log_q,
                "name": self.name,
                "quantum_bits": self.quantum_bits,
                "sigma": 3.19,
                "statistical_bits": 40,
            }
        )
        return hashlib.sha256(b"securealign/lwe/parameters" + text.encode()).digest()


# Public matrices


def aes_ctr(key: bytes, offset: int, count: int) -> bytes:
    """Bytes `offset`, ... of the AES-256-CTR keystream; the first counter block is zero."""
    counter = (offset // 16).to_bytes(16, "big")
    return Cipher(algorithms.AES(key), modes.CTR(counter)).encryptor().update(bytes(count))


def matrix_key(purpose: str, session: bytes, seed: bytes, nonce: bytes = b"") -> bytes:
    label = purpose.encode()
    prefix = b"securealign/lwe/matrix" + struct.pack(">H", len(label)) + label
    return hashlib.sha256(prefix + session + seed + nonce).digest()


def row_from_wire(data: bytes, columns: int) -> Vector:
    words = struct.unpack_from(f"<{columns}Q", data)
    halves = struct.unpack_from(f"<{columns}H", data, 8 * columns)
    return [word | half << 64 for word, half in zip(words, halves, strict=True)]


def row_to_wire(row: Vector) -> bytes:
    words = [value & (1 << 64) - 1 for value in row]
    halves = [value >> 64 for value in row]
    return struct.pack(f"<{len(row)}Q", *words) + struct.pack(f"<{len(row)}H", *halves)


def public_rows(key: bytes, columns: int, first: int, count: int) -> Iterator[Vector]:
    """Rows of a public matrix; values are 80 bits wide and still to be reduced modulo q."""
    width = 10 * columns
    for row in range(first, first + count):
        yield row_from_wire(aes_ctr(key, row * width, width), columns)


# Randomness


@dataclass
class Randomness:
    """The seeded source of the vectors: call k returns the keystream under SHA-256(seed || k)."""

    seed: bytes
    calls: int = 0

    def octets(self, count: int) -> bytes:
        key = hashlib.sha256(self.seed + struct.pack(">Q", self.calls)).digest()
        self.calls += 1
        return aes_ctr(key, 0, count)


def ternary(randomness: Randomness, count: int) -> Vector:
    kept: Vector = []
    while missing := count - len(kept):
        raw = randomness.octets(missing + missing // 128 + 16)
        kept += [byte % 3 - 1 for byte in raw if byte != 255][:missing]
    return kept


def wide(randomness: Randomness, count: int) -> Vector:
    return [value // 32 - 1024 for value in struct.unpack(f"<{count}H", randomness.octets(2 * count))]


def normal_distribution(t: Decimal) -> Decimal:
    """Distribution function of the standard normal by the Taylor series of the error function."""
    z = t / Decimal(2).sqrt()
    total, power, k = Decimal(0), z, 0
    while abs(power) > Decimal("1e-70"):
        total += power / (2 * k + 1)
        k += 1
        power = -power * z * z / k
    return (1 + 2 / PI.sqrt() * total) / 2


def gaussian_boundaries() -> Vector:
    """round(2^64 P(X <= x)) for x = -29, ..., 28."""
    with localcontext() as context:
        context.prec = 100
        lower = [
            int((normal_distribution((x + Decimal("0.5")) / Decimal("3.19")) * 2**64).to_integral_value())
            for x in range(-29, 0)
        ]
    return lower + [2**64 - value for value in reversed(lower)]


BOUNDARIES = gaussian_boundaries()


def gaussian(randomness: Randomness, count: int) -> Vector:
    first = [start << 48 for start in struct.unpack(f"<{count}H", randomness.octets(2 * count))]
    low = [bisect.bisect_right(BOUNDARIES, start) for start in first]
    high = [bisect.bisect_right(BOUNDARIES, start + 2**48 - 1) for start in first]
    ambiguous = [place for place in range(count) if low[place] != high[place]]
    rest = struct.unpack(f"<{len(ambiguous)}Q", randomness.octets(8 * len(ambiguous)))
    for place, value in zip(ambiguous, rest, strict=True):
        low[place] = bisect.bisect_right(BOUNDARIES, first[place] + value % 2**48)
    return [index - 29 for index in low]


def flood(randomness: Randomness, count: int, bits: int) -> Vector:
    return [value // 2 ** (63 - bits) - 2**bits for value in struct.unpack(f"<{count}Q", randomness.octets(8 * count))]


# Budget and scales


@dataclass(frozen=True)
class Plan:
    """The product of a (left, terms) and a (terms, width) matrix."""

    parameters: Parameters
    left: int
    terms: int
    width: int

    @property
    def operand_bound(self) -> float:
        return OPERAND_NORM + math.sqrt(self.terms) / 2

    @property
    def flood_bits(self) -> int:
        variance = SIGMA**2 + 1 / 12
        noise = 6 * math.sqrt(variance * (self.operand_bound**2 + self.parameters.dimension * (349_525.5 + 1)))
        return math.ceil(math.log2(noise)) + 40

    @property
    def message_norm(self) -> float:
        return (2.0 ** (self.parameters.log_q - 1) - 2.0 ** (self.flood_bits + 1)) / self.operand_bound


def largest_exponent(norm: float, limit: float) -> int:
    if norm == 0:
        return 450
    exponent = math.frexp(limit)[1] - math.frexp(norm)[1] + 1
    while math.ldexp(norm, exponent) > limit:
        exponent -= 1
    return max(-450, min(450, exponent))


def column(rows: Sequence[Sequence[float]], j: int) -> list[float]:
    return [row[j] for row in rows]


def norm(values: Sequence[float]) -> float:
    return math.sqrt(math.fsum(value * value for value in values))


def column_exponents(rows: Sequence[Sequence[float]], limit: float) -> Vector:
    return [largest_exponent(norm(column(rows, j)), limit) for j in range(len(rows[0]))]


def fixed_point(value: float, exponent: int) -> int:
    return round(math.ldexp(value, exponent))  # halves to even


# Linear algebra modulo q


def dot_ternary(row: Vector, plus: list[bool], minus: list[bool]) -> int:
    return sum(compress(row, plus)) - sum(compress(row, minus))


def add_multiple(total: Vector, factor: int, row: Vector) -> Vector:
    if factor == 0:
        return total
    return [value + factor * entry for value, entry in zip(total, row, strict=True)]


def reshape(values: Vector, columns: int) -> Matrix:
    return [values[start : start + columns] for start in range(0, len(values), columns)]


def reduce_row(row: Vector, log_q: int) -> Vector:
    return [value % 2**log_q for value in row]


def switch(value: int, log_q: int) -> int:
    dropped = log_q - LOG_ANSWER
    return (value + 2 ** (dropped - 1)) // 2**dropped % 2**LOG_ANSWER


def answer_to_wire(rows: Matrix) -> bytes:
    return b"".join(value.to_bytes(5, "little") for row in rows for value in row)


def centred(value: int) -> int:
    return (value + 2 ** (LOG_ANSWER - 1)) % 2**LOG_ANSWER - 2 ** (LOG_ANSWER - 1)


# Blobs


def header(
    parameters: Parameters, session: bytes, key_name: bytes, *, kind: str, index: int, rows: int, columns: int
) -> bytes:
    return (
        b"SLWE"
        + bytes([2, KINDS[kind], 0, 0])
        + parameters.digest[:16]
        + session[:16].ljust(16, b"\0")
        + key_name[:16].ljust(16, b"\0")
        + struct.pack("<QII", index, rows, columns)
    )


# Client


@dataclass
class Client:
    """Secret key, public key and encryption."""

    plan: Plan
    session: bytes
    randomness: Randomness
    key_kind: str
    key_blob: bytes = field(init=False)
    key_name: bytes = field(init=False)

    def __post_init__(self) -> None:
        parameters, width = self.plan.parameters, self.plan.width
        n = parameters.dimension
        self.secret = reshape(ternary(self.randomness, n * width), width)
        secret_columns = [[row[j] for row in self.secret] for j in range(width)]
        self.plus = [[entry == 1 for entry in values] for values in secret_columns]
        self.minus = [[entry == -1 for entry in values] for values in secret_columns]
        self.row_seed = self.randomness.octets(32)
        mask_seed = self.randomness.octets(32)
        body = b""
        for first in range(0, n, TILE):
            count = min(TILE, n - first)
            zeros = [[0] * width for _ in range(count)]
            masked = self.encrypt(matrix_key("mask", self.session, mask_seed), first, zeros)
            body += b"".join(row_to_wire(row) for row in masked)
        self.key_blob = (
            header(parameters, self.session, b"", kind=self.key_kind, index=0, rows=n, columns=width)
            + self.row_seed
            + mask_seed
            + body
        )
        self.key_name = hashlib.sha256(b"securealign/lwe/key" + self.key_blob).digest()

    def encrypt(self, key: bytes, first: int, messages: Matrix) -> Matrix:
        """A S + E + M for some rows of a public matrix."""
        parameters, width = self.plan.parameters, self.plan.width
        errors = reshape(gaussian(self.randomness, len(messages) * width), width)
        rows = public_rows(key, parameters.dimension, first, len(messages))
        return [
            reduce_row(
                [dot_ternary(row, self.plus[j], self.minus[j]) + error[j] + message[j] for j in range(width)],
                parameters.log_q,
            )
            for row, error, message in zip(rows, errors, messages, strict=True)
        ]

    def row_key(self, purpose: str, nonce: bytes = b"") -> bytes:
        return matrix_key(purpose, self.session, self.row_seed, nonce)

    def seal(self, kind: str, index: int, rows: int, columns: int, body: bytes) -> bytes:
        return (
            header(
                self.plan.parameters, self.session, self.key_name, kind=kind, index=index, rows=rows, columns=columns
            )
            + body
        )

    def unmask(self, hint: Matrix, answer: Matrix, first: int = 0) -> Matrix:
        """Y - H S modulo 2^40, centred; `answer` holds columns `first`, ..."""
        return [
            [
                centred(value - dot_ternary(hints, self.plus[first + j], self.minus[first + j]))
                for j, value in enumerate(values)
            ]
            for hints, values in zip(hint, answer, strict=True)
        ]


# Provider


@dataclass
class Masker:
    """What the provider adds to an answer: [R A' + E1 | R P] and the flood."""

    plan: Plan
    session: bytes
    randomness: Randomness
    key_blob: bytes

    def __post_init__(self) -> None:
        n, width = self.plan.parameters.dimension, self.plan.width
        self.row_seed, mask_seed = self.key_blob[72:104], self.key_blob[104:136]
        self.mask_key = matrix_key("mask", self.session, mask_seed)
        self.zeros = [
            row_from_wire(self.key_blob[start : start + 10 * width], width)
            for start in range(136, 136 + 10 * width * n, 10 * width)
        ]
        self.key_name = hashlib.sha256(b"securealign/lwe/key" + self.key_blob).digest()

    def mask(self, first: int = 0, last: int | None = None) -> tuple[Matrix, Matrix]:
        """R A' + E1 and, for columns `first` to `last` of P, R P; unreduced."""
        n = self.plan.parameters.dimension
        factors = reshape(wide(self.randomness, self.plan.left * n), n)
        errors = reshape(gaussian(self.randomness, self.plan.left * n), n)
        right = [[0] * len(self.zeros[0][first:last]) for _ in factors]
        for i, row in enumerate(public_rows(self.mask_key, n, 0, n)):
            for k, factor in enumerate(factors):
                errors[k] = add_multiple(errors[k], factor[i], row)
                right[k] = add_multiple(right[k], factor[i], self.zeros[i][first:last])
        return errors, right

    def multiply(self, operand: Matrix, purpose: str, nonce: bytes = b"") -> Matrix:
        """U A for `operand` of shape (left, terms), unreduced."""
        n = self.plan.parameters.dimension
        totals = [[0] * n for _ in operand]
        key = matrix_key(purpose, self.session, self.row_seed, nonce)
        for i, row in enumerate(public_rows(key, n, 0, self.plan.terms)):
            totals = [add_multiple(total, factors[i], row) for total, factors in zip(totals, operand, strict=True)]
        return totals

    def hint(self, product: Matrix, mask: Matrix) -> Matrix:
        log_q = self.plan.parameters.log_q
        return [
            [switch((a + b) % 2**log_q, log_q) for a, b in zip(row, other, strict=True)]
            for row, other in zip(product, mask, strict=True)
        ]

    def answer(self, operand: Matrix, ciphertext: Matrix, mask: Matrix) -> Matrix:
        """U C + R P + F modulo 2^40."""
        log_q, columns = self.plan.parameters.log_q, len(ciphertext[0])
        floods = reshape(flood(self.randomness, len(operand) * columns, self.plan.flood_bits), columns)
        rows = []
        for factors, masks, noise in zip(operand, mask, floods, strict=True):
            total = [0] * columns
            for factor, row in zip(factors, ciphertext, strict=True):
                total = add_multiple(total, factor, row)
            rows.append([switch((t + m + f) % 2**log_q, log_q) for t, m, f in zip(total, masks, noise, strict=True)])
        return rows

    def seal(self, kind: str, index: int, columns: int, body: bytes) -> bytes:
        return (
            header(
                self.plan.parameters,
                self.session,
                self.key_name,
                kind=kind,
                index=index,
                rows=self.plan.left,
                columns=columns,
            )
            + body
        )


# The two jobs


@dataclass(frozen=True)
class Covariance:
    """Every blob of a covariance and the product the client decrypts."""

    key: bytes
    pieces: list[tuple[int, int, bytes]]
    result: bytes
    product: list[list[float]]


def covariance(
    parameters: Parameters,
    session: bytes,
    seeds: tuple[bytes, bytes],
    *,
    provider_rows: Sequence[Sequence[float]],
    client_rows: Sequence[Sequence[float]],
    max_bytes: int,
) -> Covariance:
    plan = Plan(parameters, left=len(provider_rows[0]), terms=len(client_rows), width=len(client_rows[0]))
    client = Client(plan, session, Randomness(seeds[0]), "covariance key")
    right = column_exponents(client_rows, plan.message_norm)
    messages = [[fixed_point(value, e) for value, e in zip(row, right, strict=True)] for row in client_rows]
    ciphertext: Matrix = []
    pieces = []
    capacity = (max_bytes - 72) // (10 * plan.width)
    for start in range(0, plan.terms, TILE):
        tile = client.encrypt(client.row_key("rows"), start, messages[start : start + TILE])
        ciphertext += tile
        for offset in range(0, len(tile), capacity):
            rows = tile[offset : offset + capacity]
            body = b"".join(row_to_wire(row) for row in rows)
            blob = client.seal("covariance rows", start + offset, len(rows), plan.width, body)
            pieces.append((start + offset, len(rows), blob))

    provider = Masker(plan, session, Randomness(seeds[1]), client.key_blob)
    left = column_exponents(provider_rows, OPERAND_NORM)
    operand = [[fixed_point(value, left[k]) for value in column(provider_rows, k)] for k in range(plan.left)]
    shared = provider.multiply(operand, "rows")
    hints: list[Matrix] = []
    mask_right: Matrix = [[] for _ in operand]
    for first in range(0, plan.width, GROUP):
        mask, more = provider.mask(first, first + GROUP)
        hints.append(provider.hint(shared, mask))
        mask_right = [[*row, *others] for row, others in zip(mask_right, more, strict=True)]
    answer = provider.answer(operand, ciphertext, mask_right)
    body = struct.pack(f"<{plan.left}h", *left) + b"".join(map(answer_to_wire, hints)) + answer_to_wire(answer)
    unmasked: Matrix = [[] for _ in operand]
    for group, hint in enumerate(hints):
        first = group * GROUP
        part = client.unmask(hint, [row[first : first + GROUP] for row in answer], first)
        unmasked = [[*row, *others] for row, others in zip(unmasked, part, strict=True)]
    product = [
        [math.ldexp(value, parameters.log_q - LOG_ANSWER - right[j] - left[k]) for j, value in enumerate(values)]
        for k, values in enumerate(unmasked)
    ]
    return Covariance(client.key_blob, pieces, provider.seal("covariance result", 0, plan.width, body), product)


@dataclass(frozen=True)
class Batch:
    """Queries that travel together, and the blobs and logits that belong to them."""

    pool: int
    first_slot: int
    query: bytes
    answer: bytes
    logits: list[list[float]]


@dataclass(frozen=True)
class Head:
    """Every blob of a head session."""

    key: bytes
    pools: list[bytes]
    batches: list[Batch]


def head(
    parameters: Parameters,
    session: bytes,
    seeds: tuple[bytes, bytes],
    *,
    weight: Sequence[Sequence[float]],
    bias: Sequence[float],
    slots: int,
    nonce: bytes,
    batches: Sequence[tuple[int, int, Sequence[Sequence[float]]]],
) -> Head:
    """Pools 0, 1, ... are prepared and loaded first, then the (pool, first slot, queries) in `batches` are answered."""
    plan = Plan(parameters, left=len(bias), terms=len(weight) + 1, width=slots)
    client = Client(plan, session, Randomness(seeds[0]), "head key")
    provider = Masker(plan, session, Randomness(seeds[1]), client.key_blob)
    terms = [*weight, bias]
    scale = largest_exponent(max(norm(column(terms, k)) for k in range(plan.left)), OPERAND_NORM)
    operand = [[fixed_point(value, scale) for value in column(terms, k)] for k in range(plan.left)]

    pools, hints, client_masks, provider_masks = [], [], [], []
    for pool in range(1 + max(batch[0] for batch in batches)):
        mask, mask_right = provider.mask()
        hint = provider.hint(provider.multiply(operand, f"pool {pool}", nonce), mask)
        body = struct.pack("<h", scale) + answer_to_wire(hint)
        pools.append(provider.seal("head pool", pool, slots, body))
        hints.append(hint)
        provider_masks.append(mask_right)
        zeros = [[0] * slots for _ in range(plan.terms)]
        client_masks.append(client.encrypt(client.row_key(f"pool {pool}", nonce), 0, zeros))

    answered = []
    for pool, first, queries in batches:
        stop = first + len(queries)
        columns = [[*query, 1.0] for query in queries]
        exponents = [largest_exponent(norm(values), plan.message_norm) for values in columns]
        ciphertext = [
            reduce_row(
                [
                    mask + fixed_point(values[i], e)
                    for mask, values, e in zip(masks[first:stop], columns, exponents, strict=True)
                ],
                parameters.log_q,
            )
            for i, masks in enumerate(client_masks[pool])
        ]
        index = pool * slots + first
        body = b"".join(row_to_wire(row) for row in ciphertext)
        query = client.seal("head query", index, plan.terms, len(queries), body)
        answer = provider.answer(operand, ciphertext, [row[first:stop] for row in provider_masks[pool]])
        values = client.unmask(hints[pool], answer, first)
        logits = [
            [math.ldexp(row[j], parameters.log_q - LOG_ANSWER - exponents[j] - scale) for row in values]
            for j in range(len(queries))
        ]
        blob = provider.seal("head answer", index, len(queries), answer_to_wire(answer))
        answered.append(Batch(pool, first, query, blob, logits))
    return Head(client.key_blob, pools, answered)
