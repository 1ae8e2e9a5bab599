"""What a meter hears of a session: who began to work, for how long, and which messages passed."""

from __future__ import annotations

from typing import NamedTuple

from securealign.protocol.context import Event


class Began(NamedTuple):
    """A side, "client", "provider" or "network", takes over at a reading of the clock in seconds."""

    side: str
    at: float


class Spent(NamedTuple):
    """A side has spent time on a phase."""

    side: str
    phase: str
    began: float
    seconds: float


class Passed(NamedTuple):
    """A message passed through a side's machine."""

    side: str
    event: Event
    at: float


class Connected(NamedTuple):
    """The client has begun to set up a connection at a reading of the clock, and needed so many seconds."""

    side: str
    at: float
    seconds: float


Activity = Began | Spent | Passed | Connected
