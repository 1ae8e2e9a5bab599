"""A client that stays open: texts or embeddings in, predictions out, over sessions that are kept between calls."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import CancelledError
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

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

#: Texts, or their embeddings (m, d_B) by the client's encoder.
Inputs: TypeAlias = Sequence[str] | npt.ArrayLike
#: Blocks of a stream that are under way: one is answered while the next is embedded.
BLOCKS = 3
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
        return as_labels(self.classify(inputs))

    def predict_proba(self, inputs: Inputs) -> FloatMatrix:
        """Return probabilities (m, K); raises `OutputModeError`, before anything is asked, where there are none."""
        self._require_logits(probabilities=True)
        return as_shares(self._answers(inputs))

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
                while len(under_way) < BLOCKS and (block := list(islice(rest, LARGE_BATCH))):
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


def unanswered(part: Unanswered, count: int) -> UnansweredError:
    """Return the error for a call of so many inputs of which a part was answered."""
    return UnansweredError(part.cause, list(predictions(part.answers.accepted, part.answers.rows)), count)


def as_labels(found: Sequence[Prediction]) -> npt.NDArray[np.str_]:
    """Return the labels (m,)."""
    return np.array([prediction.label for prediction in found], dtype=np.str_)


def as_shares(answers: Answers) -> FloatMatrix:
    """Return probabilities (m, K)."""
    return probabilities(answers.rows, link_name(answers.accepted))


def _quietly(_done: int, _total: int) -> None:
    """Show no progress."""
