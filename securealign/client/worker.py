"""The thread of an open client: it owns the session, and asks for the queries of all callers in shared batches."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import structlog

from securealign.alignment.maps import AlignmentMap
from securealign.client.activity import Activity
from securealign.client.held import HeldSession
from securealign.client.requests import Request, Requests, Share
from securealign.client.slots import DEFAULT_SLOTS, PoolTerms, choose_slots
from securealign.compute import one_blas_thread
from securealign.errors import CiphertextError, ErrorCode, InputError, RemoteProtocolError, SecurealignError
from securealign.matrices import FloatMatrix
from securealign.transport.meter import Listener

#: Queries of a batch where pools are large, and where they are not.
LARGE_BATCH, BATCH = 256, 64
#: Slots of the first pools at least, and by how much they grow at least when more is asked.
_FIRST_SLOTS, _GROWTH = 16, 2
#: Pools of a session at most: what a provider learns of its secret by altering pools ends with it.
_SESSION_POOLS = 256
#: A session is replaced after this part of the time that it may last, and is not used after the second.
_REPLACED_AFTER, _UNUSED_AFTER = 0.5, 0.9
#: Reasons for which a session is over while another one can answer.
_ANOTHER_SESSION = frozenset({ErrorCode.SESSION_UNKNOWN, ErrorCode.SESSION_ROLLED_BACK, ErrorCode.HEAD_CHANGED})

log = structlog.get_logger()


class Core(Protocol):
    """What opens sessions and makes queries."""

    @property
    def alignment(self) -> AlignmentMap:
        """The map in use."""

    def encode(self, texts: Sequence[str], *, cache: bool) -> npt.NDArray[np.floating]:
        """Return embeddings (m, d_B) of private texts."""

    def hold(self, slots: int, listener: Listener, *, abandon: threading.Event) -> HeldSession:
        """Open a session with pools of so many slots."""

    def queries_left(self) -> int | None:
        """Return what the provider says now is left of the budget, None where it cannot be asked."""

    def pool_terms(self) -> PoolTerms | None:
        """Return what the slots of a pool depend on, None where the provider cannot be asked."""


class Query(NamedTuple):
    """The next inputs of a request, mapped (m, d_A)."""

    request: Request
    mapped: FloatMatrix


class Worker:
    """Answers requests until it is closed. `slots` fixes the size of pools, which otherwise follows what is asked.

    `session_seconds` is how long a session may last.
    """

    def __init__(
        self,
        core: Core,
        activity: Activity,
        *,
        slots: int | None,
        session_seconds: float,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._core, self._activity, self._clock = core, activity, clock
        self._fixed_slots, self._session_seconds = slots, session_seconds
        self.requests = Requests()
        #: The open session, or the last one if none is open.
        self.session: HeldSession | None = None
        self.open = False
        #: Set when nothing is to be waited for any more.
        self._abandon = threading.Event()
        self._may_grow = True
        #: Queries after which the size of pools is looked at again.
        self._looked_again = DEFAULT_SLOTS
        #: What the slots of a pool depend on; None where the provider could not be asked.
        self._terms: PoolTerms | None = None
        self._opener = ThreadPoolExecutor(1, "securealign-opener")
        self._next: Future[HeldSession] | None = None
        #: Why no answer of this provider can be used any more.
        self._untrusted: SecurealignError | None = None
        self._renewed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="securealign-client", daemon=True)
        self._thread.start()

    def close(self, seconds: float) -> None:
        """Answer what waits, end the session and the thread; after some seconds, give up a provider that is gone."""
        self.requests.close()
        self._thread.join(seconds)
        self._abandon.set()
        self._thread.join()

    def renew(self) -> None:
        """Use a new session from the next batch on, because the map has changed."""
        self._renewed.set()

    def _run(self) -> None:
        try:
            while self.requests.wait(None):
                shares = self.requests.batch(self._batch)
                if shares:
                    self._serve_safely(shares)
                    self._prepare()
                elif self.requests.closed:
                    return
        finally:
            self._end()

    def _serve_safely(self, shares: Sequence[Share]) -> None:
        """Answer a batch; whatever goes wrong, its callers learn of it."""
        try:
            self._serve(shares)
        except SecurealignError as error:
            self._fail(shares, error)
        except Exception as error:
            fault = SecurealignError(f"{type(error).__name__} while a query was answered.")
            fault.__cause__ = error
            self._drop()
            self._fail(shares, fault)

    def _fail(self, shares: Sequence[Share], error: SecurealignError) -> None:
        self._activity.failed(error)
        for share in shares:
            share.request.fail(error)

    def _refuse(self, request: Request, error: SecurealignError) -> None:
        self._activity.failed(error)
        request.fail(error)

    @one_blas_thread()
    def _serve(self, shares: Sequence[Share]) -> None:
        queries = self._embed(shares)
        try:
            self._ask(queries)
        except SecurealignError as error:
            self._drop()
            if error.code not in _ANOTHER_SESSION:
                raise
            log.info("another session begins", reason=error.message)
            self._ask(queries)

    def _embed(self, shares: Sequence[Share]) -> list[Query]:
        """Return the mapped queries of each request; callers of inputs that cannot be embedded are told."""
        try:
            return self._mapped(shares)
        except SecurealignError:
            if len(shares) == 1:
                raise
        queries = []
        for share in shares:
            # Only one caller's inputs may be what the encoder refuses.
            try:
                queries += self._mapped([share])
            except SecurealignError as error:  # noqa: PERF203
                self._refuse(share.request, error)
        return queries

    def _mapped(self, shares: Sequence[Share]) -> list[Query]:
        alignment = self._core.alignment
        texts = [text for share in shares if isinstance(share.inputs, list) for text in share.inputs]
        found = iter(self._core.encode(texts, cache=False) if texts else ())
        queries = []
        for request, inputs in shares:
            vectors = np.array(list(islice(found, len(inputs)))) if isinstance(inputs, list) else inputs
            mapped = alignment.apply(vectors) if len(vectors) else np.empty((0, alignment.weight.shape[1]))
            queries.append(Query(request, mapped))
        return queries

    def _ask(self, queries: Sequence[Query]) -> None:
        """Ask one batch in one session, and give each caller the answers to its share."""
        session = self._funded_session(sum(len(query.mapped) for query in queries))
        batch = [query for query in queries if self._admitted(session, query.request)]
        if not batch:
            return
        rows = np.vstack([matrix for _, matrix in batch])
        possible = session.affordable(len(rows))
        if not possible:
            for query in batch:
                self._refuse(query.request, _used_up())
            return
        answers = self._answers(session, rows[:possible])
        first = 0
        for request, matrix in batch:
            # What the budget does not hold is refused with the next batch.
            own = answers[first : first + len(matrix)]
            first += len(matrix)
            if len(own):
                request.answer(session.accepted, own)

    def _answers(self, session: HeldSession, rows: FloatMatrix) -> FloatMatrix:
        began = self._clock()
        try:
            answers, checks = session.ask(rows)
        except (CiphertextError, RemoteProtocolError) as error:
            # The session ends as it would have: the provider is not told what became of an answer.
            self._close_session()
            if error.code is ErrorCode.ANSWERS_INCONSISTENT:
                self._untrusted = error
            raise
        self._activity.answered(len(rows), checks, self._clock() - began)
        return answers

    def _admitted(self, session: HeldSession, request: Request) -> bool:
        """Return whether a request has inputs that can be asked in this session; its caller is told if they cannot."""
        refusal = self._refusal(session, request)
        if refusal is not None:
            self._refuse(request, refusal)
        elif not len(request):
            request.opened(session.accepted)
            return False
        return refusal is None

    @staticmethod
    def _refusal(session: HeldSession, request: Request) -> SecurealignError | None:
        """Return why a request cannot be answered in this session, None if it can."""
        if not request.belongs_to(session.accepted):
            return InputError(
                "The provider has changed its head while this call was answered.",
                hint="Give the inputs again, so that one head answers them all.",
                code=ErrorCode.HEAD_CHANGED,
            )
        possible = session.affordable(len(request))
        if not request.done and possible < len(request):
            return InputError(
                f"{len(request)} inputs need {session.rows(len(request))} queries, check rows among them, and the "
                f"budget holds {possible} of the inputs.",
                hint="Give fewer, or ask the provider for a larger budget. Nothing was asked.",
                code=ErrorCode.QUERY_BUDGET_EXHAUSTED,
            )
        return None

    def _funded_session(self, queries: int) -> HeldSession:
        """Return the session to ask in; a new one where the budget was raised since the present one began."""
        session = self._ready_session()
        if session.affordable(queries) == queries:
            return session
        left = self._core.queries_left()
        if left is None or left <= session.affordable(queries):
            return session
        self._close_session()
        return self._ready_session()

    def _ready_session(self) -> HeldSession:
        """Return the session to ask in: the one that is open, a new one, or one that replaces it."""
        if self._untrusted is not None:
            raise self._untrusted
        if self._renewed.is_set():
            self._renewed.clear()
            self._close_session()
        self._replace()
        session = self.session
        if session is None or not self.open:
            return self._take(self._hold(self._fixed_slots or self._first_slots()))
        return session

    def _hold(self, slots: int) -> HeldSession:
        return self._core.hold(slots, self._activity.hear, abandon=self._abandon)

    def _take(self, session: HeldSession) -> HeldSession:
        if self.session is not None:
            session.go_on_from(self.session)
        self.session, self.open = session, True
        self._activity.sessions += 1
        return session

    def _first_slots(self) -> int:
        self._terms = self._core.pool_terms()
        return choose_slots(max(_FIRST_SLOTS, min(DEFAULT_SLOTS, self.requests.waiting)), self._terms)

    def _replace(self) -> None:
        """Take up the next session if it is open, and have one opened if the present one is used up or too small."""
        session = self.session
        if session is None or not self.open:
            return
        if self._next is not None and self._next.done():
            following, self._next = self._next, None
            error = following.exception()
            if error is None:
                self._close_session()
                self._take(following.result())
                return
            log.info("the next session could not be opened", reason=str(error))
            self._may_grow = False
        if session.age > _UNUSED_AFTER * self._session_seconds:
            self._close_session()
        elif self._next is None and (slots := self._next_slots(session)):
            self._next = self._opener.submit(self._hold, slots)

    def _next_slots(self, session: HeldSession) -> int:
        """Return the slots of a session that takes the place of this one, 0 while it can go on."""
        if self._fixed_slots is None and self._may_grow and self._activity.queries >= self._looked_again:
            # As many queries are expected as were asked. A choice takes longer than a query, so it is made rarely.
            self._looked_again = 2 * max(DEFAULT_SLOTS, self._activity.queries)
            slots = choose_slots(self._activity.queries, self._terms)
            if slots >= _GROWTH * session.slots:
                return slots
        aged = session.age > _REPLACED_AFTER * self._session_seconds
        return session.slots if aged or session.submitted >= _SESSION_POOLS * session.slots else 0

    def _prepare(self) -> None:
        """Receive the pool that is under way while nobody waits."""
        session = self.session
        if session is None or not self.open or self.requests.waiting:
            return
        try:
            session.await_pool()
        except SecurealignError as error:
            # Whoever asks next gets a new session, or learns why there is none.
            log.info("the session ended while a pool was prepared", reason=error.message)
            self._drop()

    @property
    def _batch(self) -> int:
        large = self.session is not None and self.session.slots >= LARGE_BATCH
        return LARGE_BATCH if large else BATCH

    def _close_session(self) -> None:
        if self.session is not None and self.open:
            self.open = False
            self.session.close()

    def _drop(self) -> None:
        if self.session is not None and self.open:
            self.open = False
            self.session.drop()

    def _end(self) -> None:
        self.requests.fail(closed())
        try:
            self._close_session()
            if self._next is not None:
                self._next.result().close()
        except SecurealignError as error:
            log.info("a session was not closed", reason=error.message)
        self._opener.shutdown()


def closed() -> SecurealignError:
    """Return the error for what is asked of a client after it was closed."""
    return SecurealignError(
        "This client is closed.", hint="Open another one with securealign.connect.", code=ErrorCode.CLIENT_CLOSED
    )


def _used_up() -> InputError:
    return InputError(
        "The query budget is used up.",
        hint="Ask the provider for a larger budget.",
        code=ErrorCode.QUERY_BUDGET_EXHAUSTED,
    )
