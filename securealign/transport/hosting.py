"""What becomes of a session when its stream ends: the end of it, or a wait for its peer to return.

A host makes or finds the machine of each stream. A transient host ends a session with its stream. A durable one keeps
it in a state folder: a lost connection is a crash with time for a last record, so that there is one way back for both.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from securealign.errors import ErrorCode, KeyStoreError, RemoteProtocolError, TransportError
from securealign.limits import Limits
from securealign.protocol.endpoint import Opening, ProviderEndpoint
from securealign.protocol.journal import Journal
from securealign.protocol.party import Codec, Observer, Party
from securealign.protocol.states import FINAL

#: Seconds to wait for the thread of a stream that its peer has given up and opened anew.
_TAKE_OVER_SECONDS = 60.0


@dataclass(frozen=True)
class Peer:
    """Who opened a stream: address as gRPC prints it, whether it is this machine, and the name in its certificate."""

    address: str
    loopback: bool
    identity: str = ""
    #: Called with the bytes that a session takes at most before they are allocated; raises the reason to refuse.
    reserve: Callable[[int], None] | None = None


#: The counters of a peer by ledger, such as "rank"; what a session changes is recorded with the session.
Counters = Mapping[str, MutableMapping[str, float]]
MakeParty = Callable[[Peer, Observer], Party]
MakeDurableParty = Callable[[Peer, Observer, Counters], Party]


class Attached(ABC):
    """A session while a stream carries it."""

    party: Party
    #: Whether the session was begun over an earlier stream.
    resumed = False

    @abstractmethod
    def open(self, frame: bytes) -> Iterable[bytes]:
        """Process the first frame of the stream and yield the replies."""

    @abstractmethod
    def receive(self, frame: bytes) -> Sequence[bytes]:
        """Process a frame and return the replies."""

    @abstractmethod
    def leave(self, error: TransportError) -> bool:
        """Take note that the stream has ended, for this reason; returns whether the session waits for its peer."""


class Host(ABC):
    """Serves one method."""

    @abstractmethod
    def attach(self, peer: Peer, observer: Observer, frame: bytes, cancel: Callable[[], object]) -> Attached:
        """Return the session that the first frame of a stream asks for; raises the reason to refuse the stream.

        `cancel` ends the stream; it is called when the client opens another one for the same session.
        """


class TransientHost(Host):
    """A session ends with its stream."""

    def __init__(self, make: MakeParty) -> None:
        self._make = make

    def attach(self, peer: Peer, observer: Observer, frame: bytes, cancel: Callable[[], object]) -> Attached:
        """Return a new session."""
        return _Transient(self._make(peer, observer))


class _Transient(Attached):
    def __init__(self, party: Party) -> None:
        self.party = party

    def open(self, frame: bytes) -> Iterable[bytes]:
        return self.party.receive(frame)

    def receive(self, frame: bytes) -> Sequence[bytes]:
        return self.party.receive(frame)

    def leave(self, error: TransportError) -> bool:
        self.party.abandon(error)
        return False


class Sessions(Protocol):
    """The durable sessions of a provider, by the identity of their client and its nonce."""

    def create(self, identity: str, phase: str, nonce: bytes) -> tuple[Journal, Counters]:
        """Begin a session; raises `RemoteProtocolError` when there was one of this nonce."""
        ...

    def find(self, identity: str, phase: str, nonce: bytes) -> tuple[Journal, Counters] | None:
        """Return a session that may go on, None if there is none."""
        ...

    def expired(self, phase: str) -> Sequence[tuple[str, bytes]]:
        """Return identity and nonce of the sessions that were left alone for too long."""
        ...

    def delete(self, identity: str, phase: str, nonce: bytes) -> None:
        """Forget a session altogether."""
        ...


class DurableHost(Host):
    """A session outlives its stream and its process."""

    def __init__(
        self, phase: str, codec: Codec, make: MakeDurableParty, sessions: Sessions, *, limits: Limits | None = None
    ) -> None:
        #: What the sessions do, "training" or "inference".
        self.phase = phase
        self._codec = codec
        self._make = make
        self._sessions = sessions
        self._limits = limits or Limits()
        self._lock = threading.Lock()
        self._attached: dict[tuple[str, bytes], _Place] = {}

    def attach(self, peer: Peer, observer: Observer, frame: bytes, cancel: Callable[[], object]) -> Attached:
        """Return a new session, or the one that the client comes back to, taking it from an older stream."""
        opening = Opening.of(self._codec, frame)
        if opening is None:
            # The machine says what is wrong with it; there is nothing to keep.
            return _Transient(self._make(peer, observer, _Forgetful()))
        place = self._take(_Place((peer.identity, opening.nonce), cancel))
        try:
            return self._attach(peer, observer, opening, place)
        except BaseException:
            self._give_back(place)
            raise

    def expire(self) -> int:
        """Give up the sessions that were left alone for too long, refund what they did not use, and count them."""
        count = 0
        for identity, nonce in self._sessions.expired(self.phase):
            with self._lock:
                if (identity, nonce) in self._attached:
                    continue
            found = self._sessions.find(identity, self.phase, nonce)
            if found is not None:
                self._abandon(identity, *found)
            self._sessions.delete(identity, self.phase, nonce)
            count += 1
        return count

    def _attach(self, peer: Peer, observer: Observer, opening: Opening, place: _Place) -> Attached:
        found = None
        try:
            if opening.received is not None:
                found = self._sessions.find(peer.identity, self.phase, opening.nonce)
            if found is None and opening.received:
                raise _unknown("The client resumes a session that is not kept.")
            journal, counters = found or self._sessions.create(peer.identity, self.phase, opening.nonce)
            party = self._make(peer, observer, counters)
            snapshot = journal.recover()
            if snapshot is not None:
                party.restore(snapshot)
        except KeyStoreError as error:
            raise _unknown(f"The client resumes a session whose record cannot be used: {error.message}") from error
        endpoint = ProviderEndpoint(party, journal, limits=self._limits)
        return _Durable(
            endpoint,
            opening.received,
            # A greeting that was refused leaves nothing, so that greetings cannot fill the disk.
            forget=lambda: self._sessions.delete(peer.identity, self.phase, opening.nonce),
            give_back=lambda: self._give_back(place),
        )

    def _abandon(self, identity: str, journal: Journal, counters: Counters) -> None:
        snapshot = journal.recover()
        if snapshot is not None:
            party = self._make(Peer("", loopback=True, identity=identity), lambda event: None, counters)
            party.restore(snapshot)
            party.abandon(TransportError("The client did not come back.", code=ErrorCode.CONNECTION_LOST))
        journal.end(ErrorCode.CONNECTION_LOST.name)

    def _take(self, place: _Place) -> _Place:
        with self._lock:
            previous = self._attached.get(place.key)
            self._attached[place.key] = place
        if previous is not None:
            previous.cancel()
            if not previous.free.wait(_TAKE_OVER_SECONDS):
                self._give_back(place)
                raise RemoteProtocolError("An older stream still holds the session.", code=ErrorCode.SERVER_BUSY)
        return place

    def _give_back(self, place: _Place) -> None:
        with self._lock:
            if self._attached.get(place.key) is place:
                del self._attached[place.key]
        place.free.set()


def _unknown(reason: str) -> RemoteProtocolError:
    return RemoteProtocolError(reason, code=ErrorCode.SESSION_UNKNOWN)


class _Forgetful(dict[str, MutableMapping[str, float]]):
    """Counters of a stream that never becomes a session."""

    def __missing__(self, ledger: str) -> MutableMapping[str, float]:
        return {}


class _Place:
    """The right to a session, which one stream has at a time."""

    def __init__(self, key: tuple[str, bytes], cancel: Callable[[], object]) -> None:
        self.key = key
        self.cancel = cancel
        self.free = threading.Event()


class _Durable(Attached):
    def __init__(
        self,
        endpoint: ProviderEndpoint,
        received: int | None,
        forget: Callable[[], None],
        give_back: Callable[[], None],
    ) -> None:
        self.party = endpoint.party
        self.resumed = self.party.received > 0
        self._endpoint = endpoint
        self._received = received
        self._forget = forget
        self._give_back = give_back

    def open(self, frame: bytes) -> Iterable[bytes]:
        if self._received is None:
            return self._endpoint.receive(frame)
        return self._endpoint.resume(self._received)

    def receive(self, frame: bytes) -> Sequence[bytes]:
        return self._endpoint.receive(frame)

    def leave(self, error: TransportError) -> bool:
        try:
            if not self.party.received:
                # It has not begun: there is nothing to come back to.
                self.party.abandon(error)
                self._endpoint.send([])
            self._endpoint.detach()
            if not self.party.sent:
                self._forget()
            return self.party.state not in FINAL
        finally:
            self._give_back()
