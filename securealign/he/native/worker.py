"""A process that holds one party's half of one job; when it dies, the party goes on."""

import os
import signal
import socket
import subprocess
import sys
import weakref
from typing import TypeVar

from securealign.errors import CiphertextError, ErrorCode, SuiteError
from securealign.he.native.frames import FrameError, StreamEnded, Value, encode, receive
from securealign.he.native.profile import Profile
from securealign.he.native.serve import CALL_SECONDS

T = TypeVar("T")

#: How long a process whose stream has ended may take to say why.
_LAST_SECONDS = 2.0


class Worker:
    """The party's end: calls methods of the object that an engine module has for a role, in another process."""

    def __init__(self, profile: Profile, role: str, *values: Value) -> None:
        self._suite = profile.name
        self._socket, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = _start(theirs, profile.engine, role)
            except OSError as error:
                self._socket.close()
                raise SuiteError(
                    f"The suite {self._suite!r} cannot start its worker: {error.strerror}.",
                    hint="Raise the limits on processes and open files, or serve fewer sessions at a time.",
                    code=ErrorCode.SUITE_UNAVAILABLE,
                ) from error
        #: Ends the process when the party forgets to, or dies of an exception.
        self._end = weakref.finalize(self, _end, self._process, self._socket)
        self.call(int, "open", *values)

    @property
    def pid(self) -> int:
        """The process id, for meters of memory."""
        return self._process.pid

    def call(self, kind: type[T], method: str, *values: Value) -> T:
        """Call a method with values of our own; raises `SuiteError` when the engine fails, and ends the process."""
        try:
            return self._exchange(kind, method, values)
        except _EngineFault as fault:
            self.close()
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
            outcome, result = self._ask(method, values)
        except BaseException:
            # After any failure the next answer on the stream could be that of another call.
            self.close()
            raise
        if outcome == "failed":
            raise _EngineFault(_printable(result))
        if outcome != "done" or not isinstance(result, kind):
            self.close()
            raise _EngineFault(f"its worker answered {method!r} with {type(result).__name__}")
        return result

    def _ask(self, method: str, values: tuple[Value, ...]) -> tuple[str, Value]:
        try:
            self._socket.settimeout(CALL_SECONDS)
            self._socket.sendall(encode(method, values))
            outcome, results = receive(self._socket, CALL_SECONDS)
        except TimeoutError as error:
            raise _EngineFault(f"its worker did not answer within {CALL_SECONDS:.0f} seconds") from error
        except (OSError, StreamEnded) as error:
            raise _EngineFault(f"its worker died ({self._last_words()})") from error
        except FrameError as error:
            raise _EngineFault(f"its worker's answer is malformed ({error})") from error
        if len(results) != 1:
            raise _EngineFault(f"its worker answered {method!r} with {len(results)} values")
        return outcome, results[0]

    def _last_words(self) -> str:
        """Return how a process ended after its stream ended; a stream ends a little before its process."""
        try:
            code = self._process.wait(_LAST_SECONDS)
        except subprocess.TimeoutExpired:
            return "its stream ended"
        names = {member.value: member.name for member in signal.Signals}
        return f"exit code {code}" if code >= 0 else f"signal {names.get(-code, -code)}"


class _EngineFault(Exception):
    """What went wrong in a worker, in words."""


def _start(stream: socket.socket, engine: str, role: str) -> subprocess.Popen[bytes]:
    """Start a worker that serves a role of an engine module on a stream."""
    # It finds modules where the party does: "-m" alone would look first in the working folder, whoever owns that.
    path = os.pathsep.join(map(os.path.abspath, sys.path))
    return subprocess.Popen(
        [sys.executable, "-m", "securealign.he.native.serve", str(stream.fileno()), engine, role],
        pass_fds=[stream.fileno()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        # Rings of 4,096 coefficients are too small to share among threads.
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path},
    )


def _end(process: subprocess.Popen[bytes], stream: socket.socket) -> None:
    stream.close()
    process.kill()
    process.wait()


def _printable(value: Value) -> str:
    """Return a worker's explanation: a short line without control characters, whoever wrote it."""
    text = value if isinstance(value, str) else "no reason given"
    return "".join(character if character.isprintable() else " " for character in text[:200])
