"""The times at which the parties were busy, as shares of equal slices, so that many queries take no more space."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

import numpy as np

from securealign.harness.report.steps import when
from securealign.harness.runs.records import Message, Session, Side

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
    return Activity(
        start,
        end,
        compute,
        up=_transit(session.messages, up=True),
        down=_transit(session.messages, up=False),
        idle=_gaps(union([*compute["client"], *compute["provider"]]), start, end),
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


def _gaps(busy: Sequence[Span], start: float, end: float) -> tuple[Span, ...]:
    edges = [start, *(edge for span in busy for edge in span), end]
    return tuple((a, b) for a, b in zip(edges[::2], edges[1::2], strict=True) if b > a)
