"""A client that stays open and whose calls are awaited."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from securealign.client.connection import BLOCKS, Inputs, OpenClient, as_labels, as_shares, unanswered
from securealign.client.predictions import (
    AlignmentReport,
    Budget,
    ClientStatus,
    Prediction,
    predictions,
)
from securealign.client.requests import Answers, Request, Unanswered
from securealign.client.worker import LARGE_BATCH
from securealign.commands import Progress
from securealign.matrices import FloatMatrix
from securealign.protocol.listing import HeadListing

T = TypeVar("T")


class AsyncOpenClient:
    """An `OpenClient` whose calls are awaited; tasks may share it, and a call that is cancelled is given up."""

    def __init__(self, client: OpenClient) -> None:
        self._client = client
        # Of its own: the threads of the event loop may all be waiting for answers.
        self._threads = ThreadPoolExecutor(8, "securealign-waiting")
        self._read = False

    async def align(self, *, embedding: Progress | None = None, uploading: Progress | None = None) -> AlignmentReport:
        """See `OpenClient.align`."""
        return await self._wait(self._client.align, embedding=embedding, uploading=uploading)

    async def aligned(self) -> bool:
        """See `OpenClient.aligned`."""
        return await self._wait(lambda: self._client.aligned)

    async def classes(self) -> tuple[str, ...]:
        """See `OpenClient.classes_`."""
        return await self._wait(lambda: self._client.classes_)

    async def output(self) -> str:
        """See `OpenClient.output`."""
        return await self._wait(lambda: self._client.output)

    async def budget(self) -> Budget:
        """See `OpenClient.budget`."""
        return await self._wait(lambda: self._client.budget)

    async def heads(self) -> tuple[HeadListing, ...]:
        """See `OpenClient.heads`."""
        return await self._wait(self._client.heads)

    async def classify(self, inputs: Inputs) -> list[Prediction]:
        """See `OpenClient.classify`."""
        answers = await self.answers(inputs)
        return list(predictions(answers.accepted, answers.rows))

    async def predict(self, inputs: Inputs) -> npt.NDArray[np.str_]:
        """See `OpenClient.predict`."""
        return as_labels(await self.classify(inputs))

    async def predict_proba(self, inputs: Inputs) -> FloatMatrix:
        """See `OpenClient.predict_proba`."""
        await self._wait(self._client._require_logits, probabilities=True)
        return as_shares(await self.answers(inputs))

    async def decision_function(self, inputs: Inputs) -> FloatMatrix:
        """See `OpenClient.decision_function`."""
        await self._wait(self._client._require_logits)
        return (await self.answers(inputs)).rows

    async def stream(
        self, inputs: Iterable[str] | AsyncIterable[str] | Iterable[npt.ArrayLike] | AsyncIterable[npt.ArrayLike]
    ) -> AsyncIterator[Prediction]:
        """See `OpenClient.stream`; inputs may come from an asynchronous iterable as well."""
        client = self._client
        await self._ready()
        blocks = _blocks(inputs)
        first = 0
        under_way: deque[Request] = deque()
        try:
            while True:
                while len(under_way) < BLOCKS and (block := await anext(blocks, None)):
                    under_way.append(client._submit(Request(client._checked(block))))
                if not under_way:
                    return
                request = under_way[0]
                # What the future holds is taken by `_block`, which then does not wait.
                await asyncio.wait([asyncio.wrap_future(request.future)])
                answers, error = client._block(under_way.popleft())
                if answers is not None:
                    for prediction in predictions(answers.accepted, answers.rows, first):
                        yield prediction
                if error is not None:
                    raise error
                first += len(request)
        finally:
            for request in under_way:
                request.future.cancel()

    def status(self) -> ClientStatus:
        """See `OpenClient.status`."""
        return self._client.status()

    async def close(self) -> None:
        """See `OpenClient.close`."""
        if not self._client.closed:
            await self._wait(self._client.close)
            self._threads.shutdown(wait=False)

    async def __aenter__(self) -> AsyncOpenClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def answers(self, inputs: Inputs) -> Answers:
        """Return what the provider answered, from which predictions and probabilities follow; raises as `classify`."""
        await self._ready()
        request = self._client._request(inputs)
        try:
            # The task that is cancelled cancels the request with it.
            return await asyncio.wrap_future(request.future)
        except Unanswered as part:
            raise unanswered(part, len(request)) from part.cause

    async def _wait(self, call: Callable[..., T], **options: Any) -> T:  # noqa: ANN401
        """Return what a call returns that waits for the provider, or for an encoder to be loaded."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, partial(call, **options))

    async def _ready(self) -> None:
        """Read the map outside the event loop: an encoder may have to be loaded to check it."""
        if not self._read:
            await self._wait(lambda: self._client.dimension)
            self._read = True


async def _blocks(inputs: Iterable[Any] | AsyncIterable[Any]) -> AsyncIterator[list[Any]]:
    """Yield the inputs in blocks."""
    if not isinstance(inputs, AsyncIterable):
        rest = iter(inputs)
        while block := list(islice(rest, LARGE_BATCH)):
            yield block
        return
    block = []
    async for item in inputs:
        block.append(item)
        if len(block) == LARGE_BATCH:
            yield block
            block = []
    if block:
        yield block
