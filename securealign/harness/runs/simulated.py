"""Run files of sessions that ran in one process, over a network in virtual time or over none."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from securealign.harness.simulation.replay import Conditions, timeline_of
from securealign.recording import writing
from securealign.transport.steps import InProcessSession


def record_sessions(
    path: Path,
    sessions: Sequence[InProcessSession],
    conditions: Conditions | None,
    *,
    command: str,
    started: datetime | None = None,
    results: Mapping[str, int | float | str] | None = None,
) -> None:
    """Write sessions, one after the other, under the same conditions to one run file."""
    circumstances: dict[str, Any] = {}
    if conditions is not None:
        circumstances = {
            "network": _printable(conditions.network.model_dump()),
            "seed": conditions.seed,
            "client_factor": conditions.client_factor,
            "provider_factor": conditions.provider_factor,
        }
    with writing.RunFile(path, command=command, side="both", started=started, **circumstances) as file:
        begin = 0.0
        for session in sessions:
            begin = _write(file, session, conditions, begin)
        file.result(results or {})


def _printable(network: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a network as a run file can hold it: its texts on one line."""
    return {
        name: "".join(char if char.isprintable() else " " for char in value) if isinstance(value, str) else value
        for name, value in network.items()
    }


def _write(file: writing.RunFile, session: InProcessSession, conditions: Conditions | None, begin: float) -> float:
    """Write a session that begins at a time, and return when it ends."""
    number, timeline = file.begin(), timeline_of(session, conditions)
    stats = session.counted if conditions is None else timeline.stats(session.counted)
    end = begin + timeline.end
    at, seconds = timeline.connecting
    lines = [writing.connect_line(number, begin + at, seconds)] if seconds else []
    lines += (
        writing.compute_line(number, work.party, work.phase, begin + work.at, work.seconds) for work in timeline.works
    )
    lines += (
        writing.message_line(
            number, travel.event, up=travel.up, sent=begin + travel.sent, received=begin + travel.received
        )
        for travel in timeline.travels
    )
    file.write(
        writing.session_line(number, kind=session.kind, suite=session.suite, facts=session.facts),
        *writing.in_order(lines),
        writing.end_line(number, end, state="done", error=None, transcript=session.transcript, stats=stats),
    )
    return end
