"""The laws that all protocol machines obey.

1. A machine turns the bytes of one message into the bytes of its replies; it reads no clock, socket or environment.
2. A message that the table of states does not allow ends the session; so does a malformed one, or a fault of our own.
3. Both parties compare every byte that led to DONE; what follows it can only be a farewell. ABORTED absorbs everything.
4. A snapshot and the messages that follow it, byte for byte, lead to the same state as if nothing had happened.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol, TypeVar

from securealign.errors import (
    CiphertextError,
    ErrorCode,
    KeyStoreError,
    LocalProtocolError,
    PeerAborted,
    RemoteProtocolError,
    SecurealignError,
    SuiteError,
)
from securealign.he.interface import SuiteInfo
from securealign.limits import MAX_FRAME_BYTES
from securealign.protocol.messages import Abort, Confirm, DurableAck, Message, UploadAck
from securealign.protocol.snapshot import Blobs, Snapshot
from securealign.protocol.states import FINAL, Direction, State, Table
from securealign.protocol.transcript import Transcript

#: Names under which the first two messages of a session are kept.
_OPENING = ("hello", "accept")
#: Errors whose code a peer may see; any other reaches it as an internal fault.
_PUBLIC_ERRORS = (RemoteProtocolError, CiphertextError, SuiteError)

M = TypeVar("M")


class Codec(Protocol):
    """Turns messages of one phase into bytes and back."""

    def encode(self, message: Message) -> bytes:
        """Return the bytes of a message."""
        ...

    def decode(self, data: bytes) -> Message:
        """Return the message in `data`; raises `RemoteProtocolError` for anything else."""
        ...


class Event(NamedTuple):
    """A message that passed through a machine, for meters and recordings: never its content."""

    direction: Direction
    message: type[Message]
    size: int
    #: SHA-256 of the bytes that travelled.
    digest: bytes = b""

    @property
    def phase(self) -> str:
        """The phase to which bytes and work of the message belong."""
        return self.message.stage


Observer = Callable[[Event], None]


class Party(ABC):
    """One party of one session; subclasses give the table and a handler for every message they may receive."""

    table: Table
    is_client: bool
    name: str

    def __init__(self, codec: Codec, observer: Observer | None = None) -> None:
        self.codec = codec
        self._observer = observer
        self._transcript = Transcript(self.name)
        self._state = State.START
        #: The suite that the parties agreed on, once they have.
        self.suite: SuiteInfo | None = None
        #: Phase of the last message sent or received.
        self.phase = "handshake"
        #: Why the session was aborted, if it was.
        self.error: SecurealignError | None = None
        #: Messages received and sent, as both parties count them.
        self.received = 0
        self.sent = 0
        #: Messages sent that the peer has recorded and will not ask for again.
        self.peer_recorded = 0
        #: Messages sent up to the last one that could not be made again from what was received.
        self.unrepeatable = 0
        #: Whether snapshots will be taken; what only they need is not kept otherwise.
        self.recorded = False
        #: Whether something happened that has to be recorded before anything leaves.
        self.record_due = False
        self._blobs = Blobs()

    @property
    def state(self) -> State:
        """Where the session stands."""
        return self._state

    @property
    def suite_name(self) -> str:
        """Name of the parameter set that the parties agreed on, empty before."""
        return self.suite.parameter_set if self.suite is not None else ""

    @property
    @abstractmethod
    def facts(self) -> dict[str, int]:
        """Return what the session is about in numbers, as far as it is known."""

    @property
    def transcript_digest(self) -> bytes:
        """Digest of what was said so far, 32 bytes; both parties confirm it in the end."""
        return self._transcript.digest()

    def receive(self, data: bytes) -> list[bytes]:
        """Process one message and return the replies; a violation aborts the session, sets `error`, and says so."""
        if self._state is State.ABORTED:
            return []
        try:
            return self._receive(data)
        except SecurealignError as error:
            return self._abort(error)
        except Exception as error:  # a fault in one session must not reach the server
            fault = SecurealignError(f"{type(error).__name__} while handling a message.", code=ErrorCode.INTERNAL)
            fault.__cause__ = error
            return self._abort(fault)
        finally:
            if self._state in FINAL:
                self._release()

    def abandon(self, error: SecurealignError) -> None:
        """End a session whose stream is gone, for a reason found outside the machine; nobody is left to be told."""
        if self._state not in FINAL:
            self._state = State.ABORTED
            self.error = error
            self._release()

    def fail(self, error: SecurealignError) -> list[bytes]:
        """End the session for a reason found outside the machine, and return what tells the peer."""
        try:
            return self._abort(error)
        finally:
            self._release()

    def suspend(self) -> None:
        """Give back what the suite holds while the session waits, as a snapshot, for its peer to return."""
        self._close()

    def snapshot(self) -> Snapshot | None:
        """Return what `restore` needs to go on from here; None while the suite has what cannot be kept."""
        fields = self._save()
        if fields is None:
            return None
        self.record_due = False
        own = {
            "state": self._state.name,
            "received": self.received,
            "sent": self.sent,
            "peer_recorded": self.peer_recorded,
            "transcript": self._transcript.save(),
        }
        return self._blobs.take(own | fields)

    def restore(self, snapshot: Snapshot) -> None:
        """Go on from a snapshot; the machine was made with the same arguments and has not begun.

        Raises `KeyStoreError` for one that does not fit, `SuiteError` when its suite is no longer offered.
        """
        fields = snapshot.fields
        self._state = State[fields["state"]]
        self.received, self.sent, self.peer_recorded = fields["received"], fields["sent"], fields["peer_recorded"]
        self._transcript.load(fields["transcript"])
        self._blobs = Blobs(snapshot.blobs)
        self._load(fields, snapshot.blobs)

    def tell_recorded(self) -> bytes:
        """Return the message that tells the peer what it need not keep any more."""
        return self.codec.encode(DurableAck(messages=self.received))

    def require_success(self) -> None:
        """Raise the error of an aborted session, or `LocalProtocolError` for one that is not done."""
        if self.error is not None:
            raise self.error
        if self._state is not State.DONE:
            raise LocalProtocolError(f"The session is in state {self._state.value!r}, not done.")

    def _receive(self, data: bytes) -> list[bytes]:
        if len(data) > MAX_FRAME_BYTES:
            raise RemoteProtocolError(
                f"A frame of {len(data)} bytes exceeds {MAX_FRAME_BYTES}.", code=ErrorCode.FRAME_TOO_LARGE
            )
        message = self.codec.decode(data)
        if isinstance(message, Abort):
            self._state = State.ABORTED
            self.error = PeerAborted(message.code)
            return []
        if isinstance(message, DurableAck) and self.recorded:
            self._on_recorded(message)
            return []
        if isinstance(message, Confirm) and data != self.codec.encode(message):
            # Confirmations are not in the transcript, so their own bytes have to be the only possible ones.
            raise RemoteProtocolError("A confirmation holds more than a digest.", code=ErrorCode.FRAME_MALFORMED)
        self._advance(Direction.RECEIVE, message)
        self._record(Direction.RECEIVE, message, data)
        return self._send_all(self._handle(message))

    def _send_all(self, messages: Iterable[Message]) -> list[bytes]:
        # One by one: a later message may depend on the transcript of the earlier ones.
        return [self._send(message) for message in messages]

    def _send(self, message: Message) -> bytes:
        data = self.codec.encode(message)
        self._advance(Direction.SEND, message)
        self._record(Direction.SEND, message, data)
        return data

    def _advance(self, direction: Direction, message: Message) -> None:
        target = self.table.get(self._state, {}).get((direction, type(message)))
        if target is None:
            kind = LocalProtocolError if direction is Direction.SEND else RemoteProtocolError
            raise kind(f"Cannot {direction.value} {type(message).__name__} in state {self._state.value!r}.")
        self._state = target

    def _observe(self, direction: Direction, message: Message, size: int, digest: bytes) -> None:
        event = Event(direction, type(message), size, digest)
        self.phase = event.phase
        if self._observer is not None:
            self._observer(event)

    def _on_recorded(self, message: DurableAck) -> None:
        if not self.peer_recorded <= message.messages <= self.sent:
            raise RemoteProtocolError(
                f"The peer has recorded {message.messages} of {self.sent} messages.", code=ErrorCode.SEQUENCE_BROKEN
            )
        self.peer_recorded = message.messages

    def _record(self, direction: Direction, message: Message, data: bytes) -> None:
        digest = hashlib.sha256(data).digest()
        self._observe(direction, message, len(data), digest)
        if self.recorded and self.received + self.sent < len(_OPENING):
            self._blobs.keep(_OPENING[self.received + self.sent], data)
        if direction is Direction.SEND:
            self.sent += 1
            # Acknowledgements can be made again; all else is random, or stands for something that was spent.
            if not isinstance(message, UploadAck):
                self.unrepeatable = self.sent
                self.record_due = True
        else:
            self.received += 1
        if isinstance(message, Confirm):
            return
        if self.is_client is (direction is Direction.SEND):
            self._transcript.to_provider(digest)
        else:
            self._transcript.to_client(digest)

    def _abort(self, error: SecurealignError) -> list[bytes]:
        self._state = State.ABORTED
        self.error = error
        code = error.code if isinstance(error, _PUBLIC_ERRORS) else ErrorCode.INTERNAL
        message = Abort(code=code)
        data = self.codec.encode(message)
        self._observe(Direction.SEND, message, len(data), hashlib.sha256(data).digest())
        return [data]

    def _confirmation(self) -> Confirm:
        return Confirm(transcript_digest=self._transcript.digest())

    def _check_confirmation(self, message: Confirm) -> None:
        if message.transcript_digest != self._transcript.digest():
            raise RemoteProtocolError("The peer saw another transcript.", code=ErrorCode.TRANSCRIPT_MISMATCH)
        # It has confirmed all that was sent so far, and recorded it before.
        self.peer_recorded = self.sent

    def _keep(self, name: str, content: bytes) -> None:
        """Have a blob recorded with the next snapshot, if there will be one."""
        if self.recorded:
            self._blobs.keep(name, content)

    @abstractmethod
    def _save(self) -> dict[str, Any] | None:
        """Return what a snapshot holds besides its blobs, as JSON can hold it; None for not now."""

    @abstractmethod
    def _load(self, fields: Mapping[str, Any], blobs: Mapping[str, bytes]) -> None:
        """Take up what `_save` returned, and the blobs that were kept."""

    @abstractmethod
    def _close(self) -> None:
        """Close what the suite holds for this session; may be called more than once."""

    def _release(self) -> None:
        """Settle a session that is over; may be called more than once."""
        self._close()

    @abstractmethod
    def _handle(self, message: Message) -> Iterator[Message]:
        """Yield the replies to a message that the table allows."""


def kept(blobs: Mapping[str, bytes], name: str) -> bytes:
    """Return a blob of a snapshot; raises `KeyStoreError` when the record lacks it."""
    content = blobs.get(name)
    if content is None:
        raise KeyStoreError(f"The record of a session lacks its part {name!r}.", hint="Start a new session.")
    return content


def decoded(codec: Codec, blobs: Mapping[str, bytes], name: str, kind: type[M]) -> M:
    """Return a message that was kept as it travelled; raises `KeyStoreError` for one of another protocol version."""
    try:
        message = codec.decode(kept(blobs, name))
    except RemoteProtocolError as error:
        raise KeyStoreError(
            f"The record of a session holds no {name!r} that this release can read.", hint="Start a new session."
        ) from error
    if not isinstance(message, kind):
        raise KeyStoreError(f"The record of a session holds another message as its {name!r}.")
    return message


def set_up(value: M | None) -> M:
    """Return what the handshake has set; the state tables guarantee it."""
    if value is None:
        raise LocalProtocolError("The session has not been set up.")
    return value
