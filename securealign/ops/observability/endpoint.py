"""What tools of an operator ask: the HTTP endpoint that Prometheus scrapes, gRPC's health service, and reflection.

The last two say whether each service of this server takes sessions, and list the services. They stand behind the same
mutual TLS as everything else, so a probe needs a bundle of its own; a load balancer without one can open a TCP
connection or read the metrics.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import urlsplit

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from prometheus_client import start_http_server

from securealign.errors import ConfigurationError
from securealign.ops.observability.metrics import Metrics
from securealign.wire.v1 import service_pb2

#: Metrics name clients, so they are served on this machine alone unless the operator chooses another address.
DEFAULT_ADDRESS = "127.0.0.1:9464"


class MetricsEndpoint:
    """Serves metrics over plain HTTP from construction until `close`; port 0 takes a free one.

    Raises `ConfigurationError` for an address that cannot be listened on.
    """

    def __init__(self, metrics: Metrics, address: str = DEFAULT_ADDRESS) -> None:
        host, port = _split(address)
        try:
            self._server, self._thread = start_http_server(port, host, registry=metrics.registry)
        except OSError as error:
            raise ConfigurationError(
                f"Cannot serve metrics on {address}: {error.strerror or type(error).__name__}.",
                hint="Choose a free port, or stop the program that uses it.",
            ) from error
        #: The port that is bound; of interest when the address asked for port 0.
        self.port = self._server.server_port

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> MetricsEndpoint:
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()


def _split(address: str) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{address}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or port is None:
        raise ConfigurationError(
            f"{address!r} is no address to serve metrics on.", hint=f"Write host:port, such as {DEFAULT_ADDRESS}."
        )
    return host, port


#: Full names of the services that a provider may offer.
SERVICES = tuple(sorted(service.full_name for service in service_pb2.DESCRIPTOR.services_by_name.values()))

#: Called with the context of a call before it is answered; ends the call of a peer that is not let in.
Admit = Callable[[grpc.ServicerContext], object]


class HealthSwitch:
    """Whether each service is serving; the server as a whole is serving until it drains."""

    def __init__(self, servicer: health.HealthServicer, services: Iterable[str]) -> None:
        self._servicer = servicer
        served = set(services)
        for name in {*SERVICES, *served}:
            self.set(name, serving=name in served)

    def set(self, service: str, *, serving: bool) -> None:
        """Set the status of one service; once the server drains, nothing changes any more."""
        status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        self._servicer.set(service, status)

    def drain(self) -> None:
        """Report all services as not serving, for good: call it before the server is stopped."""
        self._servicer.enter_graceful_shutdown()


class _CheckOnly:
    """Answers `Check` and refuses `Watch`, whose streams a peer could open without end; clients of it fall back."""

    def __init__(self, servicer: health.HealthServicer, admit: Admit) -> None:
        self._servicer, self._admit = servicer, admit

    def Check(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: ANN401, N802 - a generated interface
        self._admit(context)
        return self._servicer.Check(request, context)

    def Watch(self, _request: Any, context: grpc.ServicerContext) -> None:  # noqa: ANN401, N802
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "Watch is not offered; call Check from time to time.")


def add_health(server: grpc.Server, services: Iterable[str], *, admit: Admit = lambda context: None) -> HealthSwitch:
    """Register the health service on a server that is not yet started, and return the switch for its answers.

    `services` are the full names of those served, of `SERVICES`; the others are known and not serving.
    """
    servicer = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(_CheckOnly(servicer, admit), server)
    return HealthSwitch(servicer, services)


def add_reflection(server: grpc.Server, services: Iterable[str] = SERVICES) -> None:
    """Register reflection of these services, for tools such as grpcurl, on a server that is not yet started.

    The services themselves are handlers of raw bytes; what they exchange is described by the generated code, which
    `SERVICES` has loaded.
    """
    reflection.enable_server_reflection((*services, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
