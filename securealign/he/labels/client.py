"""The client's side of label-only answers: chooses by its shares, then evaluates circuits."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from securealign.he.entropy import Entropy, keystream
from securealign.he.labels import extension
from securealign.he.labels.circuits import label
from securealign.he.labels.garbling import Evaluator, Labels, colours, select
from securealign.he.labels.layout import COVER_BYTES, LABEL_BYTES, SALT_BYTES, LabelLayout
from securealign.he.labels.provider import IntMatrix, block_key, share_bits
from securealign.he.labels.transfer import answer_offer


class PoolTables(NamedTuple):
    """What the slots of a pool are evaluated with."""

    where: bytes
    salt: bytes
    #: Active labels of the client's bits, (slots, t, m, 2).
    labels: Labels
    #: Encrypted tables, (slots, bytes).
    tables: npt.NDArray[np.uint8]


class LabelClient:
    """Evaluates circuits for a session; holds no state of a pool. Its buffers make it a matter of one thread."""

    def __init__(self, layout: LabelLayout, session: bytes, offer: bytes, entropy: Entropy) -> None:
        self._layout = layout
        self._session = session
        self._pairs = answer_offer(session, offer, entropy)
        self._evaluators: dict[int, Evaluator] = {}

    @property
    def reply(self) -> bytes:
        """The reply to the provider's offer."""
        return self._pairs.reply

    def choose(self, pool: int, nonce: bytes, shares: IntMatrix, entropy: Entropy) -> bytes:
        """Return the choices of a pool for shares (m, slots).

        Other shares under the same nonce would show the difference.
        """
        layout = self._layout
        choices = np.zeros(layout.transfers, dtype=np.uint8)
        choices[: layout.slots * layout.wires] = share_bits(shares, layout.bits).ravel()
        where = extension.place(self._session, pool, nonce)
        return extension.choose(self._pairs.zeros, self._pairs.ones, where, choices, entropy.octets(16))

    def open_tables(self, pool: int, nonce: bytes, shares: IntMatrix, data: memoryview) -> PoolTables:
        """Return what evaluates a pool, from the provider's tables for the choices of the same shares."""
        layout = self._layout
        where = extension.place(self._session, pool, nonce)
        bits = share_bits(shares, layout.bits)
        middle = SALT_BYTES + LABEL_BYTES * bits.size
        corrections = np.frombuffer(data[SALT_BYTES:middle], dtype="<u8").reshape(*bits.shape, 2)
        rows = extension.receive(self._pairs.zeros, where, layout.transfers)
        labels = extension.correlate(rows, where)[: bits.size].reshape(corrections.shape)
        tables = np.frombuffer(data[middle:], dtype=np.uint8).reshape(layout.slots, layout.table_bytes)
        return PoolTables(where, bytes(data[:SALT_BYTES]), labels ^ select(bits, corrections), tables)

    def read(self, pool: PoolTables, first: int, count: int, answer: memoryview) -> npt.NDArray[np.uint8]:
        """Return the output bits (count, outputs) of consecutive slots; any bytes of the right length give some."""
        layout = self._layout
        size = count * LABEL_BYTES * layout.wires
        received = np.frombuffer(answer[:size], dtype="<u8").reshape(count, layout.bits, layout.rows, 2)
        covers = answer[size : size + count * COVER_BYTES]
        shown = np.frombuffer(answer[size + count * COVER_BYTES :], dtype=np.uint8)
        decode = np.unpackbits(shown, count=count * layout.outputs, bitorder="little").reshape(count, layout.outputs)
        outputs = np.empty_like(decode)
        for block, slots, start in layout.blocks(first, count):
            here = slice(slots.start - first, slots.stop - first)
            shares = np.stack([received[here], pool.labels[slots]]).transpose(0, 2, 3, 1, 4)
            evaluator = self._evaluator(slots.stop - slots.start)
            tables = self._uncovered(pool.tables[slots], covers[here.start * COVER_BYTES : here.stop * COVER_BYTES])
            evaluator.begin(block_key(pool.where, block, pool.salt), start, tables)
            outputs[here] = colours(label(evaluator, shares, layout.classes, layout.segments, layout.buckets)).T
        return outputs ^ decode

    def _uncovered(self, tables: npt.NDArray[np.uint8], covers: memoryview) -> Labels:
        """Decrypt the tables of some slots, (2, gates, slots, 2)."""
        opened = np.empty_like(tables)
        for slot, (table, out) in enumerate(zip(tables, opened, strict=True)):
            key = bytes(covers[slot * COVER_BYTES : (slot + 1) * COVER_BYTES])
            np.bitwise_xor(table, keystream(key, len(table)), out=out)
        words = opened.view("<u8").reshape(len(tables), 2, self._layout.gates, 2)
        return np.ascontiguousarray(words.transpose(1, 2, 0, 3))

    def _evaluator(self, slots: int) -> Evaluator:
        """Return the evaluator for so many slots, with its buffers."""
        if slots not in self._evaluators:
            self._evaluators[slots] = Evaluator(self._layout.gates, slots)
        return self._evaluators[slots]
