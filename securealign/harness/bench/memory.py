"""Peak memory of a process and of the workers that it owns."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")


@dataclass(frozen=True)
class PeakMemory:
    """Largest resident size of both parties in bytes: interpreter, libraries and worker processes included."""

    client: int
    provider: int


def peak_memory(process: int | str = "self") -> int:
    """Return the largest resident size of a process so far, in bytes; 0 for one that has ended.

    From the kernel's status file: the counters of getrusage survive exec and would include the parent's peak.
    """
    try:
        lines = (_PROC / str(process) / "status").read_text(encoding="ascii", errors="replace").splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    for line in lines:
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    if process == "self":
        raise OSError("/proc/self/status holds no VmHWM")
    return 0  # ended, and not yet waited for


def descendants(process: int) -> Iterator[int]:
    """Yield the live children of a process, theirs, and so on."""
    for file in (_PROC / str(process) / "task").glob("*/children"):
        try:
            children = file.read_text(encoding="ascii").split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        for child in map(int, children):
            yield child
            yield from descendants(child)


class MemoryWatch:
    """Follows the workers of this process, whose peaks are lost once they end.

    A suite ends its workers in the step that ends the session, so `sample` has to be called before every step.
    """

    def __init__(self) -> None:
        self._workers = 0

    def sample(self) -> None:
        """Note the sum of the peaks of all live descendants."""
        self._workers = max(self._workers, sum(peak_memory(worker) for worker in descendants(os.getpid())))

    def peak(self) -> int:
        """Return the peak of this process plus that of its workers, in bytes."""
        return peak_memory() + self._workers
