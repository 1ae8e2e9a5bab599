"""The provider's side of label-only answers: garbles pools, then gives labels of its shares."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from securealign.he.entropy import keystream
from securealign.he.labels import extension
from securealign.he.labels.circuits import label
from securealign.he.labels.garbling import Garbler, Labels, colours, select
from securealign.he.labels.layout import COVER_BYTES, LABEL_BYTES, SALT_BYTES, LabelLayout
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


class LabelProvider:
    """Garbles circuits for a session; holds no state of a pool."""

    def __init__(self, layout: LabelLayout, session: bytes, transfer_seed: bytes) -> None:
        self._layout = layout
        self._session = session
        self._transfer = BaseReceiver(session, transfer_seed)
        self._keys: list[bytes] = []

    @property
    def offer(self) -> bytes:
        """The offer of a transfer."""
        return self._transfer.offer

    def accept_reply(self, reply: bytes) -> None:
        """Take the client's reply to the offer; raises `CiphertextError` for a malformed one."""
        self._keys = self._transfer.keys(reply)

    def garble(
        self, pool: int, nonce: bytes, choices: memoryview, seed: bytes, salt: bytes
    ) -> tuple[bytes, npt.NDArray[np.uint8]]:
        """Return the tables of a pool and its decode bits (slots, outputs).

        The secrets of the slots derive from `seed`, 32 bytes; `salt`, 16 bytes, is drawn when the choices are known.
        Raises `CiphertextError` for inconsistent choices.
        """
        layout = self._layout
        where = extension.place(self._session, pool, nonce)
        rows = extension.accept(self._transfer.choices, self._keys, where, choices, layout.transfers)
        used = layout.slots * layout.wires
        shape = (layout.slots, layout.bits, layout.rows, 2)
        zeros = extension.correlate(rows, where)
        others = extension.correlate(rows ^ np.packbits(self._transfer.choices, bitorder="little").view("<u8"), where)
        client_zeros = zeros[:used].reshape(shape)
        secrets = self._secrets(seed, 0, layout.slots)

        data = np.empty(layout.tables_bytes, dtype=np.uint8)
        data[:SALT_BYTES] = np.frombuffer(salt, dtype=np.uint8)
        middle = SALT_BYTES + LABEL_BYTES * used
        corrections = data[SALT_BYTES:middle].view(np.uint64).reshape(shape)
        np.bitwise_xor(client_zeros, others[:used].reshape(shape), out=corrections)
        corrections ^= secrets.deltas[:, None, None]
        tables = data[middle:].reshape(layout.slots, layout.table_bytes)

        decode = np.empty((layout.slots, layout.outputs), dtype=np.uint8)
        for block, slots, first in layout.blocks(0, layout.slots):
            garbler = Garbler(layout.gates, slots.stop - slots.start)
            garbler.begin(block_key(where, block, salt), first, secrets.deltas[slots])
            shares = np.stack([secrets.zeros[slots], client_zeros[slots]]).transpose(0, 2, 3, 1, 4)
            outputs = label(garbler, shares, layout.classes, layout.segments, layout.buckets)
            tables[slots] = garbler.tables.transpose(2, 0, 1, 3).reshape(-1, 2 * layout.gates * 2).view(np.uint8)
            decode[slots] = colours(outputs).T
        # A client must not choose its query by the tables: their keys come with the answer (Bellare et al. 2012).
        for slot, cover in enumerate(secrets.covers):
            tables[slot] ^= keystream(cover.tobytes(), layout.table_bytes)
        return data.tobytes(), decode

    def answer(self, seed: bytes, decode: npt.NDArray[np.uint8], first: int, values: IntMatrix) -> bytes:
        """Return labels of the provider's shares (m, count) of consecutive slots, keys of tables, and decode bits.

        A slot is answered once: two sets of labels show its Delta, with which all its labels are known.
        """
        count = values.shape[1]
        secrets = self._secrets(seed, first, count)
        labels = secrets.zeros ^ select(share_bits(values, self._layout.bits), secrets.deltas[:, None, None])
        shown = np.packbits(decode[first : first + count], bitorder="little")
        return labels.tobytes() + secrets.covers.tobytes() + shown.tobytes()

    def _secrets(self, seed: bytes, first: int, count: int) -> SlotSecrets:
        """Return the secrets of `count` slots from `first` on."""
        layout = self._layout
        size = layout.record_bytes
        records = keystream(seed, count * size, offset=first * size).reshape(count, size)
        deltas = records[:, :LABEL_BYTES].copy().view("<u8")
        deltas[:, 0] |= np.uint64(1 << 63)
        middle = LABEL_BYTES + COVER_BYTES
        zeros = records[:, middle:].view("<u8").reshape(count, layout.bits, layout.rows, 2)
        return SlotSecrets(deltas, records[:, LABEL_BYTES:middle], zeros)
