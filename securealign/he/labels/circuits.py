"""The circuit: the index of the largest of K shared numbers, and the thresholds that the largest exceeds.

An interpreter runs it on bits in clear, or notes what a garbler or an evaluator will do. A wire array has leading axes
for the gates of a layer and trailing axes that only the interpreter knows. XOR is free; one call of `both` is one layer
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
    """What a circuit asks of whoever runs it; arrays that it returns or is given are not written by anything else."""

    def room(self, *shape: int) -> Wires:
        """Return wires (*shape, ...) that are the constant 0 until something is written to them."""

    def pair(self, *shape: int) -> Wires:
        """Return room for the two operands of the next layer of AND gates, (2, *shape, ...)."""

    def both(self, operands: Wires) -> Wires:
        """Return the AND of the two operands that `pair` made room for, (*shape, ...)."""

    def xor(self, left: Wires, right: Wires, out: Wires | None = None) -> Wires:
        """Return the XOR of two arrays, written to `out` if it is given."""

    def copy(self, wires: Wires, out: Wires) -> None:
        """Write wires to `out`."""

    def invert(self, wires: Wires) -> None:
        """Replace wires by their NOT."""


class Bits:
    """The interpreter of bits in clear, which counts gates."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        #: AND gates of each layer.
        self.layers: list[int] = []

    def room(self, *shape: int) -> Wires:
        """Return zeros, (*shape, slots)."""
        return np.zeros((*shape, self._slots), dtype=np.uint8)

    def pair(self, *shape: int) -> Wires:
        """Return room for two operands, (2, *shape, slots)."""
        return self.room(2, *shape)

    def both(self, operands: Wires) -> Wires:
        """Return the AND of two operands."""
        self.layers.append(operands[0].size // self._slots)
        both: Wires = operands[0] & operands[1]
        return both

    @staticmethod
    def xor(left: Wires, right: Wires, out: Wires | None = None) -> Wires:
        """Return the XOR."""
        return np.bitwise_xor(left, right, out=out)

    @staticmethod
    def copy(wires: Wires, out: Wires) -> None:
        """Write wires to `out`."""
        out[...] = wires

    @staticmethod
    def invert(wires: Wires) -> None:
        """Replace wires by their NOT."""
        wires ^= np.uint8(1)


def add(run: Interpreter, shares: Wires) -> Wires:
    """Return the sum modulo 2^t of two shares (2, t, m, ...), shape (t, m, ...): t - 1 layers of m gates."""
    bits, rows = shares.shape[1:3]
    carries = run.room(bits, rows)
    for bit in range(bits - 1):
        operands = run.pair(rows)
        run.xor(shares[:, bit], carries[bit], operands)
        run.xor(run.both(operands), carries[bit], carries[bit + 1])
    return run.xor(run.xor(shares[0], shares[1]), carries)


def greater(run: Interpreter, numbers: Wires, segments: int) -> Wires:
    """Return which of two signed numbers, (2, t, n, ...), is larger: 1 where the first exceeds, shape (n, ...).

    The bits are cut into segments that are compared side by side, and joined in pairs; one segment where t is no
    multiple of `segments`.
    """
    bits, items = numbers.shape[1:3]
    segments = segments if bits % segments == 0 else 1
    depth = bits // segments
    numbers = numbers.reshape(2, segments, depth, *numbers.shape[2:])
    # A set sign bit makes a number smaller: the two numbers exchange it.
    top = run.room(2, segments, items)
    run.copy(numbers[:, :-1, -1], top[:, :-1])
    run.copy(numbers[::-1, -1, -1], top[:, -1])
    pairs = [*(numbers[:, :, bit] for bit in range(depth - 1)), top]
    # Whether bits are equal, for all segments but the lowest.
    same = run.xor(numbers[0, 1:], numbers[1, 1:])
    run.invert(same)
    operands = run.pair(segments, items)
    run.copy(pairs[0], operands)
    more, equal = run.xor(run.both(operands), pairs[0][0]), same[:, 0]
    for bit in range(1, depth):
        operands = run.pair(2 * segments - 1, items)
        run.xor(pairs[bit], more, operands[:, :segments])
        run.copy(equal, operands[0, segments:])
        run.copy(same[:, bit], operands[1, segments:])
        result = run.both(operands)
        more, equal = run.xor(result[:segments], pairs[bit][0]), result[segments:]
    return _join(run, more, equal)


def _join(run: Interpreter, more: Wires, equal: Wires) -> Wires:
    """Return whether the whole is greater, from segments (s, n, ...), lowest first; `equal` leaves out the lowest."""
    while len(more) > 1:
        pairs = len(more) // 2
        operands = run.pair(2 * pairs - 1, more.shape[1])
        run.copy(equal[0::2], operands[0, :pairs])
        run.copy(more[0::2], operands[1, :pairs])
        run.copy(equal[2::2], operands[0, pairs:])
        run.copy(equal[1::2], operands[1, pairs:])
        result = run.both(operands)
        more, equal = run.xor(result[:pairs], more[1::2]), result[pairs:]
    joined: Wires = more[0]
    return joined


def tournament(run: Interpreter, numbers: Wires, segments: int, *, whole: bool) -> tuple[Wires, Wires]:
    """Return index and value of the largest of m signed numbers (t, m, ...); of equal ones, the lowest index.

    The index has ceil(log2 m) bits, (bits, ...). The value has t bits, or its sign alone unless `whole` or m = 1.
    """
    bits = len(numbers)
    # The bits of each number that is left, then those of its index.
    left = numbers
    while (count := left.shape[1]) > 1:
        half, waiting = divmod(count, 2)
        paired = left[:, : 2 * half].reshape(len(left), half, 2, *left.shape[2:])
        even, odd = paired[:, :, 0], paired[:, :, 1]
        wins = greater(run, np.moveaxis(paired[:bits], 2, 0)[::-1], segments)
        if count == 2 and not whole:
            # Nothing reads more than the sign of the last winner, unless thresholds follow.
            left, even, odd, bits = left[bits - 1 :], even[bits - 1 :], odd[bits - 1 :], 1
        operands = run.pair(len(left), half)
        run.xor(even, odd, operands[0])
        run.copy(wins, operands[1])
        winners = run.room(len(left) + 1, half + waiting)
        run.xor(run.both(operands), even, winners[:-1, :half])
        run.copy(wins, winners[-1, :half])
        # The last bit of the index of a number that waits is 0.
        run.copy(left[:, 2 * half :], winners[:-1, half:])
        left = winners
    return left[bits:, 0], left[:bits, 0]


def label(run: Interpreter, shares: Wires, classes: int, segments: int, buckets: int) -> Wires:
    """Return the index of the largest of `classes` numbers, then a bit for each threshold that the largest exceeds.

    The last number is the reference, 0; `shares` (2, t, classes - 1 + buckets, ...) hold the others, then the
    thresholds, which the reference is not compared with. The index has ceil(log2 classes) bits. Output (bits, ...).
    """
    reference = classes - 1
    numbers = add(run, shares)
    index, largest = tournament(run, numbers[:, :reference], segments, whole=buckets > 0)
    negative, size = largest[-1], reference.bit_length()
    outputs = run.room(size + buckets)
    if len(index):
        # The reference's bits where the largest is negative: index AND NOT negative, inverted where such a bit is 1.
        ones = [bit for bit in range(len(index)) if reference >> bit & 1]
        operands = run.pair(len(index))
        run.copy(index, operands[0])
        run.copy(negative, operands[1])
        run.invert(operands[1])
        for bit in ones:
            run.invert(operands[0, bit])
        run.copy(run.both(operands), outputs[: len(index)])
        for bit in ones:
            run.invert(outputs[bit])
    if len(index) < size:
        run.copy(negative, outputs[size - 1])
    if buckets:
        compared = run.room(2, len(largest), buckets)
        run.copy(largest[:, None], compared[0])
        run.copy(numbers[:, reference:], compared[1])
        run.copy(greater(run, compared, segments), outputs[size:])
    return outputs


class Counts(NamedTuple):
    """Size of a circuit: AND gates of each layer and of all, and bits of its output."""

    layers: tuple[int, ...]
    gates: int
    outputs: int


@lru_cache(maxsize=64)
def counts(bits: int, classes: int, segments: int, buckets: int) -> Counts:
    """Return the size of a circuit by running it once."""
    run = Bits(1)
    outputs = label(run, np.zeros((2, bits, classes - 1 + buckets, 1), dtype=np.uint8), classes, segments, buckets)
    return Counts(tuple(run.layers), sum(run.layers), len(outputs))
