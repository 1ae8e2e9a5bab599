"""A session as a few steps: messages of a kind folded into one arrow, phases that alternate into one step.

A session has at most a step for each phase and an arrow for each kind of message, however many messages it had. The
times at which the parties were busy are shares of equal slices, so that many queries take no more space.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise

import numpy as np

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
    """Phases that belong together, messages, compute by side, begin, end, and how often the first phase came back."""

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
    kinds: dict[tuple[str, str, Direction], list[Message]] = {}
    for message in sorted(session.messages, key=when):
        kinds.setdefault((message.type, message.phase, message.direction), []).append(message)
    arrows = [Arrow(*kind, tuple(members)) for kind, members in kinds.items()]
    made = [
        Step((CONNECT,), turns=1, start=connect.t, end=connect.t + connect.seconds) for connect in session.connects[:1]
    ]
    led = {message.phase for message in session.messages if message.type not in _TRAILING}
    leading = (m for m in session.messages if m.type not in _TRAILING or m.phase not in led)
    for phases, turns in _together([message.phase for message in sorted(leading, key=when)]):
        inside = [arrow for arrow in arrows if arrow.phase in phases]
        times = [time for arrow in inside for message in arrow.messages for time in _times(message)]
        made.append(Step(phases, turns, min(times, default=0.0), max(times, default=0.0), inside))
    _add_compute(made, session.computes)
    for connect in session.connects[:1]:
        # Steps whose messages follow a connection begin at its end, even if compute for them began earlier.
        connected = connect.t + connect.seconds
        for step in made[1:]:
            if step.arrows and min(map(when, step.arrows[0].messages)) >= connected:
                step.start = max(step.start, connected)
    return sorted(made, key=lambda step: step.start)


def when(message: Message) -> float:
    """Return when a message travelled, as far as that is known."""
    return next(iter(_times(message)), 0.0)


def _times(message: Message) -> Iterable[float]:
    return (time for time in (message.sent, message.received) if time is not None)


def _together(phases: Sequence[str]) -> list[tuple[tuple[str, ...], int]]:
    """Return phases in groups that do not overlap, each with the number of turns of its first phase."""
    last = {phase: index for index, phase in enumerate(phases)}
    groups: list[tuple[tuple[str, ...], int]] = []
    start = end = 0
    for index, phase in enumerate(phases):
        end = max(end, last[phase])
        if index == end:
            inside = phases[start : end + 1]
            turns = sum(each == inside[0] for each, _ in groupby(inside))
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


Span = tuple[float, float]

#: Slices of a time line; more would be finer than the screen.
SLICES = 480
#: Heights of a slice; a slice that is busy at all has at least the lowest.
_LEVELS = 32
#: The coordinates that `outline` draws in.
VIEW_BOX = f"0 0 {SLICES} {_LEVELS}"


@dataclass(frozen=True)
class Activity:
    """What was recorded of a session as spans of the run's seconds; an empty tuple where nothing is known."""

    start: float
    end: float
    compute: dict[Side, tuple[Span, ...]]
    up: tuple[Span, ...]
    down: tuple[Span, ...]
    idle: tuple[Span, ...]

    @property
    def both(self) -> float:
        """Return the seconds in which both sides compute."""
        client, provider = self.compute["client"], self.compute["provider"]
        return max(0.0, length(client) + length(provider) - length(union([*client, *provider])))


def activity(session: Session) -> Activity:
    """Return the times at which the parties of a session and the network were busy."""
    compute: dict[Side, tuple[Span, ...]] = {
        side: union((c.t, c.t + c.seconds) for c in session.computes if c.party == side)
        for side in ("client", "provider")
    }
    connects = [(connect.t, connect.t + connect.seconds) for connect in session.connects]
    known = [*compute["client"], *compute["provider"], *connects]
    times = [time for span in known for time in span] + [when(message) for message in session.messages]
    start, end = min([*times, session.end.t]), max([*times, session.end.t])
    edges = [start, *(edge for span in union([*compute["client"], *compute["provider"]]) for edge in span), end]
    return Activity(
        start,
        end,
        compute,
        up=_transit(session.messages, up=True),
        down=_transit(session.messages, up=False),
        idle=tuple((a, b) for a, b in zip(edges[::2], edges[1::2], strict=True) if b > a),
    )


def union(spans: Iterable[Span]) -> tuple[Span, ...]:
    """Return the union of spans, as spans that do not touch."""
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return tuple(merged)


def length(spans: Iterable[Span]) -> float:
    """Return the seconds of spans that do not overlap."""
    return sum(end - start for start, end in spans)


def shares(spans: Sequence[Span], start: float, end: float, slices: int = SLICES) -> list[float]:
    """Return for each slice between `start` and `end` the share of it that the spans cover; they do not overlap."""
    if end <= start or not spans:
        return [0.0] * slices
    # Seconds covered before each edge of a slice: the coverage grows inside spans and stands still between them.
    edges = [edge for span in spans for edge in span]
    grown = np.cumsum([0.0, *(0.0 if index % 2 else b - a for index, (a, b) in enumerate(pairwise(edges)))])
    covered = np.interp(np.linspace(start, end, slices + 1), edges, grown)
    shares: list[float] = np.clip(np.diff(covered) * slices / (end - start), 0.0, 1.0).tolist()
    return shares


def outline(covered: Sequence[float]) -> str:
    """Return the area of these shares as an SVG path, one unit wide for each and `_LEVELS` units high."""
    commands, x = [f"M0,{_LEVELS}"], 0
    for level, members in groupby(max(1, round(share * _LEVELS)) if share > 0 else 0 for share in covered):
        x += len(list(members))
        commands.append(f"V{_LEVELS - level}H{x}")
    return "".join([*commands, f"V{_LEVELS}Z"])


def _transit(messages: Sequence[Message], *, up: bool) -> tuple[Span, ...]:
    return union(
        (message.sent, message.received)
        for message in messages
        if (message.direction == "up") == up and message.sent is not None and message.received is not None
    )
