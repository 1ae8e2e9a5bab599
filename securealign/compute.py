"""Processors for large products: how many this process may use, and how work is divided among them.

BLAS runs on one thread inside each part of a product. Its own threads wait for each other in loops that take the
processor from whoever has work: beside twenty busy processes they made products ten times slower.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

_CGROUP = Path("/sys/fs/cgroup")


def processors() -> int:
    """Return how many processors this process may use: its affinity, and at most the quota of its control group."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([allowed, *_quotas(Path("/proc/self/cgroup"), _CGROUP)]))


def _quotas(membership: Path, root: Path) -> list[int]:
    """Return the quotas of the control group (version 2) and of those above it, in processors, rounded up."""
    try:
        place = next(line[3:].strip() for line in membership.read_text().splitlines() if line.startswith("0::"))
    except (OSError, StopIteration):
        return []
    group = root / place.lstrip("/")
    found = []
    for folder in (group, *group.parents):
        if not folder.is_relative_to(root):
            break
        try:
            quota, period = (folder / "cpu.max").read_text().split()
        except (OSError, ValueError):
            continue
        if quota != "max":
            found.append(-(-int(quota) // int(period)))
    return found


class Compute:
    """Threads that share the products of all sessions of this process."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._pool = ThreadPoolExecutor(threads, "securealign-compute") if threads > 1 else None

    def each(self, rows: int, work: Callable[[slice], object]) -> None:
        """Do the work of `rows` rows in parts, each a slice of them, at the same time as far as there are threads."""
        count = max(1, min(self.threads, rows))
        bounds = [rows * part // count for part in range(count + 1)]
        parts = [slice(first, last) for first, last in itertools.pairwise(bounds)]
        if self._pool is None:
            work(parts[0])
            return
        for done in [self._pool.submit(work, part) for part in parts]:
            done.result()


_lock = threading.Lock()
_compute: Compute | None = None
_limiting = 0
_limit: Any = None


def compute() -> Compute:
    """Return what does the products of this process: by default on as many threads as it may use processors."""
    global _compute  # noqa: PLW0603 - one for the process: sessions share its processors
    with _lock:
        if _compute is None:
            _compute = Compute(processors())
        return _compute


def use_threads(threads: int | None) -> None:
    """Have products use so many threads from now on; None is as many as this process may use processors."""
    global _compute  # noqa: PLW0603
    with _lock:
        _compute = Compute(threads or processors())


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Limit BLAS to one thread until the last of those who asked for it has left."""
    global _limiting, _limit  # noqa: PLW0603
    with _lock:
        _limiting += 1
        if _limiting == 1:
            _limit = _blas().limit(limits=1, user_api="blas")
    try:
        yield
    finally:
        with _lock:
            _limiting -= 1
            if not _limiting:
                _limit.restore_original_limits()
                _limit = None


def _begin_anew() -> None:
    """Forget the threads of the parent process, which a child does not have."""
    global _lock, _compute, _limiting, _limit
    _lock, _compute, _limiting, _limit = threading.Lock(), None, 0, None


os.register_at_fork(after_in_child=_begin_anew)


@cache
def _blas() -> Any:  # noqa: ANN401 - threadpoolctl has no types
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
