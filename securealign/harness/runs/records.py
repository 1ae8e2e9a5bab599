"""The lines of a run file, format 1, as checked records.

Nothing is converted: a number in quotes, a time before zero, a key that is missing or unknown is an error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import pydantic
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, create_model

from securealign.transport.stats import FIGURES, MessageStats

T = TypeVar("T")
Phase = Literal["handshake", "keys", "upload", "result", "solve", "offline", "online", "confirm"]
Side = Literal["client", "provider"]
Direction = Literal["up", "down"]
Kind = Literal["training", "inference"]


def _printable(text: str) -> str:
    """Refuse control and formatting characters, which could reorder or hide what the page says, and half characters."""
    if not text.isprintable():
        raise ValueError("holds characters that cannot be printed")
    return text


Text = Annotated[str, StringConstraints(max_length=500), AfterValidator(_printable)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=64), AfterValidator(_printable)]
Hex = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{0,128}$")]
Count = Annotated[int, Field(ge=0, le=2**63)]
Seconds = Annotated[float, Field(ge=0, le=1e9)]
Value = int | float | Text
Values = Annotated[dict[Name, Value], Field(max_length=64)]


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)


class Network(_Line):
    """The network that was simulated, and where its figures come from."""

    name: Name
    round_trip_ms: Seconds
    jitter_ms: Seconds
    up_mbit: Seconds | None
    down_mbit: Seconds | None
    loss: Annotated[float, Field(ge=0, le=1)]
    source: Text


class RunStarts(_Line):
    """The first line: how the run was made."""

    event: Literal["run"]
    format: int
    securealign: Name
    command: Name
    side: Literal["both", "client", "provider"]
    clock: Literal["simulated", "measured"]
    started: Annotated[str, StringConstraints(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z$")] | None
    network: Network | None
    seed: int | None
    client_factor: Seconds
    provider_factor: Seconds


class SessionStarts(_Line):
    """A session, its suite and its shapes."""

    event: Literal["session"]
    session: Count
    kind: Kind
    suite: Name
    parameter_set: Name
    classical_bits: Count
    quantum_bits: Count
    function_private: bool
    facts: Values


class Connect(_Line):
    """Setting up a connection, which begins at `t`."""

    event: Literal["connect"]
    session: Count
    t: Seconds
    seconds: Seconds


class Compute(_Line):
    """Compute of one party, which begins at `t`."""

    event: Literal["compute"]
    session: Count
    party: Side
    phase: Phase
    t: Seconds
    seconds: Seconds


class Message(_Line):
    """One message; the side that made a one-sided recording does not know when the other one sent or received it."""

    event: Literal["message"]
    session: Count
    direction: Direction
    type: Name
    phase: Phase
    sent: Seconds | None
    received: Seconds | None
    bytes: Count
    wire_bytes: Count
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]

    @pydantic.model_validator(mode="after")
    def _in_order(self) -> Message:
        if self.sent is not None and self.received is not None and self.received < self.sent:
            raise ValueError("is received before it is sent")
        return self


if TYPE_CHECKING:
    from securealign.transport.stats import MessageStats as TypeCosts
    from securealign.transport.stats import PhaseStats as Costs
else:
    #: The figures that `securealign.transport.stats` declares, each with its check. Seconds on the network are a
    #: difference, which may be negative.
    _CHECKS = dict.fromkeys(FIGURES, Count) | dict.fromkeys(("client_seconds", "provider_seconds"), Seconds)
    _CHECKS |= dict.fromkeys(("network_seconds", "total_seconds"), float)
    Costs = create_model("Costs", __base__=_Line, **{name: (check, ...) for name, check in _CHECKS.items()})
    _CHECKS = {field.name: Count for field in fields(MessageStats)}
    _CHECKS |= {"type": Name, "phase": Phase, "direction": Direction}
    TypeCosts = create_model("TypeCosts", __base__=_Line, **{name: (check, ...) for name, check in _CHECKS.items()})


class Stats(Costs):
    """What a session cost, by phase and by type of message; the totals are those of the file."""

    phases: dict[Phase, Costs]
    messages: Annotated[list[TypeCosts], Field(max_length=256)]


class SessionEnds(_Line):
    """How a session ended, and what it cost."""

    event: Literal["end"]
    session: Count
    t: Seconds
    state: Name
    error: Name | None
    transcript: Hex | None
    stats: Stats


class Results(_Line):
    """The last line: the results of the run."""

    event: Literal["result"]
    results: Values


Record = RunStarts | SessionStarts | Connect | Compute | Message | SessionEnds | Results
RECORD: TypeAdapter[Record] = TypeAdapter(Annotated[Record, Field(discriminator="event")])


@dataclass(frozen=True)
class Session:
    """Everything that was recorded of one session."""

    about: SessionStarts
    connects: tuple[Connect, ...]
    computes: tuple[Compute, ...]
    messages: tuple[Message, ...]
    end: SessionEnds

    @classmethod
    def of(cls, records: Sequence[Record]) -> Session:
        """Return the session of these records, from its start to its end."""

        def all_of(kind: type[T]) -> tuple[T, ...]:
            return tuple(record for record in records if isinstance(record, kind))

        (about,), (end,) = all_of(SessionStarts), all_of(SessionEnds)
        return cls(about, all_of(Connect), all_of(Compute), all_of(Message), end)

    def number(self, fact: str) -> int | float | None:
        """Return a fact that is a number, None when it is absent."""
        value = self.about.facts.get(fact)
        return value if isinstance(value, int | float) else None

    @property
    def stats(self) -> Stats:
        """What the session cost, as the file says."""
        return self.end.stats

    @property
    def done(self) -> bool:
        """Whether the session came to its end without an error."""
        return self.end.state == "done" and self.end.error is None


@dataclass(frozen=True)
class Run:
    """A run file: its name, its first line, its sessions in the order of their numbers, and its results."""

    file: str
    about: RunStarts
    sessions: tuple[Session, ...]
    results: Mapping[str, int | float | str]
