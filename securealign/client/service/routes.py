"""The routes of the service; their errors are exceptions, which the application turns into responses."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST

from securealign.client.service.answering import Answering
from securealign.client.service.clients import Clients
from securealign.client.service.metrics import ServiceMetrics
from securealign.client.service.schemas import (
    ClassifyRequest,
    ClassifyResponse,
    Health,
    Model,
    Models,
    PartialProblem,
    Problem,
    Readiness,
)
from securealign.errors import SecurealignError, TransportError
from securealign.protocol.listing import HeadListing

#: Seconds that a probe, or a reading of the metrics, waits for the provider.
_PROBE_SECONDS = 4.0

_WHY = {
    400: "The body is no JSON",
    401: "The token is missing or wrong",
    403: "A page of another site made the request",
    404: "There is no such head or path",
    405: "The path has no such method",
    408: "The body did not arrive in time",
    409: "The provider changed the head meanwhile",
    413: "The request is too large",
    415: "The body is not declared as JSON",
    421: "The host is not this service",
    422: "The body has wrong fields, or texts that cannot be used",
    429: "The budget of queries is used up, or the rate is too high",
    500: "A fault of this service, which its operator mends",
    502: "The provider cannot be reached or cannot be trusted",
    503: "The provider or this service is busy or stopping",
    504: "There was no answer in time",
}


def _problems(*statuses: int, model: type[Problem] = Problem) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": model, "description": _WHY[status]} for status in statuses}


_EVERYWHERE = (401, 421, 500, 503)


def service_routes(clients: Clients, answering: Answering, metrics: ServiceMetrics) -> APIRouter:
    """Return the routes that need the token, if there is one."""
    router, began = APIRouter(responses=_problems(*_EVERYWHERE)), int(time.time())
    refusals = _problems(400, 403, 404, 408, 413, 415, 422)
    failures = _problems(409, 429, 500, 502, 503, 504, model=PartialProblem)

    @router.post("/v1/classify", responses={**refusals, **failures})
    async def classify(body: ClassifyRequest) -> ClassifyResponse:
        """Classify texts under encryption: the shape of vLLM's classify API."""
        response = await answering.classify(body)
        metrics.classified(len(response.data))
        return response

    @router.get("/v1/models", responses=_problems(429, 502, 504))
    async def models() -> Models:
        """List the heads that the provider offers, in the shape of OpenAI's list of models."""
        offered = await clients.heads()
        return Models(data=[_model(head, began, clients.address) for head in offered])

    @router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    async def numbers() -> Response:
        """Return counts, bytes, seconds and what is left of the budget, in the text format of Prometheus."""
        await _probe(clients)
        return Response(metrics.render(), media_type=CONTENT_TYPE_LATEST)

    return router


def probe_routes(clients: Clients) -> APIRouter:
    """Return the routes that need no token."""
    router = APIRouter(responses=_problems(421, 500))

    @router.get("/healthz")
    async def health() -> Health:
        """Say that the service runs."""
        return Health()

    @router.get("/readyz", responses={503: {"model": Readiness, "description": "The provider does not answer"}})
    async def readiness(response: Response) -> Readiness:
        """Say whether the provider has answered lately, at most half a minute ago."""
        error = await _probe(clients)
        if error is not None:
            response.status_code = 503
        ago = clients.last_answer or 0.0
        return Readiness(ready=error is None, provider="ok" if error is None else error.code.name, seconds_ago=ago)

    return router


async def _probe(clients: Clients) -> SecurealignError | None:
    """Return the error for which the provider does not answer; None if it answers."""
    try:
        await asyncio.wait_for(clients.heads(), _PROBE_SECONDS)
    except asyncio.TimeoutError:
        return TransportError(f"The provider does not answer within {_PROBE_SECONDS:g} seconds.")
    except SecurealignError as error:
        return error
    return None


def _model(head: HeadListing, began: int, address: str) -> Model:
    return Model(
        id=head.name,
        created=began,
        owned_by=address,
        num_classes=head.classes,
        output="label" if head.output.name == "LABEL" else "logits",
        digest=head.head_digest.hex(),
        queries_left=head.queries_left,
        bits_left=head.bits_left,
    )
