"""Measures what a session costs, alike in process, in simulation and over gRPC.

Payloads are the encoded messages of the protocol machines, the same however they travel. What goes around them on the
wire is computed from their sizes, never measured. Messages with which a session resumes on another connection are not
counted.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import NamedTuple

from securealign.protocol.context import Event, Observer
from securealign.protocol.messages import Message, UploadAck
from securealign.protocol.states import Direction
from securealign.transport.framing import CONNECTION, Wire, wire
from securealign.transport.stats import MessageStats, PhaseStats, RunStats


class Began(NamedTuple):
    """A side begins to work at a clock reading in seconds; "network" stands for waiting."""

    side: str
    at: float


class Spent(NamedTuple):
    """A side has worked on a phase for some seconds, from a clock reading on."""

    side: str
    phase: str
    began: float
    seconds: float


class Passed(NamedTuple):
    """The machine of a side has sent or received a message."""

    side: str
    event: Event
    at: float


class Connected(NamedTuple):
    """The client has set up a connection, which took some seconds from a clock reading on."""

    side: str
    at: float
    seconds: float


Activity = Began | Spent | Passed | Connected


Clock = Callable[[], float]
Listener = Callable[[Activity], None]


def nobody(_activity: Activity) -> None:
    """Ignore all events."""


def phase_awaited(event: Event | None, said: str) -> str:
    """Return the phase to which the wait for a message belongs, given that of the last message sent.

    Waiting for an acknowledgement, or for a message that never arrives, belongs to the last message sent.
    """
    return said if event is None or event.message is UploadAck else event.stage


class Meter:
    """Collects the cost of one session; only messages of the side `counted` are counted, so that none counts twice.

    The listener records the session, or simulates a network.
    """

    def __init__(
        self,
        counted: str,
        clock: Clock = time.perf_counter,
        *,
        listener: Listener = nobody,
    ) -> None:
        self._counted, self._clock = counted, clock
        #: Called with every event as it happens.
        self.listener = listener
        self._phases: dict[str, PhaseStats] = {}
        self._types: dict[tuple[type[Message], bool], _Tally] = {}
        self._client_spoke_last = False
        #: Clock reading up to which time is attributed; None outside a timed block.
        self._mark: float | None = None
        self._phase = "handshake"
        #: Phase of the last message sent, and seconds of waiting that are not attributed yet.
        self._said = "handshake"
        self._waited = 0.0

    def stats(self) -> RunStats:
        """Return what has been collected."""
        self._book_waiting(self._said)
        return RunStats(
            {name: replace(phase) for name, phase in self._phases.items()},
            tuple(tally.stats(kind, up=up) for (kind, up), tally in self._types.items()),
        )

    def observer(self, side: str) -> Observer:
        """Return the observer to hand to the machine of a side, "client" or "provider"."""

        def observe(event: Event) -> None:
            if event.direction is Direction.RECEIVE:
                self._book_waiting(phase_awaited(event, self._said))
            else:
                self._said = event.stage
            self._phase = event.stage
            if event.direction is Direction.SEND:
                # What led to a message belongs to its phase, even when one call makes messages of several phases.
                self._lap(side)
            if side == self._counted:
                self._count(event, up=(side == "client") == (event.direction is Direction.SEND))
            self.listener(Passed(side, event, self._clock()))

        return observe

    @contextmanager
    def timed(self, side: str, phase: str | None = None) -> Iterator[None]:
        """Add the duration of a block to a side ("client", "provider", "network").

        It goes to `phase`, or else is divided among the phases of the messages that the block sends and receives. What
        is waited for the network goes to the phase of the message that ends it.
        """
        self._mark = self._clock()
        if phase is not None:
            self._phase = phase
        self.listener(Began(side, self._mark))
        try:
            yield
        finally:
            self._lap(side)
            self._mark = None

    @contextmanager
    def connecting(self) -> Iterator[None]:
        """Count a connection, and book the duration of the block that sets it up to the network."""
        begun = self._clock()
        self.count_connection()
        with self.timed("network"):
            yield
        self.listener(Connected("network", begun, self._clock() - begun))

    def count_connection(self) -> None:
        """Count the bytes of setting up a connection."""
        handshake = self._phases.setdefault("handshake", PhaseStats())
        handshake.wire_up += CONNECTION.forward
        handshake.wire_down += CONNECTION.backward

    def _stats(self) -> PhaseStats:
        return self._phases.setdefault(self._phase, PhaseStats())

    def _lap(self, side: str) -> None:
        if self._mark is None:
            return
        now = self._clock()
        seconds = now - self._mark
        if side == "network":
            self._waited += seconds
        else:
            stats, name = self._stats(), f"{side}_seconds"
            setattr(stats, name, getattr(stats, name) + seconds)
        self.listener(Spent(side, self._phase, self._mark, seconds))
        self._mark = now

    def _book_waiting(self, phase: str) -> None:
        """Book what was waited to a phase."""
        if self._waited:
            self._phases.setdefault(phase, PhaseStats()).network_seconds += self._waited
            self._waited = 0.0

    def _count(self, event: Event, *, up: bool) -> None:
        stats, cost = self._stats(), wire(event.size)
        self._types.setdefault((event.message, up), _Tally()).add(event.size, cost)
        if up:
            stats.bytes_up += event.size
            stats.messages_up += 1
            stats.wire_up += cost.forward
            stats.wire_down += cost.backward
            self._client_spoke_last = True
            return
        stats.bytes_down += event.size
        stats.messages_down += 1
        stats.wire_down += cost.forward
        stats.wire_up += cost.backward
        if self._client_spoke_last and event.message is not UploadAck:
            stats.rounds += 1
            self._client_spoke_last = False


@dataclass
class _Tally:
    """Messages of one type so far."""

    count: int = 0
    bytes: int = 0
    wire_bytes: int = 0

    def add(self, size: int, cost: Wire) -> None:
        self.count += 1
        self.bytes += size
        self.wire_bytes += cost.forward

    def stats(self, kind: type[Message], *, up: bool) -> MessageStats:
        direction = "up" if up else "down"
        return MessageStats(type=kind.__name__, phase=kind.stage, direction=direction, **asdict(self))
