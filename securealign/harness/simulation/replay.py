"""Computes when the messages of a session would arrive over a network, in virtual time.

Each party is one thread that takes its steps in order: a step begins when the party is free and the message that it
takes has arrived. No step depends on when another party's step ends but through messages, so the order of evaluation
does not matter, and the same seed gives the same times to the last bit.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from random import Random
from typing import NamedTuple

from securealign.harness.simulation.networks import Network, find_network
from securealign.harness.simulation.tcp import Channel
from securealign.protocol.context import Event
from securealign.protocol.messages import UploadAck
from securealign.transport.meter import phase_awaited
from securealign.transport.stats import PhaseStats, RunStats
from securealign.transport.steps import CLIENT, PROVIDER, InProcessSession, Step, StepLog


class Work(NamedTuple):
    """One stretch of compute of a party, which begins at `at`."""

    party: str
    phase: str
    at: float
    seconds: float


class Travel(NamedTuple):
    """A message on its way from when it was sent until its receiver took it; `up` is from client to provider."""

    event: Event
    up: bool
    sent: float
    received: float


@dataclass
class Timeline:
    """The times of everything in a session, in seconds from its begin."""

    #: When the client began to connect, and how long that took.
    connecting: tuple[float, float] = (0.0, 0.0)
    works: list[Work] = field(default_factory=list)
    travels: list[Travel] = field(default_factory=list)
    #: When the client was done.
    end: float = 0.0

    def stats(self, counted: RunStats) -> RunStats:
        """Return the figures of the session, given what its meter counted in this process."""
        phases = {
            name: replace(phase, client_seconds=0.0, provider_seconds=0.0, network_seconds=0.0, elapsed_seconds=0.0)
            for name, phase in counted.phases.items()
        }
        for work in self.works:
            phase = phases[work.phase]
            if work.party == CLIENT:
                phase.client_seconds += work.seconds
                _elapse(phase, work.seconds)
            else:
                phase.provider_seconds += work.seconds
        self._book_waiting(phases)
        return RunStats(phases, counted.messages)

    def _book_waiting(self, phases: Mapping[str, PhaseStats]) -> None:
        """Book what the client waits, less what the provider computes meanwhile, as a meter does."""
        provider = deque((work.at, work.at + work.seconds) for work in self.works if work.party == PROVIDER)
        for begin, end, phase in self._waits():
            while provider and provider[0][1] <= begin:
                provider.popleft()
            computing = 0.0
            for first, last in provider:
                if first >= end:
                    break
                computing += min(last, end) - max(first, begin)
            phases[phase].network_seconds += end - begin - computing
            _elapse(phases[phase], end - begin)

    def _waits(self) -> list[tuple[float, float, str]]:
        """Return when the client did not compute: begin, end, and the phase of what it waited for."""
        sent = deque(travel for travel in self.travels if travel.up)
        taken = deque(sorted((travel for travel in self.travels if not travel.up), key=lambda travel: travel.received))
        waits, free, phase = [], 0.0, "handshake"
        for work in (work for work in self.works if work.party == CLIENT):
            while sent and sent[0].sent <= free:
                phase = sent.popleft().event.stage
            while taken and taken[0].received < work.at:
                taken.popleft()
            if work.at > free:
                awaited = taken[0].event if taken and taken[0].received == work.at else None
                waits.append((free, work.at, phase_awaited(awaited, phase)))
            free = work.at + work.seconds
        return waits


def _elapse(phase: PhaseStats, seconds: float) -> None:
    phase.elapsed_seconds = (phase.elapsed_seconds or 0.0) + seconds


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
    """Return the default conditions over a network or its name; raises `ConfigurationError` for an unknown name."""
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
            self._connected = True
            seconds = self._channel.connect()
            self._timeline.connecting = (self._free[CLIENT], seconds)
            self._free[CLIENT] += seconds
        for event in step.sent:
            sent = self._free[side]
            received = self._channel.send(sent, event.size, up=up)
            self._arrivals[PROVIDER if up else CLIENT].append((received, len(self._timeline.travels)))
            self._timeline.travels.append(Travel(event, up, sent, received))
