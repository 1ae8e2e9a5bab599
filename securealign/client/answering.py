"""Answers to blocks of queries over one session, in their order, each block checked before it is used."""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable

import numpy as np

from securealign.alignment.check_blocks import CheckedBlocks
from securealign.alignment.checks import FEWEST_QUERIES, GROUP_QUERIES, rows_with_checks
from securealign.alignment.margins import query_norms, uncertain_share
from securealign.errors import CiphertextError, KeyStoreError
from securealign.he.entropy import Entropy
from securealign.matrices import FloatMatrix
from securealign.transport.sessions import InferenceSession

Clock = Callable[[], float]


def block_queries(batch: int, *, checked: bool) -> int:
    """Return the queries of a block for messages of `batch`: whole groups where answers are checked."""
    return -(-batch // GROUP_QUERIES) * GROUP_QUERIES if checked else batch


class Tally:
    """What the answers of one piece of work were, over all its sessions."""

    def __init__(self) -> None:
        self.queries = self.checks = 0
        #: Milliseconds of each round trip.
        self.online = array("d")
        #: Labels within the error of encryption; None where answers are labels alone.
        self.uncertain: float | None = 0.0


class Answering:
    """Asks the queries of one session in blocks of `block`, `batch` at a time.

    The last block may hold fewer; nothing is asked after it. `entropy` gives the randomness of a block's check rows by
    its number; without it nothing is checked.
    """

    def __init__(
        self,
        session: InferenceSession,
        tally: Tally,
        *,
        batch: int,
        block: int,
        entropy: Callable[[int], Entropy] | None = None,
        clock: Clock = time.perf_counter,
    ) -> None:
        terms = session.accepted.labels
        self._session = session
        self._labels = terms is not None
        self._tally = tally
        self._batch = batch
        self._checked = entropy is not None
        #: Rows of a block that is full.
        self._size = rows_with_checks(block) if self._checked else block
        self._blocks = CheckedBlocks(entropy, None if terms is None else terms.bits)
        self._number = 0
        self._clock = clock

    def rows(self, queries: int) -> int:
        """Return the rows that the next block of so many queries takes from the budget."""
        if not self._checked or (not self._number and queries < FEWEST_QUERIES):
            return queries
        return rows_with_checks(max(queries, FEWEST_QUERIES)) - max(0, FEWEST_QUERIES - queries)

    @property
    def left(self) -> int:
        """Rows from the next block on that the budget holds, those asked before an interruption among them."""
        return self._session.queries_left + max(0, self._session.submitted - self._first_row)

    def affordable(self, queries: int) -> int:
        """Return how many of the queries to come the budget holds."""
        queries = max(0, min(queries, self.left))
        while queries and self.rows(queries) > self.left:
            queries -= 1
        return queries

    def recall(self, number: int, queries: FloatMatrix) -> None:
        """Take up a block, the first or one before the next, whose answers are in use already."""
        self._blocks.recall(number, queries, self._restored(number * self._size, (number + 1) * self._size))

    def go_on_at(self, number: int) -> None:
        """Make a block the next one; the first one and the one before are recalled."""
        self._number = number

    def ask(self, queries: FloatMatrix, *, more: float = 0) -> FloatMatrix:
        """Return the answers to the next block (m, d_A), when `more` queries are to come after it.

        What was submitted before an interruption is not asked again. Raises `CiphertextError` for answers that do not
        decrypt, `RemoteProtocolError` for those that contradict each other, `InputError` for queries that do not fit.
        """
        session, checked = self._session, self._blocks.block(self._number, queries)
        begun = self._first_row
        rows = [self._restored(begun, begun + len(checked))]
        step = checked.room(self._batch)
        for first in range(len(rows[0]), len(checked), step):
            session.await_slots()
            start = self._clock()
            coming = max(0, len(checked) - first - step) + more
            rows.append(session.answers(checked.block(first, first + step), more=coming))
            self._tally.online.append((self._clock() - start) * 1000)
        found = np.vstack(rows)
        if np.isnan(found).any():
            raise CiphertextError("An answer did not decrypt.", hint="Ask the provider's operator what answered.")
        answers = self._blocks.settle(self._number, queries, checked, found, session.logit_error)
        self._count(queries, answers, checked.checks)
        self._number += 1
        return answers

    def used(self) -> None:
        """Give up the record of answers that no later block needs: the last block's are kept elsewhere for good."""
        number = self._number - 2
        if number > 0:
            self._session.forget(number * self._size, (number + 1) * self._size)

    @property
    def _first_row(self) -> int:
        return self._number * self._size

    def _restored(self, first: int, last: int) -> FloatMatrix:
        """Return the answers to rows `first` to `last` that an earlier process has received, or the first of them."""
        parts = [np.empty((0, self._session.answer_columns))]
        for number, answers in self._session.restored:
            if first <= number < last:
                if number != first + sum(map(len, parts)):
                    raise KeyStoreError("The record of a session lacks answers.", hint="Start a new session.")
                parts.append(answers)
        return np.vstack(parts)

    def _count(self, queries: FloatMatrix, answers: FloatMatrix, checks: int) -> None:
        tally = self._tally
        tally.queries += len(queries)
        tally.checks += checks
        if self._labels:
            tally.uncertain = None
        elif tally.uncertain is not None:
            deviation = self._session.logit_error * query_norms(queries)
            tally.uncertain += uncertain_share(answers, deviation) * len(queries)
