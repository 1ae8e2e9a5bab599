"""The circuit: the index of the largest of K shared numbers, and the thresholds that the largest exceeds.

An interpreter runs it on bits in clear, as garbler or as evaluator. A wire array has leading axes for the gates of a
layer and trailing axes that only the interpreter knows. XOR is free and done by numpy; one call of `both` is one layer
of AND gates, numbered in the order of the leading axes. Numbers have t bits in two's complement, lowest bit first.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

#: Labels, uint64 of shape (..., slots, 2), or bits, uint8 of shape (..., slots).
Wires = npt.NDArray[Any]


class Interpreter(Protocol):
    """What a circuit asks of whoever runs it."""

    def pair(self, *shape: int) -> Wires:
        """Return room for the two operands of a layer of AND gates, (2, *shape, ...)."""

    def both(self, operands: Wires) -> Wires:
        """Return the AND of the two operands that `pair` made room for, (*shape, ...), a new array."""

    def invert(self, wires: Wires) -> Wires:
        """Return NOT of all wires."""


class Bits:
    """The interpreter of bits in clear, which counts gates."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self.gates = 0

    def pair(self, *shape: int) -> Wires:
        """Return room for two operands, (2, *shape, slots)."""
        return np.empty((2, *shape, self._slots), dtype=np.uint8)

    def both(self, operands: Wires) -> Wires:
        """Return the AND of two operands."""
        self.gates += operands[0].size // self._slots
        both: Wires = operands[0] & operands[1]
        return both

    def invert(self, wires: Wires) -> Wires:
        """Return NOT."""
        inverted: Wires = wires ^ np.uint8(1)
        return inverted


def add(run: Interpreter, shares: Wires) -> Wires:
    """Return the sum modulo 2^t of two shares (2, t, m, ...), shape (t, m, ...): t - 1 layers of m gates."""
    _, bits, rows = shares.shape[:3]
    total: Wires = shares[0] ^ shares[1]
    carry: Wires | None = None
    for bit in range(bits - 1):
        operands = run.pair(rows)
        if carry is None:
            operands[...] = shares[:, 0]
            carry = run.both(operands)
        else:
            np.bitwise_xor(shares[:, bit], carry, out=operands)
            carry = run.both(operands) ^ carry
        total[bit + 1] ^= carry
    return total


def greater(run: Interpreter, left: Wires, right: Wires, segments: int) -> Wires:
    """Return whether signed `left` exceeds `right`, both (t, n, ...), shape (n, ...).

    The bits are cut into segments that are compared side by side, and joined in pairs; one segment where t is no
    multiple of `segments`.
    """
    bits, items = left.shape[:2]
    segments = segments if bits % segments == 0 else 1
    # A set sign bit makes a number smaller: the two numbers exchange it.
    pair = np.stack([np.concatenate([left[:-1], right[-1:]]), np.concatenate([right[:-1], left[-1:]])])
    pair = pair.reshape(2, segments, bits // segments, *left.shape[1:])
    operands = run.pair(segments, items)
    operands[...] = pair[:, :, 0]
    more: Wires = run.both(operands) ^ pair[0, :, 0]
    # Whether the bits so far are equal, for all segments but the lowest.
    same = run.invert(pair[0, 1:] ^ pair[1, 1:])
    equal: Wires = same[:, 0]
    for bit in range(1, bits // segments):
        operands = run.pair(2 * segments - 1, items)
        np.bitwise_xor(pair[:, :, bit], more, out=operands[:, :segments])
        operands[0, segments:], operands[1, segments:] = equal, same[:, bit]
        result = run.both(operands)
        more, equal = result[:segments] ^ pair[0, :, bit], result[segments:]
    return _join(run, more, equal)


def _join(run: Interpreter, more: Wires, equal: Wires) -> Wires:
    """Return whether the whole is greater, from segments (s, n, ...), lowest first; `equal` leaves out the lowest."""
    while len(more) > 1:
        pairs = len(more) // 2
        operands = run.pair(2 * pairs - 1, *more.shape[1:2])
        operands[0, :pairs], operands[1, :pairs] = equal[0::2], more[0::2]
        operands[0, pairs:], operands[1, pairs:] = equal[2::2], equal[1::2]
        result = run.both(operands)
        more, equal = result[:pairs] ^ more[1::2], result[pairs:]
    joined: Wires = more[0]
    return joined


def tournament(run: Interpreter, numbers: Wires, segments: int, *, whole: bool) -> tuple[Wires, Wires]:
    """Return index and value of the largest of m signed numbers (t, m, ...); of equal ones, the lowest index.

    The index has ceil(log2 m) bits, (bits, ...). The value has t bits, or its sign alone unless `whole` or m = 1.
    """
    index: Wires = numbers[:0]
    while (count := numbers.shape[1]) > 1:
        half = count // 2
        even, odd = slice(0, 2 * half, 2), slice(1, 2 * half, 2)
        wins = greater(run, numbers[:, odd], numbers[:, even], segments)
        # Nothing reads more than the sign of the last winner, unless thresholds follow.
        kept = numbers if count > 2 or whole else numbers[-1:]
        carried = np.concatenate([kept, index])
        operands = run.pair(len(carried), half)
        np.bitwise_xor(carried[:, even], carried[:, odd], out=operands[0])
        operands[1] = wins
        winners = run.both(operands) ^ carried[:, even]
        wins = wins[None]
        if count % 2:
            winners = np.concatenate([winners, carried[:, -1:]], axis=1)
            # Label 0 is the constant 0.
            wins = np.concatenate([wins, np.zeros_like(wins[:, :1])], axis=1)
        numbers, index = winners[: len(kept)], np.concatenate([winners[len(kept) :], wins])
    return index[:, 0], numbers[:, 0]


def label(run: Interpreter, shares: Wires, classes: int, segments: int, buckets: int) -> Wires:
    """Return the index of the largest of `classes` numbers, then a bit for each threshold that the largest exceeds.

    The last number is the reference, 0; `shares` (2, t, classes - 1 + buckets, ...) hold the others, then the
    thresholds, which the reference is not compared with. The index has ceil(log2 classes) bits. Output (bits, ...).
    """
    reference = classes - 1
    numbers = add(run, shares)
    index, largest = tournament(run, numbers[:, :reference], segments, whole=buckets > 0)
    negative = largest[-1]
    outputs = []
    if len(index):
        # The reference's bits where the largest is negative: index AND NOT negative, inverted where such a bit is 1.
        ones = [bool(reference >> bit & 1) for bit in range(len(index))]
        operands = run.pair(len(index))
        for bit, one in enumerate(ones):
            operands[0, bit] = run.invert(index[bit]) if one else index[bit]
        operands[1] = run.invert(negative)
        masked = run.both(operands)
        outputs = [run.invert(masked[bit]) if one else masked[bit] for bit, one in enumerate(ones)]
    if len(outputs) < reference.bit_length():
        outputs.append(negative)
    if buckets:
        largest = np.stack([largest] * buckets, axis=1)
        outputs.extend(greater(run, largest, numbers[:, reference:], segments))
    return np.stack(outputs)


class Counts(NamedTuple):
    """Size of a circuit: AND gates, and bits of its output."""

    gates: int
    outputs: int


@lru_cache(maxsize=64)
def counts(bits: int, classes: int, segments: int, buckets: int) -> Counts:
    """Return the size of a circuit by running it once."""
    run = Bits(1)
    outputs = label(run, np.zeros((2, bits, classes - 1 + buckets, 1), dtype=np.uint8), classes, segments, buckets)
    return Counts(run.gates, len(outputs))
