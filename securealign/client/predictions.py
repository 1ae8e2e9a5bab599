"""What an open client returns: predictions, reports of a fit, budgets and its own state, as typed values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from securealign.alignment.links import Link as LinkName
from securealign.alignment.links import probabilities
from securealign.errors import SecurealignError
from securealign.matrices import FloatMatrix
from securealign.protocol.messages import InferenceAccept, Link
from securealign.protocol.policy.rank import rank_charge


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The answer to one input: its number among the inputs of the call, and its label; "" where none was given.

    `score` is the label's probability, None where the provider answers with labels alone or the head gives margins.
    `confidence` is the number of the provider's thresholds that the answer exceeds, None where there are none.
    """

    index: int
    label: str
    score: float | None
    abstained: bool
    confidence: int | None = None


@dataclass(frozen=True, kw_only=True)
class AlignmentReport:
    """What a fit was, and what it cost.

    `r2` is the share of the provider's public embeddings that the map explains, `r2_unseen` its estimate for other
    texts; both are None under differential privacy. `leaked_fraction` is the share of the provider's public rows that a
    session of this size can show the client.
    """

    kind: str
    rows: int
    r2: float | None
    r2_unseen: float | None
    bytes_up: int
    bytes_down: int
    seconds: float
    leaked_fraction: float
    suite: str
    folder: str
    #: All that is known of the fit and of its cost, as `securealign-client align --json` prints it.
    figures: Mapping[str, Any]

    @classmethod
    def of(cls, figures: Mapping[str, Any], *, seconds: float) -> AlignmentReport:
        """Return the report of the figures of a fit that took so long."""
        stats, rows = figures["stats"], figures["rows"]
        return cls(
            kind=figures["map"],
            rows=rows,
            r2=figures["r2"],
            r2_unseen=figures["r2_unseen"],
            bytes_up=stats["bytes_up"],
            bytes_down=stats["bytes_down"],
            seconds=seconds,
            leaked_fraction=min(1.0, rank_charge(figures["d_b"] + 1, rows) / rows),
            suite=figures["suite"],
            folder=figures["alignment"],
            figures=figures,
        )


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What is left of a client's budget for a head: queries, check rows among them, and bits; None without a limit."""

    queries: int
    bits: int | None


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """The messages of one kind that went one way: their number, and their bytes as encoded."""

    kind: str
    sent: bool
    messages: int
    bytes: int


@dataclass(frozen=True, kw_only=True)
class Failure:
    """An error that a caller was given: when, as a Unix time in seconds, and its code, message and hint."""

    at: float
    code: str
    message: str
    hint: str


@dataclass(frozen=True, kw_only=True)
class ClientStatus:
    """How an open client stands; times are of the last thousand round trips, in milliseconds, None without any.

    Without an open session, `suite`, `output`, `head_digest`, `slots` and `classes` are those of the last one, and
    empty before the first.
    """

    address: str
    head: str
    open: bool
    suite: str
    output: str
    head_digest: str
    classes: int
    slots: int
    sessions: int
    queries: int
    checks: int
    waiting: int
    online_ms_median: float | None
    online_ms_p95: float | None
    traffic: tuple[Traffic, ...]
    failures: tuple[Failure, ...]


class UnansweredError(SecurealignError):
    """A call of which only a part was answered: `answered` holds the predictions, `missing` the numbers of the others.

    Its code, message and hint are those of the error that ended it, which is its `__cause__`.
    """

    def __init__(self, cause: SecurealignError, answered: Sequence[Prediction], count: int) -> None:
        known = {prediction.index for prediction in answered}
        self.answered = list(answered)
        self.missing = [index for index in range(count) if index not in known]
        super().__init__(
            f"{cause.message} {len(self.answered)} of {count} inputs were answered.", hint=cause.hint, code=cause.code
        )


def class_names(accepted: InferenceAccept) -> list[str]:
    """Return the K names of a session's classes; their numbers where the provider gives none."""
    return list(accepted.class_names or map(str, range(accepted.classes)))


def predictions(accepted: InferenceAccept, answers: FloatMatrix, first: int = 0) -> Iterator[Prediction]:
    """Yield the predictions for answers: logits (m, K), or labels (m, 2) where the session is one of labels.

    The first one is that of input number `first`.
    """
    names = class_names(accepted)
    if accepted.labels is not None:
        # The class that stands for no label comes last.
        named = [*names, ""]
        for index, (label, bucket) in enumerate(answers.astype(np.int64), first):
            confidence = int(bucket) if accepted.labels.buckets else None
            yield Prediction(
                index=index, label=named[label], score=None, abstained=label == len(names), confidence=confidence
            )
        return
    labels = answers.argmax(axis=1)
    scores: list[float | None] = [None] * len(labels)
    if accepted.link is not Link.MARGIN:
        shares = probabilities(answers, link_name(accepted))
        scores = shares[np.arange(len(labels)), labels].tolist()
    for index, (label, score) in enumerate(zip(labels, scores, strict=True), first):
        yield Prediction(index=index, label=names[label], score=score, abstained=False)


def link_name(accepted: InferenceAccept) -> LinkName:
    """Return the name of what turns a session's logits into probabilities."""
    return cast("LinkName", accepted.link.name.lower())
