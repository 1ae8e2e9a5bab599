"""The times of everything in a session, and its figures."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from securealign.protocol.context import Event
from securealign.transport.meter import phase_awaited
from securealign.transport.stats import PhaseStats, RunStats
from securealign.transport.steps import CLIENT, PROVIDER


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
