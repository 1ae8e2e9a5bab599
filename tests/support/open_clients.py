"""Open clients without a provider: their answers follow from the texts, and tests say what goes wrong."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from securealign.client.predictions import Budget, ClientStatus, Prediction, Traffic, predictions
from securealign.client.requests import Answers
from securealign.protocol.listing import HeadListing
from securealign.protocol.messages import InferenceAccept, LabelTerms, Link, OutputMode

from .messages import INFERENCE

CLASSES = ("business", "science", "sports")


def listing(name: str = "topics", *, output: OutputMode = OutputMode.LOGITS, queries: int = 1000) -> HeadListing:
    """Return what a provider says of a head."""
    return HeadListing(
        name=name,
        classes=len(CLASSES),
        class_names=(),
        output=output,
        provider_dim=8,
        space=bytes(16),
        space_name="news",
        head_digest=hashlib.sha256(name.encode()).digest(),
        queries_left=queries,
        bits_left=None,
        max_slots=64,
        answer_bits=96,
        abstains=False,
    )


def share_of(text: str) -> np.ndarray:
    """Return the probabilities of a text (K,)."""
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    return np.random.default_rng(seed).dirichlet(np.ones(len(CLASSES)))


@dataclass(eq=False)
class FakeClient:
    """Stands for an `AsyncOpenClient`. `act` is called with the texts of each call before they are answered.

    `gate`, if there is one, holds all answers back until it is set. `abstains` says of which texts there is no label.
    """

    head: str = ""
    mode: str = "logits"
    probabilities: bool = True
    act: Callable[[Sequence[str]], object] = lambda texts: None
    gate: asyncio.Event | None = None
    offered: tuple[HeadListing, ...] = (listing(),)
    abstains: Callable[[str], bool] = lambda text: False
    calls: list[list[str]] = field(default_factory=list)
    asked: int = 0
    waiting: int = 0
    cancelled: int = 0
    closed: bool = False

    async def align(self, **_: Any) -> None:
        """Do nothing."""

    async def aligned(self) -> bool:
        """Return that there is a map."""
        return True

    async def classes(self) -> tuple[str, ...]:
        """Return the names of the classes."""
        return CLASSES

    async def output(self) -> str:
        """Return the mode of the answers."""
        return self.mode

    async def budget(self) -> Budget:
        """Return what is left."""
        return Budget(queries=1000, bits=None)

    async def heads(self) -> tuple[HeadListing, ...]:
        """Return what is offered; `act` with no texts may raise."""
        self.asked += 1
        self.act([])
        return self.offered

    async def answers(self, inputs: Sequence[str]) -> Answers:
        """Return the answer to each text."""
        await self._answer(inputs)
        rows = np.array([self._row(text) for text in inputs])
        return Answers(self._accepted(), rows)

    async def classify(self, inputs: Sequence[str]) -> list[Prediction]:
        """Return a prediction for each text."""
        answers = await self.answers(inputs)
        return list(predictions(answers.accepted, answers.rows))

    async def stream(self, inputs: Sequence[str]) -> AsyncIterator[Prediction]:
        """Yield the predictions one by one."""
        for prediction in await self.classify(list(inputs)):
            yield prediction

    def status(self) -> ClientStatus:
        """Return how the client stands."""
        queries = sum(map(len, self.calls))
        return ClientStatus(
            address="provider.example:50051",
            head=self.head,
            open=bool(self.calls),
            suite="lwe-128" if self.calls else "",
            output=self.mode if self.calls else "",
            head_digest="",
            classes=len(CLASSES),
            slots=16,
            sessions=min(1, len(self.calls)),
            queries=queries,
            checks=0,
            waiting=self.waiting,
            online_ms_median=2.0 if self.calls else None,
            online_ms_p95=4.0 if self.calls else None,
            traffic=(Traffic(kind="Query", sent=True, messages=len(self.calls), bytes=4000 * queries),),
            failures=(),
        )

    async def close(self) -> None:
        """Note that the client was closed."""
        self.closed = True

    async def _answer(self, inputs: Sequence[str]) -> None:
        self.waiting += len(inputs)
        try:
            if self.gate is not None:
                await self.gate.wait()
            self.act(inputs)
            self.calls.append(list(inputs))
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.waiting -= len(inputs)

    def _row(self, text: str) -> np.ndarray:
        shares = share_of(text)
        if self.mode == "logits":
            return np.log(shares)
        return np.array([len(CLASSES) if self.abstains(text) else shares.argmax(), 2])

    def _accepted(self) -> InferenceAccept:
        terms = LabelTerms(bits=16, segments=4, buckets=3, abstains=True, offer=b"offer")
        link = Link.SOFTMAX if self.mode == "logits" and self.probabilities else Link.MARGIN
        return replace(
            next(message for message in INFERENCE if isinstance(message, InferenceAccept)),
            classes=len(CLASSES),
            class_names=CLASSES,
            output=OutputMode.LOGITS if self.mode == "logits" else OutputMode.LABEL_CONFIDENCE,
            labels=None if self.mode == "logits" else terms,
            link=link,
        )


@dataclass
class FakeProvider:
    """Opens fake clients by the names of heads, with the same options, and remembers them."""

    options: dict[str, Any] = field(default_factory=dict)
    opened: dict[str, FakeClient] = field(default_factory=dict)
    count: int = 0

    def __call__(self, head: str) -> Any:
        self.count += 1
        self.opened[head] = FakeClient(head=head, **self.options)
        return self.opened[head]
