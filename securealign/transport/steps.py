"""Both parties in one process, exchanging the same bytes as over a network: what they did, step by step, and its cost.

A step is what a party does on its own: it takes one message, or acts of itself, computes, and sends what follows. The
steps of a party come in the same order over any network, since each depends only on the steps and messages before it.
So the steps of one session are enough to compute what it would cost over any network.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from securealign.errors import LocalProtocolError, PeerAborted
from securealign.he.entropy import Entropy
from securealign.he.interface import Suite, SuiteInfo
from securealign.protocol.context import ClientContext, Codec, Event, ProviderContext
from securealign.protocol.machine import SessionMachine
from securealign.protocol.policy.rules import Policy
from securealign.protocol.states import Direction
from securealign.transport.meter import Activity, Began, Meter, Passed, Spent
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


class InProcessLink:
    """Carries frames between a client and a provider machine."""

    def __init__(self, client: SessionMachine, provider: SessionMachine, meter: Meter) -> None:
        self._client, self._provider, self._meter = client, provider, meter

    def drive(self, frames: Sequence[bytes], until: Callable[[], bool]) -> None:
        """Deliver the client's `frames` and everything that follows from them, after which `until()` must hold.

        Raises the error of a session that aborts.
        """
        pending = deque((True, frame) for frame in frames)
        while pending:
            to_provider, frame = pending.popleft()
            receiver = self._provider if to_provider else self._client
            with self._meter.timed("provider" if to_provider else "client"):
                # A long reply is made whole: in one process, its parts are kept here or there.
                replies = list(receiver.receive(frame))
            pending.extend((not to_provider, reply) for reply in replies)
        errors = [party.error for party in (self._provider, self._client) if party.error is not None]
        # The party that found the fault names it best; its peer only knows the code.
        for error in sorted(errors, key=lambda error: isinstance(error, PeerAborted)):
            raise error
        if not until():
            raise LocalProtocolError("The session stalled: neither party has anything to say.")


def in_process_contexts(
    codec: Codec, suite: Suite, entropy: Entropy, meter: Meter, *, policy: Policy
) -> tuple[ClientContext, ProviderContext]:
    """Return the contexts of client and provider in one process, where a suite without encryption is allowed."""
    shared: dict[str, Any] = {"codec": codec, "suites": [suite], "entropy": entropy}
    client = ClientContext(**shared, allow_unencrypted=True, observer=meter.observer("client"))
    policy = replace(policy, allow_unencrypted=True)
    return client, ProviderContext(**shared, policy=policy, observer=meter.observer("provider"))
