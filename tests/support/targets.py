"""What is fuzzed: functions that take any bytes, and do no more about bad ones than raise a typed error."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from securealign.errors import SecurealignError
from securealign.protocol.context import Codec
from securealign.protocol.machine import SessionMachine
from securealign.protocol.messages import Confirm, DurableAck, Resume, Resumed
from securealign.protocol.resume.session import Opening, ResumableProvider
from securealign.protocol.states import State
from securealign.wire import InferenceCodec, TrainingCodec

from .journal import MemoryJournal
from .pair import TOY_LWE, Carried, InferenceCase, TrainingCase


@dataclass(frozen=True)
class Target:
    """A function under test, and honest inputs to begin with."""

    run: Callable[[bytes], object]
    corpus: Sequence[bytes]


@dataclass(frozen=True)
class _Sessions:
    """Honest sessions of one phase."""

    case: TrainingCase | InferenceCase
    codec: Codec

    @functools.cached_property
    def carried(self) -> list[Carried]:
        return self.case.finished().carried

    def corpus(self) -> list[bytes]:
        extra = (
            Resume(nonce=bytes(32), received=3),
            Resumed(received=2),
            DurableAck(messages=1),
            Confirm(transcript_digest=bytes(32)),
        )
        return [carried.frame for carried in self.carried] + [self.codec.encode(message) for message in extra]

    def machine(self, side: str, frames: int) -> SessionMachine:
        """Return a machine that has received so many frames of the honest session."""
        pair = self.case.pair()
        if side == "client":
            pair.client.start()
        party: SessionMachine = getattr(pair, side)
        mine = [carried.frame for carried in self.carried if carried.to_provider is (side == "provider")]
        for frame in mine[:frames]:
            party.receive(frame)
        return party


PHASES = {
    "training": _Sessions(TrainingCase(suites=(TOY_LWE,)), TrainingCodec()),
    "inference": _Sessions(InferenceCase(suites=(TOY_LWE,)), InferenceCodec()),
    "training in clear": _Sessions(TrainingCase(), TrainingCodec()),
    "inference in clear": _Sessions(InferenceCase(), InferenceCodec()),
}


def decoding(phase: str) -> Target:
    """Decode frames of a phase, and read what a stream begins with."""
    sessions = PHASES[phase]

    def run(data: bytes) -> object:
        Opening.of(sessions.codec, data)
        return sessions.codec.decode(data)

    return Target(run, sessions.corpus())


def machines(phase: str, side: str) -> Target:
    """Hand frames to a machine, or its endpoint; a new one takes the place of one that has ended."""
    sessions = PHASES[phase]
    state = _Rotating(sessions, side)
    return Target(state.run, sessions.corpus())


class _Rotating:
    """One machine after the other, each begun somewhere in an honest session."""

    def __init__(self, sessions: _Sessions, side: str) -> None:
        self._sessions = sessions
        self._side = side
        self._made = 0
        self._party: SessionMachine | None = None
        self._receive: Callable[[bytes], Sequence[bytes]] = lambda data: []

    def run(self, data: bytes) -> object:
        party = self._party
        if party is None or party.state in {State.ABORTED, State.DONE}:
            party = self._renew()
        replies = self._receive(data)
        for reply in replies:
            self._sessions.codec.decode(reply)
        if (party.state is State.ABORTED) != (party.error is not None):
            raise AssertionError("a machine is aborted exactly when it has an error")
        return replies

    def _renew(self) -> SessionMachine:
        self._made += 1
        party = self._party = self._sessions.machine(self._side, self._made % 12)
        self._receive = party.receive
        if self._side == "provider" and party.state is State.START:
            self._receive = ResumableProvider(party, MemoryJournal()).receive
        return party


def tolerated(target: Target, data: bytes) -> bool:
    """Run a target; returns whether it took the bytes, and lets through any error that is not typed."""
    try:
        target.run(data)
    except SecurealignError:
        return False
    return True
