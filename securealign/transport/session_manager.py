"""The provider's sessions: which one a stream carries, and what happens to it when the stream ends.

A session manager makes or finds the machine for each stream. A transient one ends a session with its stream. A durable
one keeps it in a state folder until its client returns. A lost connection is recovered like a crash of the provider.
"""

from __future__ import annotations

import itertools
import sqlite3
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from securealign.errors import (
    ErrorCode,
    KeyStoreError,
    RemoteProtocolError,
    SecurealignError,
    SuiteError,
    TransportError,
)
from securealign.limits import Limits
from securealign.protocol.context import Codec, Observer
from securealign.protocol.machine import SessionMachine
from securealign.protocol.resume.session import Journal, Opening, ResumableProvider
from securealign.protocol.resume.snapshot import restore
from securealign.protocol.states import FINAL
from securealign.storage.database import Counters as Counters  # noqa: PLC0414 - for those who make parties
from securealign.storage.session_store import ProviderSessions

#: Seconds to wait until an older stream of the same session has ended.
_TAKE_OVER_SECONDS = 60.0


@dataclass(frozen=True)
class Peer:
    """Who opened a stream: address as gRPC prints it, whether it is this machine, and the name in its certificate."""

    address: str
    loopback: bool
    identity: str = ""
    #: Called with the bytes that a session takes at most before they are allocated; raises the reason to refuse.
    reserve: Callable[[int], None] | None = None


MakeParty = Callable[[Peer, Observer], SessionMachine]
MakeDurableParty = Callable[[Peer, Observer, Counters], SessionMachine]


class ServedSession(ABC):
    """A session while a stream carries it."""

    party: SessionMachine
    #: Whether the session was begun over an earlier stream.
    resumed = False

    @abstractmethod
    def open(self, frame: bytes) -> Iterable[bytes]:
        """Process the first frame of the stream and yield the replies."""

    @abstractmethod
    def receive(self, frame: bytes) -> Iterable[bytes]:
        """Process a frame and return the replies; a long reply is an iterator, which makes it while it is sent."""

    @abstractmethod
    def leave(self, error: TransportError) -> bool:
        """Detach the session from its stream, which ended for this reason; returns whether it waits for its client."""


class SessionManager(ABC):
    """Makes or finds the sessions of one gRPC method."""

    @abstractmethod
    def attach(self, peer: Peer, observer: Observer, frame: bytes, cancel: Callable[[], object]) -> ServedSession:
        """Return the session that the first frame of a stream asks for; raises the reason to refuse the stream.

        `cancel` ends the stream; it is called when the client opens another one for the same session.
        """


class TransientSessionManager(SessionManager):
    """A session ends with its stream."""

    def __init__(self, make: MakeParty) -> None:
        self._make = make

    def attach(self, peer: Peer, observer: Observer, frame: bytes, cancel: Callable[[], object]) -> ServedSession:
        """Return a new session."""
        return _TransientSession(self._make(peer, observer))


class _TransientSession(ServedSession):
    def __init__(self, party: SessionMachine) -> None:
        self.party = party

    def open(self, frame: bytes) -> Iterable[bytes]:
        return self.party.receive(frame)

    def receive(self, frame: bytes) -> Iterable[bytes]:
        return self.party.receive(frame)

    def leave(self, error: TransportError) -> bool:
        self.party.abandon(error)
        return False


class DurableSessionManager(SessionManager):
    """A session survives its stream and the provider's process."""

    def __init__(
        self,
        kind: str,
        codec: Codec,
        make: MakeDurableParty,
        sessions: ProviderSessions,
        *,
        limits: Limits | None = None,
    ) -> None:
        #: What the sessions do, "training" or "inference".
        self.kind, self._codec, self._make = kind, codec, make
        self._sessions = sessions
        self._limits = limits or Limits()
        self._leases = _Leases()

    def attach(self, peer: Peer, observer: Observer, frame: bytes, cancel: Callable[[], object]) -> ServedSession:
        """Return a new session, or the one that the client resumes, which an older stream then loses."""
        opening = Opening.of(self._codec, frame)
        if opening is None:
            # The machine refuses the frame; there is nothing to record.
            return _TransientSession(self._make(peer, observer, _UnrecordedCounters()))
        lease = self._leases.take((peer.identity, opening.nonce), cancel)
        try:
            return self._attach(peer, observer, opening, lease)
        except BaseException:
            lease.release()
            raise

    def expire(self) -> int:
        """End the sessions whose client did not return in time, refund what they did not use, and return their number.

        Records of finished sessions are deleted too, and not counted.
        """
        return sum(self._expire(*key) for key in self._sessions.expired(self.kind))

    def _expire(self, identity: str, nonce: bytes) -> bool:
        """End one session unless a stream carries it; returns whether it was still waiting for its client."""
        # A client that returns meanwhile waits for the lease, and then finds no session.
        lease = self._leases.take_free((identity, nonce))
        if lease is None:
            return False
        try:
            found = None
            with suppress(KeyStoreError):  # the record is sealed under a key that was destroyed
                found = self._sessions.find(identity, self.kind, nonce)
            waited = found is not None and self._abandon(identity, *found)
            self._sessions.delete(identity, self.kind, nonce)
            return waited
        finally:
            lease.release()

    def _attach(self, peer: Peer, observer: Observer, opening: Opening, lease: _Lease) -> ServedSession:
        found = None
        try:
            if opening.received is not None:
                found = self._sessions.find(peer.identity, self.kind, opening.nonce)
            if found is None and opening.received:
                raise _unknown("The client resumes a session that is not kept.")
            journal, counters = found or self._sessions.create(peer.identity, self.kind, opening.nonce)
            party = self._make(peer, observer, counters)
            snapshot = journal.recover()
            if snapshot is not None:
                restore(party, snapshot)
        except (KeyStoreError, SuiteError) as error:
            raise _unknown(f"The client resumes a session whose record cannot be used: {error.message}") from error
        endpoint = ResumableProvider(party, journal, limits=self._limits)
        return _DurableSession(
            endpoint,
            opening.received,
            # A hello that was refused leaves no record, so that clients cannot fill the disk with them.
            forget=lambda: self._sessions.delete(peer.identity, self.kind, opening.nonce),
            revert=lambda: self._sessions.revert(counters),
            release=lease.release,
        )

    def _abandon(self, identity: str, journal: Journal, counters: Counters) -> bool:
        """End a session whose client did not return; returns whether it was unfinished."""
        waited = True
        try:
            snapshot = journal.recover()
            if snapshot is not None:
                party = self._make(Peer("", loopback=True, identity=identity), lambda event: None, counters)
                restore(party, snapshot)
                waited = party.state not in FINAL
                party.abandon(TransportError("The client did not come back.", code=ErrorCode.CONNECTION_LOST))
        except SecurealignError:
            # Nothing is refunded from a record that cannot be used: the client pays, not the provider.
            self._sessions.revert(counters)
        journal.end(ErrorCode.CONNECTION_LOST.name)
        return waited


def _unknown(reason: str) -> RemoteProtocolError:
    return RemoteProtocolError(reason, code=ErrorCode.SESSION_UNKNOWN)


class _UnrecordedCounters(dict[str, MutableMapping[str, float]]):
    """Counters of a stream that has no session, so that nothing is charged."""

    def __missing__(self, ledger: str) -> MutableMapping[str, float]:
        return {}


class _Leases:
    """The leases that are held, by identity and nonce; streams are ordered by when they asked."""

    def __init__(self) -> None:
        self.held: dict[tuple[str, bytes], _Lease] = {}
        #: Notified when a lease is released.
        self.changed = threading.Condition()
        self._order = itertools.count()

    def take_free(self, key: tuple[str, bytes]) -> _Lease | None:
        """Return the lease of a session, None if a stream holds it."""
        with self.changed:
            return None if key in self.held else _Lease(self, key, lambda: None, next(self._order))

    def take(self, key: tuple[str, bytes], cancel: Callable[[], object]) -> _Lease:
        """Return the lease of a session, for which older streams are cancelled.

        Raises `RemoteProtocolError` when a newer stream holds it, or an older one does not end in time.
        """
        number = next(self._order)
        with self.changed:
            while (holder := self.held.get(key)) is not None:
                if holder.number > number:
                    raise RemoteProtocolError("A newer stream holds the session.", code=ErrorCode.SERVER_BUSY)
                holder.cancel()
                if not self.changed.wait_for(holder.released, _TAKE_OVER_SECONDS):
                    raise RemoteProtocolError("An older stream still holds the session.", code=ErrorCode.SERVER_BUSY)
            return _Lease(self, key, cancel, number)


class _Lease:
    """The right to carry a session, which one stream holds at a time; `number` is the order in which streams came."""

    def __init__(self, leases: _Leases, key: tuple[str, bytes], cancel: Callable[[], object], number: int) -> None:
        self._leases, self._key = leases, key
        self.cancel, self.number = cancel, number
        leases.held[key] = self

    def released(self) -> bool:
        """Return whether another stream may carry the session."""
        return self._leases.held.get(self._key) is not self

    def release(self) -> None:
        """Let another stream carry the session; idempotent."""
        with self._leases.changed:
            if not self.released():
                del self._leases.held[self._key]
                self._leases.changed.notify_all()


class _DurableSession(ServedSession):
    def __init__(
        self,
        endpoint: ResumableProvider,
        received: int | None,
        *,
        forget: Callable[[], None],
        revert: Callable[[], None],
        release: Callable[[], None],
    ) -> None:
        self.party = endpoint.machine
        self.resumed = self.party.received > 0
        self._endpoint, self._received, self._forget = endpoint, received, forget
        self._revert, self._release = revert, release
        #: Whether the session did something that could not be recorded.
        self._broken = False

    def open(self, frame: bytes) -> Iterable[bytes]:
        return self.receive(frame) if self._received is None else self._resume(self._received)

    def receive(self, frame: bytes) -> Iterable[bytes]:
        with self._recording():
            frames = self._endpoint.receive(frame)
        return frames if isinstance(frames, list) else self._recorded(frames)

    def _recorded(self, frames: Iterable[bytes]) -> Iterator[bytes]:
        with self._recording():
            yield from frames

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
            self._release()

    def _resume(self, received: int) -> Iterator[bytes]:
        try:
            yield from self._recorded(self._endpoint.resume(received))
        except KeyStoreError as error:
            raise _unknown(f"The client resumes a session whose record cannot be used: {error.message}") from error

    def _detach(self, error: TransportError) -> None:
        if not self.party.received:
            # The session has not begun, so there is nothing to resume.
            self.party.abandon(error)
            self._endpoint.send([])
        self._endpoint.detach()
        if not self.party.sent:
            self._forget()

    @contextmanager
    def _recording(self) -> Iterator[None]:
        """Run a block that records; a failure of the disk ends the stream, and the client tries again."""
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
        """Leave the session in the state of its last record, as a crash would."""
        self.party.suspend()
        self._revert()
        return True
