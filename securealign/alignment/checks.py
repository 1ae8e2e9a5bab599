"""Checks of a provider's answers: rows among the queries whose answers must follow from those of the others.

A check row is a combination of queries whose coefficients add up to 1, so that a linear head with a bias answers it by
the same combination of logits. Two such rows lie at random places in each group of queries. They also hold queries of
earlier groups: otherwise another head for every group would pass. Where answers are labels, a check row repeats a
query of an earlier group.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from securealign.alignment.margins import query_norms
from securealign.alignment.scaling import Vector
from securealign.errors import ErrorCode, RemoteProtocolError
from securealign.he.entropy import Entropy
from securealign.limits import Limits
from securealign.matrices import FloatMatrix

#: Fewer queries are not checked.
FEWEST_QUERIES = 8
#: Queries of a group at most, and check rows for each group.
GROUP_QUERIES, GROUP_CHECKS = 32, 2
#: Queries of the group before, and of any earlier one, that a check row holds besides those of its group.
_FROM_LAST, _FROM_EARLIER = 2, 2
#: Deviations of a check's error at which it fails. Scales are powers of two, so that the computed deviation is up to
#: 1.36 times too small: an honest logit fails with a probability below 1e-9.
DEVIATIONS = 8.5
#: Share of queries that honestly get two labels when asked twice, at one bit, and falls by half with each more: at most
#: 1.3 % with 12 bits and 0.03 % with 16 on real embeddings. Probability that an honest provider is refused for it.
_HONEST_DIFFERENCES, _FALSE_ALARM = 64.0, 1e-6
#: Rounding of logits in float64 relative to the largest, for suites that add no error of their own.
_ROUNDING = 1e-9

Indices = npt.NDArray[np.int64]


class Check(NamedTuple):
    """A check row: the group that it is for, its place among the rows, and the queries (B,) that it combines."""

    group: int
    place: int
    queries: Indices
    coefficients: Vector


def rows_with_checks(queries: int) -> int:
    """Return the number of rows that queries become: two more for each group of at most 32, from 8 queries on."""
    groups = -(-queries // GROUP_QUERIES) if queries >= FEWEST_QUERIES else 0
    return queries + GROUP_CHECKS * groups


def slots_with_checks(slots: int, queries: int) -> int:
    """Return the slots of a pool for `slots` of so many queries and the check rows among them, within the limit."""
    if queries < FEWEST_QUERIES:
        return slots
    return max(slots, min(rows_with_checks(slots), Limits().max_pool_slots))


class Earlier(NamedTuple):
    """Queries (m, d) that were asked before, and their answers (m, K)."""

    queries: npt.NDArray[np.floating]
    answers: FloatMatrix


class CheckedQueries:
    """Queries (m, d) with check rows among them, in the order in which they are submitted.

    Everything that is random comes from `entropy`, so that the rows can be made again; without it nothing is checked.
    Places of check rows depend on it and on m alone. With `labels` check rows suit answers that are labels. Check rows
    also hold queries of `earlier`, and those of the first group all of the last `unchecked` ones among them.
    """

    def __init__(
        self,
        queries: npt.NDArray[np.floating],
        entropy: Entropy | None,
        *,
        labels: bool = False,
        earlier: Earlier | None = None,
        unchecked: int = 0,
    ) -> None:
        self._earlier = earlier
        known = 0 if earlier is None else len(earlier.queries)
        #: Earlier queries, then those to ask.
        self._queries = queries if earlier is None else np.vstack([earlier.queries, queries])
        self._checks: list[Check] = []
        if entropy is not None and len(self._queries) >= FEWEST_QUERIES:
            if labels:
                self._checks = list(_label_checks(known, len(queries), entropy))
            else:
                self._checks = list(_checks(known, len(queries), entropy, unchecked))
        #: For each row its query, or -1 - k for check k.
        self._order = _order(known, len(queries), [check.place for check in self._checks])

    def __len__(self) -> int:
        """Return the number of rows to submit."""
        return len(self._order)

    @property
    def checks(self) -> int:
        """Check rows among them."""
        return len(self._checks)

    def room(self, queries: int) -> int:
        """Return the rows of a message for so many queries and the check rows among them."""
        return rows_with_checks(queries) if self._checks else queries

    def block(self, first: int, last: int) -> FloatMatrix:
        """Return rows `first` to `last`, shape (last - first, d); fewer at the end."""
        order = self._order[first:last]
        rows = np.asarray(self._queries[np.maximum(order, 0)], dtype=np.float64)
        for place in np.flatnonzero(order < 0):
            rows[place] = self._row(self._checks[-1 - order[place]])
        return rows

    def answers(self, answers: FloatMatrix) -> FloatMatrix:
        """Return the answers of the queries alone, in their order, shape (m, K)."""
        return answers[self._order >= 0]

    def failed_groups(self, logits: FloatMatrix, logit_error: float) -> list[int]:
        """Return the groups whose checks fail, given the logits of all rows (len(self), K).

        `logit_error` is the standard deviation of a logit's error for a query [z; 1] of norm 1. NaN fails.
        """
        answers = self._with_earlier(logits)
        return sorted({check.group for check in self._checks if not self._holds(check, logits, answers, logit_error)})

    def different_labels(self, labels: npt.NDArray[np.floating]) -> list[int]:
        """Return the check rows whose label (len(self),) is another than that of the query which they repeat."""
        own = self._with_earlier(labels[:, None])[:, 0]
        return [k for k, check in enumerate(self._checks) if labels[check.place] != own[check.queries[0]]]

    def _with_earlier(self, answers: npt.NDArray[np.floating]) -> FloatMatrix:
        """Return the answers to earlier queries and to these, given those of all rows."""
        own = np.asarray(answers[self._order >= 0], dtype=np.float64)
        return own if self._earlier is None else np.vstack([self._earlier.answers[:, : own.shape[1]], own])

    def _holds(self, check: Check, logits: FloatMatrix, answers: FloatMatrix, logit_error: float) -> bool:
        answer, parts = logits[check.place], answers[check.queries]
        norms = query_norms(np.vstack([self._row(check), self._queries[check.queries]]))
        deviation = logit_error * float(np.linalg.norm(norms * np.append(1.0, check.coefficients)))
        largest = max(float(np.abs(answer).max()), float(np.abs(parts).max()))
        difference = np.abs(answer - check.coefficients @ parts)
        return bool((difference <= DEVIATIONS * deviation + _ROUNDING * largest).all())

    def _row(self, check: Check) -> Vector:
        row: Vector = check.coefficients @ np.asarray(self._queries[check.queries], dtype=np.float64)
        return row


def require_consistent(checked: CheckedQueries, logits: FloatMatrix, logit_error: float) -> FloatMatrix:
    """Return the logits of the queries, shape (m, K), given those of all rows.

    Raises `RemoteProtocolError` when a check fails. Call it when the session is over: a provider that sees a client
    stop after an answer learns what became of that answer.
    """
    failed = checked.failed_groups(logits, logit_error)
    if failed:
        groups = checked.checks // GROUP_CHECKS
        raise RemoteProtocolError(
            f"The answers to {len(failed)} of {groups} groups of queries contradict each other.",
            hint="Do not use any of them; ask the provider's operator which head answered.",
            code=ErrorCode.ANSWERS_INCONSISTENT,
        )
    return checked.answers(logits)


def require_same_labels(checked: CheckedQueries, answers: FloatMatrix, bits: int) -> FloatMatrix:
    """Return the answers of the queries, shape (m, 2), given those of all rows, where these are labels.

    Labels are computed from the top `bits` of differences of logits, so a query at a boundary may honestly get two.
    Raises `RemoteProtocolError` when more queries that were asked twice got two labels than that explains; call it when
    the session is over.
    """
    require_few_differences(len(checked.different_labels(answers[:, 0])), checked.checks, bits)
    return checked.answers(answers)


def require_few_differences(different: int, asked: int, bits: int, *, look: int = 0) -> None:
    """Raise `RemoteProtocolError` when too many of the queries `asked` twice got two labels.

    A stream is looked at after each block, numbered from 1: over all looks an honest provider is refused as rarely.
    """
    from scipy.special import bdtrc  # Importing scipy.special takes a tenth of a second, and few programs need it.

    share = min(1.0, _HONEST_DIFFERENCES * 2.0**-bits)
    # The sum of 1 / (look (look + 1)) over all looks is 1.
    alarm = _FALSE_ALARM / max(1, look * (look + 1))
    if different and bdtrc(different - 1, asked, share) < alarm:
        raise RemoteProtocolError(
            f"{different} of {asked} queries that were asked twice got two labels.",
            hint="Do not use any of them; ask the provider's operator which head answered, and whether two of its "
            "classes are nearly the same.",
            code=ErrorCode.ANSWERS_INCONSISTENT,
        )


class Judge:
    """Takes the answers of a stream of messages, and counts differences of labels over all of them.

    `label_bits` is given where answers are labels.
    """

    def __init__(self, label_bits: int | None) -> None:
        self._label_bits = label_bits
        self._asked_twice = self._different = self._looks = 0

    def answers(self, checked: CheckedQueries, rows: FloatMatrix, logit_error: float) -> FloatMatrix:
        """Return the answers (m, K) to the queries of the next message, given those of all its rows.

        Raises `RemoteProtocolError` for answers that contradict each other or earlier ones.
        """
        if self._label_bits is None:
            return require_consistent(checked, rows, logit_error)
        self._looks += 1
        self._asked_twice += checked.checks
        self._different += len(checked.different_labels(rows[:, 0]))
        require_few_differences(self._different, self._asked_twice, self._label_bits, look=self._looks)
        return checked.answers(rows)


def _order(known: int, queries: int, places: list[int]) -> Indices:
    order = np.zeros(queries + len(places), dtype=np.int64)
    order[places] = -1 - np.arange(len(places))
    order[order >= 0] = known + np.arange(queries)
    return order


def _groups(queries: int, entropy: Entropy) -> Iterator[tuple[int, int, int, list[int]]]:
    """Yield number, first and last query, and places of check rows of groups of nearly equal size."""
    count = -(-queries // GROUP_QUERIES)
    bounds = [queries * group // count for group in range(count + 1)]
    groups = list(zip(range(count), bounds[:-1], bounds[1:], strict=True))
    # Drawn before anything else, so that they do not depend on earlier queries.
    places = [_places(first, last, group, entropy) for group, first, last in groups]
    yield from ((*group, own) for group, own in zip(groups, places, strict=True))


def _checks(known: int, queries: int, entropy: Entropy, unchecked: int) -> Iterator[Check]:
    """Yield the check rows of all groups; the first one has the last `unchecked` of the known queries as well."""
    before = max(0, known - unchecked - GROUP_QUERIES)
    for group, first, last, places in _groups(queries, entropy):
        start = known + first - (0 if group else unchecked)
        for place in places:
            mixed = np.concatenate(
                [_choice(before, start, _FROM_LAST, entropy), _choice(0, before, _FROM_EARLIER, entropy)]
            )
            parts = np.concatenate([np.arange(start, known + last), mixed])
            yield Check(group, place, parts, _coefficients(len(parts), entropy))
        before = start


def _label_checks(known: int, queries: int, entropy: Entropy) -> Iterator[Check]:
    """Yield check rows that repeat a query of an earlier group; those of the very first group, one of their own.

    A lie about whole groups gives a query and its repeat in one group the same wrong label. No query is repeated twice:
    one at a boundary would count twice.
    """
    repeated: set[int] = set()
    for group, first, last, places in _groups(queries, entropy):
        before = known + first
        for place in places:
            end = before if before > len(repeated) else known + last
            while (query := _choice(0, end, 1, entropy))[0] in repeated:
                pass
            repeated.add(int(query[0]))
            yield Check(group, place, query, np.ones(1))


def _places(first: int, last: int, group: int, entropy: Entropy) -> list[int]:
    """Return the places of a group's check rows among all rows, ascending."""
    offset = first + GROUP_CHECKS * group
    return sorted((offset + _choice(0, last - first + GROUP_CHECKS, GROUP_CHECKS, entropy)).tolist())


def _choice(first: int, last: int, count: int, entropy: Entropy) -> Indices:
    """Return `count` different numbers from `first` to `last`, all of them if there are fewer."""
    # Drawn one after the other with replacement where there are many: ordering a million numbers for two takes long.
    chosen: dict[int, None] = dict.fromkeys(range(first, last)) if last - first <= count else {}
    while len(chosen) < min(count, last - first):
        chosen[first + int(_uniform(entropy, 1)[0] * (last - first))] = None
    return np.array(list(chosen), dtype=np.int64)


def _coefficients(count: int, entropy: Entropy) -> Vector:
    """Return coefficients (count,) that add up to 1: random signs, sizes between 1/4 and 9/4 of 1 / sqrt(count).

    Sizes differ, so that two slots with the same error cancel hardly ever. None is small, so that no slot is free.
    """
    while True:
        uniform = _uniform(entropy, 2 * count)
        sizes = (0.5 + uniform[:count]) / np.sqrt(count)
        signs = np.where(uniform[count:] < 0.5, -1.0, 1.0)
        shift = (1 - signs @ sizes) / sizes.sum()
        if abs(shift) <= 0.5:
            coefficients: Vector = sizes * (signs + shift)
            return coefficients


def _uniform(entropy: Entropy, count: int) -> Vector:
    """Return numbers (count,) uniform in [0, 1)."""
    uniform: Vector = (entropy.octets(8 * count).view("<u8") >> np.uint64(11)) * 2.0**-53
    return uniform
