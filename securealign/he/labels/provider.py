"""The provider's side of label-only answers: garbles pools, then gives labels of its shares."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from securealign.he.entropy import add_keystream, keystream
from securealign.he.labels import extension
from securealign.he.labels.garbling import Garbler, Labels, colours, select, whole
from securealign.he.labels.layout import COVER_BYTES, LABEL_BYTES, LabelLayout
from securealign.he.labels.transfer import BaseReceiver

IntMatrix = npt.NDArray[np.int64]


def block_key(where: bytes, block: int, salt: bytes) -> bytes:
    """Return the key under which the slots of a block are garbled."""
    return hashlib.sha256(b"securealign/label/block" + where + block.to_bytes(4, "big") + salt).digest()[:16]


def share_bits(values: IntMatrix, bits: int) -> npt.NDArray[np.uint8]:
    """Return the bits of shares (m, slots), lowest first, shape (slots, bits, m)."""
    spread: npt.NDArray[np.int64] = values.T[:, None, :] >> np.arange(bits, dtype=np.int64)[:, None]
    return (spread & 1).astype(np.uint8)


class SlotSecrets(NamedTuple):
    """What consecutive slots are garbled with."""

    #: (slots, 2).
    deltas: Labels
    #: Keys of the tables, (slots, 32).
    covers: npt.NDArray[np.uint8]
    #: Labels of 0 of the provider's bits, (slots, t, m, 2).
    zeros: Labels


class _Pool(NamedTuple):
    """A pool while its tables are made."""

    where: bytes
    transfers: extension.Accepted
    seed: bytes
    salt: bytes
    #: (slots, outputs), written as tables are made.
    decode: npt.NDArray[np.uint8]


class LabelProvider:
    """Garbles circuits for a session; holds no state of a pool. Its garbler makes it a matter of one thread."""

    def __init__(self, layout: LabelLayout, session: bytes, transfer_seed: bytes) -> None:
        self._layout = layout
        self._session = session
        self._transfer = BaseReceiver(session, transfer_seed)
        self._keys: list[bytes] = []
        self._garbler: Garbler | None = None

    @property
    def offer(self) -> bytes:
        """The offer of a transfer."""
        return self._transfer.offer

    def accept_reply(self, reply: bytes) -> None:
        """Take the client's reply to the offer; raises `CiphertextError` for a malformed one."""
        self._keys = self._transfer.keys(reply)

    def garble(
        self, pool: int, nonce: bytes, choices: memoryview, seed: bytes, salt: bytes
    ) -> tuple[Iterator[bytes], npt.NDArray[np.uint8]]:
        """Return the tables of a pool in pieces, and its decode bits (slots, outputs), known once the last is made.

        The secrets of the slots derive from `seed`, 32 bytes; `salt`, 16 bytes, is drawn when the choices are known.
        Raises `CiphertextError` for inconsistent choices before anything is made.
        """
        where = extension.place(self._session, pool, nonce)
        transfers = extension.accept(self._transfer.choices, self._keys, where, choices, self._layout.transfers)
        decode = np.empty((self._layout.slots, self._layout.outputs), dtype=np.uint8)
        return self._pieces(_Pool(where, transfers, seed, salt, decode)), decode

    def _pieces(self, pool: _Pool) -> Iterator[bytes]:
        """Yield salt, corrections by stretch and tables by block, and write decode bits."""
        layout, stretches = self._layout, self._layout.stretches()
        secret = np.packbits(self._transfer.choices, bitorder="little").view("<u8")
        yield pool.salt
        zeros = np.empty(0, dtype=np.uint64)
        for slots in stretches:
            first, rows = self._rows(pool, slots)
            zeros = extension.correlate(rows, pool.where, first)
            corrections = zeros ^ extension.correlate(rows ^ secret, pool.where, first)
            deltas = self._secrets(pool.seed, slots).deltas
            corrections.reshape(len(deltas), -1, 2)[...] ^= deltas[:, None]
            yield corrections.tobytes()
        for slots in stretches:
            if len(stretches) > 1:  # Labels of one stretch alone are kept from the pass before.
                first, rows = self._rows(pool, slots)
                zeros = extension.correlate(rows, pool.where, first)
            yield from self._blocks(pool, slots, zeros.reshape(-1, layout.bits, layout.rows, 2))

    def _rows(self, pool: _Pool, slots: slice) -> tuple[int, Labels]:
        """Return the number of the first transfer of some slots, and the rows of all of them."""
        first, stop = slots.start * self._layout.wires, slots.stop * self._layout.wires
        return first, pool.transfers.rows(first, stop - first)

    def _blocks(self, pool: _Pool, run: slice, zeros: Labels) -> Iterator[bytes]:
        """Yield the covered tables of a run of slots; `zeros` are the labels of 0 of the client's bits."""
        layout = self._layout
        for block, slots, first in layout.blocks(run.start, run.stop - run.start):
            secrets, count = self._secrets(pool.seed, slots), slots.stop - slots.start
            garbler = self._circuit(count)
            garbler.deltas[...] = secrets.deltas
            for share, labels in zip(garbler.shares, (secrets.zeros, zeros[slots.start - run.start :]), strict=True):
                share[...] = labels[:count].transpose(1, 2, 0, 3)
            outputs = garbler.run(block_key(pool.where, block, pool.salt), first)
            pool.decode[slots] = colours(outputs).T
            tables = np.empty((count, layout.table_bytes), dtype=np.uint8)
            whole(tables)[:, garbler.order] = whole(garbler.tables).T
            # A client must not choose its query by the tables: their keys come with the answer (Bellare et al. 2012).
            for table, cover in zip(tables, secrets.covers, strict=True):
                add_keystream(cover.tobytes(), table.data, table.data)
            yield tables.tobytes()

    def _circuit(self, slots: int) -> Garbler:
        """Return the garbler for so many slots; that of another number is given up."""
        if self._garbler is None or self._garbler.slots != slots:
            self._garbler = Garbler(self._layout.circuit, slots)
        return self._garbler

    def answer(self, seed: bytes, decode: npt.NDArray[np.uint8], first: int, values: IntMatrix) -> bytes:
        """Return labels of the provider's shares (m, count) of consecutive slots, keys of tables, and decode bits.

        A slot is answered once: two sets of labels show its Delta, with which all its labels are known.
        """
        count = values.shape[1]
        secrets = self._secrets(seed, slice(first, first + count))
        labels = secrets.zeros ^ select(share_bits(values, self._layout.bits), secrets.deltas[:, None, None])
        shown = np.packbits(decode[first : first + count], bitorder="little")
        return labels.tobytes() + secrets.covers.tobytes() + shown.tobytes()

    def _secrets(self, seed: bytes, slots: slice) -> SlotSecrets:
        """Return the secrets of some slots."""
        layout, count = self._layout, slots.stop - slots.start
        size = layout.record_bytes
        records = keystream(seed, count * size, offset=slots.start * size).reshape(count, size)
        deltas = records[:, :LABEL_BYTES].copy().view("<u8")
        deltas[:, 0] |= np.uint64(1 << 63)
        middle = LABEL_BYTES + COVER_BYTES
        zeros = records[:, middle:].view("<u8").reshape(count, layout.bits, layout.rows, 2)
        return SlotSecrets(deltas, records[:, LABEL_BYTES:middle], zeros)
