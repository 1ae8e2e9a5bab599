"""What a session costs, in figures: for each phase, for each type of message, and in all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Generic, TypeVar

N = TypeVar("N", int, float)


@dataclass
class PhaseStats:
    """Cost of one phase; "up" is from client to provider, bytes are payloads as encoded unless they are wire bytes.

    `network_seconds` is what the client waited beyond the compute of both parties, as far as that is known.
    """

    bytes_up: int = 0
    bytes_down: int = 0
    wire_up: int = 0
    wire_down: int = 0
    messages_up: int = 0
    messages_down: int = 0
    rounds: int = 0
    client_seconds: float = 0.0
    provider_seconds: float = 0.0
    network_seconds: float = 0.0
    #: From its begin to its end, where the parties work at the same time; None where they take turns.
    elapsed_seconds: float | None = None

    @property
    def total_seconds(self) -> float:
        """Seconds that the phase takes; where the parties take turns, those of both and of the network."""
        if self.elapsed_seconds is not None:
            return self.elapsed_seconds
        return self.client_seconds + self.provider_seconds + self.network_seconds

    def as_dict(self) -> dict[str, Any]:
        """Return the figures as plain numbers, for JSON."""
        return {name: getattr(self, name) for name in FIGURES}


#: What is counted for each phase and in all.
FIGURES = (*(figure.name for figure in fields(PhaseStats) if figure.name != "elapsed_seconds"), "total_seconds")


@dataclass(frozen=True, kw_only=True)
class MessageStats:
    """Cost of all messages of one type; `wire_bytes` are those in their own direction, "up" or "down"."""

    type: str
    phase: str
    direction: str
    count: int
    bytes: int
    wire_bytes: int


class _Total(Generic[N]):
    """A figure of a session: the sum of the figure of the same name over its phases."""

    def __init__(self, kind: Callable[[float], N], doc: str) -> None:
        self._kind: Callable[[float], N] = kind
        self.__doc__ = doc

    def __set_name__(self, owner: type[RunStats], name: str) -> None:
        self._name = name

    def __get__(self, run: RunStats, owner: type[RunStats]) -> N:
        return self._kind(sum(getattr(phase, self._name) for phase in run.phases.values()))


@dataclass(frozen=True)
class RunStats:
    """Cost of a session; the totals are sums over `phases`."""

    phases: Mapping[str, PhaseStats]
    messages: tuple[MessageStats, ...] = ()

    bytes_up = _Total(int, "Payload bytes from client to provider.")
    bytes_down = _Total(int, "Payload bytes from provider to client.")
    wire_up = _Total(int, "Bytes on the wire from client to provider, with all headers and acknowledgements.")
    wire_down = _Total(int, "Bytes on the wire from provider to client, with all headers and acknowledgements.")
    messages_up = _Total(int, "Messages from client to provider.")
    messages_down = _Total(int, "Messages from provider to client.")
    rounds = _Total(int, "Times the client had to wait for an answer; acknowledgements of an upload do not count.")
    client_seconds = _Total(float, "Compute of the client.")
    provider_seconds = _Total(float, "Compute of the provider.")
    network_seconds = _Total(float, "Time on the network.")
    total_seconds = _Total(float, "Seconds from begin to end; where the parties take turns, of both and the network.")

    def as_dict(self) -> dict[str, Any]:
        """Return totals, phases and message types as plain numbers, for JSON."""
        return {
            **{name: getattr(self, name) for name in FIGURES},
            "phases": {name: phase.as_dict() for name, phase in self.phases.items()},
            "messages": [asdict(message) for message in self.messages],
        }
