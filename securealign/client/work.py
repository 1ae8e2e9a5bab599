"""What one fit and one classification need on the client's side, besides the session that carries them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from securealign.alignment.checks import CheckedQueries, require_consistent, require_same_labels
from securealign.alignment.maps import AlignmentMap
from securealign.alignment.margins import query_norms, uncertain_share
from securealign.alignment.privacy import PrivateProblem
from securealign.alignment.secure import ClientProblem
from securealign.client.config import AlignmentSection
from securealign.commands import Progress
from securealign.he.entropy import Entropy
from securealign.matrices import FloatMatrix
from securealign.protocol.context import ClientContext, Event
from securealign.protocol.messages import InferenceAccept, LabelTerms
from securealign.protocol.training.client import TrainingClient
from securealign.transport.meter import Listener, Meter
from securealign.transport.sessions import InferenceSession
from securealign.transport.stats import PhaseStats

#: What a map's manifest says of its fit; estimates are missing under differential privacy.
_FIT = ("map", "ridge", "penalty", "r2", "r2_unseen", "relatedness")


@dataclass(frozen=True)
class Classification:
    """Labels and probabilities of the most likely class (m,), logits (m, K), and figures of the session.

    Where answers are labels alone, there are neither probabilities nor logits; a label is None for a query that was
    given none, and `confidence` (m,) says how many of the provider's thresholds its largest logit exceeds.
    """

    labels: list[str | None]
    figures: dict[str, Any]
    scores: npt.NDArray[np.float64] | None = None
    logits: FloatMatrix | None = None
    confidence: npt.NDArray[np.int64] | None = None

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield each result as JSON can hold it, with the digest of the head that gave it."""
        for index, label in enumerate(self.labels):
            row: dict[str, Any] = {"label": label}
            if self.scores is not None and self.logits is not None:
                row |= {"score": float(self.scores[index]), "logits": self.logits[index].tolist()}
            elif label is None:
                row["abstained"] = True
            if self.confidence is not None:
                row["confidence"] = int(self.confidence[index])
            yield row | {"head": self.figures["head"]}


class Training:
    """What one fit needs on this side: the problem, what it costs, and how the provider's answer becomes a map."""

    def __init__(
        self,
        embeddings: npt.NDArray[np.floating],
        digest: bytes,
        section: AlignmentSection,
        uploading: Progress,
        listener: Listener,
        *,
        space_name: str = "",
    ) -> None:
        self._space_name = space_name
        self.meter = Meter(counted="client", listener=listener)
        self.digest = digest
        self._uploading = uploading
        with self.meter.timed("client", "solve"):
            self._problem = ClientProblem(embeddings, section.ridge, section.map)
            # Under noise no penalty can be chosen from the product, so rows are made under one that is fixed.
            fixed = ClientProblem(embeddings, section.ridge, fixed=True) if section.accept_noise else None
            self._private = PrivateProblem(fixed) if fixed is not None else None

    def client(self, context: ClientContext) -> TrainingClient:
        """Return the machine of a session, which shows the progress of its upload."""
        count = self.meter.observer("client")

        def observe(event: Event) -> None:
            count(event)
            self._uploading(*client.progress)

        client = TrainingClient(
            replace(context, observer=observe),
            self._problem.rows,
            self.digest,
            private_rows=self._private.rows if self._private is not None else None,
            space_name=self._space_name,
        )
        return client

    def solve(self, client: TrainingClient, product: FloatMatrix) -> AlignmentMap:
        """Return the map from the decrypted product."""
        with self.meter.timed("client", "solve"):
            if client.privacy is not None and self._private is not None:
                return self._private.solve(product)
            return self._problem.solve(product, client.total_squares)

    def figures(self, client: TrainingClient, solved: AlignmentMap, folder: Path) -> dict[str, Any]:
        """Return what the fit was and what it cost."""
        return {
            "alignment": str(folder),
            "suite": client.suite_name,
            "rows": self._problem.rows.shape[0],
            "d_a": solved.weight.shape[1],
            "d_b": solved.weight.shape[0],
            **{name: solved.metadata.get(name) for name in _FIT},
            "space": client.space.hex(),
            "privacy": asdict(client.privacy) if client.privacy is not None else None,
            "pid": os.getpid(),
            "stats": self.meter.stats().as_dict(),
        }


class Answers:
    """The answers to queries (m, d_A), asked for `batch` at a time from where an interrupted session ended.

    With `entropy` they are checked: see `securealign.alignment.checks`.
    """

    def __init__(self, queries: FloatMatrix, batch: int, classifying: Progress, entropy: Entropy | None = None) -> None:
        self._queries = queries
        self._entropy = entropy
        self._checked = CheckedQueries(queries, None)
        self._batch = batch
        self._classifying = classifying
        self._blocks: list[FloatMatrix] = []
        self._online: list[float] = []
        self._logit_error = 0.0

    def ask(self, session: InferenceSession) -> None:
        """Ask what was not answered before."""
        labels = session.accepted.labels is not None
        self._checked = CheckedQueries(self._queries, self._entropy, labels=labels)
        total = len(self._checked)
        self._blocks.append(session.restored)
        step = self._checked.room(self._batch)
        for first in range(len(session.restored), total, step):
            session.await_slots()
            start = time.perf_counter()
            self._blocks.append(session.answers(self._checked.block(first, first + step)))
            self._online.append((time.perf_counter() - start) * 1000)
            self._classifying(min(first + step, total), total)
        self._logit_error = session.logit_error

    def classification(self, accepted: InferenceAccept, meter: Meter, suite: str) -> Classification:
        """Return labels, probabilities and figures; raises `RemoteProtocolError` for answers that fail a check."""
        if accepted.labels is not None:
            return self._labels(accepted, accepted.labels, meter, suite)
        logits = require_consistent(self._checked, np.vstack(self._blocks), self._logit_error)
        names = accepted.class_names or tuple(str(index) for index in range(logits.shape[1]))
        shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
        return Classification(
            labels=[names[index] for index in logits.argmax(axis=1)],
            scores=shifted.max(axis=1) / shifted.sum(axis=1),
            logits=logits,
            figures=self._figures(
                accepted, uncertain_share(logits, self._logit_error * query_norms(self._queries)), meter, suite
            ),
        )

    def _labels(self, accepted: InferenceAccept, terms: LabelTerms, meter: Meter, suite: str) -> Classification:
        answers = require_same_labels(self._checked, np.vstack(self._blocks), terms.bits).astype(np.int64)
        names: list[str | None] = list(accepted.class_names or map(str, range(accepted.classes)))
        # The class that stands for no label comes last.
        names.append(None)
        return Classification(
            labels=[names[index] for index in answers[:, 0]],
            confidence=answers[:, 1] if terms.buckets else None,
            figures=self._figures(accepted, None, meter, suite),
        )

    def _figures(self, accepted: InferenceAccept, uncertain: float | None, meter: Meter, suite: str) -> dict[str, Any]:
        stats = meter.stats()
        queries, online = len(self._queries), self._online or [0.0]
        offline = stats.phases.get("offline", PhaseStats())
        answers = stats.phases.get("online", PhaseStats())
        return {
            "suite": suite,
            "output": accepted.output.name.lower(),
            "head": accepted.head_digest.hex(),
            "queries": queries,
            "checks": self._checked.checks,
            "batch": self._batch,
            "uncertain_share": uncertain,
            "online_ms_median": float(np.median(online)),
            "online_ms_p95": float(np.quantile(online, 0.95)),
            "offline_ms_per_query": offline.total_seconds * 1000 / queries,
            "bytes_up_per_query": answers.bytes_up / queries,
            "bytes_down_per_query": answers.bytes_down / queries,
            "offline_bytes_per_query": (offline.bytes_up + offline.bytes_down) / queries,
            "pid": os.getpid(),
            "stats": stats.as_dict(),
        }
