"""Reproducible randomness, for tests only: a program that used it would have no secrets."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

from securealign.he.entropy import keystream


class SeededEntropy:
    """Call k = 0, 1, ... returns the AES-256-CTR keystream under SHA-256(seed || k), k in eight big-endian bytes."""

    def __init__(self, seed: bytes) -> None:
        self._seed = seed
        self._calls = 0

    def octets(self, count: int) -> npt.NDArray[np.uint8]:
        key = hashlib.sha256(self._seed + self._calls.to_bytes(8, "big")).digest()
        self._calls += 1
        return keystream(key, count)

    def fork(self, purpose: str) -> SeededEntropy:
        return self


class ScriptedEntropy:
    """Returns the given byte strings, one per call, and fails on a call that asks for another number of bytes."""

    def __init__(self, *octets: bytes) -> None:
        self._octets = list(octets)

    def octets(self, count: int) -> npt.NDArray[np.uint8]:
        octets = self._octets.pop(0)
        assert len(octets) == count
        return np.frombuffer(octets, dtype=np.uint8)

    def fork(self, purpose: str) -> ScriptedEntropy:
        return self
