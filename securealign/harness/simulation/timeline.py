"""When a session did what, and the figures that follow from it."""

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
    """A party computes for a phase, from `at` on."""

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
    """When a session did what, in seconds from its begin."""

    #: When the client began to connect, and how long that took.
    connecting: tuple[float, float] = (0.0, 0.0)
    works: list[Work] = field(default_factory=list)
    travels: list[Travel] = field(default_factory=list)
    #: When the client was done.
    end: float = 0.0

    def stats(self, counted: RunStats) -> RunStats:
        """Return the figures of the session, given what its meter counted in this process."""
        times = {name: _Times() for name in counted.phases}
        self._book_compute(times)
        self._book_waiting(times)
        phases = {name: times[name].put(phase) for name, phase in counted.phases.items()}
        return RunStats(phases, counted.messages)

    def _book_compute(self, times: Mapping[str, _Times]) -> None:
        for work in self.works:
            if work.party == CLIENT:
                times[work.phase].client += work.seconds
                times[work.phase].elapsed += work.seconds
            else:
                times[work.phase].provider += work.seconds

    def _book_waiting(self, times: Mapping[str, _Times]) -> None:
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
            times[phase].elapsed += end - begin
            times[phase].network += end - begin - computing

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


@dataclass
class _Times:
    client: float = 0.0
    provider: float = 0.0
    network: float = 0.0
    elapsed: float = 0.0

    def put(self, phase: PhaseStats) -> PhaseStats:
        return replace(
            phase,
            client_seconds=self.client,
            provider_seconds=self.provider,
            network_seconds=self.network,
            elapsed_seconds=self.elapsed,
        )
