"""Half-gates (Zahur, Rosulek, Evans 2015) on arrays of wires: all slots of a block, a whole layer at a time.

A label is two 64-bit words; its colour is the top bit of the first. A garbler holds the label of 0 for every wire, and
the label of 1 is that plus the slot's Delta. The hash is TMMO(x, i) = p(p(x) ^ i) ^ p(x) (Guo et al., ePrint 2019/1168)
with AES-128 under the block's key for p and i = (2 gate + half, slot in the block). Objects keep their
arrays between blocks, and note what a block takes: none is used by two threads.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes

from securealign.he.labels.circuits import Wires, counts, label
from securealign.he.labels.steps import Array, Immediate, Noted, Steps

Labels = npt.NDArray[np.uint64]

#: Slots garbled under one key.
BLOCK_SLOTS = 16
#: The cipher asks for so many bytes more than it writes.
_SPARE_BYTES = 15
_COLOUR_BIT = np.array(63)
#: The run for which steps are noted: that takes as long as some five runs, and saves half of each or more.
_FIRST_NOTED = 5


def permutation(key: bytes) -> CipherContext:
    """Return AES-128, whose `update_into` permutes labels, `octets` of one buffer, into `padded` of another."""
    # A fixed-key permutation is what the hash is built from, not an encryption of anything.
    return Cipher(algorithms.AES(key), modes.ECB()).encryptor()  # noqa: S305


class Buffer:
    """An array of labels whose bytes a cipher can read, and write with the spare bytes it asks for."""

    def __init__(self, *shape: int, within: Buffer | None = None) -> None:
        """Take new memory, or the beginning of that of a larger buffer."""
        size = 8 * math.prod(shape)
        memory = np.empty(size + _SPARE_BYTES, dtype=np.uint8).data if within is None else within.padded
        self.padded: memoryview = memory[: size + _SPARE_BYTES]
        self.octets = self.padded[:size]
        self.words: Labels = np.frombuffer(self.octets, dtype=np.uint64).reshape(shape)


def colours(labels: Labels) -> npt.NDArray[np.uint8]:
    """Return the colour bits of labels (..., 2), shape (...,)."""
    bits: npt.NDArray[np.uint8] = (labels[..., 0] >> np.uint64(63)).astype(np.uint8)
    return bits


def whole(labels: npt.NDArray[Any]) -> npt.NDArray[np.complex128]:
    """Return labels or bytes (..., n), 16 bytes for each element, to be moved: numpy moves 16 bytes at a time."""
    elements = labels.view(np.complex128)
    return elements[..., 0] if labels.dtype == np.uint64 else elements


def select(bits: npt.NDArray[np.uint8], labels: Labels) -> Labels:
    """Return labels (..., 2) where bits (...,) are one, and zeros elsewhere."""
    chosen: Labels = (np.uint64(0) - bits.astype(np.uint64))[..., None] & labels
    return chosen


@lru_cache(maxsize=64)
def order(layers: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """Return where the tables of circuits stand in a message, T_0 of all gates and then T_1, layer by layer."""
    gates = sum(layers)
    starts = np.repeat(np.cumsum((0, *layers[:-1])), layers)
    sizes = np.repeat(layers, layers)
    places = np.empty(2 * gates, dtype=np.int64)
    for half in range(2):
        places[np.arange(gates) + starts + half * sizes] = np.arange(gates) + half * gates
    return places


class _Layer(NamedTuple):
    """Room for all layers of one size; the leading axes are those of copies, operands and gates."""

    inputs: Buffer
    once: Buffer
    twice: Buffer
    #: Of the inputs' first copy, (2, gates, slots, 2): all ones where the colour is one, else zero.
    masks: Labels
    #: First words of the inputs' first copy, (2, gates, slots).
    signs: Array


class _Circuit(ABC):
    """What garbler and evaluator share: a block of slots, and the steps of a circuit."""

    #: Copies of the inputs that are hashed: labels of 0, and of 1.
    _copies = 1

    def __init__(self, circuit: tuple[int, int, int, int], slots: int) -> None:
        bits, classes, segments, buckets = circuit
        size = counts(*circuit)
        self.slots = slots
        #: Labels of both shares, for the caller to write: (2, t, m, slots, 2).
        self.shares = self.room(2, bits, classes - 1 + buckets)
        #: Layer by layer, in each T_0 and then T_1: (2 gates, slots, 2). `order` says where they stand in a message.
        self.tables = self.room(2 * size.gates)
        self.order = order(size.layers)
        #: What is hashed with a label, in the same order: 2 gate + half, and the slot.
        self._tweaks = self.room(2 * size.gates)
        self._tweaks[..., 0] = (self.order % size.gates * 2 + self.order // size.gates)[:, None]
        self._terms, self._used = (classes, segments, buckets), 0
        #: Steps are done at once in the first runs, and noted for the others.
        self._steps: Steps = Immediate()
        self._runs, self._noted = 0, Noted()
        widest = self._copies, 2, max(size.layers), slots, 2
        self._buffers = Buffer(*widest), Buffer(*widest), Buffer(*widest)
        self._masks = self.room(2 * max(size.layers))
        self._layers: dict[int, _Layer] = {}

    def run(self, key: bytes, first_slot: int) -> Labels:
        """Return the labels of the outputs of a block's slots from `first_slot` on, valid until the next call."""
        self._cipher = permutation(key)
        self._tweaks[..., 1] = np.arange(first_slot, first_slot + self.slots, dtype=np.uint64)
        self._runs += 1
        if self._runs < _FIRST_NOTED:
            return self._label()
        if self._runs == _FIRST_NOTED:
            self._steps = self._noted
            self._outputs = self._label()
        self._noted.run()
        return self._outputs

    def _label(self) -> Labels:
        """Take the steps of the circuit, and return the labels of its outputs."""
        self._used = 0
        outputs: Labels = label(self, self.shares, *self._terms)
        return outputs

    @abstractmethod
    def both(self, operands: Wires) -> Wires:
        """Take the steps of a layer of AND gates."""

    @abstractmethod
    def invert(self, wires: Wires) -> None:
        """Take the steps of NOT."""

    def room(self, *shape: int) -> Wires:
        """Return labels of the constant 0, (*shape, slots, 2)."""
        return np.zeros((*shape, self.slots, 2), dtype=np.uint64)

    def pair(self, *shape: int) -> Wires:
        """Return room for the operands of a layer, (2, *shape, slots, 2)."""
        operands: Wires = self._layer(math.prod(shape)).inputs.words[0].reshape(2, *shape, self.slots, 2)
        return operands

    def xor(self, left: Wires, right: Wires, out: Wires | None = None) -> Wires:
        """Take the steps of an XOR."""
        target = np.empty(left.shape, dtype=np.uint64) if out is None else out
        self._xor(left, right, target)
        return target

    def copy(self, wires: Wires, out: Wires) -> None:
        """Take the steps of a copy."""
        self._steps.apply(np.positive, wires, out)

    def _layer(self, gates: int) -> _Layer:
        """Return room for a layer of so many gates."""
        if gates not in self._layers:
            inputs, once, twice = (
                Buffer(self._copies, 2, gates, self.slots, 2, within=buffer) for buffer in self._buffers
            )
            masks = self._masks[: 2 * gates].reshape(2, gates, self.slots, 2)
            self._layers[gates] = _Layer(inputs, once, twice, masks, inputs.words[0, ..., 0])
        return self._layers[gates]

    def _hash(self, gates: int) -> tuple[_Layer, Labels]:
        """Take the steps that hash the inputs of a layer to `twice`; return the layer and its tables."""
        layer, here = self._layer(gates), slice(self._used, self._used + 2 * gates)
        self._used = here.stop
        inputs, once, twice, masks, signs = layer
        self._steps.call(self._permute, inputs.octets, once.padded)
        self._xor(once.words, self._tweaks[here].reshape(masks.shape), twice.words)
        # The tweaked labels are overwritten by their own permutation.
        self._steps.call(self._permute, twice.octets, twice.padded)
        self._xor(twice.words, once.words, twice.words)
        for word in range(2):
            self._steps.apply(np.right_shift, signs.view(np.int64), _COLOUR_BIT, masks[..., word].view(np.int64))
        return layer, self.tables[here].reshape(masks.shape)

    def _permute(self, source: memoryview, target: memoryview) -> None:
        self._cipher.update_into(source, target)

    def _xor(self, left: Array, right: Array, out: Array) -> None:
        self._steps.apply(np.bitwise_xor, left, right, out)

    def _and(self, left: Array, right: Array, out: Array) -> None:
        self._steps.apply(np.bitwise_and, left, right, out)


class Evaluator(_Circuit):
    """Runs a circuit on active labels and tables, which the caller writes; a run uses tables up."""

    def both(self, operands: Wires) -> Wires:
        """Take the steps to the active labels of AND."""
        layer, tables = self._hash(math.prod(operands.shape[1:-2]))
        hashes, masks = layer.twice.words[0], layer.masks
        result: Wires = np.empty_like(operands[0])
        self._xor(tables[1], layer.inputs.words[0, 0], tables[1])
        self._and(masks, tables, masks)
        self._xor(hashes, masks, hashes)
        self._xor(hashes[0], hashes[1], result.reshape(masks[0].shape))
        return result

    def invert(self, wires: Wires) -> None:
        """Leave the wires: what their labels stand for is the garbler's to exchange."""


class Garbler(_Circuit):
    """Runs a circuit on the labels of 0, which the caller writes, and makes tables."""

    _copies = 2

    def __init__(self, circuit: tuple[int, int, int, int], slots: int) -> None:
        super().__init__(circuit, slots)
        #: For the caller to write; of colour one, (slots, 2).
        self.deltas = self.room()

    def both(self, operands: Wires) -> Wires:
        """Take the steps to the labels of 0 of AND, and to a layer of tables."""
        gates = math.prod(operands.shape[1:-2])
        zeros, ones = self._layer(gates).inputs.words
        self._xor(zeros, self.deltas, ones)
        layer, tables = self._hash(gates)
        (hashes, free), masks = layer.twice.words, layer.masks
        result: Wires = np.empty_like(operands[0])
        self._xor(hashes, free, tables)
        self._and(masks[1], self.deltas, free[0])
        self._xor(tables[0], free[0], tables[0])
        self._and(tables, masks, free)
        self._xor(hashes, free, hashes)
        self._xor(hashes[0], hashes[1], result.reshape(masks[0].shape))
        self._xor(tables[1], zeros[0], tables[1])
        return result

    def invert(self, wires: Wires) -> None:
        """Take the steps to labels that stand for the other bit."""
        self._xor(wires, self.deltas, wires)
