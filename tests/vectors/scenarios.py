"""The inputs of the known answers, one entry per file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .reference import Parameters

TOY = Parameters("toy", 64, 80)
TOY_76 = Parameters("toy-76", 64, 76)
LWE_128 = Parameters("lwe-128", 3200, 80, classical_bits=128)
LWE_128Q = Parameters("lwe-128q", 4096, 80, classical_bits=128, quantum_bits=128)

SESSION = bytes(range(32))
#: The nonce of every pool.
NONCE = bytes(range(64, 96))
SEEDS = (b"client", b"provider")

Rows = list[list[float]]


@dataclass(frozen=True)
class CovarianceInputs:
    """One training session."""

    description: str
    provider_rows: Rows
    client_rows: Rows
    parameters: Parameters = TOY
    max_bytes: int = 1 << 16


@dataclass(frozen=True)
class HeadInputs:
    """One inference session: (pool, first slot, queries) per batch, in order."""

    description: str
    weight: Rows
    bias: list[float]
    slots: int
    batches: list[tuple[int, int, Rows]]
    parameters: Parameters = TOY


@dataclass(frozen=True)
class LabelInputs:
    """One pool of label-only answers: (first slot, count) per batch, in order."""

    description: str
    classes: int
    bits: int
    segments: int
    buckets: int
    slots: int
    batches: list[tuple[int, int]]
    pool: int = 0

    @property
    def shares(self) -> tuple[list[list[int]], list[list[int]]]:
        """Shares of the provider and of the client; their sums are small numbers of both signs, with ties."""
        rows, slots = range(self.classes - 1 + self.buckets), range(self.slots)
        client = [[(7919 * k + 104729 * j + k * j * j) % 2**self.bits for j in slots] for k in rows]
        sums = [[(5 * k + 3 * j + k * j) % 9 - 5 for j in slots] for k in rows]
        return [[(sums[k][j] - client[k][j]) % 2**self.bits for j in slots] for k in rows], client


def eighths(rows: int, columns: int, step: int) -> Rows:
    """A matrix of multiples of 1/8 between -1.75 and 1.75 that looks like nothing in particular."""
    return [[((step * i + 17 * j + i * j) % 29 - 14) / 8 for j in range(columns)] for i in range(rows)]


TRANSFER_SEED = bytes(range(32, 64))
LABELS: Mapping[str, LabelInputs] = {
    "label_two_classes": LabelInputs("one difference of eight bits", 2, 8, 4, 0, 3, [(1, 2), (0, 1)]),
    "label_blocks": LabelInputs("six classes, and slots of two blocks", 6, 16, 4, 0, 18, [(0, 1), (1, 17)], pool=3),
    "label_thresholds": LabelInputs("thresholds, and bits that are no multiple of segments", 4, 9, 2, 2, 3, [(0, 3)]),
    "label_high_reference": LabelInputs("a reference with a bit of its own", 9, 8, 2, 1, 2, [(0, 2)]),
}

COVARIANCES: Mapping[str, CovarianceInputs] = {
    "covariance_small": CovarianceInputs("five rows in one piece", eighths(5, 3, 11), eighths(5, 2, 7)),
    "covariance_one_by_one": CovarianceInputs("the smallest shape", [[-0.3]], [[0.7]]),
    "covariance_two_pieces": CovarianceInputs(
        "five rows in pieces of at most three", eighths(5, 2, 5), eighths(5, 2, 3), max_bytes=72 + 3 * 20
    ),
    "covariance_two_tiles": CovarianceInputs(
        "more rows than a tile of errors holds", eighths(2050, 1, 11), eighths(2050, 2, 7), max_bytes=1 << 14
    ),
    "covariance_log_q_76": CovarianceInputs(
        "a modulus that leaves bits of a residue unused", eighths(4, 2, 11), eighths(4, 3, 7), TOY_76
    ),
    "covariance_zero_columns": CovarianceInputs(
        "columns of zeros on both sides", [[0.0, 1.5], [0.0, -0.1]], [[0.3, 0.0], [0.9, 0.0]]
    ),
    "covariance_scales": CovarianceInputs(
        "columns of very different size, down to scales at their limit",
        [[1e-30, 2e30, 1e-150], [3e-30, -1e30, 0.0], [-2e-30, 1e30, 0.0]],
        [[1e30, 5.0], [-2e30, 2e-30], [5e29, -1.0]],
    ),
    "covariance_two_groups": CovarianceInputs(
        "more columns than one R serves", eighths(2, 1, 11), eighths(2, 1027, 7), max_bytes=1 << 15
    ),
    "covariance_lwe_128": CovarianceInputs("the default parameter set", [[1.5], [-2.0]], [[0.25], [3.0]], LWE_128),
}

HEADS: Mapping[str, HeadInputs] = {
    "head_pool": HeadInputs(
        "one pool, all slots at once", eighths(4, 2, 11), [0.5, -0.25], 3, [(0, 0, eighths(3, 4, 7))]
    ),
    "head_two_pools": HeadInputs(
        "two pools, the second first",
        eighths(3, 2, 5),
        [0.0, 1.0],
        2,
        [(1, 0, eighths(2, 3, 7)), (0, 0, eighths(1, 3, 9))],
    ),
    "head_slots_in_pieces": HeadInputs(
        "three batches in one pool, out of order",
        eighths(3, 1, 5),
        [0.125],
        4,
        [(0, 2, eighths(1, 3, 7)), (0, 0, eighths(2, 3, 9)), (0, 3, eighths(1, 3, 4))],
    ),
    "head_bias": HeadInputs(
        "a bias far larger than the weight", eighths(3, 2, 11), [5000.0, -1.0], 1, [(0, 0, eighths(1, 3, 7))]
    ),
    "head_log_q_76": HeadInputs(
        "a modulus that leaves bits of a residue unused",
        eighths(2, 2, 11),
        [0.5, -0.25],
        2,
        [(0, 0, eighths(2, 2, 7))],
        TOY_76,
    ),
}


@dataclass(frozen=True)
class Reject:
    """A blob of a base scenario, changed, and the error it must cause."""

    description: str
    #: Which blob: "key", "rows", "result", "pool", "query" or "answer"; the first one of its kind.
    target: str
    change: Callable[[bytes], bytes]
    error: str = "CIPHERTEXT_MALFORMED"

    @property
    def base(self) -> str:
        return "covariance_log_q_76" if self.target in ("key", "rows", "result") else "head_log_q_76"


def _put(offset: int, data: bytes) -> Callable[[bytes], bytes]:
    return lambda blob: blob[:offset] + data + blob[offset + len(data) :]


def _truncate(count: int) -> Callable[[bytes], bytes]:
    return lambda blob: blob[:-count]


def _extend(count: int) -> Callable[[bytes], bytes]:
    return lambda blob: blob + bytes(count)


OUT_OF_RANGE = "COEFFICIENT_OUT_OF_RANGE"
#: The smallest 16-bit part of a residue that is not below 2^76.
TOO_LARGE = (1 << 12).to_bytes(2, "little")
_OTHER_TAG = bytes([255]) * 16

REJECTS: Mapping[str, Reject] = {
    "rejects_empty": Reject("no bytes at all", "rows", lambda _: b""),
    "rejects_header_only": Reject("a header without a body", "key", lambda blob: blob[:72]),
    "rejects_magic": Reject("another magic", "rows", _put(0, b"SLWF")),
    "rejects_format": Reject("an unknown format", "rows", _put(4, b"\3")),
    "rejects_kind": Reject("the kind of another blob", "key", _put(5, b"\4")),
    "rejects_reserved": Reject("reserved bytes that are not zero", "rows", _put(6, b"\1")),
    "rejects_parameters": Reject("other parameters", "key", _put(8, TOY.digest[:16])),
    "rejects_session": Reject("another session", "key", _put(24, _OTHER_TAG)),
    "rejects_key_with_name": Reject("a key blob that names a key", "key", _put(40, _OTHER_TAG)),
    "rejects_rows_session": Reject("another session", "rows", _put(24, _OTHER_TAG)),
    "rejects_rows_key": Reject("another key", "rows", _put(40, _OTHER_TAG)),
    "rejects_rows_position": Reject("rows of another position", "rows", _put(56, b"\1")),
    "rejects_rows_count": Reject("a header that counts one row more", "rows", _put(64, b"\5")),
    "rejects_rows_width": Reject("a header that counts one column less", "rows", _put(68, b"\2")),
    "rejects_rows_truncated": Reject("one byte less", "rows", _truncate(1)),
    "rejects_rows_extended": Reject("one byte more", "rows", _extend(1)),
    # Four rows of three residues: the words of the last row end at 72 + 3 * 30 + 24.
    "rejects_rows_residue": Reject("the last residue is 2^76", "rows", _put(72 + 4 * 30 - 2, TOO_LARGE), OUT_OF_RANGE),
    "rejects_key_truncated": Reject("one byte less", "key", _truncate(1)),
    "rejects_key_extended": Reject("one byte more", "key", _extend(1)),
    "rejects_key_residue": Reject("the first residue of P is 2^76", "key", _put(72 + 64 + 24, TOO_LARGE), OUT_OF_RANGE),
    "rejects_result_truncated": Reject("one byte less", "result", _truncate(1)),
    "rejects_result_extended": Reject("one byte more", "result", _extend(1)),
    "rejects_result_key": Reject("another key", "result", _put(40, _OTHER_TAG)),
    "rejects_result_kind": Reject("the kind of another blob", "result", _put(5, b"\2")),
    "rejects_result_scale": Reject("a scale of 2^451", "result", _put(72, b"\xc3\x01"), OUT_OF_RANGE),
    "rejects_pool_number": Reject("the material of another pool", "pool", _put(56, b"\1")),
    "rejects_pool_truncated": Reject("one byte less", "pool", _truncate(1)),
    "rejects_pool_scale": Reject("a scale of 2^-451", "pool", _put(72, b"\x3d\xfe"), OUT_OF_RANGE),
    "rejects_query_slot": Reject("another slot", "query", _put(56, b"\1")),
    "rejects_query_truncated": Reject("one byte less", "query", _truncate(1)),
    "rejects_query_residue": Reject("the first residue is 2^76", "query", _put(72 + 16, TOO_LARGE), OUT_OF_RANGE),
    "rejects_answer_slot": Reject("another slot", "answer", _put(56, b"\1")),
    "rejects_answer_truncated": Reject("one column less", "answer", _truncate(10)),
    "rejects_answer_short": Reject("a header without its last ten bytes", "answer", lambda blob: blob[:62]),
    "rejects_answer_extended": Reject(
        "one column more, and a header that says so", "answer", lambda blob: _put(68, b"\3")(blob) + bytes(10)
    ),
}  # fmt: skip


def describe_parameters(parameters: Parameters) -> dict[str, Any]:
    """What a reader needs to make the parameter set."""
    return {
        "name": parameters.name,
        "dimension": parameters.dimension,
        "log_q": parameters.log_q,
        "classical_bits": parameters.classical_bits,
        "quantum_bits": parameters.quantum_bits,
    }
