"""An engine without encryption, for the machinery of native suites in any environment; it misbehaves when told to.

A ciphertext is a mark and the numbers themselves. A ciphertext or key that begins with "!" instead is an order, such
as b"!abort", and whichever role reads it obeys: so a peer's bytes do to this engine what hostile bytes do to a native
library. `SENDS_KEY`, `SENDS_CIPHERTEXT` and `SENDS_RESULT` in the environment of a worker are what its role sends in
place of its own.
"""

from __future__ import annotations

import json
import os
import pickle
import signal
import socket
import struct
import sys
import threading
from pathlib import Path

import numpy as np

from securealign.he.native.frames import encode
from securealign.he.native.profile import Job, Profile, Ring

_MARK = b"fake"
_KEY = b"fake key"
_RING = Ring(dimension=2048, log_q=53)
_ROOM = len(_MARK) + 8 * _RING.slots
#: The names of variables that make a worker send something else.
SENDS_KEY, SENDS_CIPHERTEXT, SENDS_RESULT = "SENDS_KEY", "SENDS_CIPHERTEXT", "SENDS_RESULT"
#: An explanation as only a foreign library gives them: a path, lines, colours, and no end.
EXPLANATION = "/build/deserialise.cpp:17\n\x1b[31mnot\ta ring\r\u202e" + "x" * 100_000

_JOB = Job(ring=_RING, message_norm=2.0**20, operand_norm=2.0**20, fresh_bytes=_ROOM, evaluated_bytes=_ROOM)
PROFILE = Profile(
    name="fake",
    parameter_set="fake-1",
    package="numpy",
    advice="install it",
    engine=__name__,
    parameters=("none",),
    covariance=_JOB,
    head=_JOB,
    covariance_key_bytes=64,
    head_key_bytes=lambda shape: 64 + shape.classes,
    answer_ciphertexts=lambda _shape: 1,
    largest_classes=_RING.slots,
    covariance_error=2.0**-30,
    head_error=2.0**-30,
)


class Temptation:
    """An object whose pickle creates a file when it is loaded."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __reduce__(self):
        return Path.touch, (Path(self._path),)


def obey(order: str) -> object:
    """Do what an order says: end, wait for ever, answer with something else."""
    name, _, argument = order.partition(" ")
    return getattr(_Orders, name)(*[argument] if argument else [])


class _Orders:
    """What a worker can be told to do, by name."""

    @staticmethod
    def abort():
        os.abort()

    @staticmethod
    def kill():
        os.kill(os.getpid(), signal.SIGRTMIN + 5)

    @staticmethod
    def exit():
        os._exit(7)

    @staticmethod
    def leave():
        sys.exit(3)

    @staticmethod
    def wait():
        threading.Event().wait()

    @staticmethod
    def fail():
        raise ValueError(EXPLANATION)

    @staticmethod
    def leave_speechless():
        raise type("Speechless", (Exception,), {"__str__": lambda _: 1 / 0})

    # What is no answer

    @staticmethod
    def answer_text():
        return "text"

    @staticmethod
    def answer_dictionary():
        return {"a": 1}

    @staticmethod
    def answer_vector():
        return np.zeros(3)

    @staticmethod
    def answer_numbers_as_bytes():
        return [1, 2]

    # Bytes in place of a frame

    @staticmethod
    def garbage():
        _write(b"\xff" * 64)

    @staticmethod
    def two_values():
        _write(encode("done", [1, 2]))

    @staticmethod
    def no_value():
        _write(encode("done", []))

    @staticmethod
    def other_outcome():
        _write(encode("perhaps", [1]))

    @staticmethod
    def failed_number():
        _write(encode("failed", [1]))

    @staticmethod
    def huge():
        header = json.dumps(["done", [["bytes"]]]).encode()
        _write(struct.pack("<II", len(header), 1) + header + struct.pack("<Q", 1 << 40))

    @staticmethod
    def many():
        _write(struct.pack("<II", 2, 0xFFFFFFFF) + b"{}")

    @staticmethod
    def half_a_frame():
        _write(encode("done", [b"x" * 100])[:50])

    @staticmethod
    def hang_up():
        os.dup2(os.open(os.devnull, os.O_RDWR), int(sys.argv[1]))
        threading.Event().wait()

    @staticmethod
    def tempt(path: str):
        _write(pickle.dumps(Temptation(path)))


def _write(data: bytes) -> None:
    """Put bytes on the worker's stream, and wait for what comes of it."""
    with socket.socket(fileno=os.dup(int(sys.argv[1]))) as stream:
        stream.sendall(data)
    threading.Event().wait()


def dump(numbers: np.ndarray) -> bytes:
    """Return a ciphertext, whose length depends on the numbers as those of compressing libraries do."""
    return _MARK + np.trim_zeros(np.asarray(numbers, dtype="<f8"), "b").tobytes()


def load(data: bytes) -> np.ndarray:
    """Return the numbers of a ciphertext, with zeros for those that were trimmed, or obey it."""
    if data.startswith(b"!"):
        return obey(data[1:].decode())
    if not data.startswith(_MARK):
        raise ValueError("no mark")
    numbers = np.zeros(_RING.slots)
    sent = np.frombuffer(data[len(_MARK) :], dtype="<f8")
    numbers[: len(sent)] = sent
    return numbers


class Probe:
    """Shows that the engine works here, which it always does."""

    do = staticmethod(obey)

    def __init__(self, order: str = "") -> None:
        if order:
            obey(order)

    def echo(self, value):
        """Return a value."""
        return value

    def path(self) -> str:
        """Return where modules are looked for."""
        return json.dumps(sys.path)

    def memory(self, mebibytes: int) -> int:
        """Ask for memory."""
        return len(bytearray(mebibytes << 20))


class _Client:
    def key(self) -> bytes:
        return os.environ.get(SENDS_KEY, "").encode() or _KEY

    def _encrypt(self, numbers: np.ndarray) -> list[bytes]:
        parts = [numbers[first : first + _RING.slots] for first in range(0, len(numbers), _RING.slots)]
        sent = os.environ.get(SENDS_CIPHERTEXT, "").encode()
        return [sent or dump(part) for part in parts]


class _Provider:
    def accept_key(self, key: bytes) -> object:
        if key.startswith(b"!"):
            return obey(key[1:].decode())
        if key != _KEY:
            raise ValueError("another key")
        return None

    @staticmethod
    def _results(honest: list[bytes]) -> list[bytes]:
        match os.environ.get(SENDS_RESULT, ""):
            case "":
                return honest
            case "one more":
                return [*honest, honest[0]]
            case "none":
                return []
            case "empty":
                return [b"" for _ in honest]
            case "large":
                return [bytes(_ROOM + 1) for _ in honest]
            case order:
                return [order.encode() for _ in honest]


class CovarianceClient(_Client):
    def __init__(self, columns: int) -> None:
        self._columns = columns
        self._parts = -(-columns // _RING.slots)

    def encrypt(self, rows: np.ndarray) -> list[bytes]:
        return [data for row in rows for data in self._encrypt(row)]

    def decrypt(self, ciphertexts: list[bytes]) -> np.ndarray:
        if ciphertexts[0] == b"wrong shape":
            return np.zeros((1, self._columns + 1))
        slots = np.array([load(data) for data in ciphertexts])
        return slots.reshape(-1, self._parts * _RING.slots)[:, : self._columns]


class CovarianceProvider(_Provider):
    def __init__(self, features: int, columns: int) -> None:
        self._parts = -(-columns // _RING.slots)
        self._sums = np.zeros((features, self._parts * _RING.slots))

    def absorb(self, ciphertexts: list[bytes], operand: np.ndarray) -> None:
        slots = np.array([load(data) for data in ciphertexts])
        self._sums += operand.T @ slots.reshape(len(operand), -1)

    def finish(self) -> list[bytes]:
        return self._results([dump(part) for part in self._sums.reshape(-1, _RING.slots)])


class HeadClient(_Client):
    def __init__(self, features: int, classes: int) -> None:
        self._features = features
        self._classes = classes

    def encrypt(self, queries: np.ndarray) -> list[bytes]:
        return [data for query in queries for data in self._encrypt(query)]

    def decrypt(self, ciphertexts: list[bytes]) -> np.ndarray:
        if ciphertexts[0] == b"wrong shape":
            return np.zeros((1, self._classes + 1))
        return np.array([load(data)[: self._classes] for data in ciphertexts])


class HeadProvider(_Provider):
    def __init__(self, weight: np.ndarray) -> None:
        self._parts = -(-len(weight) // _RING.slots)
        self._weight = weight

    def evaluate(self, ciphertexts: list[bytes]) -> list[bytes]:
        slots = np.array([load(data) for data in ciphertexts]).reshape(-1, self._parts * _RING.slots)
        return self._results([dump(row) for row in slots[:, : len(self._weight)] @ self._weight])
