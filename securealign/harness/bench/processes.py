"""Work in a process of its own: its answers, a clear error when it fails or dies, and its peak memory."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from securealign.errors import ErrorCode, PeerAborted, SecurealignError, SuiteError, TransportError

#: Seconds in which a process whose connection broke must end.
_DYING_SECONDS = 2.0

#: Work gets its arguments and the end of a pipe for its answers.
Work = Callable[..., None]


class _Failure(NamedTuple):
    """An error on its way to the parent: exceptions with keyword arguments cannot be pickled."""

    kind: type[SecurealignError]
    arguments: tuple[Any, ...]
    state: dict[str, Any]

    def error(self) -> SecurealignError:
        error = self.kind.__new__(self.kind, *self.arguments)
        error.__dict__.update(self.state)
        return error


class Worker:
    """A new process that does `work(*arguments, answers)`; use as a context manager, which waits for its end."""

    def __init__(self, name: str, work: Work, *arguments: object) -> None:
        context = multiprocessing.get_context("spawn")
        self._name = name
        self._channel, end = context.Pipe()
        self._process = context.Process(target=_run, args=(work, arguments, end), name=name)
        self._process.start()
        # Only the child may hold this end: a reader sees the end of a pipe when its last writer is gone.
        end.close()

    def answer(self) -> Any:  # noqa: ANN401 - whatever the work sends
        """Return the next answer; raises the error of work that failed, `SuiteError` for a process that died."""
        wait([self._channel, self._process.sentinel])
        try:
            answer = self._channel.recv() if self._channel.poll() else None
        except (EOFError, ConnectionResetError):
            answer = None
        if answer is None:
            self._process.join()
            raise died(self._name, self._process.exitcode)
        if isinstance(answer, _Failure):
            raise answer.error()
        return answer

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._channel.close()
        if isinstance(error, TransportError):
            self._process.join(_DYING_SECONDS)
            if self._process.exitcode:
                raise died(self._name, self._process.exitcode) from error
        if kind is not None:
            self._process.terminate()
        self._process.join()


def answers(*workers: Worker) -> list[Any]:
    """Return one answer of each; of several errors, raises the one that caused the others."""
    received = [_answer_or_error(worker) for worker in workers]
    errors = [answer for answer in received if isinstance(answer, SecurealignError)]
    if errors:
        raise min(errors, key=lambda error: isinstance(error, (PeerAborted, TransportError)))
    return received


def _answer_or_error(worker: Worker) -> Any:  # noqa: ANN401
    try:
        return worker.answer()
    except SecurealignError as error:
        return error


def died(name: str, exit_code: int | None) -> SuiteError:
    """Return the error for a process that ended before it had answered."""
    how = f"with exit code {exit_code}"
    if exit_code is not None and exit_code < 0:
        how = f"by signal {signal.Signals(-exit_code).name}"
    return SuiteError(
        f"The process of the {name} ended {how} before its work was done.",
        hint="Free memory or measure a smaller problem; what it printed may say more.",
        code=ErrorCode.SUITE_UNAVAILABLE,
    )


def _run(work: Work, arguments: tuple[object, ...], channel: Connection) -> None:
    try:
        work(*arguments, channel)
    except SecurealignError as error:
        channel.send(_Failure(type(error), error.args, vars(error)))


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
        status = (_PROC / str(process) / "status").read_text(encoding="ascii", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return 0
    found = re.search(r"^VmHWM:\s*(\d+)", status, re.MULTILINE)
    if found is None and process == "self":
        raise OSError("/proc/self/status holds no VmHWM")
    return int(found[1]) * 1024 if found else 0  # ended, and not yet waited for


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
    """Follows the workers of this process; a suite ends them with the session, so `sample` comes before every step."""

    def __init__(self) -> None:
        self._workers = 0

    def sample(self) -> None:
        """Note the sum of the peaks of all live descendants."""
        self._workers = max(self._workers, sum(peak_memory(worker) for worker in descendants(os.getpid())))

    def peak(self) -> int:
        """Return the peak of this process plus that of its workers, in bytes."""
        return peak_memory() + self._workers
