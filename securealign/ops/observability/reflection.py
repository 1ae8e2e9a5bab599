"""gRPC reflection: lets tools such as grpcurl list the services. Off unless the operator asks for it."""

from __future__ import annotations

from collections.abc import Iterable

import grpc
from grpc_health.v1 import health
from grpc_reflection.v1alpha import reflection

from securealign.ops.observability.health import SERVICES


def add_reflection(server: grpc.Server, services: Iterable[str] = SERVICES) -> None:
    """Register reflection of these services on a server that is not yet started.

    The services themselves are handlers of raw bytes; what they exchange is described by the generated code, which
    `SERVICES` has loaded.
    """
    reflection.enable_server_reflection((*services, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
