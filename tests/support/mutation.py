"""A seeded fuzzer that knows the shape of protobuf: frames of honest sessions with something done to them."""

from __future__ import annotations

import random
from collections.abc import Sequence

#: Numbers at which lengths and counts change their meaning.
_EDGES = (0, 1, 0x7F, 0x80, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1)


class Mutator:
    """Draws inputs from honest ones; the same seed draws the same."""

    def __init__(self, seed: int, corpus: Sequence[bytes]) -> None:
        self._chance = random.Random(seed)  # noqa: S311 - the same inputs in every run
        self._corpus = list(corpus)
        self._ways = (self._flip, self._cut, self._extend, self._splice, self._repeat, self._number, self._noise)

    def draw(self) -> bytes:
        """Return an honest input after one to three alterations."""
        data = self._chance.choice(self._corpus)
        for _ in range(self._chance.randint(1, 3)):
            data = self._chance.choice(self._ways)(data)
        return data

    def _place(self, data: bytes) -> int:
        # The beginning of a message holds its structure, the rest mostly payload.
        end = len(data) if self._chance.random() < 0.5 else min(len(data), 32)
        return self._chance.randrange(end + 1)

    def _flip(self, data: bytes) -> bytes:
        if not data:
            return b"\x00"
        place = min(self._place(data), len(data) - 1)
        return data[:place] + bytes([data[place] ^ 1 << self._chance.randrange(8)]) + data[place + 1 :]

    def _cut(self, data: bytes) -> bytes:
        return data[: self._place(data)]

    def _extend(self, data: bytes) -> bytes:
        return data + self._chance.randbytes(self._chance.randint(1, 16))

    def _splice(self, data: bytes) -> bytes:
        return data[: self._place(data)] + self._chance.choice(self._corpus)[self._chance.randrange(8) :]

    def _repeat(self, data: bytes) -> bytes:
        start, stop = sorted((self._place(data), self._place(data)))
        return data[:stop] + data[start:stop] * self._chance.randint(1, 4) + data[stop:]

    def _number(self, data: bytes) -> bytes:
        """Put a number of the wire format in place of a byte."""
        place, value = self._place(data), self._chance.choice(_EDGES)
        digits = bytearray()
        while value > 0x7F:
            digits.append(value & 0x7F | 0x80)
            value >>= 7
        return data[:place] + bytes(digits) + bytes([value]) + data[place + 1 :]

    def _noise(self, data: bytes) -> bytes:
        place = self._place(data)
        return data[:place] + self._chance.randbytes(self._chance.randint(1, 8)) + data[place:]
