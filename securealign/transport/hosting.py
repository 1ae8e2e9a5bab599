"""What becomes of a session when its stream ends: the end of it, or a wait for its peer to return.

A host makes or finds the machine of each stream. A transient host ends a session with its stream. A durable one keeps
it in a state folder: a lost connection is a crash with time for a last record, so that there is one way back for both.
"""

from __future__ import annotations

import itertools
import sqlite3
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from securealign.errors import (
    ErrorCode,
    KeyStoreError,
    RemoteProtocolError,
    SecurealignError,
    SuiteError,
    TransportError,
)
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

    def revert(self, counters: Counters) -> None:
        """Take back what a session has changed and not recorded."""
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
        self._order = itertools.count()
        #: Notified when a place is given back.
        self._changed = threading.Condition()
        self._attached: dict[tuple[str, bytes], _Place] = {}

    def attach(self, peer: Peer, observer: Observer, frame: bytes, cancel: Callable[[], object]) -> Attached:
        """Return a new session, or the one that the client comes back to, taking it from an older stream."""
        opening = Opening.of(self._codec, frame)
        if opening is None:
            # The machine says what is wrong with it; there is nothing to keep.
            return _Transient(self._make(peer, observer, _Forgetful()))
        place = self._take((peer.identity, opening.nonce), cancel)
        try:
            return self._attach(peer, observer, opening, place)
        except BaseException:
            self._give_back(place)
            raise

    def expire(self) -> int:
        """Give up the sessions that were left alone for too long, refund what they did not use, and count them.

        Records of sessions that had ended are deleted too, and not counted.
        """
        return sum(self._expire(*key) for key in self._sessions.expired(self.phase))

    def _expire(self, identity: str, nonce: bytes) -> bool:
        """Give up one session unless a stream carries it; returns whether it was still waiting for its client."""
        with self._changed:
            if (identity, nonce) in self._attached:
                return False
            # A client that returns now finds it gone, rather than half given up.
            place = self._place((identity, nonce), lambda: None)
        try:
            found = self._find_unfinished(identity, nonce)
            waited = found is not None and self._abandon(identity, *found)
            self._sessions.delete(identity, self.phase, nonce)
            return waited
        finally:
            self._give_back(place)

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
        except (KeyStoreError, SuiteError) as error:
            raise _unknown(f"The client resumes a session whose record cannot be used: {error.message}") from error
        endpoint = ProviderEndpoint(party, journal, limits=self._limits)
        return _Durable(
            endpoint,
            opening.received,
            # A greeting that was refused leaves nothing, so that greetings cannot fill the disk.
            forget=lambda: self._sessions.delete(peer.identity, self.phase, opening.nonce),
            revert=lambda: self._sessions.revert(counters),
            give_back=lambda: self._give_back(place),
        )

    def _find_unfinished(self, identity: str, nonce: bytes) -> tuple[Journal, Counters] | None:
        try:
            return self._sessions.find(identity, self.phase, nonce)
        except KeyStoreError:
            # Sealed under a key that was destroyed: nothing can be known of it any more.
            return None

    def _abandon(self, identity: str, journal: Journal, counters: Counters) -> bool:
        """End a session that nobody comes back to; returns whether it was not over."""
        waited = True
        try:
            snapshot = journal.recover()
            if snapshot is not None:
                party = self._make(Peer("", loopback=True, identity=identity), lambda event: None, counters)
                party.restore(snapshot)
                waited = party.state not in FINAL
                party.abandon(TransportError("The client did not come back.", code=ErrorCode.CONNECTION_LOST))
        except SecurealignError:
            # A record that cannot be used refunds nothing: the charge errs against the client.
            self._sessions.revert(counters)
        journal.end(ErrorCode.CONNECTION_LOST.name)
        return waited

    def _place(self, key: tuple[str, bytes], cancel: Callable[[], object]) -> _Place:
        place = self._attached[key] = _Place(key, cancel, next(self._order))
        return place

    def _take(self, key: tuple[str, bytes], cancel: Callable[[], object]) -> _Place:
        """Return the right to a session once older streams have given it back; newer ones keep it."""
        number = next(self._order)
        with self._changed:
            while (holder := self._attached.get(key)) is not None:
                if holder.number > number:
                    raise RemoteProtocolError("A newer stream holds the session.", code=ErrorCode.SERVER_BUSY)
                holder.cancel()
                if not self._freed(holder):
                    raise RemoteProtocolError("An older stream still holds the session.", code=ErrorCode.SERVER_BUSY)
            place = self._attached[key] = _Place(key, cancel, number)
        return place

    def _freed(self, holder: _Place) -> bool:
        """Wait until a place is given back; returns whether it was in time."""
        return self._changed.wait_for(lambda: holder.free, _TAKE_OVER_SECONDS)

    def _give_back(self, place: _Place) -> None:
        with self._changed:
            if not place.free:
                place.free = True
                del self._attached[place.key]
                self._changed.notify_all()


def _unknown(reason: str) -> RemoteProtocolError:
    return RemoteProtocolError(reason, code=ErrorCode.SESSION_UNKNOWN)


class _Forgetful(dict[str, MutableMapping[str, float]]):
    """Counters of a stream that never becomes a session."""

    def __missing__(self, ledger: str) -> MutableMapping[str, float]:
        return {}


class _Place:
    """The right to a session, which one stream has at a time; `number` says in which order streams came."""

    def __init__(self, key: tuple[str, bytes], cancel: Callable[[], object], number: int) -> None:
        self.key = key
        self.cancel = cancel
        self.number = number
        self.free = False


class _Durable(Attached):
    def __init__(
        self,
        endpoint: ProviderEndpoint,
        received: int | None,
        *,
        forget: Callable[[], None],
        revert: Callable[[], None],
        give_back: Callable[[], None],
    ) -> None:
        self.party = endpoint.party
        self.resumed = self.party.received > 0
        self._endpoint = endpoint
        self._received = received
        self._forget = forget
        self._revert = revert
        self._give_back = give_back
        #: Whether something was not recorded.
        self._broken = False

    def open(self, frame: bytes) -> Iterable[bytes]:
        return self.receive(frame) if self._received is None else self._resume(self._received)

    def receive(self, frame: bytes) -> Sequence[bytes]:
        with self._recording():
            return self._endpoint.receive(frame)

    def leave(self, error: TransportError) -> bool:
        try:
            if not self._broken:
                with self._recording():
                    self._detach(error)
        except TransportError:
            return self._fall_back()
        else:
            return self._fall_back() if self._broken else self.party.state not in FINAL
        finally:
            self._give_back()

    def _resume(self, received: int) -> Iterator[bytes]:
        try:
            yield from self._endpoint.resume(received)
        except KeyStoreError as error:
            raise _unknown(f"The client resumes a session whose record cannot be used: {error.message}") from error

    def _detach(self, error: TransportError) -> None:
        if not self.party.received:
            # It has not begun: there is nothing to come back to.
            self.party.abandon(error)
            self._endpoint.send([])
        self._endpoint.detach()
        if not self.party.sent:
            self._forget()

    @contextmanager
    def _recording(self) -> Iterator[None]:
        """Run a block that records; a disk that is full or fails ends the stream, and the client tries again."""
        try:
            yield
        except (OSError, sqlite3.OperationalError) as error:
            self._broken = True
            raise TransportError(
                f"A session cannot be recorded: {error}.",
                hint="Make room in the state folder; its client tries again for a while.",
                code=ErrorCode.CONNECTION_LOST,
            ) from error
        except Exception:
            self._broken = True
            raise

    def _fall_back(self) -> bool:
        """Leave the session where its record says that it is, as a crash would: what is not recorded did not happen."""
        self.party.suspend()
        self._revert()
        return True
