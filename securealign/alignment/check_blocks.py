"""Checks of a stream of queries: block after block, so that answers are used as they come and memory stays flat.

Check rows of a block also hold queries of the block before it and of the first one: a provider that changes its head
differs from the block before, and one that changes it little by little from the first. Blocks whose number and queries
are known can be made again by another process.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from securealign.alignment.checks import (
    GROUP_QUERIES,
    CheckedQueries,
    Earlier,
    Judge,
)
from securealign.he.entropy import Entropy
from securealign.matrices import FloatMatrix


class CheckedBlocks:
    """The blocks of one session. `entropy` gives the randomness of a block by its number; without it none is checked.

    Blocks are asked in the order of their numbers, from 0. `label_bits` is given where answers are labels.
    """

    def __init__(self, entropy: Callable[[int], Entropy] | None, label_bits: int | None = None) -> None:
        self._entropy = entropy
        self._labels = label_bits is not None
        self._first: Earlier | None = None
        self._last: Earlier | None = None
        self._judge = Judge(label_bits)

    def block(self, number: int, queries: FloatMatrix) -> CheckedQueries:
        """Return a block with its check rows; the blocks before it are settled, or recalled."""
        earlier = None
        if self._first is not None and self._last is not None:
            known = [self._last] if number == 1 else [self._first, self._last]
            earlier = Earlier(np.vstack([k.queries for k in known]), np.vstack([k.answers for k in known]))
        return self._rows(number, queries, earlier)

    def settle(
        self, number: int, queries: FloatMatrix, checked: CheckedQueries, rows: FloatMatrix, error: float
    ) -> FloatMatrix:
        """Return the answers to the queries of a block, given those of all its rows.

        `error` is the standard deviation of a logit's error. Raises `RemoteProtocolError` for answers that contradict
        each other, or those of earlier blocks.
        """
        answers = self._judge.answers(checked, rows, error)
        self._remember(number, Earlier(queries, answers))
        return answers

    def recall(self, number: int, queries: FloatMatrix, rows: FloatMatrix) -> None:
        """Take up a block that another process has settled, with the answers to all its rows."""
        self._remember(number, Earlier(queries, self._rows(number, queries, None).answers(rows)))

    def _rows(self, number: int, queries: FloatMatrix, earlier: Earlier | None) -> CheckedQueries:
        entropy = self._entropy(number) if self._entropy is not None else None
        return CheckedQueries(queries, entropy, labels=self._labels, earlier=earlier)

    def _remember(self, number: int, block: Earlier) -> None:
        if number == 0:
            self._first = Earlier(block.queries[:GROUP_QUERIES], block.answers[:GROUP_QUERIES])
        self._last = block
