"""How long this machine needs for a unit of each kind of work, timed once for a suite and kept in the cache folder.

Every call is timed at a few shapes; a call's seconds are then explained as a sum over its amounts of work by
non-negative least squares, weighed so that relative errors count alike in short calls and long ones.
"""

import hashlib
import json
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

import numpy as np

from securealign.alignment.ridge import Penalty
from securealign.alignment.secure import ClientProblem
from securealign.cache import cache_root
from securealign.commands import counted
from securealign.files import write_atomically
from securealign.he.entropy import SystemEntropy
from securealign.he.forecast import COVARIANCE_CALLS, HEAD_CALLS, LABEL_CALLS, Work
from securealign.he.interface import CovarianceShape, HeadShape, LabelSecrets, LabelTerms, Suite
from securealign.limits import MAX_CHUNK_BYTES
from securealign.matrices import FloatMatrix, Rows

#: Shapes that are timed: (d_A, d_B), (features, classes, slots), (rows, d_B, d_A) of what the client does in clear.
_COVARIANCES = ((64, 64), (384, 96), (96, 384), (320, 320))
_HEADS = ((128, 8, 16), (768, 8, 64), (256, 96, 64), (768, 32, 32))
_PROBLEMS = ((2048, 64, 64), (1024, 512, 96), (12288, 256, 384), (16384, 96, 64))
#: Rows of a covariance: a tile of `lwe`, or fewer where rows are slow.
_ROWS, _FEW_ROWS = 2048, 24
#: Parts of the classes, and of the queries, of a head that are timed where they are slow.
_FEW_CLASSES, _FEW_QUERIES = 8, 16
_REPETITIONS = 2
#: Version of what is timed and how it is explained; a file of another version is not used.
_EDITION = 3

T = TypeVar("T")
Progress = Callable[[int, int], None]
#: Seconds for a unit of work, by kind.
Rates = Mapping[str, float]


@dataclass(frozen=True)
class Speeds:
    """Seconds for a unit of work: of a covariance, a head, the client in clear, a head of labels (may be empty)."""

    covariance: Mapping[str, Rates]
    head: Mapping[str, Rates]
    problem: Mapping[str, Rates]
    label: Mapping[str, Rates] = field(default_factory=dict)

    def seconds(self, job: str, call: str, work: Work) -> float:
        """Return how long a call takes here."""
        rates: Rates = getattr(self, job)[call]
        return sum(rates[kind] * amount for kind, amount in work.items())


def speeds_of(suite: Suite, *, progress: Progress = lambda done, total: None, renew: bool = False) -> Speeds:
    """Return this machine's speeds under a suite, timed now unless they are known."""
    file = _file(suite)
    if not renew and (known := _load(file)) is not None:
        return known
    speeds = _measure(suite, progress)
    write_atomically(file, json.dumps(speeds.__dict__, indent=1).encode())
    return speeds


def _file(suite: Suite) -> Path:
    """Return where speeds are kept; another machine, library or release has another file."""
    facts = [
        _EDITION,
        suite.info.parameter_digest.hex(),
        version("securealign"),
        np.__version__,
        platform.machine(),
        len(os.sched_getaffinity(0)),
        _processor(),
        *(os.environ.get(name, "") for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")),
    ]
    digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
    return cache_root() / "speeds" / f"{suite.info.parameter_set}-{digest[:16]}.json"


def _processor() -> str:
    """Return the model of the processor, if the system says it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def _load(file: Path) -> Speeds | None:
    """Return the speeds in a file, None when there are none or they are incomplete."""
    try:
        speeds = Speeds(**json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    complete = set(speeds.covariance) == set(COVARIANCE_CALLS) and set(speeds.head) == set(HEAD_CALLS)
    return speeds if complete and set(speeds.label) in (set(), {*HEAD_CALLS, *LABEL_CALLS}) else None


def _measure(suite: Suite, progress: Progress) -> Speeds:
    """Time every call at its shapes, and explain the seconds of each by its work."""
    tasks: list[tuple[str, Mapping[str, Work], Callable[[], Mapping[str, float]]]] = []
    for rows, columns, features in _PROBLEMS:
        both = {"problem": problem_work(rows, columns), "solution": solution_work(columns, features)}
        tasks.append(("problem", both, partial(time_problem, rows, columns, features)))
    for covariance in _covariance_shapes(suite):
        calls = suite.covariance_forecast(covariance).work
        tasks.append(("covariance", calls, partial(time_covariance, suite, covariance)))
    for head in _head_shapes(suite):
        job = "head" if head.labels is None else "label"
        tasks.append((job, suite.head_forecast(head).work, partial(time_head, suite, head)))
    observed: dict[str, dict[str, list[tuple[Work, float]]]] = {job.name: {} for job in fields(Speeds)}
    for job, work, timed in counted(tasks, progress):
        runs = [timed() for _ in range(_REPETITIONS)]
        for call in runs[0]:
            # The least: what disturbs a measurement only ever adds to it.
            observed[job].setdefault(call, []).append((work[call], min(run[call] for run in runs)))
    jobs = {job: {call: explain(samples) for call, samples in calls.items()} for job, calls in observed.items()}
    return Speeds(**jobs)


def _is_slow(suite: Suite) -> bool:
    """Return whether every row and every query costs ciphertexts of its own."""
    return suite.info.encrypts and not suite.info.offline_phase


def _head_shapes(suite: Suite) -> list[HeadShape]:
    """Return the shapes to time, with labels as answers too if the suite has them; small where they are slow."""
    classes, slots = (_FEW_CLASSES, _FEW_QUERIES) if _is_slow(suite) else (1, 1)
    shapes = [HeadShape(provider_dim=d, classes=-(-k // classes), slots=-(-n // slots)) for d, k, n in _HEADS]
    return shapes + [replace(shape, labels=LabelTerms()) for shape in shapes if suite.info.label_only]


def _covariance_shapes(suite: Suite) -> list[CovarianceShape]:
    """Return the shapes to time; few rows and small ones where they are slow."""
    rows, left, right = (_FEW_ROWS, 8, 32) if _is_slow(suite) else (_ROWS, 1, 1)
    return [CovarianceShape(rows=rows, provider_dim=a // left, columns=b // right + 1) for a, b in _COVARIANCES]


def explain(observed: Sequence[tuple[Work, float]]) -> dict[str, float]:
    """Return non-negative seconds for a unit of each kind of work, given calls; relative errors count alike."""
    from scipy.optimize import nnls  # takes a fifth of a second, which no other command needs to spend

    kinds = sorted(observed[0][0])
    amounts = np.array([[work[kind] for kind in kinds] for work, _ in observed], dtype=np.float64)
    seconds = np.array([taken for _, taken in observed])
    # Columns of like size, so that the solver sees amounts of 1 beside amounts of 10^10.
    sizes = amounts.max(axis=0)
    rates, _ = nnls(amounts / sizes / seconds[:, None], np.ones(len(seconds)))
    return dict(zip(kinds, (rates / sizes).tolist(), strict=True))


_NONCE = bytes(32)
_SESSION = bytes(32)
_RIDGE: Penalty = "auto"


@dataclass
class _Stopwatch:
    """Adds up the seconds of calls."""

    seconds: float = 0.0

    def __call__(self, call: Callable[[], T]) -> T:
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
    before, after = _Stopwatch(), _Stopwatch()
    problem = before(lambda: ClientProblem(z_b, _RIDGE))
    # Rows that belong together: for others the client refuses to solve.
    z_a = z_b @ _normal(columns, provider_dim)
    product = z_a.T @ problem.rows.block(0, rows)
    after(lambda: problem.solve(product, float(np.sum(z_a**2))))
    return {"problem": before.seconds, "solution": after.seconds}


def time_covariance(suite: Suite, shape: CovarianceShape) -> dict[str, float]:
    """Return the seconds of every call of a covariance, of "encrypt" and "absorb" for one row."""
    watches = {call: _Stopwatch() for call in COVARIANCE_CALLS}
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
    watches = {call: _Stopwatch() for call in (HEAD_CALLS if labels is None else HEAD_CALLS + LABEL_CALLS)}
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
