"""Half-gates (Zahur, Rosulek, Evans 2015) on arrays of wires: all slots of a block, a whole layer at a time.

A label is two 64-bit words; its colour is the top bit of the first. A garbler holds the label of 0 for every wire, and
the label of 1 is that plus the slot's Delta. The hash is TMMO(x, i) = p(p(x) ^ i) ^ p(x) (Guo et al., ePrint 2019/1168)
with AES-128 under the block's key for p and i = (2 gate + half, slot in the block). Objects keep their buffers between
blocks: none is used by two threads.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from securealign.he.labels.circuits import Wires

Labels = npt.NDArray[np.uint64]

#: Slots garbled under one key.
BLOCK_SLOTS = 16
#: The cipher asks for so many bytes more than it writes.
_SPARE_BYTES = 15
_COLOUR_BIT = np.int64(63)


class Permutation:
    """AES-128 on arrays of labels."""

    def __init__(self, key: bytes) -> None:
        # A fixed-key permutation is what the hash is built from, not an encryption of anything.
        self._encrypt = Cipher(algorithms.AES(key), modes.ECB()).encryptor()  # noqa: S305

    def apply(self, source: Buffer, target: Buffer) -> None:
        """Write the permutation of all labels of `source` to `target`, of equal size."""
        self._encrypt.update_into(source.octets, target.padded)


class Buffer:
    """An array of labels whose bytes a cipher can read, and write with the spare bytes it asks for."""

    def __init__(self, *shape: int) -> None:
        size = 8 * math.prod(shape)
        padded = np.empty(size + _SPARE_BYTES, dtype=np.uint8)
        self.words: Labels = padded[:size].view(np.uint64).reshape(shape)
        self.octets = padded[:size].data
        self.padded = padded.data
        self._signs = self.words.view(np.int64)[..., :1]

    def masks(self) -> Labels:
        """Return all ones where the colour of a label is one, else zero, shape (..., 1)."""
        masks: Labels = np.right_shift(self._signs, _COLOUR_BIT).view(np.uint64)
        return masks


def colours(labels: Labels) -> npt.NDArray[np.uint8]:
    """Return the colour bits of labels (..., 2), shape (...,)."""
    bits: npt.NDArray[np.uint8] = (labels[..., 0] >> np.uint64(63)).astype(np.uint8)
    return bits


def select(bits: npt.NDArray[np.uint8], labels: Labels) -> Labels:
    """Return labels (..., 2) where bits (...,) are one, and zeros elsewhere."""
    chosen: Labels = (np.uint64(0) - bits.astype(np.uint64))[..., None] & labels
    return chosen


class _Layers:
    """What garbler and evaluator share: the cipher of a block, tweaks, and buffers by size of a layer."""

    #: Leading axes of a buffer before (2 operands, gates, slots, 2 words).
    _copies: tuple[int, ...] = ()

    def __init__(self, gates: int, slots: int) -> None:
        self.slots = slots
        self._used = 0
        self._tweaks = np.empty((2, gates, slots, 2), dtype=np.uint64)
        self._tweaks[..., 0] = np.arange(2 * gates, dtype=np.uint64).reshape(gates, 2).T[..., None]
        self._first_slot = -1
        self._buffers: dict[int, tuple[Buffer, Buffer, Buffer]] = {}

    def _begin(self, key: bytes, first_slot: int) -> None:
        """Start with gate 0 of the slots of a block from `first_slot` on."""
        self._cipher = Permutation(key)
        self._used = 0
        if first_slot != self._first_slot:
            self._first_slot = first_slot
            self._tweaks[..., 1] = np.arange(first_slot, first_slot + self.slots, dtype=np.uint64)

    def pair(self, *shape: int) -> Wires:
        """Return room for the operands of a layer, (2, *shape, slots, 2); valid until the layer is done."""
        gates = math.prod(shape)
        if gates not in self._buffers:
            size = (*self._copies, 2, gates, self.slots, 2)
            self._buffers[gates] = (Buffer(*size), Buffer(*size), Buffer(*size))
        words = self._buffers[gates][0].words
        operands: Wires = words[(0,) * len(self._copies)].reshape(2, *shape, self.slots, 2)
        return operands

    def _hash(self, gates: int) -> tuple[Buffer, Labels, Labels, slice]:
        """Hash the inputs of a layer: return inputs, hashes, a free buffer, and the numbers of the gates."""
        inputs, once, twice = self._buffers[gates]
        layer = slice(self._used, self._used + gates)
        self._used = layer.stop
        self._cipher.apply(inputs, once)
        np.bitwise_xor(once.words, self._tweaks[:, layer], out=twice.words)
        # The tweaked labels are overwritten by their own permutation.
        self._cipher.apply(twice, twice)
        twice.words ^= once.words
        return inputs, twice.words, once.words, layer


class Evaluator(_Layers):
    """Runs a circuit on active labels."""

    def begin(self, key: bytes, first_slot: int, tables: Labels) -> None:
        """Start with gate 0 under a block's key; `tables` (2, gates, slots, 2)."""
        self._begin(key, first_slot)
        self._tables = tables

    def both(self, operands: Wires) -> Wires:
        """Return the active labels of AND."""
        gates = operands[0].size // (2 * self.slots)
        inputs, hashes, free, layer = self._hash(gates)
        masks = inputs.masks()
        np.bitwise_and(self._tables[:, layer], masks, out=free)
        free ^= hashes
        result: Wires = free[0] ^ free[1]
        result ^= masks[1] & inputs.words[0]
        return result.reshape(operands.shape[1:])

    def invert(self, wires: Wires) -> Wires:
        """Return the wires: what their labels stand for is the garbler's to exchange."""
        return wires


class Garbler(_Layers):
    """Runs a circuit on the labels of 0 and fills `tables`."""

    _copies = (2,)

    def begin(self, key: bytes, first_slot: int, deltas: Labels) -> None:
        """Start with gate 0 under a block's key; `deltas` (slots, 2) have colour one."""
        self._begin(key, first_slot)
        self._deltas = deltas
        self.tables: Labels = np.empty(self._tweaks.shape, dtype=np.uint64)

    def both(self, operands: Wires) -> Wires:
        """Return the labels of 0 of AND, and write a layer of tables."""
        gates = operands[0].size // (2 * self.slots)
        zero, one = self._buffers[gates][0].words
        np.bitwise_xor(zero, self._deltas, out=one)
        inputs, hashes, free, layer = self._hash(gates)
        masks = inputs.masks()[0]
        rows, halves = free
        np.bitwise_xor(hashes[0], hashes[1], out=rows)
        rows[0] ^= masks[1] & self._deltas
        halves[...] = rows
        rows[1] ^= zero[0]
        self.tables[:, layer] = rows
        halves &= masks
        halves ^= hashes[0]
        result: Wires = halves[0] ^ halves[1]
        return result.reshape(operands.shape[1:])

    def invert(self, wires: Wires) -> Wires:
        """Return labels that stand for the other bit."""
        inverted: Wires = wires ^ self._deltas
        return inverted
