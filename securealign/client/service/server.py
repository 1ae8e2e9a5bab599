"""Runs the service: one address, bounded connections, and an end that finishes what is under way."""

from __future__ import annotations

import asyncio
import signal
import socket

import structlog
import uvicorn

from securealign.client.service.app import make_app
from securealign.client.service.clients import Clients, Open
from securealign.client.service.connections import bounded_protocol
from securealign.client.service.limits import ServiceLimits
from securealign.console.access import Access, listen, stays_here

log = structlog.get_logger()


def serve(open_client: Open, access: Access, limits: ServiceLimits, *, head: str = "", identity: str = "") -> None:
    """Serve until SIGTERM or SIGINT, then finish what is under way; raises `ConfigurationError` for a bad address.

    `open_client` opens a client of a head, `head` is the one that requests without a model ask, `identity`
    the name in the client's certificate.
    """
    with listen(access) as bound:

        async def run() -> None:
            clients = Clients(open_client, head, limits)
            await _serve(make_server(clients, access, limits, identity=identity), access, bound)

        asyncio.run(run())


async def _serve(server: uvicorn.Server, access: Access, bound: socket.socket) -> None:
    def stop(*_: object) -> None:
        server.should_exit = True

    # uvicorn handles both signals while it serves. At its end it raises those that it got once more for the handlers
    # before its own; the default ones would end the process as if it had been killed.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    host, port = bound.getsockname()[:2]
    log.info("serving", address=f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
    if not stays_here(access):
        log.warning("texts and the token cross the network in clear", hint="Put a proxy with TLS before the service.")
    await server.serve(sockets=[bound])
    log.info("stopped")


def make_server(clients: Clients, access: Access, limits: ServiceLimits, *, identity: str = "") -> uvicorn.Server:
    """Return the server of a service; it serves on the sockets that it is given."""
    config = uvicorn.Config(
        make_app(clients, access, limits, identity=identity),
        http=bounded_protocol(limits),
        loop="asyncio",
        ws="none",
        lifespan="on",
        log_config=None,
        # The guard logs requests, without what callers put into paths.
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=int(limits.idle_seconds),
        timeout_graceful_shutdown=int(limits.grace_seconds),
        backlog=limits.max_connections,
    )
    return uvicorn.Server(config)
