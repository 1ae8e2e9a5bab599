"""Checks of queries that come in calls of any size: few of them are answered at once and checked with later ones.

A call of a few queries has no check rows, which would cost more than the queries. Its queries wait, and the check rows
of the first call that has enough hold all of them: a lie in any of them is found then. Check rows also hold queries
from before, so that another head for every call is found as well.
"""

from __future__ import annotations

import numpy as np

from securealign.alignment.checks import (
    FEWEST_QUERIES,
    GROUP_CHECKS,
    GROUP_QUERIES,
    CheckedQueries,
    Earlier,
    Judge,
)
from securealign.he.entropy import Entropy
from securealign.matrices import FloatMatrix


class CheckedCalls:
    """The calls of one session, one after the other; without `entropy` none is checked.

    `label_bits` is given where answers are labels.
    """

    def __init__(self, entropy: Entropy | None, label_bits: int | None = None) -> None:
        self._entropy = entropy
        self._labels = label_bits is not None
        self._first: Earlier | None = None
        self._last: Earlier | None = None
        #: Calls that were answered and are not checked yet, and their queries.
        self._waiting: list[Earlier] = []
        self._judge = Judge(label_bits)

    @property
    def unchecked(self) -> int:
        """Queries that were answered and are not checked yet: fewer than 32."""
        return sum(len(call.queries) for call in self._waiting)

    def rows(self, queries: int) -> int:
        """Return the rows that the next call of so many queries becomes."""
        groups = -(-queries // GROUP_QUERIES) if self._due(queries) else 0
        return queries + GROUP_CHECKS * groups

    def call(self, queries: FloatMatrix) -> CheckedQueries:
        """Return the queries (m, d) of the next call with its check rows, if it has any."""
        if not self._due(len(queries)):
            return CheckedQueries(queries, None)
        known = [part for part in (self._first, self._last, *self._waiting) if part is not None]
        earlier = None
        if known:
            earlier = Earlier(np.vstack([part.queries for part in known]), np.vstack([part.answers for part in known]))
        return CheckedQueries(queries, self._entropy, labels=self._labels, earlier=earlier, unchecked=self.unchecked)

    def settle(self, queries: FloatMatrix, checked: CheckedQueries, rows: FloatMatrix, error: float) -> FloatMatrix:
        """Return the answers (m, K) to the queries of a call, given those of all its rows.

        `error` is the standard deviation of a logit's error for a query of norm 1. Raises `RemoteProtocolError` for
        answers that contradict each other or those of earlier calls.
        """
        answers = self._judge.answers(checked, rows, error)
        self._remember(Earlier(queries, answers), checked=checked.checks > 0)
        return answers

    def _due(self, queries: int) -> bool:
        enough = queries >= FEWEST_QUERIES or self.unchecked + queries >= GROUP_QUERIES
        return self._entropy is not None and enough

    def _remember(self, call: Earlier, *, checked: bool) -> None:
        if self._entropy is None:
            return
        if not checked:
            self._waiting.append(call)
            return
        self._first = self._first or Earlier(call.queries[:GROUP_QUERIES], call.answers[:GROUP_QUERIES])
        self._last = Earlier(call.queries[-GROUP_QUERIES:], call.answers[-GROUP_QUERIES:])
        self._waiting.clear()
