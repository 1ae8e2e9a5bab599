"""The page of a provider over its own state, and the server that shows it from a thread of the provider's process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.responses import HTMLResponse, Response

from securealign.console import pages
from securealign.console.access import Access
from securealign.console.guard import require_own_host, require_token
from securealign.console.state import ProviderState
from securealign.errors import ErrorCode

#: Clients on the page, those seen last before the others: more of them are for 'securealign-provider clients'.
MAX_CLIENTS = 200
#: Seconds for which a state is shown, so that many browsers read it no more often than one.
_KEPT_SECONDS = 1.0


def provider_app(
    state: Callable[[], ProviderState],
    access: Access,
    *,
    clock: Callable[[], float] = time.time,
) -> FastAPI:
    """Return the application of the page, for those whom `access` lets in."""

    def guard(request: Request) -> None:
        require_own_host(request.headers, access.hosts)
        require_token(request.headers, access)

    router = APIRouter(dependencies=[Depends(guard)])
    kept = _Kept(state)

    def shown(template: str) -> HTMLResponse:
        now, found = clock(), kept.state()
        clients = sorted(found.clients, key=lambda client: -(client.seen or 0.0))
        return pages.page(
            template,
            state=found,
            clients=clients[:MAX_CLIENTS],
            more=max(0, len(clients) - MAX_CLIENTS),
            refusals=_explained(found.refusals),
            certificates=[(name, end, int((end - now) // 86_400)) for name, end in found.certificates],
            now=now,
        )

    # Functions without async run in threads: a state that takes long holds up no other request.
    @router.get("/")
    def whole() -> HTMLResponse:
        return shown("provider.html")

    @router.get("/console/status")
    def status() -> HTMLResponse:
        return shown("provider_status.html")

    @router.get("/console/static/{name}")
    def static(name: str) -> Response:
        return pages.own_file(name)

    app = FastAPI(
        openapi_url=None,
        # Traces would go to whatever collector the environment names.
        telemetry={"auto_configure": False, "tracing": False, "metrics": False, "logs": False},
    )
    app.include_router(router)
    return app


class _Kept:
    """The last state, for as long as it is shown."""

    def __init__(self, read: Callable[[], ProviderState]) -> None:
        self._read = read
        self._lock = threading.Lock()
        self._until = -1.0
        self._state: ProviderState | None = None

    def state(self) -> ProviderState:
        with self._lock:
            if self._state is None or time.monotonic() >= self._until:
                self._state = self._read()
                self._until = time.monotonic() + _KEPT_SECONDS
            return self._state


def _explained(refusals: Sequence[tuple[str, int]]) -> list[tuple[str, str, int]]:
    """Return rule, sentence and count, the most frequent first."""
    known = ErrorCode.__members__
    rows = [(rule, known[rule].sentence if rule in known else "", count) for rule, count in refusals]
    return sorted(rows, key=lambda row: -row[2])
