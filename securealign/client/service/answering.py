"""From the texts of a request to its answers, in the shape of vLLM's classify API."""

from __future__ import annotations

import asyncio
import time
import uuid
from typing import Any

from securealign.alignment.links import probabilities
from securealign.client.predictions import UnansweredError, link_name, predictions
from securealign.client.requests import Answers
from securealign.client.service.clients import Clients
from securealign.client.service.limits import ServiceLimits
from securealign.client.service.problems import RequestError
from securealign.client.service.schemas import Answered, Classification, ClassifyRequest, ClassifyResponse, Usage
from securealign.errors import ErrorCode, SecurealignError, TransportError
from securealign.protocol.messages import Link


class Answering:
    """Answers requests by the clients of a service, within its limits."""

    def __init__(self, clients: Clients, limits: ServiceLimits) -> None:
        self._clients, self._limits = clients, limits

    def texts(self, request: ClassifyRequest) -> list[str]:
        """Return the texts of a request; raises `RequestError` for more or longer ones than the limits allow."""
        texts = [request.input] if isinstance(request.input, str) else request.input
        limits = self._limits
        if len(texts) > limits.max_texts:
            raise RequestError(
                413,
                f"A request may have {limits.max_texts} texts, and this one has {len(texts)}.",
                "Send several requests.",
                ErrorCode.LIMIT_EXCEEDED,
            )
        long = next((index for index, text in enumerate(texts) if len(text) > limits.max_characters), None)
        if long is not None:
            raise RequestError(
                413,
                f"A text may have {limits.max_characters} characters, and text {long} has more.",
                "Shorten it: encoders read the beginning of a text only.",
                ErrorCode.LIMIT_EXCEEDED,
            )
        broken = next((index for index, text in enumerate(texts) if not _is_unicode(text)), None)
        if broken is not None:
            raise RequestError(422, f"Text {broken} holds half of a character.", "Send surrogates in pairs.")
        return texts

    async def classify(self, request: ClassifyRequest) -> ClassifyResponse:
        """Return the answers to a request; raises `TransportError` after too long, and the errors of the client."""
        texts = self.texts(request)
        async with self._clients.use(request.model or "") as (name, client):
            try:
                answers = await asyncio.wait_for(client.answers(texts), self._limits.answer_seconds)
            except asyncio.TimeoutError:
                raise TransportError(
                    f"There was no answer within {self._limits.answer_seconds:g} seconds.",
                    hint="Try again, with fewer texts.",
                    code=ErrorCode.DEADLINE_EXCEEDED,
                ) from None
        return ClassifyResponse(
            id=f"classify-{uuid.uuid4().hex}",
            created=int(time.time()),
            model=name,
            head_digest=answers.accepted.head_digest.hex(),
            data=data_of(answers),
            usage=Usage(queries=len(texts)),
        )


def data_of(answers: Answers) -> list[Classification]:
    """Return the answer to each text, with the probabilities of all classes where there are any."""
    accepted = answers.accepted
    has_shares = accepted.labels is None and accepted.link is not Link.MARGIN
    shares = probabilities(answers.rows, link_name(accepted)).tolist() if has_shares else [None] * len(answers.rows)
    return [
        Classification(
            index=prediction.index,
            label=None if prediction.abstained else prediction.label,
            probs=probs,
            num_classes=accepted.classes,
            abstained=prediction.abstained,
            confidence=prediction.confidence,
        )
        for prediction, probs in zip(predictions(accepted, answers.rows), shares, strict=True)
    ]


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def answered(error: SecurealignError) -> dict[str, Any]:
    """Return what the body of an error says of the texts that were answered before it: they were charged."""
    if not isinstance(error, UnansweredError):
        return {}
    data = [
        Answered(
            index=prediction.index,
            label=None if prediction.abstained else prediction.label,
            score=prediction.score,
            abstained=prediction.abstained,
            confidence=prediction.confidence,
        ).model_dump()
        for prediction in error.answered
    ]
    return {"data": data, "missing": error.missing}
