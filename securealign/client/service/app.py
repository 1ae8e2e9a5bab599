"""The application: the routes, what errors become, and the guard before all of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import metadata

from fastapi import FastAPI, Request, Security
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException

from securealign.client.service.answering import Answering, answered
from securealign.client.service.clients import Clients
from securealign.client.service.guard import Guard
from securealign.client.service.limits import ServiceLimits
from securealign.client.service.metrics import ServiceMetrics
from securealign.client.service.problems import RequestError, fault, problem
from securealign.client.service.routes import probe_routes, service_routes
from securealign.console.access import Access
from securealign.console.client import client_routes
from securealign.errors import SecurealignError


def make_app(clients: Clients, access: Access, limits: ServiceLimits, *, identity: str = "") -> Guard:
    """Return the application; it closes the clients when the server that runs it stops.

    `identity` is the name in the client's certificate.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await clients.close()

    app = FastAPI(
        title="securealign client",
        version=metadata.version("securealign"),
        summary="Texts in, labels out: the texts and labels stay on this machine's side of the encryption.",
        lifespan=lifespan,
        # These pages load scripts from other sites.
        docs_url=None,
        redoc_url=None,
        # Traces of errors may quote texts, and would go to whatever collector the environment names.
        telemetry={"auto_configure": False, "tracing": False, "metrics": False, "logs": False},
    )
    metrics = ServiceMetrics(clients)
    # The guard checks the token before the body is read; this describes it.
    token = [] if access.token is None else [Security(HTTPBearer(auto_error=False))]
    app.include_router(service_routes(clients, Answering(clients, limits), metrics), dependencies=token)
    app.include_router(probe_routes(clients))
    app.include_router(client_routes(clients, identity=identity, hosts=access.hosts))

    @app.exception_handler(SecurealignError)
    async def refused(_request: Request, error: SecurealignError) -> JSONResponse:
        metrics.failed(error.code)
        return problem(error, **answered(error))

    @app.exception_handler(RequestValidationError)
    async def malformed(_request: Request, error: RequestValidationError) -> JSONResponse:
        found = _malformed(error)
        metrics.failed(found.code)
        return problem(found)

    @app.exception_handler(Exception)
    async def unexpected(_request: Request, _error: Exception) -> JSONResponse:
        # The error is raised once more after this, and the guard logs it.
        return problem(fault())

    @app.exception_handler(HTTPException)
    async def unknown(_request: Request, error: HTTPException) -> JSONResponse:
        hint = "GET /openapi.json describes what there is."
        return problem(RequestError(error.status_code, f"{error.detail.rstrip('.')}.", hint, headers=error.headers))

    return Guard(app, access, limits, metrics)


def _malformed(error: RequestValidationError) -> RequestError:
    """Return what is wrong with a body; never what pydantic says, which quotes it."""
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return RequestError(400, "The body is no JSON.", "Send an object with the field input.")
    field = next((name for name in first["loc"][1:2] if name in {"input", "model"}), None)
    if field == "model":
        return RequestError(422, "The field model is no name of a head.", "GET /v1/models lists them.")
    return RequestError(422, "The field input is no text or list of texts.", 'Send {"input": ["a text"]}.')
