"""Times the calls of a suite on random data of one shape, without the protocol around them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np

from securealign.alignment.ridge import Penalty
from securealign.alignment.secure import ClientProblem
from securealign.he.entropy import SystemEntropy
from securealign.he.forecast import COVARIANCE_CALLS, HEAD_CALLS, LABEL_CALLS, Work
from securealign.he.interface import CovarianceShape, HeadShape, LabelSecrets, Suite
from securealign.limits import MAX_CHUNK_BYTES
from securealign.matrices import FloatMatrix, Rows

T = TypeVar("T")

_NONCE = bytes(32)
_SESSION = bytes(32)
_RIDGE: Penalty = "auto"


@dataclass
class Stopwatch:
    """Adds up the seconds of calls."""

    seconds: float = 0.0

    def __call__(self, call: Callable[[], T]) -> T:
        """Return what a call returns."""
        start = time.perf_counter()
        try:
            return call()
        finally:
            self.seconds += time.perf_counter() - start


def problem_work(rows: int, columns: int) -> Work:
    """Return the client's work before anything is encrypted: the Gram matrix of its rows, and factors of it."""
    return {"products": rows * columns**2, "read": rows * columns, "factors": columns**3}


def solution_work(columns: int, provider_dim: int) -> Work:
    """Return the client's work with the decrypted product: spectrum of its Gram matrix, choice of a penalty, map."""
    return {"products": columns**2 * provider_dim, "factors": columns**3}


def time_problem(rows: int, columns: int, provider_dim: int) -> dict[str, float]:
    """Return the seconds of the client's mathematics in clear: "problem" and "solution"."""
    z_b = _normal(rows, columns)
    before, after = Stopwatch(), Stopwatch()
    problem = before(lambda: ClientProblem(z_b, _RIDGE))
    # Rows that belong together: for others the client refuses to solve.
    z_a = z_b @ _normal(columns, provider_dim)
    product = z_a.T @ problem.rows.block(0, rows)
    after(lambda: problem.solve(product, float(np.sum(z_a**2))))
    return {"problem": before.seconds, "solution": after.seconds}


def time_covariance(suite: Suite, shape: CovarianceShape) -> dict[str, float]:
    """Return the seconds of every call of a covariance, of "encrypt" and "absorb" for one row."""
    watches = {call: Stopwatch() for call in COVARIANCE_CALLS}
    z_a = Rows(_normal(shape.rows, shape.provider_dim))
    z_b = ClientProblem(_normal(shape.rows, shape.columns - 1), _RIDGE).rows
    encryptor = watches["key"](lambda: suite.covariance_encryptor(shape, _SESSION, z_b, SystemEntropy()))
    evaluator = watches["make"](lambda: suite.covariance_evaluator(shape, _SESSION, z_a, SystemEntropy()))
    try:
        key = watches["key"](encryptor.key_material)
        watches["accept_key"](lambda: evaluator.accept_key(key))
        pieces = encryptor.encrypt(MAX_CHUNK_BYTES)
        while (piece := watches["encrypt"](lambda: next(pieces, None))) is not None:
            watches["absorb"](partial(evaluator.absorb, piece))
        result = watches["finish"](evaluator.finish)
        watches["decrypt"](lambda: encryptor.decrypt(result))
    finally:
        encryptor.close()
        evaluator.close()
    shares = {"encrypt": shape.rows, "absorb": shape.rows}
    return {call: watch.seconds / shares.get(call, 1) for call, watch in watches.items()}


def time_head(suite: Suite, shape: HeadShape) -> dict[str, float]:
    """Return the seconds of every call of a head, one query at a time."""
    labels = None if shape.labels is None else LabelSecrets(transfer_seed=_SESSION)
    watches = {call: Stopwatch() for call in (HEAD_CALLS if labels is None else HEAD_CALLS + LABEL_CALLS)}
    weight, bias = _normal(shape.provider_dim, shape.classes), _normal(1, shape.classes)[0]
    queries = _normal(shape.slots, shape.provider_dim)
    entropy = SystemEntropy()
    evaluator = watches["make"](lambda: suite.head_evaluator(shape, _SESSION, weight, bias, entropy, labels=labels))
    offer = watches["make"](evaluator.offer)
    encryptor = watches["key"](lambda: suite.head_encryptor(shape, _SESSION, entropy, offer))
    try:
        key = watches["key"](encryptor.key_material)
        watches["accept_key"](lambda: evaluator.accept_key(key))
        pool = watches["prepare"](lambda: evaluator.prepare(0, _NONCE))
        watches["load_pool"](lambda: encryptor.load_pool(0, pool, _NONCE))
        if labels is not None:
            choices = watches["choose"](lambda: encryptor.choose(0))
            tables = watches["garble"](lambda: b"".join(evaluator.garble(0, choices)))
            watches["load_tables"](lambda: encryptor.load_tables(0, tables))
        for slot in range(shape.slots):
            own = queries[slot : slot + 1]
            query = watches["encrypt"](partial(encryptor.encrypt, 0, slot, own))
            answer = watches["evaluate"](partial(evaluator.evaluate, 0, slot, 1, query))
            watches["decrypt"](partial(encryptor.decrypt, 0, slot, answer))
    finally:
        encryptor.close()
        evaluator.close()
    each = dict.fromkeys(("encrypt", "evaluate", "decrypt"), shape.slots)
    return {call: watch.seconds / each.get(call, 1) for call, watch in watches.items()}


def _normal(rows: int, columns: int) -> FloatMatrix:
    return np.random.default_rng(7).standard_normal((rows, columns))
