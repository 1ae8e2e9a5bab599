"""How long this machine needs for a unit of each kind of work, timed once for a suite and kept in the cache folder.

Every call is timed at a few shapes; a call's seconds are then explained as a sum over its amounts of work by
non-negative least squares, weighed so that relative errors count alike in short calls and long ones.
"""

import hashlib
import json
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np

from securealign.cache import cache_root
from securealign.commands import counted
from securealign.files import write_atomically
from securealign.harness.planning.timing import problem_work, solution_work, time_covariance, time_head, time_problem
from securealign.he.forecast import COVARIANCE_CALLS, HEAD_CALLS, LABEL_CALLS, Work
from securealign.he.interface import CovarianceShape, HeadShape, LabelTerms, Suite

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

Progress = Callable[[int, int], None]
#: Seconds for a unit of work, by kind.
Rates = Mapping[str, float]


@dataclass(frozen=True)
class Speeds:
    """Seconds for a unit of each kind of work: of the calls of a covariance, of a head, and of the client in clear.

    `label` is of a head whose answers are labels, and empty for a suite without them.
    """

    covariance: Mapping[str, Rates]
    head: Mapping[str, Rates]
    problem: Mapping[str, Rates]
    label: Mapping[str, Rates] = field(default_factory=dict)

    def seconds(self, job: str, call: str, work: Work) -> float:
        """Return how long a call takes here."""
        jobs: dict[str, Mapping[str, Rates]] = {
            "covariance": self.covariance,
            "head": self.head,
            "problem": self.problem,
            "label": self.label,
        }
        rates = jobs[job][call]
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
    tasks: list[tuple[str, Mapping[str, Work], Callable[[], Mapping[str, float]]]] = [
        *(
            (
                "problem",
                {"problem": problem_work(rows, columns), "solution": solution_work(columns, features)},
                partial(time_problem, rows, columns, features),
            )
            for rows, columns, features in _PROBLEMS
        ),
        *(
            ("covariance", suite.covariance_forecast(shape).work, partial(time_covariance, suite, shape))
            for shape in _covariance_shapes(suite)
        ),
        *(
            (job, suite.head_forecast(shape).work, partial(time_head, suite, shape))
            for job, shapes in (("head", _head_shapes(suite)), ("label", _label_shapes(suite)))
            for shape in shapes
        ),
    ]
    observed: dict[str, dict[str, list[tuple[Work, float]]]] = {
        job: {} for job in ("covariance", "head", "problem", "label")
    }
    for job, work, timed in counted(tasks, progress):
        runs = [timed() for _ in range(_REPETITIONS)]
        for call in runs[0]:
            # The least: what disturbs a measurement only ever adds to it.
            observed[job].setdefault(call, []).append((work[call], min(run[call] for run in runs)))
    return Speeds(
        **{job: {call: explain(samples) for call, samples in calls.items()} for job, calls in observed.items()}
    )


def _is_slow(suite: Suite) -> bool:
    """Return whether every row and every query costs ciphertexts of its own."""
    return suite.info.encrypts and not suite.info.offline_phase


def _head_shapes(suite: Suite) -> list[HeadShape]:
    """Return the shapes to time; few classes and queries where they are slow."""
    classes, slots = (_FEW_CLASSES, _FEW_QUERIES) if _is_slow(suite) else (1, 1)
    return [HeadShape(provider_dim=d, classes=-(-k // classes), slots=-(-n // slots)) for d, k, n in _HEADS]


def _label_shapes(suite: Suite) -> list[HeadShape]:
    """Return the shapes to time of a head whose answers are labels."""
    return [replace(shape, labels=LabelTerms()) for shape in _head_shapes(suite)] if suite.info.label_only else []


def _covariance_shapes(suite: Suite) -> list[CovarianceShape]:
    """Return the shapes to time; few rows and small ones where they are slow."""
    if _is_slow(suite):
        return [
            CovarianceShape(rows=_FEW_ROWS, provider_dim=features // 8, columns=columns // 32 + 1)
            for features, columns in _COVARIANCES
        ]
    return [
        CovarianceShape(rows=_ROWS, provider_dim=features, columns=columns + 1) for features, columns in _COVARIANCES
    ]


def explain(observed: Sequence[tuple[Work, float]]) -> dict[str, float]:
    """Return non-negative seconds for a unit of each kind of work, given amounts and seconds of several calls.

    Relative errors count alike.
    """
    from scipy.optimize import nnls  # takes a fifth of a second, which no other command needs to spend

    kinds = sorted(observed[0][0])
    amounts = np.array([[work[kind] for kind in kinds] for work, _ in observed], dtype=np.float64)
    seconds = np.array([taken for _, taken in observed])
    # Columns of like size, so that the solver sees amounts of 1 beside amounts of 10^10.
    sizes = amounts.max(axis=0)
    rates, _ = nnls(amounts / sizes / seconds[:, None], np.ones(len(seconds)))
    return dict(zip(kinds, (rates / sizes).tolist(), strict=True))
