"""Requests of concurrent callers, and how they share batches."""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from securealign.client.held import answered_alike
from securealign.errors import SecurealignError
from securealign.matrices import FloatMatrix
from securealign.protocol.messages import InferenceAccept


@dataclass(frozen=True)
class Answers:
    """Answers of one head: logits (m, K), or labels (m, 2), and what the provider accepted when the session began."""

    accepted: InferenceAccept
    rows: FloatMatrix


class Unanswered(Exception):
    """A request that failed after some of its inputs were answered."""

    def __init__(self, cause: SecurealignError, answers: Answers) -> None:
        super().__init__(cause.message)
        self.cause, self.answers = cause, answers


class Request:
    """Inputs of one caller: texts, or embeddings (m, d_B). `future` becomes their `Answers`.

    A caller that waits no longer cancels the future. A request of no inputs asks for a session, and its answers are
    empty.
    """

    def __init__(self, inputs: list[str] | npt.NDArray[np.floating]) -> None:
        self.inputs = inputs
        self.future: Future[Answers] = Future()
        #: Inputs that are answered.
        self.done = 0
        self._parts: list[FloatMatrix] = []
        self._accepted: InferenceAccept | None = None

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def left(self) -> int:
        """Inputs that are not answered yet."""
        return len(self) - self.done

    def belongs_to(self, accepted: InferenceAccept) -> bool:
        """Return whether answers under these terms may go with those that are here: of the same head, in one form."""
        return self._accepted is None or answered_alike(self._accepted, accepted)

    def opened(self, accepted: InferenceAccept) -> None:
        """Finish a request of no inputs: a session is open."""
        self._finish(Answers(accepted, np.empty((0, accepted.classes))))

    def answer(self, accepted: InferenceAccept, rows: FloatMatrix) -> None:
        """Take the answers to the next inputs, and finish when there are all."""
        self._accepted = accepted
        self._parts.append(rows)
        self.done += len(rows)
        if not self.left:
            self._finish(Answers(accepted, np.vstack(self._parts)))

    def fail(self, error: SecurealignError) -> None:
        """Finish with an error, and with the answers that are here."""
        if self._accepted is None or not self.done:
            self._finish(error)
        else:
            self._finish(Unanswered(error, Answers(self._accepted, np.vstack(self._parts))))

    def _finish(self, outcome: Answers | Exception) -> None:
        try:
            if isinstance(outcome, Answers):
                self.future.set_result(outcome)
            else:
                self.future.set_exception(outcome)
        except InvalidStateError:
            # The caller has given up in between.
            return


class Share(NamedTuple):
    """The next inputs of a request that belong to a batch."""

    request: Request
    inputs: list[str] | npt.NDArray[np.floating]


class Requests:
    """The requests that wait, in the order in which they came; threads may share it."""

    def __init__(self) -> None:
        self._waiting: deque[Request] = deque()
        self._changed = threading.Condition()
        self._closed = False

    def put(self, request: Request) -> bool:
        """Add a request; returns whether requests are still taken."""
        with self._changed:
            if self._closed:
                return False
            self._waiting.append(request)
            self._changed.notify()
            return True

    def close(self) -> None:
        """Take no more requests; those that wait are still handed out."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def closed(self) -> bool:
        """Whether no more requests are taken."""
        return self._closed

    @property
    def waiting(self) -> int:
        """Inputs that are not answered yet."""
        with self._changed:
            return sum(request.left for request in self._waiting if not request.future.done())

    def wait(self, seconds: float | None) -> bool:
        """Return whether a request waits, or none will come any more, within some seconds; None is without end."""
        with self._changed:
            return self._changed.wait_for(lambda: bool(self._waiting) or self._closed, seconds)

    def batch(self, most: int) -> list[Share]:
        """Return shares of the requests that wait, of at most `most` inputs in all; each gets as much as any other.

        What a request does not need goes to those that came after it. Requests that nobody waits for are dropped.
        """
        with self._changed:
            self._waiting = deque(request for request in self._waiting if not request.future.done())
            shares: list[Share] = []
            for position, request in enumerate(self._waiting):
                # The shortest first would let a stream of small requests starve a large one.
                fair = -(-most // (len(self._waiting) - position))
                count = min(request.left, fair)
                most -= count
                shares.append(Share(request, request.inputs[request.done : request.done + count]))
                if not most:
                    break
            return shares

    def fail(self, error: SecurealignError) -> None:
        """Finish all requests that wait with an error."""
        with self._changed:
            waiting, self._waiting = self._waiting, deque()
        for request in waiting:
            request.fail(error)
