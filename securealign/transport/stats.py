"""What a session costs, in figures: for each phase, for each type of message, and in all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any


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


@dataclass(frozen=True)
class RunStats:
    """Cost of a session; the totals are sums over `phases`."""

    phases: Mapping[str, PhaseStats]
    messages: tuple[MessageStats, ...] = ()

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
    def wire_up(self) -> int:
        """Bytes on the wire from client to provider, with all headers and acknowledgements."""
        return int(self._sum("wire_up"))

    @property
    def wire_down(self) -> int:
        """Bytes on the wire from provider to client, with all headers and acknowledgements."""
        return int(self._sum("wire_down"))

    @property
    def messages_up(self) -> int:
        """Messages from client to provider."""
        return int(self._sum("messages_up"))

    @property
    def messages_down(self) -> int:
        """Messages from provider to client."""
        return int(self._sum("messages_down"))

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
        """Seconds from begin to end; where the parties take turns, those of both and of the network."""
        return self._sum("total_seconds")

    def as_dict(self) -> dict[str, Any]:
        """Return totals, phases and message types as plain numbers, for JSON."""
        return {
            **{name: getattr(self, name) for name in FIGURES},
            "phases": {name: phase.as_dict() for name, phase in self.phases.items()},
            "messages": [asdict(message) for message in self.messages],
        }
