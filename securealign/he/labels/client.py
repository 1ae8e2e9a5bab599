"""The client's side of label-only answers: chooses by its shares, then evaluates circuits."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from securealign.he.entropy import Entropy, add_keystream
from securealign.he.labels import extension
from securealign.he.labels.garbling import Evaluator, Labels, colours, select, whole
from securealign.he.labels.layout import COVER_BYTES, LABEL_BYTES, SALT_BYTES, LabelLayout
from securealign.he.labels.provider import IntMatrix, block_key, share_bits
from securealign.he.labels.transfer import answer_offer


class PoolTables:
    """What the slots of a pool are evaluated with, as far as it has arrived; pieces are kept as they came.

    A piece is given up with the last slot that it holds tables of.
    """

    def __init__(self, layout: LabelLayout, where: bytes) -> None:
        self.where = where
        self._layout = layout
        self._opening = np.empty(layout.opening_bytes, dtype=np.uint8)
        self._received = 0
        #: By the number of its first byte among those of the tables.
        self._pieces: dict[int, memoryview] = {}
        self._unread = np.ones(layout.slots, dtype=np.bool_)
        #: The provider's corrections as they arrive; then active labels of the client's bits, (slots, t, m, 2).
        corrections = self._opening[SALT_BYTES:].view("<u8")
        self.labels: Labels = corrections.reshape(layout.slots, layout.bits, layout.rows, 2)

    @property
    def salt(self) -> bytes:
        """Salt of the block keys."""
        return self._opening[:SALT_BYTES].tobytes()

    def add(self, data: memoryview) -> bool:
        """Take the next bytes, and return whether the corrections are complete with them."""
        first, opening = self._received, self._layout.opening_bytes
        self._received += len(data)
        if first < opening:
            part = data[: opening - first]
            self._opening[first : first + len(part)] = np.frombuffer(part, dtype=np.uint8)
        if self._received > opening:
            skipped = max(0, opening - first)
            self._pieces[first + skipped - opening] = data[skipped:]
        return first < opening <= self._received

    def read(self, slot: int) -> memoryview:
        """Return the encrypted tables of a slot."""
        size = self._layout.table_bytes
        begin, end = slot * size, (slot + 1) * size
        parts = [
            piece[max(begin - start, 0) : end - start]
            for start, piece in self._pieces.items()
            if begin < start + len(piece) and start < end
        ]
        return parts[0] if len(parts) == 1 else memoryview(b"".join(parts))

    def forget(self, first: int, count: int) -> None:
        """Give up the tables of slots that need no more evaluation."""
        self._unread[first : first + count] = False
        size = self._layout.table_bytes
        self._pieces = {
            start: piece
            for start, piece in self._pieces.items()
            if self._unread[start // size : -(-(start + len(piece)) // size)].any()
        }


class LabelClient:
    """Evaluates circuits for a session; holds no state of a pool. Its buffers make it a matter of one thread."""

    def __init__(self, layout: LabelLayout, session: bytes, offer: bytes, entropy: Entropy) -> None:
        self._layout = layout
        self._session = session
        self._pairs = answer_offer(session, offer, entropy)
        self._kept: Evaluator | None = None

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

    def await_tables(self, pool: int, nonce: bytes) -> PoolTables:
        """Return what will evaluate a pool, for `add_tables`."""
        return PoolTables(self._layout, extension.place(self._session, pool, nonce))

    def add_tables(self, pool: PoolTables, shares: IntMatrix, data: memoryview) -> None:
        """Take the next bytes of the provider's tables for the choices of the same shares."""
        if not pool.add(data):
            return
        layout = self._layout
        for slots in layout.stretches():
            bits, first = share_bits(shares[:, slots], layout.bits), slots.start * layout.wires
            rows = extension.receive(self._pairs.zeros, pool.where, first, bits.size)
            labels = pool.labels[slots]
            # One choice of two: a correction counts where the client's bit is 1.
            labels[...] = select(bits, labels)
            labels ^= extension.correlate(rows, pool.where, first).reshape(labels.shape)

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
            evaluator = self._evaluator(slots.stop - slots.start)
            for share, labels in zip(evaluator.shares, (received[here], pool.labels[slots]), strict=True):
                share[...] = labels.transpose(1, 2, 0, 3)
            self._uncover(pool, slots, covers[here.start * COVER_BYTES :], evaluator)
            outputs[here] = colours(evaluator.run(block_key(pool.where, block, pool.salt), start)).T
        return outputs ^ decode

    def _uncover(self, pool: PoolTables, slots: slice, covers: memoryview, evaluator: Evaluator) -> None:
        """Decrypt the tables of some slots for an evaluator."""
        tables = np.empty((evaluator.slots, self._layout.table_bytes), dtype=np.uint8)
        for table, slot in zip(tables, range(slots.start, slots.stop), strict=True):
            cover, covers = bytes(covers[:COVER_BYTES]), covers[COVER_BYTES:]
            add_keystream(cover, pool.read(slot), table.data)
        whole(evaluator.tables)[...] = whole(tables)[:, evaluator.order].T

    def _evaluator(self, slots: int) -> Evaluator:
        """Return the evaluator for so many slots; that of another number is given up."""
        if self._kept is None or self._kept.slots != slots:
            self._kept = Evaluator(self._layout.circuit, slots)
        return self._kept
