"""A handshake without a session: the provider's reply to a hello, for which neither party is charged."""

import queue
from collections.abc import Iterable
from contextlib import suppress
from typing import TypeVar

import grpc

from securealign.errors import ErrorCode, PeerAborted, RemoteProtocolError
from securealign.protocol.context import Codec
from securealign.protocol.messages import Abort, Message
from securealign.transport.status import transport_error

M = TypeVar("M")


def greet(
    channel: grpc.Channel, method: str, codec: Codec, opening: Message, expected: type[M], *, timeout: float
) -> M:
    """Send a hello, return the provider's reply, and end the session with an Abort.

    The Abort says `CANCELLED`, upon which a provider refunds what it had charged. Raises `PeerAborted` with the
    provider's reason, `TransportError` when the stream ends otherwise, `RemoteProtocolError` for any other reply.
    """
    outgoing: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    stream: grpc.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(method)
    call = stream(iter(outgoing.get, None), timeout=timeout)
    outgoing.put(codec.encode(opening))
    try:
        answer = _first(codec, call)
        outgoing.put(codec.encode(Abort(code=ErrorCode.CANCELLED)))
        with suppress(grpc.RpcError):  # how the provider ends the stream once it has read the Abort does not matter
            for _ in call:
                pass
    except grpc.RpcError as failure:
        raise transport_error(failure, connected=False) from failure
    finally:
        outgoing.put(None)
        call.cancel()
    if isinstance(answer, Abort):
        raise PeerAborted(answer.code)
    if not isinstance(answer, expected):
        raise RemoteProtocolError(f"The provider answered an opening with {type(answer).__name__}.")
    return answer


def _first(codec: Codec, call: Iterable[bytes]) -> Message:
    for frame in call:
        return codec.decode(frame)
    raise RemoteProtocolError("The provider ended the stream without an answer.", code=ErrorCode.CONNECTION_LOST)
