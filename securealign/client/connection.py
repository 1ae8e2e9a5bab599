"""A client that stays open: texts or embeddings in, predictions out, over sessions that are kept between calls."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from securealign.alignment.links import probabilities
from securealign.client.activity import Activity
from securealign.client.app import Client
from securealign.client.config import ClientSettings
from securealign.client.predictions import (
    AlignmentReport,
    Budget,
    ClientStatus,
    Prediction,
    UnansweredError,
    link_name,
    predictions,
)
from securealign.client.requests import Answers, Request, Unanswered
from securealign.client.worker import LARGE_BATCH, Worker, closed
from securealign.commands import Progress
from securealign.errors import (
    ConfigurationError,
    FileError,
    InputError,
    LocalProtocolError,
    OutputModeError,
    SecurealignError,
)
from securealign.matrices import FloatMatrix, as_matrix, require_finite
from securealign.protocol.listing import HeadListing, Listing
from securealign.protocol.messages import Link, OutputMode
from securealign.settings import load_settings

T = TypeVar("T")
#: Texts, or their embeddings (m, d_B) by the client's encoder.
Inputs: TypeAlias = Sequence[str] | npt.ArrayLike
#: Blocks of a stream that are under way: one is answered while the next is embedded.
_BLOCKS = 3
#: Seconds that closing waits for what is under way.
_CLOSING_SECONDS = 30.0
_EXITING_SECONDS = 5.0


class OpenClient:
    """A client of one provider and one of its heads; threads may share it.

    Sessions are opened when they are needed and kept. A lost connection and a provider that restarts are recovered
    inside a call. A process that was forked needs a client of its own.
    """

    def __init__(self, settings: ClientSettings, *, core: Client | None = None) -> None:
        self._settings = settings
        self._core = core or Client(settings)
        self._activity = Activity()
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._worker: Worker | None = None
        self._closed = False
        self._listed: HeadListing | None = None
        self._stop: weakref.finalize[[float], OpenClient] | None = None

    def align(
        self,
        *,
        embedding: Progress | None = None,
        uploading: Progress | None = None,
        record: Path | None = None,
    ) -> AlignmentReport:
        """Fit the alignment map with the provider on the public texts, and save it in place of an earlier one.

        The provider charges each session for what it shows of the public embeddings: align once, not at each start.
        With `record` the session is written to a run file, also when it fails.
        """
        self._require_usable()
        began = time.perf_counter()
        with self._lock:
            figures = self._core.align(embedding or _quietly, uploading or _quietly, record)
            if self._worker is not None:
                self._worker.renew()
        return AlignmentReport.of(figures, seconds=time.perf_counter() - began)

    @property
    def closed(self) -> bool:
        """Whether the client was closed, or belongs to the parent of this process."""
        return self._closed or os.getpid() != self._process

    @property
    def aligned(self) -> bool:
        """Whether a map is saved that this client can use; without one, `align` makes it."""
        try:
            _ = self._core.alignment
        except FileError:
            return False
        return True

    @property
    def classes_(self) -> tuple[str, ...]:
        """The names of the head's K classes, or their numbers where the provider keeps the names to itself."""
        head = self._head()
        return head.class_names or tuple(map(str, range(head.classes)))

    @property
    def output(self) -> str:
        """What the provider answers with: "logits" or "label"."""
        return "logits" if self._head().output is OutputMode.LOGITS else "label"

    @property
    def dimension(self) -> int:
        """The dimension d_B of embeddings that the map takes."""
        return int(self._core.alignment.weight.shape[0])

    @property
    def budget(self) -> Budget:
        """What the provider says now is left of this client's budget for the head."""
        head = self._ask_head()
        return Budget(queries=head.queries_left, bits=head.bits_left)

    def heads(self) -> tuple[HeadListing, ...]:
        """Return the heads that the provider offers this client."""
        return self.offers().heads

    def offers(self) -> Listing:
        """Return the heads and spaces that the provider offers this client."""
        self._require_usable()
        return self._core.offers()

    def classify(self, inputs: Inputs) -> list[Prediction]:
        """Return a prediction for each input, in their order.

        Raises `UnansweredError` where a part was answered, and the session's error where nothing was; `InputError` for
        inputs that do not fit, before anything is asked.
        """
        answers = self._answers(inputs)
        return list(predictions(answers.accepted, answers.rows))

    def predict(self, inputs: Inputs) -> npt.NDArray[np.str_]:
        """Return the label of each input (m,); "" where the provider gave none."""
        return _labels(self.classify(inputs))

    def predict_proba(self, inputs: Inputs) -> FloatMatrix:
        """Return probabilities (m, K); raises `OutputModeError`, before anything is asked, where there are none."""
        self._require_logits(probabilities=True)
        return _shares(self._answers(inputs))

    def decision_function(self, inputs: Inputs) -> FloatMatrix:
        """Return logits (m, K), the scores that a linear model gives; raises `OutputModeError` where there are none."""
        self._require_logits()
        return self._answers(inputs).rows

    def stream(self, inputs: Iterable[str] | Iterable[npt.ArrayLike]) -> Iterator[Prediction]:
        """Yield predictions in the order of the inputs, as answers arrive; memory does not grow with their number.

        Texts, or embeddings (d_B,), are taken from `inputs` a few blocks ahead. Raises the session's error after the
        predictions before it.
        """
        self._require_usable()
        rest = iter(inputs)
        first = 0
        under_way: deque[Request] = deque()
        try:
            while True:
                while len(under_way) < _BLOCKS and (block := list(islice(rest, LARGE_BATCH))):
                    under_way.append(self._submit(Request(self._checked(block))))
                if not under_way:
                    return
                answers, error = self._block(under_way[0])
                count = len(under_way.popleft())
                if answers is not None:
                    yield from predictions(answers.accepted, answers.rows, first)
                if error is not None:
                    raise error
                first += count
        finally:
            for request in under_way:
                request.future.cancel()

    def status(self) -> ClientStatus:
        """Return how the client stands; asks the provider nothing."""
        worker, activity = self._worker, self._activity
        session = worker.session if worker is not None else None
        accepted = session.accepted if session is not None else None
        return ClientStatus(
            address=self._settings.provider.address,
            head=self._settings.provider.head,
            open=worker is not None and worker.open,
            suite=session.suite if session is not None else "",
            output=accepted.output.name.lower() if accepted is not None else "",
            head_digest=accepted.head_digest.hex() if accepted is not None else "",
            classes=accepted.classes if accepted is not None else 0,
            slots=session.slots if session is not None else 0,
            sessions=activity.sessions,
            queries=activity.queries,
            checks=activity.checks,
            waiting=worker.requests.waiting if worker is not None else 0,
            online_ms_median=activity.online_ms(0.5),
            online_ms_p95=activity.online_ms(0.95),
            traffic=activity.traffic,
            failures=activity.failures,
        )

    def close(self, seconds: float = _CLOSING_SECONDS) -> None:
        """Answer what is under way, end the session and free everything; a second call does nothing.

        A provider that cannot be reached is given up after some seconds.
        """
        if os.getpid() != self._process:
            return
        with self._lock:
            self._closed = True
            stop, self._stop = self._stop, None
        if stop is not None and stop.detach() is not None and self._worker is not None:
            self._worker.close(seconds)

    def __enter__(self) -> OpenClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _answers(self, inputs: Inputs) -> Answers:
        """Return the answers to all inputs; raises `UnansweredError` where a part was answered."""
        request = self._request(inputs)
        try:
            return self._await(request)
        except Unanswered as part:
            raise unanswered(part, len(request)) from part.cause

    def _request(self, inputs: Inputs) -> Request:
        """Return a request that is under way."""
        self._require_usable()
        checked = self._checked(inputs)
        if not len(checked):
            raise InputError("There are no inputs.", hint="Give at least one text or embedding.")
        return self._submit(Request(checked))

    def _submit(self, request: Request) -> Request:
        with self._lock:
            if self._closed:
                raise closed()
            if self._worker is None:
                self._worker = self._begin()
            worker = self._worker
        if not worker.requests.put(request):
            raise closed()
        return request

    def _begin(self) -> Worker:
        worker = Worker(
            self._core,
            self._activity,
            slots=self._settings.inference.pool_slots,
            session_seconds=self._settings.provider.deadline_seconds,
        )
        self._stop = weakref.finalize(self, worker.close, _EXITING_SECONDS)
        return worker

    def _await(self, request: Request) -> Answers:
        try:
            return request.future.result()
        except CancelledError:
            raise closed() from None
        except BaseException:
            request.future.cancel()
            raise

    def _block(self, request: Request) -> tuple[Answers | None, SecurealignError | None]:
        """Return the answers of a block of a stream, and the error that follows them."""
        try:
            return self._await(request), None
        except Unanswered as part:
            return part.answers, part.cause
        except SecurealignError as error:
            return None, error

    def _require_logits(self, *, probabilities: bool = False) -> None:
        """Raise `OutputModeError`, before anything is asked, where answers hold no logits, or logits are margins."""
        self._require_usable()
        worker = self._worker
        session = worker.session if worker is not None and worker.open else None
        accepted = session.accepted if session is not None else self._await(self._submit(Request([]))).accepted
        if accepted.output is not OutputMode.LOGITS:
            raise OutputModeError(
                "The provider answers with labels alone, which hold no logits or probabilities.",
                hint="Use predict or classify.",
            )
        if probabilities and accepted.link is Link.MARGIN:
            raise OutputModeError(
                "This head gives margins, which are no probabilities.", hint="Use predict or decision_function."
            )

    def _checked(self, inputs: Inputs | Sequence[npt.ArrayLike]) -> list[str] | npt.NDArray[np.floating]:
        """Return texts as a list, or embeddings as a matrix; raises `InputError` for anything else."""
        if isinstance(inputs, str):
            raise InputError("One text was given where a list of texts belongs.", hint="Give [text].")
        if isinstance(inputs, np.ndarray) and inputs.dtype.kind in "USO":
            inputs = inputs.tolist()
        if isinstance(inputs, np.ndarray):
            return self._embeddings(inputs)
        items: list[Any] = list(inputs) if isinstance(inputs, Iterable) else [inputs]
        if all(isinstance(item, str) for item in items):
            return items
        if any(isinstance(item, str) for item in items):
            raise InputError("Texts and other values are mixed.", hint="Give texts alone, or embeddings alone.")
        return self._embeddings(items)

    def _embeddings(self, values: npt.ArrayLike) -> npt.NDArray[np.floating]:
        matrix = as_matrix(values, "The matrix of embeddings", columns=self.dimension)
        require_finite(matrix, "The matrix of embeddings")
        return matrix

    def _head(self) -> HeadListing:
        """Return what the provider has said of the head that answers; it is asked again when another one does."""
        worker, listed = self._worker, self._listed
        session = worker.session if worker is not None else None
        if listed is None or (session is not None and session.accepted.head_digest != listed.head_digest):
            listed = self._listed = self._ask_head()
        return listed

    def _ask_head(self) -> HeadListing:
        self._require_usable()
        name = self._settings.provider.head
        if not name:
            heads = self._core.offers().heads
            if len(heads) != 1:
                raise ConfigurationError(
                    f"The provider offers {len(heads)} heads: {', '.join(head.name for head in heads) or 'none'}.",
                    hint="Name one: connect(..., head=...), or head in the section [provider].",
                )
            name = heads[0].name
        return self._core.offers(name).heads[0]

    def _require_usable(self) -> None:
        if os.getpid() != self._process:
            raise LocalProtocolError(
                "This client was opened before this process was forked.", hint="Call connect() in the child process."
            )
        if self._closed:
            raise closed()


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
        return _labels(await self.classify(inputs))

    async def predict_proba(self, inputs: Inputs) -> FloatMatrix:
        """See `OpenClient.predict_proba`."""
        await self._wait(self._client._require_logits, probabilities=True)
        return _shares(await self.answers(inputs))

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
                while len(under_way) < _BLOCKS and (block := await anext(blocks, None)):
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


def connect(
    config: str | Path | None = None,
    *,
    address: str | None = None,
    certificates: str | Path | None = None,
    encoder: str | None = None,
    folder: str | Path | None = None,
    head: str = "",
    overrides: Sequence[str] = (),
) -> OpenClient:
    """Return an open client from a configuration file, or from an address and folders; nothing is sent yet.

    Without a file, `address` and `certificates` are needed, and `folder` holds the map, the client's state and
    public.jsonl. `encoder` is a built-in name, a folder or a hub id. `head` names one of the provider's heads, and
    `overrides` have the form section.name=value. Raises `ConfigurationError` for what does not fit.
    """
    if config is None:
        return OpenClient(_settings(address, certificates, encoder, folder, head))
    if not (address is None and certificates is None and encoder is None and folder is None):
        raise ConfigurationError(
            "A configuration file and settings beside it were given.",
            hint="Put address, certificates, encoder and folder into the file, or give overrides.",
        )
    chosen = [f"provider.head={json.dumps(head)}"] if head else []
    return OpenClient(load_settings(ClientSettings, Path(config), [*overrides, *chosen]))


def aconnect(
    config: str | Path | None = None,
    *,
    address: str | None = None,
    certificates: str | Path | None = None,
    encoder: str | None = None,
    folder: str | Path | None = None,
    head: str = "",
    overrides: Sequence[str] = (),
) -> AsyncOpenClient:
    """Return an open client whose calls are awaited; see `connect`."""
    return AsyncOpenClient(
        connect(
            config,
            address=address,
            certificates=certificates,
            encoder=encoder,
            folder=folder,
            head=head,
            overrides=overrides,
        )
    )


def unanswered(part: Unanswered, count: int) -> UnansweredError:
    """Return the error for a call of so many inputs of which a part was answered."""
    return UnansweredError(part.cause, list(predictions(part.answers.accepted, part.answers.rows)), count)


def _settings(
    address: str | None,
    certificates: str | Path | None,
    encoder: str | None,
    folder: str | Path | None,
    head: str,
) -> ClientSettings:
    if address is None or certificates is None:
        raise ConfigurationError(
            "There is no address or no folder of certificates.",
            hint="Give a configuration file, or address= and certificates=.",
        )
    base = Path(folder) if folder is not None else Path()
    values: dict[str, Any] = {
        "provider": {"address": address, "certificates": Path(certificates).absolute(), "head": head},
        "alignment": {"folder": (base / "alignment").absolute()},
        "state": {"folder": (base / "client-state").absolute()},
    }
    if encoder is not None:
        values["encoder"] = {"name": encoder}
    if (texts := base / "public.jsonl").exists():
        values["public"] = {"texts": str(texts.absolute())}
    try:
        return ClientSettings(**values)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        raise ConfigurationError(f"These settings cannot be used: {problems}.") from error


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


def _labels(found: Sequence[Prediction]) -> npt.NDArray[np.str_]:
    return np.array([prediction.label for prediction in found], dtype=np.str_)


def _shares(answers: Answers) -> FloatMatrix:
    return probabilities(answers.rows, link_name(answers.accepted))


def _quietly(_done: int, _total: int) -> None:
    """Show no progress."""
