"""Run files of one end of sessions over a real network, as a meter heard them."""

from __future__ import annotations

import json
import tempfile
from typing import IO

from securealign.errors import SecurealignError
from securealign.protocol.machine import SessionMachine
from securealign.protocol.states import Direction
from securealign.recording.writing import About, Line, RunFile, compute_line, connect_line, end_line, message_line
from securealign.transport.activity import Activity, Connected, Passed, Spent
from securealign.transport.stats import RunStats

#: Bytes of a session's lines that are kept in memory before they go to a temporary file.
_MEMORY_BYTES = 1 << 20


class SessionRecorder:
    """Collects what one side, "client" or "provider", does in a session; give `hear` to its meter."""

    def __init__(self, file: RunFile, side: str) -> None:
        self._file = file
        self._side = side
        self._number = file.begin()
        # What the session was about is the first line, and known in the end.
        self._lines: IO[str] = tempfile.SpooledTemporaryFile(  # noqa: SIM115 - `end` closes it
            max_size=_MEMORY_BYTES, mode="w+", encoding="utf-8"
        )
        #: Reading of the clock when the session began, and seconds since then when it was last heard of.
        self._origin: float | None = None
        self._last = 0.0

    def hear(self, activity: Activity) -> None:
        """Take note of what happens."""
        line = self._line(activity)
        if line is not None:
            self._lines.write(json.dumps(line) + "\n")

    def end(self, party: SessionMachine, stats: RunStats, error: SecurealignError | None = None) -> None:
        """Write the session to its file, unless it ended before the parties agreed on anything.

        `error` is what ended it outside the machine, such as a lost connection.
        """
        with self._lines:
            if party.suite is None:
                self._file.forget(self._number)
                return
            self._file.write(About(kind=party.kind, suite=party.suite, facts=party.facts).line(self._number))
            self._lines.seek(0)
            self._file.copy(self._lines)
        reason = party.error or error
        self._file.write(
            end_line(
                self._number,
                self._last,
                state=party.state.value,
                error=reason.code.name if reason is not None else None,
                transcript=party.transcript_digest if reason is None else None,
                stats=stats,
            )
        )

    def discard(self) -> None:
        """Leave nothing of the session."""
        self._lines.close()
        self._file.forget(self._number)

    def _line(self, activity: Activity) -> Line | None:
        at = self._since(activity.began if isinstance(activity, Spent) else activity.at)
        match activity:
            case Spent(side=side, phase=phase, seconds=seconds):
                self._last = max(self._last, at + seconds)
                return compute_line(self._number, side, phase, at, seconds) if side == self._side else None
            case Passed(event=event):
                self._last = max(self._last, at)
                sending = event.direction is Direction.SEND
                up = sending == (self._side == "client")
                times = (at, None) if sending else (None, at)
                return message_line(self._number, event, up=up, sent=times[0], received=times[1])
            case Connected(seconds=seconds):
                return connect_line(self._number, at, seconds)
            case _:
                return None

    def _since(self, at: float) -> float:
        if self._origin is None:
            self._origin = at
        return max(0.0, at - self._origin)
