"""The worker's end: serves calls to one engine object until the stream ends."""

import importlib
import resource
import signal
import socket
import sys

from securealign.he.native.frames import FrameError, Value, encode, receive

#: How long a call may take: native code that reads hostile bytes may loop for ever, honest calls take seconds.
CALL_SECONDS = 600.0
#: A deserialiser that is told of huge objects fails here and not in the party's memory.
_MEMORY_BYTES = 16 << 30
#: Characters of an exception that the party is told.
_LONGEST_REASON = 200


def main() -> None:
    """Serve the engine module and role named on the command line, on the socket with the given descriptor."""
    descriptor, engine, role = sys.argv[1:]
    _confine()
    with socket.socket(fileno=int(descriptor)) as stream:
        serve(stream, engine, role)


def serve(stream: socket.socket, engine: str, role: str) -> None:
    """Answer calls on a stream: "open" makes the object of a role, every other name is one of its methods."""
    subject: object = None
    while True:
        try:
            name, values = receive(stream)
        except (FrameError, OSError):
            return
        # A native loop that never ends outlives a party that died; the alarm ends the process in any state.
        signal.setitimer(signal.ITIMER_REAL, CALL_SECONDS)
        try:
            if name == "open":
                subject = getattr(importlib.import_module(engine), role)(*values)
                result: Value | None = None
            elif name.startswith("_"):
                raise AttributeError(name)
            else:
                result = getattr(subject, name)(*values)
            reply = encode("done", [0 if result is None else result])
        except Exception as error:  # Whatever a native library raises is reported to the party, which decides.
            reply = encode("failed", [f"{type(error).__name__}: {_last_line(error)}"])
        try:
            stream.sendall(reply)
        except OSError:
            return
        signal.setitimer(signal.ITIMER_REAL, 0)


def _last_line(error: Exception) -> str:
    """Return what an exception says, without the path of the source file that native libraries put first."""
    return str(error).strip().rpartition("\n")[2].rpartition("/")[2][:_LONGEST_REASON]


def _confine() -> None:
    """Bound what the process may use."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = _MEMORY_BYTES if hard == resource.RLIM_INFINITY else min(_MEMORY_BYTES, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    # An interrupt of the terminal is for the party to handle.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


if __name__ == "__main__":
    main()
