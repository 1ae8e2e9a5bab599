"""The provider's gRPC server: one stream is one session, one machine, one thread.

Frames pass as raw bytes; the codec of the machine is the only one to parse them. A request is read when the machine
has handled the one before, so HTTP/2 flow control holds the client back.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import grpc

from securealign.errors import ConfigurationError, ErrorCode, SecurealignError, TransportError
from securealign.keys.certificates import Bundle, Role
from securealign.protocol.party import Observer, Party
from securealign.protocol.states import FINAL
from securealign.transport.meter import Meter, RunStats
from securealign.transport.status import ERROR_KEY, status_of

TRAINING_METHOD = "/securealign.v1.Training/Align"
INFERENCE_METHOD = "/securealign.v1.Inference/Classify"

_OPTIONS = (
    ("grpc.so_reuseport", 0),
    # A peer that vanished without a word is noticed after these.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
)


@dataclass(frozen=True)
class Peer:
    """Who opened a session: address as gRPC prints it, and whether it came over the loopback interface."""

    address: str
    loopback: bool


@dataclass(frozen=True)
class SessionReport:
    """How a session ended, for logs and statistics."""

    phase: str
    peer: Peer
    error: SecurealignError | None
    stats: RunStats
    party: Party


MakeParty = Callable[[Peer, Observer], Party]
Report = Callable[[SessionReport], None]


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """Bounds of a server: sessions at a time, and seconds that a session may last or stay silent."""

    max_sessions: int = 16
    session_seconds: float = 3600.0
    idle_seconds: float = 120.0


class ProviderServer:
    """Serves training and inference sessions; a failed session never takes the server down."""

    def __init__(
        self,
        address: str,
        bundle: Bundle,
        make_parties: dict[str, MakeParty],
        *,
        settings: ServerSettings | None = None,
        report: Report = lambda report: None,
    ) -> None:
        self._settings = settings or ServerSettings()
        self._report = report
        self._slots = threading.BoundedSemaphore(self._settings.max_sessions)
        # A few threads more than sessions, so that a full server can still say that it is full.
        self._server = grpc.server(ThreadPoolExecutor(self._settings.max_sessions + 4), options=_OPTIONS)
        for method, make in make_parties.items():
            self._server.add_generic_rpc_handlers((_OneMethod(method, self._handler(make)),))
        credentials = grpc.ssl_server_credentials(
            [(bundle.private_key, bundle.certificate)],
            root_certificates=bundle.authority,
            require_client_auth=True,
        )
        try:
            #: The port that is bound; of interest when the address asked for port 0.
            self.port = self._server.add_secure_port(address, credentials)
        except RuntimeError:
            self.port = 0
        if not self.port:
            raise ConfigurationError(
                f"Cannot listen on {address}.", hint="Choose a free port, or stop the server that uses it."
            )

    def start(self) -> None:
        """Begin to accept sessions."""
        self._server.start()

    def stop(self, grace: float | None = 5.0) -> None:
        """Refuse new sessions, give running ones `grace` seconds, and return when all are over."""
        self._server.stop(grace).wait()

    def wait(self) -> None:
        """Block until the server is stopped."""
        self._server.wait_for_termination()

    def _handler(self, make: MakeParty) -> Callable[[Iterator[bytes], grpc.ServicerContext], Iterator[bytes]]:
        def handle(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
            _require_client(context)
            peer, meter = _peer(context), Meter(counted="provider")
            party = make(peer, meter.observer("provider"))
            watchdog = _Watchdog(context, self._settings)
            if not self._slots.acquire(blocking=False):
                _refuse(context, ErrorCode.SERVER_BUSY)
            with ExitStack() as ending:
                # In reverse: the place is free before anybody hears that the session is over.
                ending.callback(self._finish, party, peer, meter, watchdog)
                ending.callback(self._slots.release)
                ending.enter_context(watchdog)
                yield from _serve(party, requests, meter, watchdog)

        return handle

    def _finish(self, party: Party, peer: Peer, meter: Meter, watchdog: _Watchdog) -> None:
        code = ErrorCode.DEADLINE_EXCEEDED if watchdog.fired else ErrorCode.CONNECTION_LOST
        party.abandon(TransportError(f"The stream ended in state {party.state.value!r}.", code=code))
        self._report(SessionReport(party.name, peer, party.error, meter.stats(), party))


def _serve(party: Party, requests: Iterator[bytes], meter: Meter, watchdog: _Watchdog) -> Iterator[bytes]:
    """Yield the replies to a peer's frames until the session is over or the stream breaks."""
    try:
        for request in requests:
            with watchdog.working(), meter.timed("provider"):
                replies = party.receive(request)
            yield from replies
            if party.state in FINAL:
                return
    except grpc.RpcError:
        # The stream broke while we waited for the peer; the caller decides what that means for the session.
        return


class _OneMethod(grpc.GenericRpcHandler):
    """Routes one full method name to a handler of raw byte streams."""

    def __init__(self, method: str, handle: Callable[..., Iterator[bytes]]) -> None:
        self._method = method
        self._handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.stream_stream_rpc_method_handler(handle)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes] | None:
        return self._handler if handler_call_details.method == self._method else None


class _Watchdog:
    """Cancels a stream that lasts too long, or whose peer stays silent too long while we wait for it."""

    def __init__(self, context: grpc.ServicerContext, settings: ServerSettings) -> None:
        self._context = context
        self._settings = settings
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
        """Stop the clock of silence while this side computes."""
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


def _peer(context: grpc.ServicerContext) -> Peer:
    address = context.peer()
    loopback = address.startswith(("ipv4:127.", "ipv6:[::1]", "ipv6:%5B::1%5D", "unix:"))
    return Peer(address, loopback)


def _require_client(context: grpc.ServicerContext) -> None:
    """End the call unless the peer's certificate, which TLS has verified, names the role of a client."""
    if Role.CLIENT.value.encode() not in (context.auth_context().get("x509_subject_alternative_name") or ()):
        _refuse(context, ErrorCode.WRONG_ROLE)


def _refuse(context: grpc.ServicerContext, code: ErrorCode) -> None:
    context.set_trailing_metadata(((ERROR_KEY, code.name),))
    context.abort(status_of(code), code.sentence)
