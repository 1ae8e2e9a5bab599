"""A process that holds one party's half of one job, and may die without taking the party along."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import weakref
from typing import TypeVar

from securealign.errors import CiphertextError, ErrorCode, SuiteError
from securealign.he.native.frames import FrameError, Value, receive, send
from securealign.he.native.profile import Profile
from securealign.he.native.serve import CALL_SECONDS

T = TypeVar("T")


class Worker:
    """The party's end: calls methods of the object that an engine module has for a role, in another process."""

    def __init__(self, profile: Profile, role: str, *values: Value) -> None:
        self._suite = profile.name
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "securealign.he.native.serve", str(theirs.fileno()), profile.engine, role],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                # Rings of 4,096 coefficients are too small to share among threads.
                env=os.environ | {"OMP_NUM_THREADS": "1"},
            )
        self._socket = ours
        self._socket.settimeout(CALL_SECONDS)
        #: Ends the process when the party forgets to, or dies of an exception.
        self._end = weakref.finalize(self, _end, self._process, ours)
        self.call(int, "open", *values)

    @property
    def pid(self) -> int:
        """The process id, for meters of memory."""
        return self._process.pid

    def call(self, kind: type[T], method: str, *values: Value) -> T:
        """Call a method with values of our own; raises `SuiteError` when the engine fails."""
        try:
            return self._exchange(kind, method, values)
        except _EngineFault as fault:
            raise SuiteError(
                f"The suite {self._suite!r} failed in {method!r}: {fault}.",
                hint="Run `securealign suites` to see whether it works here.",
                code=ErrorCode.SUITE_UNAVAILABLE,
            ) from fault

    def read(self, kind: type[T], method: str, *values: Value) -> T:
        """Call a method with a peer's bytes among the values; raises `CiphertextError` when the engine fails."""
        try:
            return self._exchange(kind, method, values)
        except _EngineFault as fault:
            raise CiphertextError(f"The suite {self._suite!r} could not use the peer's bytes: {fault}.") from fault

    def close(self) -> None:
        """End the process; idempotent."""
        self._end()

    def _exchange(self, kind: type[T], method: str, values: tuple[Value, ...]) -> T:
        if not self._end.alive:
            raise _EngineFault("its worker has ended")
        try:
            send(self._socket, method, values)
            outcome, (result,) = receive(self._socket)
        except TimeoutError as error:
            self.close()
            raise _EngineFault(f"its worker did not answer within {CALL_SECONDS:.0f} seconds") from error
        except (OSError, ValueError, FrameError) as error:
            self.close()
            raise _EngineFault(f"its worker died ({_describe_end(self._process.returncode)})") from error
        if outcome != "done":
            raise _EngineFault(_printable(result))
        if not isinstance(result, kind):
            raise _EngineFault(f"its worker answered {method!r} with {type(result).__name__}")
        return result


class _EngineFault(Exception):
    """What went wrong in a worker, in words."""


def _end(process: subprocess.Popen[bytes], stream: socket.socket) -> None:
    stream.close()
    process.kill()
    process.wait()


def _describe_end(code: int) -> str:
    # The worker is killed after its stream has ended, which hides nothing but an orderly exit.
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _printable(value: Value) -> str:
    """Return a worker's explanation: a short line without control characters, whoever wrote it."""
    text = value if isinstance(value, str) else "no reason given"
    return "".join(character if character.isprintable() else " " for character in text[:200])
