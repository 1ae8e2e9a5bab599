"""The client's end of one gRPC stream under mutual TLS."""

from __future__ import annotations

import ipaddress
import queue
import threading
from collections.abc import Callable, Iterable, Iterator

import grpc

from securealign.errors import ErrorCode, TransportError
from securealign.keys.certificates import Bundle, Role
from securealign.protocol.party import Party
from securealign.transport.meter import Meter
from securealign.transport.status import transport_error

_OPTIONS = (
    # The server's certificate must carry the provider's role; that, and the private authority, is its identity.
    ("grpc.ssl_target_name_override", Role.PROVIDER.value),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 20_000),
)
#: Seconds to wait for the provider to take note of a farewell.
_FAREWELL_SECONDS = 2.0


def is_loopback(target: str) -> bool:
    """Return whether a gRPC target of the form host:port names this machine."""
    host = target.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class GrpcLink:
    """Carries frames between a client machine and a provider; use as a context manager."""

    def __init__(
        self, target: str, bundle: Bundle, method: str, client: Party, meter: Meter, *, deadline_seconds: float
    ) -> None:
        self._client = client
        self._meter = meter
        self._outgoing: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._connected = False
        credentials = grpc.ssl_channel_credentials(bundle.authority, bundle.private_key, bundle.certificate)
        self._channel = grpc.secure_channel(target, credentials, options=_OPTIONS)
        stream: grpc.StreamStreamMultiCallable[bytes, bytes] = self._channel.stream_stream(method)
        self._call = stream(iter(self._outgoing.get, None), timeout=deadline_seconds)
        self._incoming: Iterator[bytes] = iter(self._call)

    def __enter__(self) -> GrpcLink:
        return self

    def __exit__(self, *unused: object) -> None:
        self._outgoing.put(None)
        self._call.cancel()
        self._channel.close()

    def drive(self, frames: Iterable[bytes], until: Callable[[], bool]) -> None:
        """Send the client's `frames`, then receive and reply until `until()` holds.

        Raises `PeerAborted` or the client's own error when the session ends badly, `TransportError` when the connection
        does.
        """
        self._send(frames)
        while not until():
            frame = self._receive()
            with self._meter.timed("client"):
                replies = self._client.receive(frame)
            self._send(replies)
            if self._client.error is not None:
                self._say_farewell()
                raise self._client.error

    def _send(self, frames: Iterable[bytes]) -> None:
        for frame in frames:
            self._outgoing.put(frame)

    def _receive(self) -> bytes:
        try:
            with self._meter.timed("network"):
                frame = next(self._incoming)
        except StopIteration:
            raise TransportError(
                "The provider ended the stream before the session was done.", code=ErrorCode.CONNECTION_LOST
            ) from None
        except grpc.RpcError as failure:
            raise transport_error(failure, connected=self._connected) from failure
        self._connected = True
        return frame

    def _say_farewell(self) -> None:
        """Let the provider read why this session ends before the stream is cancelled."""
        self._outgoing.put(None)
        over = threading.Event()
        if self._call.add_callback(over.set):
            over.wait(_FAREWELL_SECONDS)
