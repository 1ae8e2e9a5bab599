"""The gRPC health service, whether each service of this server takes sessions, and reflection, which lists them.

Both stand behind the same mutual TLS as everything else, so a probe needs a bundle of its own; a load balancer without
one can open a TCP connection or read the metrics.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from securealign.wire.v1 import service_pb2

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
        self._servicer = servicer
        self._admit = admit

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
