"""What stands before the application: it lets requests in, reads their bodies within limits, and ends their work.

The laws: a request is refused before its body is read where its head suffices; no more bytes are kept than the limit of
a body; work ends with the connection that asked for it; every response but a console's page is JSON.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any, TypeAlias

import structlog

from securealign.client.service.limits import ServiceLimits
from securealign.client.service.metrics import ServiceMetrics
from securealign.client.service.problems import RequestError, fault, problem
from securealign.console.access import Access
from securealign.errors import ErrorCode, SecurealignError
from securealign.logs import describe

Message: TypeAlias = MutableMapping[str, Any]
Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

#: Paths that a probe may ask without the token; they say whether the service runs, and ready or not.
OPEN_PATHS = frozenset({"/healthz", "/readyz"})
_CLASSIFY = "/v1/classify"
#: Paths that are named in logs and metrics; what else callers ask for is theirs.
_PATHS = OPEN_PATHS | {_CLASSIFY, "/v1/models", "/metrics", "/openapi.json", "/"}
_OFTEN = OPEN_PATHS | {"/metrics", "/console"}
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})

log = structlog.get_logger()


class Guard:
    """An ASGI application around another one."""

    def __init__(self, app: App, access: Access, limits: ServiceLimits, metrics: ServiceMetrics) -> None:
        self._app, self._access, self._limits, self._metrics = app, access, limits, metrics
        self._under_way = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; the application itself sees only those that are let in."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(send, self._limits.idle_seconds)
        began = time.perf_counter()
        self._under_way += 1
        try:
            await self._answer(scope, receive, exchange)
        except _Gone:
            exchange.status = exchange.status or 499
        except SecurealignError as error:
            self._metrics.failed(error.code)
            await exchange.refuse(scope, error)
        except asyncio.CancelledError:
            # The service is stopped, and the time for what is under way is over.
            await exchange.refuse(scope, _stopping())
        except Exception as error:
            # Whatever it is: its message may quote a text, and is not shown.
            log.error("unexpected fault", raised=describe(error))
            self._metrics.failed(ErrorCode.INTERNAL)
            await exchange.refuse(scope, fault())
        finally:
            self._under_way -= 1
            self._note(scope, exchange.status, time.perf_counter() - began)

    async def _answer(self, scope: Scope, receive: Receive, exchange: _Exchange) -> None:
        headers = _headers(scope)
        self._admit(scope, headers)
        body = await self._body(headers, receive)
        gone = asyncio.ensure_future(_disconnected(receive))
        whole: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            if whole:
                return whole.pop()
            await asyncio.shield(gone)
            return {"type": "http.disconnect"}

        work = asyncio.ensure_future(self._app(scope, replay, exchange.send))
        try:
            await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                raise _Gone
            work.result()
        finally:
            for task in (work, gone):
                task.cancel()
            # The work of a caller that has gone ends before its place is given to another one.
            await asyncio.wait({work, gone})
            with suppress(asyncio.CancelledError):
                work.exception()

    def _admit(self, scope: Scope, headers: dict[str, str]) -> None:
        """Raise `RequestError` for a request that is not let in, by its head alone."""
        path, safe = scope["path"], scope["method"] in _SAFE
        if not self._access.knows_host(headers.get("host", "")) and self._access.token is None:
            raise RequestError(421, "This service does not go by that name.", "Call it by its address.")
        if path not in OPEN_PATHS and not self._access.admits(headers.get("authorization", "")):
            raise RequestError(
                401,
                "This service needs its token.",
                "Send the header Authorization: Bearer TOKEN.",
                ErrorCode.TOKEN_REFUSED,
                headers={"WWW-Authenticate": 'Bearer, Basic realm="securealign", charset="UTF-8"'},
            )
        if not safe and not _own_site(headers):
            raise RequestError(403, "Another site made this request.", "Call the service from a program.")
        if self._under_way > self._limits.max_requests and path not in OPEN_PATHS:
            raise RequestError(
                503,
                f"This service answers {self._limits.max_requests} requests already.",
                "Try again later.",
                ErrorCode.SERVER_BUSY,
                headers={"Retry-After": "1"},
            )
        if (scope["method"], path) == ("POST", _CLASSIFY) and _media_type(headers) != "application/json":
            # A page of another site may send any other type without asking.
            raise RequestError(415, "The body is no JSON.", "Send it with the header Content-Type: application/json.")

    async def _body(self, headers: dict[str, str], receive: Receive) -> bytes:
        """Return the body; raises `RequestError` for one that is too long or too late, however it is declared."""
        most = self._limits.max_body
        declared = headers.get("content-length", "0")
        if not declared.isdecimal() or len(declared) > 18 or int(declared) > most:
            raise self._too_long()
        body = bytearray()

        async def read() -> None:
            more = True
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise _Gone
                body.extend(message.get("body", b""))
                if len(body) > most:
                    raise self._too_long()
                more = message.get("more_body", False)

        try:
            await asyncio.wait_for(read(), self._limits.body_seconds)
        except asyncio.TimeoutError:
            raise RequestError(408, "The body of the request did not arrive in time.", "Send it at once.") from None
        return bytes(body)

    def _too_long(self) -> RequestError:
        return RequestError(
            413,
            f"The body of a request may have {self._limits.max_body} bytes.",
            "Send several requests.",
            ErrorCode.LIMIT_EXCEEDED,
        )

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        path = scope["path"]
        path = path if path in _PATHS else "/console" if path.startswith("/console/") else "other"
        self._metrics.answered(path, status, seconds)
        # Probes, and pages that stay open, ask every few seconds.
        if path not in _OFTEN or scope["method"] not in _SAFE:
            log.info("request", path=path, method=scope["method"], status=status, ms=round(1000 * seconds, 1))


class _Gone(Exception):
    """The caller has closed the connection."""


class _Exchange:
    """The response of one request: its status, and whether it has begun."""

    def __init__(self, send: Send, seconds: float) -> None:
        self._send, self._seconds = send, seconds
        self.status = 0

    async def send(self, message: Message) -> None:
        """Send a part of a response; raises `_Gone` when the caller does not read it."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
        try:
            await asyncio.wait_for(self._send(message), self._seconds)
        except asyncio.TimeoutError:
            raise _Gone from None

    async def refuse(self, scope: Scope, error: SecurealignError) -> None:
        """Send an error, unless a response has begun."""
        if not self.status:
            with suppress(_Gone):
                await problem(error)(scope, _nothing, self.send)


async def _nothing() -> Message:
    return {"type": "http.disconnect"}


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _headers(scope: Scope) -> dict[str, str]:
    """Return the headers of a request; one that is repeated is joined, and then it is none that is expected."""
    found: dict[str, str] = {}
    for raw, value in scope["headers"]:
        name = raw.decode("latin-1").lower()
        text = value.decode("latin-1")
        found[name] = f"{found[name]},{text}" if name in found else text
    return found


def _own_site(headers: dict[str, str]) -> bool:
    """Return whether no page of another site made the request: browsers say which one did, programs do not."""
    origin = headers.get("origin")
    if origin is not None and origin.partition("://")[2] != headers.get("host"):
        return False
    return headers.get("sec-fetch-site", "none") in {"same-origin", "none"}


def _media_type(headers: dict[str, str]) -> str:
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def _stopping() -> RequestError:
    return RequestError(
        503, "The service is stopping.", "Try again later.", ErrorCode.CANCELLED, headers={"Retry-After": "5"}
    )
