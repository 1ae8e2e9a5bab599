"""The laws that all protocol machines obey.

1. A machine turns the bytes of one message into the bytes of its replies; it reads no clock, socket or environment.
2. A message that the table of states does not allow ends the session; so does a malformed one, or a fault of our own.
3. A long reply is made while it is sent: it is an iterator, which has to end before the next message.
4. Both parties compare a digest of all bytes before DONE. After DONE only Abort may arrive; ABORTED ignores all.
5. A machine restored from a snapshot, given the messages that followed it, reaches the same state again.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from securealign.errors import (
    CiphertextError,
    ErrorCode,
    LocalProtocolError,
    PeerAborted,
    RemoteProtocolError,
    SecurealignError,
    SuiteError,
)
from securealign.he.interface import SuiteInfo
from securealign.limits import MAX_FRAME_BYTES
from securealign.protocol.context import Event, SessionContext
from securealign.protocol.messages import Abort, Confirm, DurableAck, Message
from securealign.protocol.resume.snapshot import MachineState, Record
from securealign.protocol.states import FINAL, Direction, State, Table
from securealign.protocol.transcript import Transcript

#: Names under which the first two messages of a session are kept.
_OPENING = ("hello", "accept")
#: Errors whose code a peer may see; any other reaches it as an internal fault.
_PUBLIC_ERRORS = (RemoteProtocolError, CiphertextError, SuiteError)

V = TypeVar("V")


class SessionMachine(ABC):
    """One party of one session; subclasses give the table and handle every message that it lets them receive."""

    table: Table
    is_client: bool
    #: "training" or "inference".
    kind: str
    #: What `capture` returns.
    state_type: type[MachineState]

    def __init__(self, context: SessionContext) -> None:
        self._context = context
        self.codec = context.codec
        self._transcript = Transcript(self.kind)
        self._state = State.START
        #: The suite that the parties agreed on, once they have.
        self.suite: SuiteInfo | None = None
        #: Stage of the last message sent or received.
        self.stage = "handshake"
        #: Why the session was aborted, if it was.
        self.error: SecurealignError | None = None
        #: Messages received and sent, as both parties count them.
        self.received = 0
        self.sent = 0
        self.record = Record()
        #: What is left of a reply that is made while it is sent.
        self._following: Iterator[Message] | None = None

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
        """Digest of all messages so far, 32 bytes; both parties confirm it in the end."""
        return self._transcript.digest()

    def receive(self, data: bytes) -> Iterable[bytes]:
        """Process one message and return the replies; a violation sets `error`, and the reply is an Abort.

        Replies are a list, or for a long one the iterator `following`.
        """
        if self._state is State.ABORTED:
            return []
        replies = self._guarded(lambda: self._receive(data))
        return replies if self._following is None else self.following()

    @property
    def replying(self) -> bool:
        """Whether a reply is being made while it is sent."""
        return self._following is not None

    def following(self) -> Iterator[bytes]:
        """Yield the rest of a reply that is made while it is sent; each message counts as sent when it is yielded."""
        while self._following is not None:
            yield from self._guarded(self._follow)

    def again(self, first: int) -> Iterable[tuple[range, Iterator[bytes]]]:
        """Return, in order, the messages sent from number `first` on that are made again, and their numbers.

        All other messages are in the journal of the session.
        """
        return ()

    def _follow(self) -> list[bytes]:
        message = next(require(self._following), None)
        if message is None:
            self._following = None
            return []
        return [self._send(message)]

    def _guarded(self, make: Callable[[], list[bytes]]) -> list[bytes]:
        """Return the frames that a step makes, or the Abort that ends the session."""
        try:
            return make()
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
        """End a session whose stream is gone, for a reason found outside the machine; no message is sent."""
        if self._state not in FINAL:
            self._state = State.ABORTED
            self.error = error
            self._release()

    def fail(self, error: SecurealignError) -> list[bytes]:
        """End the session for a reason found outside the machine, and return the Abort for the peer."""
        try:
            return self._abort(error)
        finally:
            self._release()

    def suspend(self) -> None:
        """Close what the suite holds: the session waits for its peer as a snapshot."""
        self._close()

    @abstractmethod
    def capture(self) -> MachineState | None:
        """Return where the machine stands, to go on from there; None while the suite holds what cannot be kept."""

    def resume(self, state: MachineState, blobs: Mapping[str, bytes]) -> None:
        """Go on from a state with its recorded blobs: see `securealign.protocol.resume.snapshot.restore`."""
        self._state = State[state.state]
        self.received, self.sent, self.record.peer_recorded = state.received, state.sent, state.peer_recorded
        self._transcript.load(state.transcript)
        self.record.blobs, self.record.recorded_blobs = dict.fromkeys(blobs), set(blobs)
        self._resume(state, blobs)

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
        if self._following is not None:
            raise LocalProtocolError("A message arrives while a reply is being made.")
        if len(data) > MAX_FRAME_BYTES:
            raise RemoteProtocolError(
                f"A frame of {len(data)} bytes exceeds {MAX_FRAME_BYTES}.", code=ErrorCode.FRAME_TOO_LARGE
            )
        message = self.codec.decode(data)
        if isinstance(message, Abort):
            self._state = State.ABORTED
            self.error = PeerAborted(message.code)
            return []
        if isinstance(message, DurableAck) and self.record.wanted:
            self.record.note_received(message, self.sent)
            return []
        if isinstance(message, Confirm) and data != self.codec.encode(message):
            # Confirmations are not in the transcript, so their own bytes have to be the only possible ones.
            raise RemoteProtocolError("A confirmation holds more than a digest.", code=ErrorCode.FRAME_MALFORMED)
        self._advance(Direction.RECEIVE, message)
        self._note(Direction.RECEIVE, message, data)
        return self._send_all(self._handle(message))

    def _send_all(self, messages: Iterable[Message]) -> list[bytes]:
        # One by one: a later message may depend on the transcript of the earlier ones.
        return [self._send(message) for message in messages]

    def _send(self, message: Message) -> bytes:
        data = self.codec.encode(message)
        self._advance(Direction.SEND, message)
        self._note(Direction.SEND, message, data)
        return data

    def _advance(self, direction: Direction, message: Message) -> None:
        target = self.table.get(self._state, {}).get((direction, type(message)))
        if target is None:
            error = LocalProtocolError if direction is Direction.SEND else RemoteProtocolError
            raise error(f"Cannot {direction.value} {type(message).__name__} in state {self._state.value!r}.")
        self._state = target

    def _observe(self, direction: Direction, message: Message, size: int, digest: bytes) -> None:
        event = Event(direction, type(message), size, digest)
        self.stage = event.stage
        if self._context.observer is not None:
            self._context.observer(event)

    def _note(self, direction: Direction, message: Message, data: bytes) -> None:
        digest = hashlib.sha256(data).digest()
        self._observe(direction, message, len(data), digest)
        if self.received + self.sent < len(_OPENING):
            self.record.keep(_OPENING[self.received + self.sent], data)
        if direction is Direction.SEND:
            self.sent += 1
            self.record.note_sent(message, self.sent)
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
        self._following = None
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
        # A peer records all that it received before it confirms it.
        self.record.peer_recorded = self.sent

    def _common(self, *dropped: str) -> dict[str, Any]:
        """Return the fields that all states have, without the blobs whose names begin with one of `dropped`."""
        return {
            "state": self._state.name,
            "received": self.received,
            "sent": self.sent,
            "peer_recorded": self.record.peer_recorded,
            "transcript": self._transcript.save(),
            "blobs": {name: blob for name, blob in self.record.blobs.items() if not name.startswith(dropped)},
        }

    @abstractmethod
    def _resume(self, state: Any, blobs: Mapping[str, bytes]) -> None:  # noqa: ANN401 - of its own state type
        """Take up a state that `capture` returned."""

    @abstractmethod
    def _close(self) -> None:
        """Close what the suite holds for this session; may be called more than once."""

    def _release(self) -> None:
        """Settle a session that is over; may be called more than once."""
        self._close()

    @abstractmethod
    def _handle(self, message: Message) -> Iterator[Message]:
        """Yield the replies to a message that the table allows."""


def require(value: V | None) -> V:
    """Return what the handshake has set; the state tables guarantee it."""
    if value is None:
        raise LocalProtocolError("The session has not been set up.")
    return value
