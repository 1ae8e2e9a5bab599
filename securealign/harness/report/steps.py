"""A session as a few steps: messages of a kind folded into one arrow, phases that alternate into one step.

A session has at most a step for each phase and an arrow for each kind of message, however many messages it had.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from securealign.harness.runs.records import Compute, Direction, Message, Session, Side

#: Acknowledgements arrive after later messages, and would make two uploads look as if they alternated.
_TRAILING = frozenset({"UploadAck"})
#: What setting up a connection is called beside the phases.
CONNECT = "connect"


@dataclass(frozen=True)
class Arrow:
    """All messages of one type, phase and direction in a session."""

    type: str
    phase: str
    direction: Direction
    messages: tuple[Message, ...]

    @property
    def bytes(self) -> int:
        """Payload bytes."""
        return sum(message.bytes for message in self.messages)

    @property
    def wire_bytes(self) -> int:
        """Bytes on the wire."""
        return sum(message.wire_bytes for message in self.messages)

    @property
    def sent(self) -> float | None:
        """Return when the first was sent, as far as that is known."""
        return min((message.sent for message in self.messages if message.sent is not None), default=None)

    @property
    def received(self) -> float | None:
        """Return when the last was received, as far as that is known."""
        return max((message.received for message in self.messages if message.received is not None), default=None)


@dataclass
class Step:
    """Phases that belong together, with their messages, their compute by side, and when they begin and end.

    `turns` is how often the first of several phases came back.
    """

    phases: tuple[str, ...]
    turns: int
    start: float
    end: float
    arrows: list[Arrow] = field(default_factory=list)
    compute: dict[Side, float] = field(default_factory=lambda: {"client": 0.0, "provider": 0.0})

    @property
    def name(self) -> str:
        """Return the phases, and how often they took turns."""
        names = ", ".join(self.phases)
        return f"{names} \N{MULTIPLICATION SIGN}{self.turns:,}" if self.turns > 1 else names


def steps(session: Session) -> list[Step]:
    """Return the steps of a session in the order in which they began."""
    arrows = _arrows(session.messages)
    made = [
        Step((CONNECT,), turns=1, start=connect.t, end=connect.t + connect.seconds) for connect in session.connects[:1]
    ]
    for phases, turns in _together([message.phase for message in _leading(session.messages)]):
        inside = [arrow for arrow in arrows if arrow.phase in phases]
        times = [time for arrow in inside for message in arrow.messages for time in _times(message)]
        made.append(Step(phases, turns, min(times, default=0.0), max(times, default=0.0), inside))
    _add_compute(made, session.computes)
    for connect in session.connects[:1]:
        _after(connect.t + connect.seconds, made[1:])
    made.sort(key=lambda step: step.start)
    return made


def _after(connected: float, made: Sequence[Step]) -> None:
    """Let steps whose messages follow a connection begin at its end, even if compute for them began earlier."""
    for step in made:
        if step.arrows and min(map(when, step.arrows[0].messages)) >= connected:
            step.start = max(step.start, connected)


def when(message: Message) -> float:
    """Return when a message travelled, as far as that is known."""
    return next(iter(_times(message)), 0.0)


def _times(message: Message) -> Iterable[float]:
    return (time for time in (message.sent, message.received) if time is not None)


def _leading(messages: Sequence[Message]) -> list[Message]:
    """Return the messages that mark the progress of a session, in the order of their times."""
    led = {message.phase for message in messages if message.type not in _TRAILING}
    return sorted((m for m in messages if m.type not in _TRAILING or m.phase not in led), key=when)


def _arrows(messages: Sequence[Message]) -> list[Arrow]:
    kinds: dict[tuple[str, str, Direction], list[Message]] = {}
    for message in sorted(messages, key=when):
        kinds.setdefault((message.type, message.phase, message.direction), []).append(message)
    return [Arrow(*kind, tuple(members)) for kind, members in kinds.items()]


def _together(phases: Sequence[str]) -> list[tuple[tuple[str, ...], int]]:
    """Return phases in groups that do not overlap, each with the number of turns of its first phase."""
    last = {phase: index for index, phase in enumerate(phases)}
    groups: list[tuple[tuple[str, ...], int]] = []
    start = 0
    while start < len(phases):
        end = start
        index = start
        while index <= end:
            end = max(end, last[phases[index]])
            index += 1
        inside = phases[start : end + 1]
        turns = sum(phase == inside[0] for phase, _ in groupby(inside))
        groups.append((tuple(dict.fromkeys(inside)), turns))
        start = end + 1
    return groups


def _add_compute(made: list[Step], computes: Sequence[Compute]) -> None:
    """Add compute to the step of its phase; a phase without messages is a step of its own at its time."""
    owner = {phase: step for step in made for phase in step.phases}
    order = sorted(made, key=lambda step: step.start)
    starts = [step.start for step in order]
    silent: dict[tuple[str, int], Step] = {}
    for compute in sorted(computes, key=lambda compute: compute.t):
        step = owner.get(compute.phase)
        if step is None:
            place = (compute.phase, sum(start <= compute.t for start in starts))
            if place not in silent:
                silent[place] = Step((compute.phase,), turns=1, start=compute.t, end=compute.t)
                made.append(silent[place])
            step = silent[place]
        step.start = min(step.start, compute.t)
        step.end = max(step.end, compute.t + compute.seconds)
        step.compute[compute.party] += compute.seconds
