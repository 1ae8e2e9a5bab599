"""Sessions that outlive connections and processes. The laws:

1. Nothing leaves before it is recorded, unless the machine makes the same bytes again from what it receives again.
2. Both parties count the messages of a session. On a new connection each says how many it has processed, and the other
   sends those that follow once more, byte for byte.
3. A record older than what its party has said ends the session: going on from it would spend slots or randomness twice.

A machine sees one unbroken session; `Resume`, `Resumed` and `DurableAck` stay here and in the base of all machines.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Generic, TypeVar

from securealign.errors import ErrorCode, LocalProtocolError, PeerAborted, RemoteProtocolError
from securealign.limits import Limits
from securealign.protocol.client import ClientParty
from securealign.protocol.journal import Journal
from securealign.protocol.messages import Abort, InferenceHello, Resume, Resumed, TrainingHello
from securealign.protocol.party import Codec, Party
from securealign.protocol.states import FINAL, State

P = TypeVar("P", bound=Party)


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


class Endpoint(Generic[P]):
    """One party of a session with its journal; frames go in and come out as they do of the machine itself."""

    def __init__(self, party: P, journal: Journal, *, limits: Limits | None = None) -> None:
        party.recorded = True
        self.party = party
        self._journal = journal
        self._interval = (limits or Limits()).messages_between_receipts
        #: Frames made since the last record.
        self._pending: list[bytes] = []
        #: Frames that the peer has although this machine has yet to make them again.
        self._repeats = 0
        self._forgotten = party.peer_recorded
        self._told = party.received

    def receive(self, frame: bytes) -> list[bytes]:
        """Process one frame and return those that may leave now."""
        return self.send(self.party.receive(frame))

    def send(self, frames: Sequence[bytes]) -> list[bytes]:
        """Record what the machine has made, and return what may leave now."""
        party = self.party
        if party.state is State.ABORTED:
            self._journal.end(party.error.code.name if party.error is not None else ErrorCode.INTERNAL.name)
            return list(frames)
        first = party.sent - len(frames)
        if self._repeats and party.unrepeatable > first:
            return self._fail(_rolled_back(f"The peer has {self._repeats} messages more than were recorded as sent."))
        self._pending += frames
        recorded = (party.record_due or party.state is State.DONE) and self._record()
        leaving = list(frames[self._repeats :])
        self._repeats -= len(frames) - len(leaving)
        self._forget()
        return leaving + (self._receipt() if recorded else [])

    def detach(self) -> None:
        """Record as much as can be kept and give back what the suite holds; the peer may return to another endpoint."""
        if self.party.state not in FINAL:
            self._record()
        self.party.suspend()

    def _record(self) -> bool:
        """Record frames and, if the suite can be kept now, a snapshot; returns whether there is one."""
        party, first = self.party, self.party.sent - len(self._pending)
        snapshot = party.snapshot()
        if snapshot is None and not party.is_client:
            # A provider without a snapshot makes the same acknowledgements again, and nothing else.
            if party.unrepeatable > first:
                raise LocalProtocolError("The session cannot be recorded now, and something was made that has to be.")
            return False
        self._journal.record(first, self._pending, snapshot)
        self._pending = []
        return snapshot is not None

    def _forget(self) -> None:
        if self.party.peer_recorded > self._forgotten:
            self._forgotten = self.party.peer_recorded
            self._journal.forget(self._forgotten)

    def _receipt(self) -> list[bytes]:
        """Return what tells the peer that it may forget, if that is worth a message."""
        if self.party.received - self._told < self._interval:
            return []
        self._told = self.party.received
        return [self.party.tell_recorded()]

    def _fail(self, error: RemoteProtocolError) -> list[bytes]:
        return self.send(self.party.fail(error))


class ProviderEndpoint(Endpoint[Party]):
    """The provider's end of a session."""

    def resume(self, received: int) -> Iterator[bytes]:
        """Yield the answer to a client that returns after `received` messages, and the messages that it lacks."""
        if received < self.party.peer_recorded:
            yield from self._fail(_rolled_back(f"The client asks for message {received}, which it had recorded."))
            return
        self._repeats = max(0, received - self.party.sent)
        yield self.party.codec.encode(Resumed(received=self.party.received))
        yield from self._journal.frames(received)


class ClientEndpoint(Endpoint[ClientParty]):
    """The client's end of a session."""

    def resume(self) -> bytes:
        """Return the first frame of a new connection."""
        return self.party.codec.encode(Resume(nonce=self.party.nonce, received=self.party.received))

    def resumed(self, frame: bytes) -> Iterator[bytes]:
        """Return the frames that the provider lacks.

        Raises `PeerAborted` when it does not go on, `RemoteProtocolError` when it has more than this party recorded.
        """
        match self.party.codec.decode(frame):
            case Abort(code=code):
                raise PeerAborted(code)
            case Resumed(received=received):
                if received > self.party.sent:
                    raise _rolled_back(f"The provider has {received} messages, and {self.party.sent} were recorded.")
                if received < self.party.peer_recorded:
                    raise _rolled_back(f"The provider asks for message {received}, which it had recorded.")
                # Those alone that exist now: they are read while the machine makes others.
                return islice(self._journal.frames(received), self.party.sent - received)
            case other:
                raise RemoteProtocolError(f"{type(other).__name__} answers a request to resume.")


def _rolled_back(reason: str) -> RemoteProtocolError:
    return RemoteProtocolError(
        reason,
        hint="Start a new session; do not restore old copies of a state folder.",
        code=ErrorCode.SESSION_ROLLED_BACK,
    )
