"""A client's session from start to end over any link."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from securealign.errors import KeyStoreError, LocalProtocolError
from securealign.matrices import FloatMatrix
from securealign.protocol.inference.client import InferenceClient
from securealign.protocol.messages import InferenceAccept
from securealign.protocol.states import State
from securealign.protocol.training.client import TrainingClient
from securealign.transport.meter import Meter


class Link(Protocol):
    """Carries frames between the client's machine and a provider."""

    def drive(self, frames: Sequence[bytes], until: Callable[[], bool]) -> None:
        """Send `frames` and go on receiving and replying until `until()` holds; raises the session's error."""


def train(link: Link, client: TrainingClient, meter: Meter) -> FloatMatrix:
    """Run a training session, or what is left of it, and return the decrypted product, shape (d_A, d_B + 1)."""
    with meter.timed("client"):
        frames = client.start() if client.state is State.START else []
    link.drive(frames, lambda: client.state is State.DONE)
    with meter.timed("client", "solve"):
        return client.product()


class InferenceSession:
    """An open inference session: answers to any number of queries, with pools prepared ahead of need.

    Of a session that was interrupted, `restored` holds the answers to the queries that were submitted before: the
    number of the first query and answers, for those whose record was not given up.
    """

    def __init__(self, link: Link, client: InferenceClient, meter: Meter) -> None:
        self._link = link
        self._client = client
        self._meter = meter
        with meter.timed("client"):
            frames = client.start() if client.state is State.START else []
        # Of an interrupted session the only pool may have been given up, so that none has slots.
        link.drive(frames, lambda: client.submitted > 0 or client.free_slots > 0 or client.may_prepare)
        _ = self.accepted
        self.restored = self._taken([]) if client.submitted else []
        if any(answers.shape[1] != client.answer_columns for _, answers in self.restored):
            raise KeyStoreError(
                "The answers that were kept of this session are of another output than the session's.",
                hint="Delete the client's state folder; the work is then begun again.",
            )

    @property
    def accepted(self) -> InferenceAccept:
        """What the provider accepted: classes, their names, output mode, queries left."""
        if self._client.accepted is None:
            raise LocalProtocolError("The handshake is not over.")
        return self._client.accepted

    @property
    def answer_columns(self) -> int:
        """Numbers of an answer."""
        return self._client.answer_columns

    @property
    def submitted(self) -> int:
        """Queries submitted so far, also before an interruption."""
        return self._client.submitted

    @property
    def queries_left(self) -> int:
        """Queries that the budget still holds, as the provider said when the session began."""
        return self.accepted.queries_left - self._client.submitted

    @property
    def open(self) -> bool:
        """Whether queries can be asked; a session that was interrupted at its end is over."""
        return self._client.state is State.READY

    @property
    def logit_error(self) -> float:
        """Standard deviation of a logit's error for a query [z; 1] of norm 1."""
        return self._client.logit_error

    def logits(self, queries: npt.ArrayLike) -> FloatMatrix:
        """Return the logits (m, K) of mapped queries (m, d_A); raises `LocalProtocolError` where answers are labels."""
        if self.accepted.labels is not None:
            raise LocalProtocolError("This provider answers with labels, which hold no logits.")
        return self.answers(queries)

    def answers(self, queries: npt.ArrayLike, *, more: float = 0) -> FloatMatrix:
        """Return the answers to mapped queries (m, d_A), in as many pools as that takes.

        Where `more` queries are to come after these, the provider prepares the next pool from the moment on when half
        of the slots are used.

        They are logits (m, K), or where answers are labels (m, 2): the index of the class, K for a query that was given
        none, and how many thresholds it exceeds. Raises `InputError` for queries that do not fit, the session's error
        otherwise.
        """
        matrix = np.asarray(queries)
        parts = []
        first = 0
        while first < len(matrix):
            self.await_slots()
            block = matrix[first : first + self._client.free_slots]
            first += len(block)
            with self._meter.timed("client"):
                frames = self._client.submit(block)
                if self._client.may_prepare and self._needs_pool(len(matrix) - first + more):
                    # Behind the queries, so that the provider answers them first.
                    frames += self._client.prepare()
            parts.append(self._answers(frames))
        return np.vstack(parts) if parts else np.empty((0, self._client.answer_columns))

    def forget(self, first: int, last: int) -> None:
        """Give up the record of the answers to queries `first` to `last`, which the caller keeps for good."""
        self._client.forget_answers(first, last)

    def prepare(self) -> None:
        """Ask for the next pool without waiting for it, unless one is under way or enough are ready."""
        if self._client.may_prepare:
            self._request_pool()

    def await_pool(self) -> None:
        """Return once no pool is under way."""
        self._link.drive([], lambda: not self._client.preparing)

    def close(self) -> None:
        """End the session in agreement: both parties confirm the transcript.

        Raises `CiphertextError` when an answer did not decrypt; its logits were NaN, and the provider is not told.
        """
        self.await_pool()
        with self._meter.timed("client"):
            frames = self._client.finish() if self._client.state is State.READY else []
        self._link.drive(frames, lambda: self._client.state is State.DONE)
        if self._client.undecrypted is not None:
            raise self._client.undecrypted

    def await_slots(self) -> None:
        """Return once at least one slot is free, asking for a pool if none is under way."""
        while not self._client.free_slots:
            if not self._client.preparing:
                self._request_pool()
            # A pool that was under way when the session was interrupted is given up, and has no slots in the end.
            self._link.drive([], lambda: self._client.free_slots > 0 or not self._client.preparing)

    def _needs_pool(self, coming: float) -> bool:
        """Return whether half of the slots are used, and the others are too few for the queries to come."""
        free = self._client.free_slots
        return free < coming and 2 * free <= self._client.slots

    def _request_pool(self) -> None:
        with self._meter.timed("client"):
            frames = self._client.prepare()
        self._link.drive(frames, lambda: True)

    def _answers(self, frames: Sequence[bytes]) -> FloatMatrix:
        """Send frames and return the answers to all queries that are due."""
        return np.vstack([found for _, found in self._taken(frames)])

    def _taken(self, frames: Sequence[bytes]) -> list[tuple[int, FloatMatrix]]:
        """Send frames and return the answers to all queries that are due, each after the number of its first query."""
        self._link.drive(frames, lambda: self._client.outstanding == 0)
        return sorted(self._client.take_answers(), key=lambda answer: answer[0])
