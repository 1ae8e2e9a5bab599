"""What both parties of a session in this process did, step by step, and what it cost.

A step is what a party does on its own: it takes one message, or acts of itself, computes, and sends what follows. The
steps of a party come in the same order over any network, since each depends only on the steps and messages before it.
So the steps of one session are enough to compute what it would cost over any network.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from securealign.he.interface import SuiteInfo
from securealign.protocol.context import Event
from securealign.protocol.states import Direction
from securealign.transport.activity import Activity, Began, Passed, Spent
from securealign.transport.stats import RunStats

CLIENT, PROVIDER = "client", "provider"


@dataclass
class Step:
    """What a party does without waiting: the message it takes, if any, seconds by phase in order, what it sends."""

    received: Event | None = None
    spent: list[tuple[str, float]] = field(default_factory=list)
    sent: list[Event] = field(default_factory=list)


class StepLog:
    """The steps of both parties of one session; give `hear` to the meter of a session in this process."""

    def __init__(self) -> None:
        self.steps: dict[str, list[Step]] = {CLIENT: [], PROVIDER: []}
        #: All steps in the order in which they were taken here.
        self.order: list[tuple[str, Step]] = []

    def hear(self, activity: Activity) -> None:
        """Record an activity."""
        if activity.side not in self.steps:
            return
        steps = self.steps[activity.side]
        match activity:
            case Began():
                steps.append(Step())
                self.order.append((activity.side, steps[-1]))
            case Spent(phase=phase, seconds=seconds):
                steps[-1].spent.append((phase, seconds))
            case Passed(event=event) if event.direction is Direction.RECEIVE:
                steps[-1].received = event
            case Passed(event=event):
                steps[-1].sent.append(event)


class SimulatedNetwork(Protocol):
    """A network that computes the cost of a session from its steps; none is part of this package's core."""

    def stats(self, session: InProcessSession) -> RunStats:
        """Return what the session would cost over this network."""
        ...


@dataclass(frozen=True, kw_only=True)
class InProcessSession:
    """One session between both parties in this process."""

    #: "training" or "inference".
    kind: str
    suite: SuiteInfo
    #: Numbers and names that describe it: rows, dimensions, classes.
    facts: Mapping[str, int | float | str]
    log: StepLog = field(repr=False)
    #: What its meter counted here.
    counted: RunStats = field(repr=False)
    #: What both parties confirmed, 32 bytes.
    transcript: bytes = field(repr=False)

    def stats(self, network: SimulatedNetwork | None) -> RunStats:
        """Return what the session costs over a network, or what it cost here."""
        return self.counted if network is None else network.stats(self)
