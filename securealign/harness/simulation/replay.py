"""Computes when the messages of a session would arrive over a network, in virtual time.

Each party is one thread that takes its steps in order: a step begins when the party is free and the message that it
takes has arrived. No step depends on when another party's step ends but through messages, so the order of evaluation
does not matter, and the same seed gives the same times to the last bit.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from random import Random

from securealign.harness.simulation.channel import Channel
from securealign.harness.simulation.networks import Network, find_network
from securealign.harness.simulation.timeline import Timeline, Travel, Work
from securealign.protocol.messages import UploadAck
from securealign.transport.stats import RunStats
from securealign.transport.steps import CLIENT, PROVIDER, InProcessSession, Step, StepLog

#: The programs write a message to disk before they send it, so that they can resume after a crash; a session in this
#: process is not written. Measured between both, per round trip over a fast link: 2 ms, half at each party.
RECORD_SECONDS = 1.0e-3


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """A network, the seed of its randomness, and how many times slower than here each party computes."""

    network: Network
    seed: int = 0
    client_factor: float = 1.0
    provider_factor: float = 1.0
    #: Seconds that a party needs to write its messages to disk before it sends them, once a step.
    record_seconds: float = RECORD_SECONDS

    def stats(self, session: InProcessSession) -> RunStats:
        """Return what a session costs under these conditions."""
        return replay(session.log, self).stats(session.counted)


def conditions(network: str | Network) -> Conditions:
    """Return the default conditions over a network, which may be given by its name; an entry point leads here.

    Raises `ConfigurationError` for an unknown name.
    """
    return Conditions(network=find_network(network) if isinstance(network, str) else network)


def timeline_of(session: InProcessSession, conditions: Conditions | None) -> Timeline:
    """Return when everything of a session happens: under conditions, or as it did in this process."""
    return in_turn(session.log) if conditions is None else replay(session.log, conditions)


def in_turn(log: StepLog) -> Timeline:
    """Return when everything happened in this process, where one party works at a time and nothing travels."""
    timeline, now = Timeline(), 0.0
    #: Messages on their way to each side, by their place in the timeline.
    waiting: dict[str, deque[int]] = {side: deque() for side in log.steps}
    for side, step in log.order:
        if step.received is not None:
            place = waiting[side].popleft()
            timeline.travels[place] = timeline.travels[place]._replace(received=now)
        for phase, seconds in step.spent:
            timeline.works.append(Work(side, phase, now, seconds))
            now += seconds
        for event in step.sent:
            waiting[PROVIDER if side == CLIENT else CLIENT].append(len(timeline.travels))
            timeline.travels.append(Travel(event, side == CLIENT, now, now))
    timeline.end = now
    return timeline


def replay(log: StepLog, conditions: Conditions) -> Timeline:
    """Return when everything happens over a network."""
    return _Run(log, conditions).timeline()


class _Run:
    """One replay: the state of both parties and of the network."""

    def __init__(self, log: StepLog, conditions: Conditions) -> None:
        network = conditions.network
        self._record_seconds = conditions.record_seconds
        self._factors = {CLIENT: conditions.client_factor, PROVIDER: conditions.provider_factor}
        self._steps = {side: deque(steps) for side, steps in log.steps.items()}
        self._free = dict.fromkeys(self._steps, 0.0)
        #: When the messages to a side arrive, and their places in the timeline.
        self._arrivals: dict[str, deque[tuple[float, int]]] = {side: deque() for side in self._steps}
        self._channel = Channel(network, Random(conditions.seed))  # noqa: S311 - simulated losses, no secret
        self._timeline = Timeline()
        self._connected = False

    def timeline(self) -> Timeline:
        while any(self._advance(side) for side in (CLIENT, PROVIDER)):
            pass
        self._timeline.end = self._free[CLIENT]
        return self._timeline

    def _advance(self, side: str) -> bool:
        """Take all the steps of a side that can be taken; returns whether there was any."""
        taken = False
        steps, arrivals = self._steps[side], self._arrivals[side]
        while steps and (steps[0].received is None or arrivals):
            step = steps.popleft()
            if step.received is not None:
                arrival, place = arrivals.popleft()
                self._free[side] = taken_at = max(self._free[side], arrival)
                travels = self._timeline.travels
                travels[place] = travels[place]._replace(received=taken_at)
            self._take(side, step)
            taken = True
        return taken

    def _take(self, side: str, step: Step) -> None:
        for phase, seconds in step.spent:
            scaled = seconds * self._factors[side]
            self._timeline.works.append(Work(side, phase, self._free[side], scaled))
            self._free[side] += scaled
        up = side == CLIENT
        # Acknowledgements are not written first: they can be made again.
        if any(event.message is not UploadAck for event in step.sent):
            self._free[side] += self._record_seconds
        if step.sent and up and not self._connected:
            self._connect()
        for event in step.sent:
            sent = self._free[side]
            received = self._channel.send(sent, event.size, up=up)
            self._arrivals[PROVIDER if up else CLIENT].append((received, len(self._timeline.travels)))
            self._timeline.travels.append(Travel(event, up, sent, received))

    def _connect(self) -> None:
        self._connected = True
        seconds = self._channel.connect()
        self._timeline.connecting = (self._free[CLIENT], seconds)
        self._free[CLIENT] += seconds
