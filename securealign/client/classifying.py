"""Classification block by block: inputs are read, mapped, asked and written, over as many sessions as that takes."""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from securealign.alignment.checks import slots_with_checks
from securealign.alignment.maps import AlignmentMap
from securealign.client.answering import Answering, Clock, Tally, block_queries
from securealign.client.inputs import Content, Feed
from securealign.client.lines import result_lines
from securealign.client.results import Results
from securealign.client.slots import PoolTerms, choose_slots
from securealign.commands import Progress
from securealign.errors import ErrorCode, InputError, SecurealignError
from securealign.he.entropy import Entropy
from securealign.matrices import FloatMatrix
from securealign.protocol.listing import HeadListing
from securealign.protocol.machine import require
from securealign.protocol.messages import InferenceAccept
from securealign.transport.meter import Meter
from securealign.transport.sessions import InferenceSession
from securealign.transport.stats import PhaseStats

#: Pools of a session at most: what a provider learns of its secret by altering pools ends with it.
_SESSION_POOLS = 256
#: Queries of a message where pools are large, and where they are not.
_LARGE_BATCH, _BATCH = 256, 64
#: Queries for which the provider is not asked beforehand what it offers.
_FEW = 16
_SESSION_NAME_BYTES = 16

Encode = Callable[[Sequence[str]], npt.NDArray[np.floating]]


@dataclass(frozen=True, kw_only=True)
class Options:
    """How inputs are asked and answers are written; None leaves a number to be chosen."""

    batch: int | None = None
    pool_slots: int | None = None
    verify: bool = True
    #: Seconds that a session may last.
    session_seconds: float = math.inf
    as_json: bool = False
    columns: tuple[str, ...] = ()


def settings_digest(alignment: AlignmentMap, encoder: str, options: Options) -> str:
    """Return a digest of what may not change when a result goes on: map, encoder's fingerprint, and form of lines."""
    digest = hashlib.sha256(repr((encoder, options.as_json, options.columns)).encode())
    for array in (alignment.weight, alignment.bias):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


class Classifying:
    """The work: what is left of it, and what its answers were so far.

    `encode` returns the embeddings of texts. `entropy` names new sessions. `offered` asks what the provider says of the
    head, which is needed to choose the slots for many inputs.
    """

    def __init__(
        self,
        feed: Feed,
        results: Results,
        alignment: AlignmentMap,
        encode: Encode,
        options: Options,
        *,
        entropy: Entropy,
        offered: Callable[[], HeadListing | None],
        progress: Progress,
        clock: Clock = time.monotonic,
    ) -> None:
        self._feed, self._results = feed, results
        self._alignment, self._encode = alignment, encode
        self._options = options
        self._entropy, self._offered = entropy, offered
        self._progress = progress
        self._clock = clock
        self._tally = Tally()
        self._accepted: InferenceAccept | None = None
        self._begun_again = False
        #: Name of the session to open or to go on with, slots of its pools, and queries of its blocks.
        self.session = results.place.session
        self.slots, self._block = results.place.slots, results.place.block

    def unfinished(self) -> bool:
        """Return whether a session has to be opened, or to go on; its name, slots and blocks are then set."""
        if self.session:
            return True
        self._feed.skip_to(self._results.lines)
        if not self._feed.more():
            if not self._results.lines:
                raise InputError(f"{self._feed.inputs.name} holds no texts.", hint="Give at least one text.")
            return False
        self.session = self._entropy.octets(_SESSION_NAME_BYTES).tobytes().hex()
        self.slots = self._choose_slots()
        self._block = block_queries(self._batch, checked=self._options.verify)
        return True

    def answer(self, session: InferenceSession, checks: Callable[[int], Entropy], *, restored: bool) -> None:
        """Ask what one session can answer, and write it; the caller then closes the session.

        `checks` gives the randomness of a block's check rows; `restored` says whether an earlier process has asked in
        this session. Raises `InputError` for a budget that is too small, before the first query where the number of
        inputs is known, and for another head than that of the lines that are written.
        """
        self._accepted = session.accepted
        self._results.require_head(_head(session.accepted))
        answering = Answering(
            session,
            self._tally,
            batch=self._batch,
            block=self._block,
            entropy=checks if self._options.verify else None,
        )
        first, begun = (self._results.place.first if restored else self._results.lines), self._clock()
        if (
            restored
            and self._results.lines >= self._results.place.asked
            and (self._results.lines - first) % self._block
        ):
            # A short block was the last one, and its lines are written.
            return
        self._feed.skip_to(first)
        written = self._recall(answering, first) if restored else 0
        asked = self._results.place.asked if restored else 0
        self._require_budget(answering)
        while session.open or self._feed.position < asked:
            wanted = min(self._block, asked - self._feed.position) if self._feed.position < asked else self._block
            size = answering.affordable(wanted)
            content = self._feed.take(size) if size else None
            if content:
                lines = self._ask(answering, content, first, restored_until=asked)
                self._results.write(lines[written:])
                written = 0
                if self._results.durable:
                    answering.used()
                self._progress(self._results.lines, self._feed.inputs.count or 0)
            if size < wanted and self._feed.more():
                raise self._used_up()
            # A short block is the last one of a session.
            over = session.submitted >= _SESSION_POOLS * self.slots
            over |= self._clock() - begun > self._options.session_seconds / 2
            if not content or len(content) < self._block or over:
                return

    @contextmanager
    def unless_head_changed(self) -> Iterator[None]:
        """Run a session, after which the work begins again if the provider has changed the head.

        Raises `InputError` where lines of the head as it was are written.
        """
        try:
            yield
        except SecurealignError as error:
            if error.code is not ErrorCode.HEAD_CHANGED or isinstance(error, InputError) or self._begun_again:
                raise
            if self._results.lines:
                raise self._results.head_changed() from error
            # Once: a provider may say so of every session.
            self._begun_again = True
            self.ended()

    @property
    def recorded(self) -> bool:
        """Whether the open session is noted beside the results, so that another process goes on with it."""
        return bool(self.session) and self._results.place.session == self.session

    def ended(self) -> None:
        """Take note that the session is over."""
        if self._results.place.session:
            self._results.note(session="")
        self.session = ""

    def figures(self, meter: Meter, suite: str) -> dict[str, Any]:
        """Return what the work cost, and what its answers were; nothing where no session was needed."""
        accepted, tally = self._accepted, self._tally
        if accepted is None:
            return {}
        stats = meter.stats()
        queries, online = max(1, tally.queries), tally.online or [0.0]
        offline, answers = (stats.phases.get(name, PhaseStats()) for name in ("offline", "online"))
        return {
            "suite": suite,
            "output": accepted.output.name.lower(),
            "head": accepted.head_digest.hex(),
            "queries": tally.queries,
            "checks": tally.checks,
            "batch": self._batch,
            "pool_slots": self.slots,
            "uncertain_share": None if tally.uncertain is None else tally.uncertain / queries,
            "online_ms_median": float(np.median(online)),
            "online_ms_p95": float(np.quantile(online, 0.95)),
            "offline_ms_per_query": offline.total_seconds * 1000 / queries,
            "bytes_up_per_query": answers.bytes_up / queries,
            "bytes_down_per_query": answers.bytes_down / queries,
            "offline_bytes_per_query": (offline.bytes_up + offline.bytes_down) / queries,
            "pid": os.getpid(),
            "stats": stats.as_dict(),
        }

    @property
    def _batch(self) -> int:
        return self._options.batch or (_LARGE_BATCH if self.slots >= _LARGE_BATCH else _BATCH)

    def _choose_slots(self) -> int:
        if self._feed.left is None:
            # The end of a short stream is found here; its first block has to arrive in any case.
            self._feed.look_ahead(block_queries(self._options.batch or _BATCH, checked=self._options.verify))
        left = self._feed.left
        chosen = self._options.pool_slots
        if chosen is not None:
            return slots_with_checks(chosen, chosen if left is None else left) if self._options.verify else chosen
        # A pool for few queries is within all limits.
        head = self._offered() if left is None or left > _FEW else None
        return choose_slots(left, None if head is None else PoolTerms.of(head), checked=self._options.verify)

    def _queries(self, content: Content) -> FloatMatrix:
        vectors = content.vectors if content.vectors is not None else self._encode(content.texts or ())
        return self._alignment.apply(vectors)

    def _recall(self, answering: Answering, first: int) -> int:
        """Take up the blocks whose lines are written; returns how many lines of the next one are."""
        done, written = divmod(self._results.lines - first, self._block)
        for number in range(done):
            content = self._feed.take(self._block)
            # Check rows of the next block hold queries of these two.
            if number in {0, done - 1}:
                answering.recall(number, self._queries(content))
        answering.go_on_at(done)
        return written

    def _ask(self, answering: Answering, content: Content, first: int, *, restored_until: int) -> list[str]:
        """Return the lines of a block."""
        feed, results = self._feed, self._results
        accepted = require(self._accepted)
        try:
            queries = self._queries(content)
            if feed.position > restored_until:
                results.note(
                    head=_head(accepted),
                    asked=feed.position,
                    digest=feed.digest,
                    session=self.session,
                    first=first,
                    slots=self.slots,
                    block=self._block,
                )
            answers = answering.ask(queries, more=math.inf if feed.left is None else feed.left)
        except BaseException:
            feed.give_back(content)
            raise
        options = self._options
        begin = feed.position - len(content)
        return result_lines(accepted, begin, answers, content.kept, options.columns, as_json=options.as_json)

    def _require_budget(self, answering: Answering) -> None:
        left = self._feed.left
        if left is None:
            return
        possible = answering.affordable(left)
        if possible < left:
            checks = ", those that check answers among them" if self._options.verify else ""
            limit = f"Use --limit {self._feed.position + possible}, or ask" if possible else "Ask"
            raise InputError(
                f"{left} inputs need {answering.rows(left)} queries{checks}, and the budget holds {answering.left}.",
                hint=f"{limit} the provider for a larger budget. Nothing was asked.",
                code=ErrorCode.QUERY_BUDGET_EXHAUSTED,
            )

    def _used_up(self) -> InputError:
        return InputError(
            f"The query budget is used up after {self._results.lines} inputs, whose lines are written.",
            hint="Ask the provider for a larger budget, and give the same command and input again to go on.",
            code=ErrorCode.QUERY_BUDGET_EXHAUSTED,
        )


def _head(accepted: InferenceAccept) -> str:
    return f"{accepted.head_digest.hex()} {accepted.output.name.lower()}"
