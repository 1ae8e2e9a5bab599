"""The provider's gRPC server: one stream is one session, one machine, one thread.

Frames pass as raw bytes; only the codec of the machine parses them. A request is read when the machine has handled the
one before, so that HTTP/2 flow control slows the client down.
"""

from __future__ import annotations

import errno
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import NoReturn, TypeAlias

import grpc

from securealign.errors import ConfigurationError, ErrorCode, RemoteProtocolError, SecurealignError, TransportError
from securealign.limits import ServerSettings
from securealign.pki.bundles import Bundle
from securealign.protocol.machine import SessionMachine
from securealign.protocol.policy.admission import Admission
from securealign.protocol.states import FINAL
from securealign.transport.credentials import FixedBundle, Source, peer_identity, server_credentials
from securealign.transport.meter import Listener, Meter, nobody
from securealign.transport.session_manager import (
    MakeParty,
    Peer,
    ServedSession,
    SessionManager,
    TransientSessionManager,
)
from securealign.transport.stats import RunStats
from securealign.transport.status import ERROR_KEY, status_of

TRAINING_METHOD = "/securealign.v1.Training/Align"
INFERENCE_METHOD = "/securealign.v1.Inference/Classify"
LISTING_METHOD = "/securealign.v1.Offers/List"
#: Prefix of the names of the threads that serve sessions.
THREAD_PREFIX = "securealign-session"

Handler: TypeAlias = "grpc.RpcMethodHandler[bytes, bytes]"

_OPTIONS = (
    ("grpc.so_reuseport", 0),
    # A dead connection is noticed after these times.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
)


@dataclass(frozen=True)
class SessionReport:
    """What a stream meant for its session, for logs and statistics: cost, error, and how the session stands."""

    kind: str
    peer: Peer
    error: SecurealignError | None
    stats: RunStats
    party: SessionMachine
    #: Whether the session was begun over an earlier stream.
    resumed: bool = False
    #: Whether the session waits for its client to return.
    suspended: bool = False
    #: What listened to the stream.
    listener: Listener = nobody


Report = Callable[[SessionReport], None]
#: Called when a stream has been given a session: who, its kind, and whether it goes on with an earlier one.
Opened = Callable[[Peer, str, bool], None]
#: Called when a stream has been given a session; returns what is to listen to it.
MakeListener = Callable[[Peer, SessionMachine], Listener]
#: Answers a call of one message, given who calls and its bytes; raises the reason to refuse it.
Call = Callable[[Peer, bytes], bytes]
#: Called when a stream was refused before it had a session.
Refused = Callable[[Peer, SecurealignError], None]


class ProviderServer:
    """Serves training and inference sessions; the server goes on after a session has failed."""

    def __init__(
        self,
        address: str,
        bundle: Bundle | Source,
        methods: Mapping[str, MakeParty | SessionManager],
        *,
        settings: ServerSettings | None = None,
        report: Report = lambda report: None,
        opened: Opened = lambda peer, kind, resumed: None,
        refused: Refused = lambda peer, error: None,
        listen: MakeListener = lambda peer, party: nobody,
        admission: Admission | None = None,
        calls: Mapping[str, Call] | None = None,
        register: Callable[[grpc.Server], object] = lambda server: None,
    ) -> None:
        self._settings = settings or ServerSettings()
        self._report, self._opened, self._refused = report, opened, refused
        self._listen = listen
        self._admission = admission or Admission()
        self._slots = threading.BoundedSemaphore(self._settings.max_sessions)
        # A few threads more than sessions, so that a full server can still answer that it is full.
        self._threads = ThreadPoolExecutor(self._settings.max_sessions + 4, thread_name_prefix=THREAD_PREFIX)
        self._server = grpc.server(self._threads, options=_OPTIONS)
        for method, serving in methods.items():
            manager = serving if isinstance(serving, SessionManager) else TransientSessionManager(serving)
            stream: Handler = grpc.stream_stream_rpc_method_handler(self._handler(manager))
            self._server.add_generic_rpc_handlers((_OneMethod(method, stream),))
        for method, answer in (calls or {}).items():
            call: Handler = grpc.unary_unary_rpc_method_handler(self._answering(answer))
            self._server.add_generic_rpc_handlers((_OneMethod(method, call),))
        register(self._server)
        self._source = FixedBundle(bundle) if isinstance(bundle, Bundle) else bundle
        try:
            #: The port that is bound; of interest when the address asked for port 0.
            self.port = self._server.add_secure_port(address, server_credentials(self._source))
        except RuntimeError:
            self.port = 0
        if not self.port:
            raise ConfigurationError(
                f"Cannot listen on {address}.",
                hint="Choose a free port, or stop the server that uses it.",
                code=ErrorCode.ADDRESS_TAKEN if _is_taken(address) else ErrorCode.CONFIGURATION_INVALID,
            )

    def start(self) -> None:
        """Begin to accept sessions."""
        self._server.start()

    def stop(self, grace: float | None = 5.0) -> None:
        """Refuse new sessions, give running ones `grace` seconds, and return when all are over and recorded."""
        self._server.stop(grace).wait()
        # gRPC does not wait for its threads, which may still have to record a session whose stream has ended.
        self._threads.shutdown(wait=True)

    def wait(self) -> None:
        """Block until the server is stopped."""
        self._server.wait_for_termination()

    def _handler(self, manager: SessionManager) -> Callable[[Iterator[bytes], grpc.ServicerContext], Iterator[bytes]]:
        def handle(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
            with self._hiding_faults(context):
                yield from self._serve(manager, requests, context)

        return handle

    def _answering(self, answer: Call) -> Callable[[bytes, grpc.ServicerContext], bytes]:
        def handle(request: bytes, context: grpc.ServicerContext) -> bytes:
            with self._hiding_faults(context):
                peer = self._admit(context)
                with self._refusing(context, peer):
                    return answer(peer, request)

        return handle

    @contextmanager
    def _hiding_faults(self, context: grpc.ServicerContext) -> Iterator[None]:
        """End the call for a fault of ours, whose message gRPC would send to the peer."""
        try:
            yield
        except Exception as error:
            if context.code() is None:  # type: ignore[attr-defined]
                self._refuse(context, _peer(context), _fault(error))
            raise

    def _serve(
        self, manager: SessionManager, requests: Iterator[bytes], context: grpc.ServicerContext
    ) -> Iterator[bytes]:
        peer = self._admit(context)
        if not self._slots.acquire(blocking=False):
            self._refuse(context, peer, TransportError("All sessions are taken.", code=ErrorCode.SERVER_BUSY))
        stream = _Stream(peer, Meter(counted="provider"), _Watchdog(context, self._settings))
        stream.meter.count_connection()
        with ExitStack() as ending:
            # Callbacks run in reverse: the slot is free before the session is reported.
            ending.callback(self._finish, stream)
            ending.callback(self._slots.release)
            ending.enter_context(stream.watchdog)
            frame = _first(requests)
            if frame is None:
                return
            with self._refusing(context, peer):
                permit = ending.enter_context(self._admission.enter(peer.identity))
            stream.peer = replace(peer, reserve=permit.reserve)
            with stream.working(), self._refusing(context, stream.peer):
                observer = stream.meter.observer("provider")
                stream.session = manager.attach(stream.peer, observer, frame, context.cancel)
            self._opened(peer, stream.session.party.kind, stream.session.resumed)
            stream.meter.listener = self._listen(peer, stream.session.party)
            yield from _replies(stream, stream.session, frame, requests)

    def _admit(self, context: grpc.ServicerContext) -> Peer:
        """Return the peer, whose certificate TLS has verified; ends the call of one that may not be a client."""
        peer = _peer(context)
        with self._refusing(context, peer):
            return replace(peer, identity=peer_identity(context, self._source).name)

    @contextmanager
    def _refusing(self, context: grpc.ServicerContext, peer: Peer) -> Iterator[None]:
        """End the call for an error of the block."""
        try:
            yield
        except SecurealignError as error:
            self._refuse(context, peer, error)

    def _refuse(self, context: grpc.ServicerContext, peer: Peer, error: SecurealignError) -> NoReturn:
        code = error.code if isinstance(error, RemoteProtocolError | TransportError) else ErrorCode.INTERNAL
        context.set_trailing_metadata(((ERROR_KEY, code.name),))
        try:
            self._refused(peer, error)
        finally:
            # Whatever the callback raised, gRPC would send its message to the peer.
            context.abort(status_of(code), code.sentence)
        raise AssertionError("abort does not return")

    def _finish(self, stream: _Stream) -> None:
        session = stream.session
        if session is None:
            return
        code = ErrorCode.DEADLINE_EXCEEDED if stream.watchdog.fired else ErrorCode.CONNECTION_LOST
        party = session.party
        lost = TransportError(f"The stream ended in state {party.state.value!r}.", code=code)
        suspended = session.leave(lost)
        error = lost if suspended else party.error
        stats = stream.meter.stats()
        self._report(
            SessionReport(
                party.kind, stream.peer, error, stats, party, session.resumed, suspended, stream.meter.listener
            )
        )


def _fault(error: Exception) -> SecurealignError:
    """Return the error under which an exception outside the machine is reported."""
    if isinstance(error, SecurealignError):
        return error
    fault = SecurealignError(f"{type(error).__name__} in a stream.")
    fault.__cause__ = error
    return fault


def _first(requests: Iterator[bytes]) -> bytes | None:
    """Return the first frame of a stream, None if there is none."""
    try:
        return next(requests, None)
    except grpc.RpcError:
        return None


def _replies(stream: _Stream, session: ServedSession, frame: bytes, requests: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the replies to a peer's frames until the session is over or the stream breaks."""
    try:
        with stream.working():
            replies = session.open(frame)
        yield from _made(stream, replies)
        while session.party.state not in FINAL:
            request = next(requests, None)
            if request is None:
                return
            with stream.working():
                replies = session.receive(request)
            yield from _made(stream, replies)
    except grpc.RpcError:
        # The stream broke while we waited for the peer; the caller decides what that means for the session.
        return


def _made(stream: _Stream, replies: Iterable[bytes]) -> Iterator[bytes]:
    """Yield replies, of which a long one is made while it is sent."""
    if isinstance(replies, list):
        yield from replies
        return
    frames = iter(replies)
    while True:
        with stream.working():
            frame = next(frames, None)
        if frame is None:
            return
        yield frame


class _OneMethod(grpc.GenericRpcHandler):
    """Routes one full method name to a handler of raw byte streams."""

    def __init__(self, method: str, handler: Handler) -> None:
        self._method, self._handler = method, handler

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Handler | None:
        return self._handler if handler_call_details.method == self._method else None


class _Watchdog:
    """Cancels a stream that lasts too long, or whose peer stays silent too long while we wait for it."""

    def __init__(self, context: grpc.ServicerContext, settings: ServerSettings) -> None:
        self._context, self._settings = context, settings
        self._end = time.monotonic() + settings.session_seconds
        self._waiting_since: float | None = time.monotonic()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.fired = False

    def __enter__(self) -> _Watchdog:
        self._thread.start()
        return self

    def __exit__(self, *unused: object) -> None:
        self._over.set()

    @contextmanager
    def working(self) -> Iterator[None]:
        """Do not count silence of the peer while this side computes."""
        self._waiting_since = None
        try:
            yield
        finally:
            self._waiting_since = time.monotonic()

    def _remaining(self) -> float:
        now, since = time.monotonic(), self._waiting_since
        silence_ends = now + self._settings.idle_seconds if since is None else since + self._settings.idle_seconds
        return min(self._end, silence_ends) - now

    def _watch(self) -> None:
        while not self._over.wait(max(0.0, remaining := self._remaining())):
            if remaining <= 0:
                self.fired = True
                self._context.cancel()
                return


class _Stream:
    """One stream: its peer, its cost, and the session that it carries once it has one."""

    def __init__(self, peer: Peer, meter: Meter, watchdog: _Watchdog) -> None:
        self.peer, self.meter, self.watchdog = peer, meter, watchdog
        self.session: ServedSession | None = None

    @contextmanager
    def working(self) -> Iterator[None]:
        """Run a block in which this side computes."""
        with self.watchdog.working(), self.meter.timed("provider"):
            yield


def _is_taken(address: str) -> bool:
    """Return whether another process listens on host:port; gRPC does not say why it cannot."""
    host, _, port = address.rpartition(":")
    try:
        found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _name, place in found:
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(place)
    except OSError as error:
        return error.errno == errno.EADDRINUSE
    except ValueError:
        return False
    return False


def _peer(context: grpc.ServicerContext) -> Peer:
    address = context.peer()
    loopback = address.startswith(("ipv4:127.", "ipv6:[::1]", "ipv6:%5B::1%5D", "unix:"))
    return Peer(address, loopback)
