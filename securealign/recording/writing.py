"""Writing a run file, which appears under its name when it is complete."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from securealign.files import replace_durably
from securealign.he.interface import SuiteInfo
from securealign.protocol.context import Event
from securealign.transport.framing import wire
from securealign.transport.stats import RunStats

#: Format of the lines.
FORMAT = 1
Line = Mapping[str, Any]


class RunFile:
    """A run file that is being written; a context manager. After an exception, or without a session, it is removed."""

    def __init__(
        self,
        path: Path,
        *,
        command: str,
        side: str,
        started: datetime | None,
        network: Mapping[str, Any] | None = None,
        seed: int | None = None,
        client_factor: float = 1.0,
        provider_factor: float = 1.0,
    ) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, self._name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        self._file: IO[str] = os.fdopen(descriptor, "w", encoding="utf-8")
        #: Sessions begun so far.
        self.sessions = 0
        try:
            self.write(
                {
                    "event": "run",
                    "format": FORMAT,
                    "securealign": version("securealign"),
                    "command": command,
                    "side": side,
                    "clock": "simulated" if network is not None else "measured",
                    "started": started.strftime("%Y-%m-%dT%H:%M:%SZ") if started is not None else None,
                    "network": dict(network) if network is not None else None,
                    "seed": seed,
                    "client_factor": client_factor,
                    "provider_factor": provider_factor,
                }
            )
        except BaseException:
            self.discard()
            raise

    def __enter__(self) -> RunFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None and self.sessions:
            self.close()
        else:
            self.discard()

    def write(self, *lines: Line) -> None:
        """Write lines."""
        self._file.writelines(json.dumps(line, allow_nan=False) + "\n" for line in lines)

    def copy(self, lines: IO[str]) -> None:
        """Write the lines of another file."""
        shutil.copyfileobj(lines, self._file)

    def begin(self) -> int:
        """Return the number of the next session."""
        self.sessions += 1
        return self.sessions - 1

    def forget(self, session: int) -> None:
        """Free the number of the latest session, of which nothing was written."""
        self.sessions = session

    def result(self, results: Mapping[str, int | float | str]) -> None:
        """Write what came out of the run; the last line."""
        self.write({"event": "result", "results": dict(results)})

    def close(self) -> None:
        """Put the file under its name, readable by its owner alone; durable when it returns."""
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            replace_durably(Path(self._name), self._path)
        except BaseException:
            self.discard()
            raise

    def discard(self) -> None:
        """Remove the file."""
        # The file is removed, so a full disk does not matter.
        with suppress(OSError):
            self._file.close()
        Path(self._name).unlink(missing_ok=True)


def session_line(session: int, *, kind: str, suite: SuiteInfo, facts: Mapping[str, int | float | str]) -> Line:
    """Return the line that opens a session, "training" or "inference"; `facts` are numbers that describe it."""
    return {
        "event": "session",
        "session": session,
        "kind": kind,
        "suite": suite.name,
        "parameter_set": suite.parameter_set,
        "classical_bits": suite.classical_bits,
        "quantum_bits": suite.quantum_bits,
        "function_private": suite.function_private,
        "facts": dict(facts),
    }


def compute_line(session: int, party: str, phase: str, at: float, seconds: float) -> Line:
    """Return the line of a party that computes."""
    return {"event": "compute", "session": session, "party": party, "phase": phase, "t": at, "seconds": seconds}


def message_line(session: int, event: Event, *, up: bool, sent: float | None, received: float | None) -> Line:
    """Return the line of a message; a time that the recording side cannot know is None."""
    return {
        "event": "message",
        "session": session,
        "direction": "up" if up else "down",
        "type": event.message.__name__,
        "phase": event.stage,
        "sent": sent,
        "received": received,
        "bytes": event.size,
        "wire_bytes": wire(event.size).forward,
        "sha256": event.digest.hex(),
    }


def connect_line(session: int, at: float, seconds: float) -> Line:
    """Return the line of a connection that is set up."""
    return {"event": "connect", "session": session, "t": at, "seconds": seconds}


def end_line(
    session: int, at: float, *, state: str, error: str | None, transcript: bytes | None, stats: RunStats
) -> Line:
    """Return the line that closes a session."""
    return {
        "event": "end",
        "session": session,
        "t": at,
        "state": state,
        "error": error,
        "transcript": transcript.hex() if transcript is not None else None,
        "stats": stats.as_dict(),
    }


def in_order(lines: Iterable[Line]) -> list[Line]:
    """Return the lines of one session by time."""
    return sorted(lines, key=lambda line: line["sent"] if line["event"] == "message" else line["t"])
