"""What a machine needs to go on after its process has died.

A machine states where it stands as one frozen value (`MachineState`): small fields that JSON can hold, and named blobs
such as keys, sums and results. A name stands for one content throughout a session, so that each blob is recorded once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, TypeVar

from securealign.errors import ErrorCode, KeyStoreError, RemoteProtocolError
from securealign.protocol.messages import DurableAck, Message, TablesChunk, UploadAck

#: A content, or what makes it (None if the suite cannot say it now); None once it is recorded.
Blob = bytes | Callable[[], bytes | None] | None


class Record:
    """The record of one machine, which a `ResumableSession` writes if there is one."""

    def __init__(self) -> None:
        #: Whether snapshots will be taken; without them no blobs are kept.
        self.wanted = False
        #: Whether a snapshot has to be recorded before anything is sent.
        self.needs_snapshot = False
        #: Messages sent up to the last one that a restored machine would not make again, byte for byte.
        self.last_unrepeatable_sent = 0
        #: Messages sent that the peer has recorded and will not ask for again.
        self.peer_recorded = 0
        #: Blobs that the session still needs, by name; None in place of those that are recorded.
        self.blobs: dict[str, Blob] = {}
        #: Names of the blobs in the last snapshot.
        self.recorded_blobs: set[str] = set()

    def keep(self, name: str, content: bytes) -> None:
        """Have a blob recorded with the next snapshot, if there will be one."""
        if self.wanted:
            self.blobs[name] = content

    def drop(self, name: str) -> None:
        """Give up a blob that the session needs no more."""
        self.blobs.pop(name, None)

    def note_sent(self, message: Message, sent: int) -> None:
        """Take note of a message, the last of `sent`."""
        # Acknowledgements are deterministic, and so are tables, whose seed is recorded before they are sent; all other
        # messages are random, or use up a slot or a budget.
        if not isinstance(message, UploadAck | TablesChunk):
            self.last_unrepeatable_sent = sent
            self.needs_snapshot = True

    def note_received(self, message: DurableAck, sent: int) -> None:
        """Take note of what the peer has recorded; raises `RemoteProtocolError` for more than was sent, or less."""
        if not self.peer_recorded <= message.messages <= sent:
            raise RemoteProtocolError(
                f"The peer has recorded {message.messages} of {sent} messages.", code=ErrorCode.SEQUENCE_BROKEN
            )
        self.peer_recorded = message.messages


if TYPE_CHECKING:
    from securealign.protocol.context import Codec
    from securealign.protocol.machine import SessionMachine

M = TypeVar("M")


@dataclass(frozen=True, kw_only=True)
class MachineState:
    """Where a machine stands between two messages; subclasses add what their machine needs to be made again."""

    #: Name of the `State`.
    state: str
    #: Messages received and sent, and those sent that the peer has recorded.
    received: int
    sent: int
    peer_recorded: int
    #: Both hash chains of the transcript, in hexadecimal.
    transcript: list[str]
    #: All blobs that the session still needs.
    blobs: Mapping[str, Blob] = field(repr=False)


@dataclass(frozen=True)
class Snapshot:
    """A recorded state: its fields and its blobs. Blobs hold secrets, so whoever records them seals them.

    A snapshot that is taken holds the blobs that are not recorded yet and the names that are no longer needed; one that
    is recovered holds all blobs.
    """

    fields: Mapping[str, Any]
    blobs: Mapping[str, bytes]
    gone: frozenset[str] = frozenset()


def take_snapshot(machine: SessionMachine) -> Snapshot | None:
    """Return what has to be recorded now, None while the suite holds what cannot be kept.

    The machine then counts its blobs as recorded and gives up their contents.
    """
    state, record = machine.capture(), machine.record
    if state is None:
        return None
    contents = {}
    for name, blob in state.blobs.items():
        if name in record.recorded_blobs:
            continue
        content = blob() if callable(blob) else blob
        if content is None:
            return None
        contents[name] = content
    gone = frozenset(record.recorded_blobs - state.blobs.keys())
    record.recorded_blobs = set(state.blobs)
    record.blobs = dict.fromkeys(state.blobs)
    record.needs_snapshot = False
    return Snapshot(_plain(state), contents, gone)


def restore(machine: SessionMachine, snapshot: Snapshot) -> None:
    """Let a machine go on from a snapshot; it was made with the same arguments and has not begun.

    Raises `KeyStoreError` for a snapshot that does not fit, `SuiteError` when its suite is no longer offered.
    """
    try:
        state = machine.state_type(**snapshot.fields, blobs=snapshot.blobs)
    except TypeError as error:
        raise KeyStoreError(
            "The record of a session was written by a release with other fields.", hint="Start a new session."
        ) from error
    machine.resume(state, snapshot.blobs)


def require_blob(blobs: Mapping[str, bytes], name: str) -> bytes:
    """Return a blob of a snapshot; raises `KeyStoreError` when the record lacks it."""
    content = blobs.get(name)
    if content is None:
        raise KeyStoreError(f"The record of a session lacks its part {name!r}.", hint="Start a new session.")
    return content


def require_message(codec: Codec, blobs: Mapping[str, bytes], name: str, kind: type[M]) -> M:
    """Return a message that was kept as it travelled; raises `KeyStoreError` for one of another protocol version."""
    try:
        message = codec.decode(require_blob(blobs, name))
    except RemoteProtocolError as error:
        raise KeyStoreError(
            f"The record of a session holds no {name!r} that this release can read.", hint="Start a new session."
        ) from error
    if not isinstance(message, kind):
        raise KeyStoreError(f"The record of a session holds another message as its {name!r}.")
    return message


def _plain(state: MachineState) -> dict[str, Any]:
    return {item.name: getattr(state, item.name) for item in fields(state) if item.name != "blobs"}
