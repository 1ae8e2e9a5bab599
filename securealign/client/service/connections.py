"""Connections that do not wait without end: for the head of a request, or for a caller to read a response."""

from __future__ import annotations

import asyncio
import json
from typing import ClassVar

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from securealign.client.service.limits import ServiceLimits
from securealign.errors import ErrorCode

_FULL = json.dumps(
    {
        "error": {
            "code": ErrorCode.SERVER_BUSY.name,
            "message": "This service has as many connections as it may have.",
            "hint": "Try again later.",
        }
    }
).encode()
_FULL_HEAD = (
    "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\n"
    f"content-length: {len(_FULL)}\r\nconnection: close\r\n\r\n"
).encode()


class BoundedProtocol(H11Protocol):
    """One connection; `bounded_protocol` makes the class for limits."""

    limits: ClassVar[ServiceLimits]
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a request, unless there are too many connections."""
        super().connection_made(transport)
        if len(self.connections) > self.limits.max_connections:
            transport.write(_FULL_HEAD + _FULL)
            transport.close()
        else:
            self._expect_head()

    def data_received(self, data: bytes) -> None:
        """Take bytes; those that are no part of a request under way must become one in time."""
        super().data_received(data)
        # `cycle` is the request that was read last.
        if self.cycle is None or self.cycle.response_complete:
            self._expect_head()
        else:
            self._stop_timer()

    def on_response_complete(self) -> None:
        """Wait for the next request, after what is left of the body of one that was refused."""
        super().on_response_complete()
        if self.conn.their_state is h11.SEND_BODY:
            self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._stop_timer()
        super().connection_lost(exc)

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection; what its caller has not read yet is dropped after as long again."""
        if self.transport.get_write_buffer_size():
            self.loop.call_later(self.limits.idle_seconds, self.transport.abort)
        super().timeout_keep_alive_handler()

    def _expect_head(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(self.limits.header_seconds, self.transport.abort)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def bounded_protocol(limits: ServiceLimits) -> type[BoundedProtocol]:
    """Return the class of connections that keep to the limits."""
    return type("BoundedProtocol", (BoundedProtocol,), {"limits": limits})
