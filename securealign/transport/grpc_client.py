"""The client's end of a session over gRPC streams under mutual TLS; a lost stream is replaced by another."""

from __future__ import annotations

import ipaddress
import queue
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

import grpc

from securealign.errors import ErrorCode, PeerAborted, RemoteProtocolError, SecurealignError, TransportError
from securealign.pki.bundles import Bundle
from securealign.protocol.machine import SessionMachine
from securealign.protocol.resume.session import ResumableClient
from securealign.protocol.states import FINAL
from securealign.transport.credentials import FixedBundle, Source
from securealign.transport.meter import Meter
from securealign.transport.preflight import Preflight, PreflightError, Stage, meet, pinned_channel
from securealign.transport.retrying import Backoff, RetryPolicy
from securealign.transport.status import transport_error

_OPTIONS = (
    # grpc.http2.bdp_probe stays on, as it is by default, here and at the server: without it windows of HTTP/2 do not
    # grow with the path, and 20 MiB over 80 ms take 4.8 seconds instead of 2.2.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    # Channels must not share a subchannel: a replacement would get the connection that has failed.
    ("grpc.use_local_subchannel_pool", 1),
)
#: Seconds to wait until the provider has read an Abort.
_ABORT_SECONDS = 2.0
#: Seconds that a call of one message may take.
_CALL_SECONDS = 30.0
#: Seconds that each step of the first connection to the provider may take.
_PREFLIGHT_SECONDS = 10.0


def is_loopback(target: str) -> bool:
    """Return whether a gRPC target of the form host:port names this machine."""
    host = target.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def call(target: str, source: Source, method: str, request: bytes, *, seconds: float = _CALL_SECONDS) -> bytes:
    """Return the answer to a call of one message; raises `TransportError` when there is none."""
    bundle = source.current()
    met = meet(target, bundle, now=source.clock(), timeout=min(_PREFLIGHT_SECONDS, seconds))
    with pinned_channel(target, bundle, met.certificate, _OPTIONS) as channel:
        ask: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(method)
        try:
            return ask(request, timeout=seconds)
        except grpc.RpcError as failure:
            raise transport_error(failure, connected=True) from failure


class GrpcLink:
    """Carries frames between a client and a provider; use as a context manager.

    With an endpoint in place of a bare machine, a session whose connection is lost resumes on another, tried as `retry`
    says.
    """

    def __init__(
        self,
        target: str,
        bundle: Bundle | Source,
        method: str,
        client: SessionMachine | ResumableClient,
        meter: Meter,
        *,
        deadline_seconds: float,
        retry: RetryPolicy | None = None,
    ) -> None:
        self._target = target
        self._source = FixedBundle(bundle) if isinstance(bundle, Bundle) else bundle
        self._method = method
        self._machine = _Resumable(client) if isinstance(client, ResumableClient) else _Bare(client)
        self._meter = meter
        self._end = time.monotonic() + deadline_seconds
        self._backoff = Backoff(retry or RetryPolicy())
        self._stream: _Stream | None = None

    def __enter__(self) -> GrpcLink:
        return self

    def __exit__(self, *unused: object) -> None:
        self._hang_up()

    def drive(self, frames: Sequence[bytes], until: Callable[[], bool]) -> None:
        """Send the client's `frames`, then receive and reply until `until()` holds.

        Raises `PeerAborted` or the client's own error when the session ends badly, `TransportError` when the connection
        does and cannot be replaced.
        """
        with self._meter.timed("client"):
            frames = self._machine.send(frames)
        if self._stream is not None:
            self._stream.send(frames)
        elif frames and not self._machine.begun:
            self._try(lambda: self._connect(frames))
        while not until():
            self._try(self._exchange)

    def _try(self, step: Callable[[], object]) -> None:
        """Take a step; after a failure that is worth another try, wait, and the next step opens a new connection."""
        try:
            step()
        except (TransportError, PeerAborted) as error:
            self._hang_up()
            if not self._machine.may_resume(error):
                raise
            with self._meter.timed("network"):
                self._backoff.after(error, met=self._machine.begun or error.code is ErrorCode.STARTING)

    def _exchange(self) -> None:
        """Receive one frame and send what follows from it."""
        stream = self._stream or self._resume()
        with self._meter.timed("network"):
            frame = stream.receive()
        self._backoff.progressed()
        with self._meter.timed("client"):
            replies = self._machine.receive(frame)
        stream.send(replies)
        if self._machine.party.error is not None:
            stream.await_end()
            raise self._machine.party.error

    def _connect(self, first: Iterable[bytes]) -> _Stream:
        remaining = self._end - time.monotonic()
        if remaining <= 0:
            raise TransportError(
                ErrorCode.DEADLINE_EXCEEDED.sentence,
                hint="Raise the deadline in the configuration.",
                code=ErrorCode.DEADLINE_EXCEEDED,
            )
        bundle = self._source.current()
        with self._meter.connecting():
            met = self._meet(bundle, min(_PREFLIGHT_SECONDS, remaining))
            channel = pinned_channel(self._target, bundle, met.certificate, _OPTIONS)
        self._stream = _Stream(channel, self._method, remaining)
        self._stream.send(first)
        return self._stream

    def _meet(self, bundle: Bundle, timeout: float) -> Preflight:
        try:
            return meet(self._target, bundle, now=self._source.clock(), timeout=timeout)
        except PreflightError as error:
            if self._machine.begun and _hung_up(error):
                raise TransportError(error.message, hint=error.hint, code=ErrorCode.CONNECTION_LOST) from error
            raise

    def _resume(self) -> _Stream:
        """Open a new connection and go on where both parties stand."""
        stream = self._connect([self._machine.resume()])
        with self._meter.timed("network"):
            answer = stream.receive()
        try:
            stream.send(self._machine.resumed(answer))
        except RemoteProtocolError as error:
            # The provider must not wait for messages that will not come.
            stream.send(self._machine.fail(error))
            stream.await_end()
            raise
        return stream

    def _hang_up(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None


def _hung_up(error: PreflightError) -> bool:
    """Return whether the provider closed the connection without a TLS alert.

    Either it refused our certificate, which gRPC does without an alert, or the connection was lost. Another try tells.
    """
    cause = error.__cause__
    said = isinstance(cause, ssl.SSLError) and not isinstance(cause, ssl.SSLEOFError)
    return error.code is ErrorCode.PEER_UNTRUSTED and error.stage is Stage.OWN_CERTIFICATE and not said


class _Bare:
    """A machine whose session ends with its connection."""

    def __init__(self, party: SessionMachine) -> None:
        self.party = party

    @property
    def begun(self) -> bool:
        return self.party.received > 0

    def send(self, frames: Sequence[bytes]) -> Sequence[bytes]:
        return frames

    def receive(self, frame: bytes) -> Iterable[bytes]:
        return self.party.receive(frame)

    def may_resume(self, error: SecurealignError) -> bool:
        return False

    def resume(self) -> bytes:
        raise TransportError("The session ended with its connection.", code=ErrorCode.CONNECTION_LOST)

    def resumed(self, answer: bytes) -> Iterator[bytes]:
        raise NotImplementedError

    def fail(self, error: SecurealignError) -> Sequence[bytes]:
        return self.party.fail(error)


class _Resumable(_Bare):
    """A machine with a journal, whose session can resume on another connection."""

    def __init__(self, endpoint: ResumableClient) -> None:
        super().__init__(endpoint.machine)
        self._endpoint = endpoint
        self._restored = endpoint.machine.sent > 0

    @property
    def begun(self) -> bool:
        return self._restored or super().begun

    def send(self, frames: Sequence[bytes]) -> Sequence[bytes]:
        return self._endpoint.send(frames) if frames else frames

    def receive(self, frame: bytes) -> Iterable[bytes]:
        return self._endpoint.receive(frame)

    def may_resume(self, error: SecurealignError) -> bool:
        return self.party.state not in FINAL

    def resume(self) -> bytes:
        return self._endpoint.resume()

    def resumed(self, answer: bytes) -> Iterator[bytes]:
        return self._endpoint.resumed(answer)

    def fail(self, error: SecurealignError) -> Sequence[bytes]:
        return self._endpoint.send(super().fail(error))


class _Stream:
    """One gRPC stream on a channel of its own."""

    def __init__(self, channel: grpc.Channel, method: str, deadline_seconds: float) -> None:
        self._channel = channel
        self._outgoing: queue.SimpleQueue[Iterable[bytes] | None] = queue.SimpleQueue()
        self._connected = False
        open_stream: grpc.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(method)
        self._call = open_stream(self._frames(), timeout=deadline_seconds)
        self._incoming: Iterator[bytes] = iter(self._call)

    def send(self, frames: Iterable[bytes]) -> None:
        """Send frames, which are read as the connection has room for them."""
        self._outgoing.put(frames)

    def receive(self) -> bytes:
        """Return the next frame; raises `TransportError` when the connection ends."""
        try:
            frame = next(self._incoming)
        except StopIteration:
            raise TransportError(
                "The provider ended the stream before the session was done.", code=ErrorCode.CONNECTION_LOST
            ) from None
        except grpc.RpcError as failure:
            raise self._error(failure) from failure
        self._connected = True
        return frame

    def _error(self, failure: grpc.RpcError) -> TransportError:
        error = transport_error(failure, connected=self._connected)
        guessed = failure.code() is grpc.StatusCode.UNAVAILABLE
        if guessed and error.code is ErrorCode.PEER_UNTRUSTED:
            # Both parties have just accepted each other: the connection was cut, or the provider has a new certificate.
            return TransportError("The connection was lost as it began.", code=ErrorCode.CONNECTION_LOST)
        return error

    def await_end(self) -> None:
        """Wait until the provider has read why the session ends, before the stream is cancelled."""
        self._outgoing.put(None)
        over = threading.Event()
        if self._call.add_callback(over.set):
            over.wait(_ABORT_SECONDS)

    def close(self) -> None:
        """End the stream and the connection."""
        self._outgoing.put(None)
        self._call.cancel()
        self._channel.close()

    def _frames(self) -> Iterator[bytes]:
        for frames in iter(self._outgoing.get, None):
            yield from frames
