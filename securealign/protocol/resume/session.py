"""Sessions that outlive connections and processes, and their records. The laws:

1. Record before sending, except what a restored machine makes again byte for byte: acknowledgements and tables.
2. Both parties count the messages of a session. On a new connection each says how many it has processed, and the other
   sends those that follow once more, byte for byte.
3. A record older than what its machine has sent ends the session: it would use slots or randomness twice.

A machine sees one unbroken session; `Resume`, `Resumed` and `DurableAck` stay here and in the base of all machines.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Generic, Protocol, TypeVar

from securealign.errors import ErrorCode, LocalProtocolError, PeerAborted, RemoteProtocolError
from securealign.limits import Limits
from securealign.protocol.client import ClientMachine
from securealign.protocol.context import Codec
from securealign.protocol.machine import SessionMachine
from securealign.protocol.messages import Abort, InferenceHello, Resume, Resumed, TrainingHello
from securealign.protocol.resume.snapshot import Snapshot, take_snapshot
from securealign.protocol.states import FINAL, State


class Journal(Protocol):
    """Keeps the frames that a party has made, numbered from 0, and a snapshot; durable when a call returns."""

    def recover(self) -> Snapshot | None:
        """Return the last snapshot, and forget frames that were made after it; None if there is none to go on from."""

    def record(self, first: int, frames: Sequence[bytes], snapshot: Snapshot | None) -> None:
        """Add frames from number `first` on and replace the snapshot, all or nothing.

        Without a snapshot the frames can be sent again, but the machine cannot be made again after a crash.
        """

    def frames(self, first: int) -> Iterator[bytes]:
        """Yield the frames from number `first` on."""

    def forget(self, below: int) -> None:
        """Give up the frames below a number: the peer has them for good."""

    def end(self, outcome: str) -> None:
        """Record that the session is over ("done", or the name of an error code) and cannot go on."""


P = TypeVar("P", bound=SessionMachine)


@dataclass(frozen=True)
class Opening:
    """What the first frame of a connection asks for: a new session, or `received` messages into one that exists."""

    nonce: bytes
    received: int | None

    @classmethod
    def of(cls, codec: Codec, frame: bytes) -> Opening | None:
        """Return what a frame opens, None if nothing; raises `RemoteProtocolError` for a malformed one."""
        match codec.decode(frame):
            case TrainingHello(hello=hello) | InferenceHello(hello=hello):
                return cls(hello.nonce, None)
            case Resume(nonce=nonce, received=received):
                return cls(nonce, received)
            case _:
                return None


class ResumableSession(Generic[P]):
    """One machine of a session with its journal; frames go in and come out as they do of the machine itself."""

    def __init__(self, machine: P, journal: Journal, *, limits: Limits | None = None) -> None:
        machine.record.wanted = True
        self.machine, self._journal = machine, journal
        self._interval = (limits or Limits()).messages_between_receipts
        #: Frames made since the last record.
        self._pending: list[bytes] = []
        #: Frames that the peer has although this machine has yet to make them again.
        self._repeats = 0
        self._forgotten = machine.record.peer_recorded
        self._told = machine.received

    def receive(self, frame: bytes) -> Iterable[bytes]:
        """Process one frame and return those that may leave now; a long reply is an iterator."""
        replies = self.machine.receive(frame)
        return self.send(replies) if isinstance(replies, list) else self._stream(replies)

    def send(self, frames: Sequence[bytes]) -> list[bytes]:
        """Record what the machine has made, and return what may leave now."""
        machine = self.machine
        if machine.state is State.ABORTED:
            self._journal.end(machine.error.code.name if machine.error is not None else ErrorCode.INTERNAL.name)
            return list(frames)
        first = machine.sent - len(frames)
        if self._repeats and machine.record.last_unrepeatable_sent > first:
            return self._fail(_rolled_back(f"The peer has {self._repeats} messages more than were recorded as sent."))
        self._pending += frames
        recorded = (machine.record.needs_snapshot or machine.state is State.DONE) and self._record()
        leaving = list(frames[self._repeats :])
        self._repeats -= len(frames) - len(leaving)
        self._forget()
        return leaving + (self._receipt() if recorded else [])

    def _stream(self, frames: Iterable[bytes]) -> Iterator[bytes]:
        """Yield the frames of a reply that is made while it is sent; a restored machine makes it again."""
        if self.machine.replying:
            self._record()
        for frame in frames:
            if self.machine.state is State.ABORTED:
                yield from self.send([frame])
            elif self._repeats:
                self._repeats -= 1
            else:
                yield frame

    def detach(self) -> None:
        """Record what can be kept and close what the suite holds; the peer may return over another connection."""
        if self.machine.state not in FINAL:
            self._record()
        self.machine.suspend()

    def _record(self) -> bool:
        """Record frames and, if the suite can be kept now, a snapshot; returns whether there is one."""
        machine, first = self.machine, self.machine.sent - len(self._pending)
        snapshot = take_snapshot(machine)
        if snapshot is None and not machine.is_client:
            # A provider without a snapshot makes the same acknowledgements again, and nothing else.
            if machine.record.last_unrepeatable_sent > first:
                raise LocalProtocolError("The session cannot be recorded now, and something was made that has to be.")
            return False
        self._journal.record(first, self._pending, snapshot)
        self._pending = []
        return snapshot is not None

    def _forget(self) -> None:
        if self.machine.record.peer_recorded > self._forgotten:
            self._forgotten = self.machine.record.peer_recorded
            self._journal.forget(self._forgotten)

    def _receipt(self) -> list[bytes]:
        """Return what tells the peer that it may forget, if that is worth a message."""
        if self.machine.received - self._told < self._interval:
            return []
        self._told = self.machine.received
        return [self.machine.tell_recorded()]

    def _fail(self, error: RemoteProtocolError) -> list[bytes]:
        return self.send(self.machine.fail(error))


class ResumableProvider(ResumableSession[SessionMachine]):
    """The provider's end of a session."""

    def resume(self, received: int) -> Iterator[bytes]:
        """Yield the answer to a client that returns after `received` messages, and the messages that it lacks."""
        if received < self.machine.record.peer_recorded:
            yield from self._fail(_rolled_back(f"The client asks for message {received}, which it had recorded."))
            return
        self._repeats = max(0, received - self.machine.sent)
        yield self.machine.codec.encode(Resumed(received=self.machine.received))
        for numbers, frames in self.machine.again(received):
            yield from islice(self._journal.frames(received), max(0, numbers.start - received))
            yield from islice(frames, max(0, received - numbers.start), None)
            received = numbers.stop
        yield from self._journal.frames(received)
        yield from self._stream(self.machine.following())


class ResumableClient(ResumableSession[ClientMachine]):
    """The client's end of a session."""

    def resume(self) -> bytes:
        """Return the first frame of a new connection."""
        return self.machine.codec.encode(Resume(nonce=self.machine.nonce, received=self.machine.received))

    def resumed(self, frame: bytes) -> Iterator[bytes]:
        """Return the frames that the provider lacks.

        Raises `PeerAborted` when it does not go on, `RemoteProtocolError` when it has more than this machine recorded.
        """
        match self.machine.codec.decode(frame):
            case Abort(code=code):
                raise PeerAborted(code)
            case Resumed(received=received):
                if received > self.machine.sent:
                    raise _rolled_back(f"The provider has {received} messages, and {self.machine.sent} were recorded.")
                if received < self.machine.record.peer_recorded:
                    raise _rolled_back(f"The provider asks for message {received}, which it had recorded.")
                # Those alone that exist now: they are read while the machine makes others.
                return islice(self._journal.frames(received), self.machine.sent - received)
            case other:
                raise RemoteProtocolError(f"{type(other).__name__} answers a request to resume.")


def _rolled_back(reason: str) -> RemoteProtocolError:
    return RemoteProtocolError(
        reason,
        hint="Start a new session; do not restore old copies of a state folder.",
        code=ErrorCode.SESSION_ROLLED_BACK,
    )
