"""The page of a client: texts in, labels out, and beside them what left this machine and what the provider can see."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, suppress
from typing import Any, Protocol
from urllib.parse import parse_qs

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, Response, StreamingResponse

from securealign.console import pages
from securealign.console.guard import require_own_host, require_same_origin
from securealign.console.kinds import words
from securealign.errors import InputError, SecurealignError

#: Texts and bytes of one request; a program has the API, and a file has the command line.
MAX_TEXTS, MAX_BYTES = 1000, 1_000_000
#: Seconds for which what the provider said of a head is shown before it is asked again.
_TOLD_SECONDS = 60.0
_LINES = "application/x-ndjson"
#: What is shown of a prediction.
_SHOWN = ("index", "label", "score", "abstained", "confidence")


class OpenClient(Protocol):
    """What the page asks of a client; `AsyncOpenClient` is one, and its module says what the values are."""

    def stream(self, inputs: Any, /) -> AsyncIterator[Any]:  # noqa: ANN401 - values of a layer above
        """Yield a prediction for each text, in their order."""

    async def heads(self) -> Sequence[Any]:
        """Return what the provider offers this client."""

    def status(self) -> Any:  # noqa: ANN401
        """Return how the client stands, without asking the provider."""


class Service(Protocol):
    """The clients of a service by the names of their heads; "" stands for the head that is asked when none is named."""

    def use(self, model: str, /) -> AbstractAsyncContextManager[tuple[str, Any]]:
        """Yield the name of a head and its `OpenClient`, which stays open meanwhile; raises for an unknown head."""


def client_routes(service: Service, *, identity: str = "", hosts: Collection[str] = ("localhost",)) -> APIRouter:
    """Return the routes of the page; the caller checks who may use them.

    `identity` is the name in the client's certificate, which the page shows. `hosts` are the names (lower case) by
    which browsers may call this machine, beside its addresses.
    """

    def own_host(request: Request) -> None:
        require_own_host(request.headers, hosts)

    def own_page(request: Request) -> None:
        require_same_origin(request.headers)

    router = APIRouter(dependencies=[Depends(own_host)], include_in_schema=False)
    shown = _Shown(service, identity)

    @router.get("/")
    async def whole(head: str = "") -> HTMLResponse:
        return await shown.page(head)

    @router.get("/console/status")
    async def status(head: str = "") -> HTMLResponse:
        return pages.page("client_live.html", **await shown.standing(head))

    @router.post("/console/classify", dependencies=[Depends(own_page)])
    async def classify(request: Request) -> Response:
        lines = _LINES in request.headers.get("accept", "")
        try:
            head, texts = await _texts_of(request)
        except InputError as error:
            if lines:
                return Response(_line(_failure(error)), 400, pages.HEADERS, _LINES)
            return await shown.page("", 400, problem=error)
        answers = shown.answers(head, texts)
        if lines:
            return StreamingResponse((_line(answer) async for answer in answers), 200, pages.HEADERS, _LINES)
        # Without its script a browser posts the form, and gets the page with the answers.
        *rows, end = [answer async for answer in answers]
        return await shown.page(head, texts=texts, rows=rows, end=end)

    @router.get("/console/static/{name}")
    def static(name: str) -> Response:
        return pages.own_file(name)

    return router


class _Shown:
    """What the page shows of a service, and what the provider last said of its heads."""

    def __init__(self, service: Service, identity: str) -> None:
        self._service, self._identity = service, identity
        #: By head: when the provider was asked (Unix seconds), and what it offered.
        self._told: dict[str, tuple[float, Sequence[Any]]] = {}
        #: Heads whose budget has changed since.
        self._stale: set[str] = set()
        self._asking: dict[str, asyncio.Task[None]] = {}

    async def page(self, head: str, status: int = 200, /, **values: Any) -> HTMLResponse:  # noqa: ANN401
        whole = {"texts": (), "rows": (), "end": None, "problem": None, "most_texts": MAX_TEXTS, **values}
        return pages.page("client.html", status, **await self.standing(head), **whole)

    async def standing(self, head: str) -> dict[str, Any]:
        """Return the values of the live part of the page; the provider is not waited for."""
        async with self._service.use(head) as (_, client):
            status = client.status()
            self._ask(head, client)
        asked, offered = self._told.get(head, (0.0, ()))
        encrypted = status.suite != "plaintext"
        return {
            "status": status,
            "encrypted": encrypted,
            "head": head,
            "heads": [listing.name for listing in offered],
            "identity": self._identity,
            "listing": _own(offered, head or status.head),
            "asked": asked,
            "ways": [_by_kind(status.traffic, sent=sent, encrypted=encrypted) for sent in (True, False)],
        }

    async def answers(self, head: str, texts: Sequence[str]) -> AsyncIterator[dict[str, Any]]:
        """Yield the answer to each text, and at the end how it went."""
        begun, count, failed = time.monotonic(), 0, {}
        try:
            async with self._service.use(head) as (_, client), aclosing(client.stream(texts)) as predictions:
                async for prediction in predictions:
                    count += 1
                    yield {**{name: getattr(prediction, name) for name in _SHOWN}, "text": texts[prediction.index]}
        except SecurealignError as error:
            failed = _failure(error)
        finally:
            self._stale.add(head)
        yield {"answered": count, "asked": len(texts), "seconds": round(time.monotonic() - begun, 3), **failed}

    def _ask(self, head: str, client: OpenClient) -> None:
        """Have the provider asked for its list, unless it was a short time ago or is being asked."""
        asked, offered = self._told.get(head, (0.0, ()))
        if head in self._asking or (head not in self._stale and time.time() < asked + _TOLD_SECONDS):
            return
        self._stale.discard(head)

        async def ask() -> None:
            told = offered
            # The page goes on with what it has.
            with suppress(SecurealignError):
                told = await client.heads()
            self._told[head] = time.time(), told

        task = self._asking[head] = asyncio.create_task(ask())
        task.add_done_callback(lambda _: self._asking.pop(head))


def _own(offered: Sequence[Any], head: str) -> Any | None:  # noqa: ANN401
    """Return what was offered under a name, or the only offer where none is named."""
    return next((listing for listing in offered if listing.name == head or (not head and len(offered) == 1)), None)


def _by_kind(traffic: Sequence[Any], *, sent: bool, encrypted: bool) -> list[tuple[str, str, int, int]]:
    """Return name, content, messages and bytes of what went one way, the most bytes first."""
    rows = [(*words(row.kind, encrypted=encrypted), row.messages, row.bytes) for row in traffic if row.sent is sent]
    return sorted(rows, key=lambda row: -row[3])


async def _texts_of(request: Request) -> tuple[str, list[str]]:
    """Return head and texts of a posted form, a text for each line that is not blank; raises `InputError`."""
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_BYTES:
            raise InputError(
                f"These texts are more than {pages.size(MAX_BYTES)}.", hint="Classify a file by securealign-client."
            )
    try:
        form = parse_qs(body.decode("ascii"), max_num_fields=4, errors="strict")
    except ValueError as error:
        raise InputError("This is no form of texts in UTF-8.", hint="Use the form of the page.") from error
    texts = [line.strip() for line in form.get("texts", [""])[0].splitlines() if line.strip()]
    if not texts:
        raise InputError("There is no text.", hint="Paste texts, one on each line.")
    if len(texts) > MAX_TEXTS:
        raise InputError(
            f"These are {len(texts):,} texts, and the page takes {MAX_TEXTS:,}.",
            hint="Classify a file by securealign-client.",
        )
    return form.get("head", [""])[0], texts


def _failure(error: SecurealignError) -> dict[str, Any]:
    return {"error": {"code": error.code.name, "message": error.message, "hint": error.hint}}


def _line(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode() + b"\n"
