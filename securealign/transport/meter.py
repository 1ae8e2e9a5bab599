"""What a session costs: bytes, rounds and seconds, for each phase and in all."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

from securealign.protocol.messages import UploadAck
from securealign.protocol.party import Event, Observer
from securealign.protocol.states import Direction

Clock = Callable[[], float]


@dataclass
class PhaseStats:
    """Cost of one phase: payload bytes as encoded (up is client to provider), rounds, and seconds.

    `network_seconds` is what the client waited beyond the compute of both parties, as far as that is known.
    """

    bytes_up: int = 0
    bytes_down: int = 0
    rounds: int = 0
    client_seconds: float = 0.0
    provider_seconds: float = 0.0
    network_seconds: float = 0.0

    @property
    def total_seconds(self) -> float:
        """Seconds of both parties and the network."""
        return self.client_seconds + self.provider_seconds + self.network_seconds


@dataclass(frozen=True)
class RunStats:
    """Cost of a session; the totals are sums over `phases`."""

    phases: Mapping[str, PhaseStats]

    def _sum(self, name: str) -> float:
        return float(sum(getattr(phase, name) for phase in self.phases.values()))

    @property
    def bytes_up(self) -> int:
        """Payload bytes from client to provider."""
        return int(self._sum("bytes_up"))

    @property
    def bytes_down(self) -> int:
        """Payload bytes from provider to client."""
        return int(self._sum("bytes_down"))

    @property
    def rounds(self) -> int:
        """Times the client had to wait for an answer; acknowledgements of an upload do not count."""
        return int(self._sum("rounds"))

    @property
    def client_seconds(self) -> float:
        """Compute of the client."""
        return self._sum("client_seconds")

    @property
    def provider_seconds(self) -> float:
        """Compute of the provider."""
        return self._sum("provider_seconds")

    @property
    def network_seconds(self) -> float:
        """Time on the network."""
        return self._sum("network_seconds")

    @property
    def total_seconds(self) -> float:
        """Compute of both parties and time on the network."""
        return self.client_seconds + self.provider_seconds + self.network_seconds

    def as_dict(self) -> dict[str, Any]:
        """Return totals and phases as plain numbers, for JSON."""
        names = ("bytes_up", "bytes_down", "rounds", "client_seconds", "provider_seconds", "network_seconds")
        totals = {name: getattr(self, name) for name in (*names, "total_seconds")}
        phases = {name: {**asdict(phase), "total_seconds": phase.total_seconds} for name, phase in self.phases.items()}
        return {**totals, "phases": phases}


class Meter:
    """Collects the cost of one session; `counted` is the side whose messages are counted, so that none counts twice."""

    def __init__(self, counted: str, clock: Clock = time.perf_counter) -> None:
        self._counted = counted
        self._clock = clock
        self._phases: dict[str, PhaseStats] = {}
        self._client_spoke_last = False
        #: Since when time has not been booked; nothing outside a timed block.
        self._mark: float | None = None
        self._phase = "handshake"

    def stats(self) -> RunStats:
        """Return what has been collected."""
        return RunStats({name: replace(phase) for name, phase in self._phases.items()})

    def observer(self, side: str) -> Observer:
        """Return the observer to hand to the machine of a side, "client" or "provider"."""

        def observe(event: Event) -> None:
            self._phase = event.phase
            if event.direction is Direction.SEND:
                # What led to a message belongs to its phase, even when one call makes messages of several phases.
                self._lap(side)
            if side == self._counted:
                self._count(event, up=(side == "client") == (event.direction is Direction.SEND))

        return observe

    @contextmanager
    def timed(self, side: str, phase: str | None = None) -> Iterator[None]:
        """Add the duration of a block to a side ("client", "provider", "network").

        It goes to `phase`, or else is divided among the phases of the messages that the block sends and receives.
        """
        self._mark = self._clock()
        if phase is not None:
            self._phase = phase
        try:
            yield
        finally:
            self._lap(side)
            self._mark = None

    def _stats(self) -> PhaseStats:
        return self._phases.setdefault(self._phase, PhaseStats())

    def _lap(self, side: str) -> None:
        if self._mark is None:
            return
        now = self._clock()
        stats, name = self._stats(), f"{side}_seconds"
        setattr(stats, name, getattr(stats, name) + now - self._mark)
        self._mark = now

    def _count(self, event: Event, *, up: bool) -> None:
        stats = self._stats()
        if up:
            stats.bytes_up += event.size
            self._client_spoke_last = True
            return
        stats.bytes_down += event.size
        if self._client_spoke_last and event.message is not UploadAck:
            stats.rounds += 1
            self._client_spoke_last = False
