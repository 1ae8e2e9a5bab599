"""The client's service in the test's own process, over open clients without a provider."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx2

from securealign.client.service.app import make_app
from securealign.client.service.clients import Clients
from securealign.client.service.guard import Guard
from securealign.client.service.limits import ServiceLimits
from securealign.console.access import Access
from support.open_clients import FakeClient, FakeProvider

T = TypeVar("T")

URL = "http://127.0.0.1:8080"
TOKEN = "0123456789abcdef0123456789abcdef"
LOOPBACK = Access(host="127.0.0.1", port=8080, hosts=frozenset({"localhost"}))


@dataclass
class Service:
    """An application, the provider behind it, and a caller of it."""

    app: Guard
    clients: Clients
    provider: FakeProvider
    http: httpx2.AsyncClient

    @property
    def client(self) -> FakeClient:
        """The client of the head that is configured."""
        return self.provider.opened[self.clients.default]

    async def classify(self, texts: Any, **more: Any) -> httpx2.Response:
        """Return the response to a request for these texts."""
        return await self.http.post("/v1/classify", json={"input": texts, **more})


@asynccontextmanager
async def service(
    *, access: Access = LOOPBACK, limits: ServiceLimits | None = None, head: str = "topics", **options: Any
) -> AsyncIterator[Service]:
    """Yield a service; options are those of `FakeClient`."""
    limits = limits or ServiceLimits()
    provider = FakeProvider(options)
    clients = Clients(provider, head, limits)
    app = make_app(clients, access, limits)
    transport = httpx2.ASGITransport(app, raise_app_exceptions=True)
    async with httpx2.AsyncClient(transport=transport, base_url=URL) as http:
        yield Service(app, clients, provider, http)


def with_service(check: Callable[[Service], Awaitable[T]], **options: Any) -> T:
    """Return what `check` returns for a service with these options."""

    async def run() -> T:
        async with service(**options) as made:
            return await check(made)

    return asyncio.run(run())


@dataclass
class Exchange:
    """One request as a server gives it to an application; `sent` holds the response, which waits if it is not read."""

    app: Guard
    headers: dict[str, str] = field(default_factory=dict)
    method: str = "POST"
    path: str = "/v1/classify"
    sent: list[dict[str, Any]] = field(default_factory=list)
    taken: int = 0
    reads: bool = True
    _messages: asyncio.Queue[dict[str, Any]] = field(default_factory=asyncio.Queue)

    def body(self, data: bytes, *, more: bool = False) -> Exchange:
        """Let a part of the body arrive."""
        self._messages.put_nowait({"type": "http.request", "body": data, "more_body": more})
        return self

    def hang_up(self) -> Exchange:
        """Let the caller close the connection."""
        self._messages.put_nowait({"type": "http.disconnect"})
        return self

    @property
    def status(self) -> int:
        """The status of the response, 0 without one."""
        return next((message["status"] for message in self.sent if message["type"] == "http.response.start"), 0)

    async def run(self) -> int:
        """Return the status of the response."""
        headers = {"host": "127.0.0.1:8080", "content-type": "application/json", **self.headers}
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": self.method,
            "scheme": "http",
            "path": self.path,
            "raw_path": self.path.encode(),
            "root_path": "",
            "query_string": b"",
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 8080),
            "state": {},
        }

        async def receive() -> dict[str, Any]:
            message = await self._messages.get()
            self.taken += len(message.get("body", b""))
            return message

        async def send(message: dict[str, Any]) -> None:
            if not self.reads:
                await asyncio.Event().wait()
            self.sent.append(message)

        await self.app(scope, receive, send)
        return self.status


async def until(condition: Callable[[], object]) -> None:
    """Return when the condition holds; other tasks run meanwhile."""
    while not condition():
        await asyncio.sleep(0)
