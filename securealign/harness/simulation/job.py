"""What both parties did in a session, step by step, without when.

A step is what a party does on its own: it takes one message, or acts of itself, computes, and sends what follows. The
steps of a party come in the same order over any network, since each depends only on the steps and messages before it;
so a session that ran once says what it would do over every link.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from securealign.protocol.party import Event
from securealign.protocol.states import Direction
from securealign.transport.activity import Activity, Began, Passed, Spent

CLIENT, PROVIDER = "client", "provider"


@dataclass
class Step:
    """What a party does without waiting: the message it takes, if any, seconds by phase in order, what it sends."""

    received: Event | None = None
    spent: list[tuple[str, float]] = field(default_factory=list)
    sent: list[Event] = field(default_factory=list)


class Job:
    """The steps of both parties of one session; give `hear` to the meter of a session in this process."""

    def __init__(self) -> None:
        self.steps: dict[str, list[Step]] = {CLIENT: [], PROVIDER: []}
        #: All steps in the order in which they were taken here.
        self.order: list[tuple[str, Step]] = []

    def hear(self, activity: Activity) -> None:
        """Take note of what happens."""
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
