"""Byte strings larger than a frame: cutting and assembling chunks, and uploads under a window of acknowledgements."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from securealign.errors import ErrorCode, RemoteProtocolError
from securealign.limits import MAX_CHUNK_BYTES
from securealign.protocol.messages import Chunk, KeyChunk, Message, UploadAck

C = TypeVar("C", bound=Chunk)


def chunks(kind: type[C], data: bytes, **fields: int) -> Iterator[C]:
    """Yield `data` as chunks; an empty string is one empty chunk."""
    for offset in range(0, max(len(data), 1), MAX_CHUNK_BYTES):
        yield kind(total=len(data), offset=offset, data=data[offset : offset + MAX_CHUNK_BYTES], **fields)


def cut(kind: type[C], pieces: Iterable[bytes], total: int, **fields: int) -> Iterator[C]:
    """Yield pieces of any size, `total` bytes in all, as chunks; more is made when a chunk is asked for."""
    waiting = bytearray()
    offset = 0
    for piece in pieces:
        waiting += piece
        while waiting and (len(waiting) >= MAX_CHUNK_BYTES or offset + len(waiting) == total):
            data = bytes(waiting[:MAX_CHUNK_BYTES])
            del waiting[: len(data)]
            yield kind(total=total, offset=offset, data=data, **fields)
            offset += len(data)


def count_chunks(total: int) -> int:
    """Return the number of chunks of a byte string."""
    return max(1, -(-total // MAX_CHUNK_BYTES))


class ChunkOrder:
    """Checks that chunks arrive in order, up to a size known beforehand; keeps none of them."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._total: int | None = None
        self._arrived = 0

    @property
    def complete(self) -> bool:
        """Whether all bytes have arrived."""
        return self._total == self._arrived

    def add(self, chunk: Chunk) -> None:
        """Take the next chunk; raises `RemoteProtocolError` for a wrong total, offset or size, or one cut short."""
        if chunk.total > self._limit:
            raise RemoteProtocolError(
                f"The peer announces {chunk.total} bytes where at most {self._limit} are due.",
                code=ErrorCode.LIMIT_EXCEEDED,
            )
        self._total = chunk.total if self._total is None else self._total
        out_of_place = chunk.total != self._total or chunk.offset != self._arrived
        # Every piece but the last is full, so that a short piece always ends the string.
        cut_short = len(chunk.data) != min(MAX_CHUNK_BYTES, chunk.total - chunk.offset)
        if out_of_place or cut_short:
            raise RemoteProtocolError(
                f"A chunk of {len(chunk.data)} bytes at {chunk.offset} of {chunk.total} follows {self._arrived}.",
                code=ErrorCode.SEQUENCE_BROKEN,
            )
        self._arrived += len(chunk.data)


class Assembler(ChunkOrder):
    """Joins chunks that arrive in order."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self._data = bytearray()

    def add(self, chunk: Chunk) -> None:
        """Add the next chunk."""
        super().add(chunk)
        self._data += chunk.data

    @property
    def pending(self) -> bytes:
        """What has arrived so far."""
        return bytes(self._data)

    def take(self) -> bytes:
        """Return the assembled bytes and forget them."""
        data = bytes(self._data)
        self._data = bytearray()
        return data


class Uploader:
    """Sends messages while fewer than `window` are unacknowledged; messages are made when they can be sent."""

    def __init__(self, messages: Iterator[Message], window: int, *, sent: int = 0, acknowledged: int = 0) -> None:
        self._messages, self._window = messages, window
        #: Messages sent so far, also before an interruption.
        self.sent, self.acknowledged = sent, acknowledged

    def ready(self) -> Iterator[Message]:
        """Yield the messages that the window has room for."""
        while self.sent - self.acknowledged < self._window:
            message = next(self._messages, None)
            if message is None:
                return
            self.sent += 1
            yield message

    def acknowledge(self, received: int) -> None:
        """Take a cumulative acknowledgement; raises `RemoteProtocolError` when it goes back or beyond what was sent."""
        if not self.acknowledged <= received <= self.sent:
            raise RemoteProtocolError(
                f"The peer acknowledges {received} of {self.sent} messages.", code=ErrorCode.SEQUENCE_BROKEN
            )
        self.acknowledged = received


class UploadReceiver:
    """The receiving end of an upload: the key first, and a count of messages to acknowledge."""

    def __init__(self, key_limit: int) -> None:
        self._key = Assembler(key_limit)
        #: Messages acknowledged so far.
        self.received = 0
        #: Whether the whole key has arrived.
        self.has_key = False

    @property
    def has_part_of_key(self) -> bool:
        """Whether the key has begun to arrive and is not complete."""
        return bool(self.received) and not self.has_key

    def restore(self, received: int, *, has_key: bool) -> None:
        """Go on after so many messages."""
        self.received, self.has_key = received, has_key

    def add_key(self, chunk: KeyChunk) -> bytes | None:
        """Add a piece of the key and return the key once it is whole."""
        if self.has_key:
            raise RemoteProtocolError("More key material arrives than was announced.", code=ErrorCode.SEQUENCE_BROKEN)
        self._key.add(chunk)
        self.has_key = self._key.complete
        return self._key.take() if self.has_key else None

    def require_key(self) -> None:
        """Raise `RemoteProtocolError` while the key is incomplete."""
        if not self.has_key:
            raise RemoteProtocolError("The key is not complete yet.", code=ErrorCode.SEQUENCE_BROKEN)

    def acknowledge(self) -> UploadAck:
        """Count one message and return its acknowledgement."""
        self.received += 1
        return UploadAck(uploads=self.received)
