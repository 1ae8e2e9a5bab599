"""What a meter reports to its listener while a session runs: work, waiting and messages, with their times."""

from __future__ import annotations

from typing import NamedTuple

from securealign.protocol.context import Event


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
