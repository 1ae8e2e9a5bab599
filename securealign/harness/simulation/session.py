"""A session that ran in this process, with what it takes to say what it would cost elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from securealign.harness.simulation.job import Job
from securealign.harness.simulation.replay import Conditions, in_turn, replay
from securealign.harness.simulation.timeline import Timeline
from securealign.he.interface import SuiteInfo
from securealign.transport.stats import RunStats


@dataclass(frozen=True, kw_only=True)
class Session:
    """One session of one phase between both parties, and what is known about it."""

    #: "training" or "inference".
    kind: str
    suite: SuiteInfo
    #: Numbers and names that describe it: rows, dimensions, classes.
    facts: Mapping[str, int | float | str]
    job: Job = field(repr=False)
    #: What its meter counted here.
    counted: RunStats = field(repr=False)
    #: What both parties confirmed, 32 bytes.
    transcript: bytes = field(repr=False)

    def timeline(self, conditions: Conditions | None) -> Timeline:
        """Return when everything happens: under conditions, or as it did here, in turn."""
        return in_turn(self.job) if conditions is None else replay(self.job, conditions)

    def stats(self, conditions: Conditions | None) -> RunStats:
        """Return what it costs under conditions, or what it cost here."""
        return self.counted if conditions is None else self.timeline(conditions).stats(self.counted)
