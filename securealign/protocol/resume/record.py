"""What is recorded of a machine, and what has to be recorded before it sends more."""

from __future__ import annotations

from collections.abc import Callable

from securealign.errors import ErrorCode, RemoteProtocolError
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
