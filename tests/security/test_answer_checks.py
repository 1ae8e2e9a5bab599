"""A provider that alters answers, or answers with more than one head, against the client's checks."""

from __future__ import annotations

import math
from contextlib import suppress

import numpy as np
import pytest
from support.entropy import SeededEntropy
from support.pair import TOY_LWE

from securealign import api, classify_in_process
from securealign.alignment import checks
from securealign.alignment.check_blocks import CheckedBlocks
from securealign.alignment.checks import (
    CheckedQueries,
    _groups,
    require_consistent,
    require_same_labels,
    rows_with_checks,
)
from securealign.errors import ErrorCode, RemoteProtocolError
from securealign.he import plaintext
from securealign.he.blobs import HEADER_BYTES
from securealign.he.lwe.head import LweHeadEvaluator
from securealign.he.scales import TYPICAL_SHARE
from securealign.protocol.states import State

DIMENSION, CLASSES = 16, 4
RANDOM = np.random.default_rng(0)
WEIGHT, BIAS = RANDOM.normal(size=(DIMENSION, CLASSES)) / 4, RANDOM.normal(size=CLASSES)
#: Deviation of a logit's error for a query of norm 1, as under `lwe` for a head of norm 30.
ERROR = 2e-4
#: How much larger the error can be than what the client computes.
WORST = 2 * TYPICAL_SHARE


def logits(rows, weight=WEIGHT, bias=BIAS):
    return rows @ weight + bias


def session(queries=32, seed=0, *, error=ERROR, **options):
    """Return checked queries and honest answers to all rows with the error of encryption."""
    random = np.random.default_rng(seed)
    checked = CheckedQueries(random.normal(size=(queries, DIMENSION)), SeededEntropy(b"%d" % seed), **options)
    rows = checked.block(0, len(checked))
    norms = np.sqrt(1 + np.sum(rows**2, axis=1))[:, None]
    # Uniform as the flood is.
    noise = random.uniform(-math.sqrt(3), math.sqrt(3), size=(len(rows), CLASSES))
    return checked, rows, logits(rows) + error * norms * noise


def share_passed(alter, queries=32, count=150, **options):
    """Return the share of sessions in which answers that `alter(random, answers)` has changed pass."""
    passed = 0
    for seed in range(count):
        checked, _, answers = session(queries, seed, **options)
        alter(np.random.default_rng(seed), answers)
        passed += not checked.failed_groups(answers, ERROR)
    return passed / count


def one_slot(random, answers):
    answers[random.integers(len(answers)), random.integers(CLASSES)] += 0.5


def two_slots(sign):
    def alter(random, answers):
        first, second = random.choice(len(answers), 2, replace=False)
        answers[first, 1] += 0.5
        answers[second, 1] += 0.5 * sign

    return alter


def equal_sizes(count, entropy):
    """Draw signs alone, corrected to add up to 1."""
    signs = np.where(checks._uniform(entropy, count) < 0.5, -1.0, 1.0) / math.sqrt(count)
    return signs + (1 - signs.sum()) / count


@pytest.mark.parametrize("error", [0.0, ERROR, WORST * ERROR], ids=["none", "expected", "worst"])
def test_honest_answers_pass(error):
    for seed in range(100):
        checked, _, answers = session(int(8 + seed % 70), seed, error=error)
        found = require_consistent(checked, answers, ERROR)
        assert np.abs(found - logits(checked._queries)).max() < 1e-2


def test_a_false_alarm_is_rarer_than_one_in_a_billion(monkeypatch):
    """The difference of a check has the computed deviation, and the threshold is beyond its tail in the worst case."""
    ratios = []
    for seed in range(300):
        checked, _, answers = session(32, seed)
        own = checked.answers(answers)
        for check in checked._checks:
            norms = np.sqrt(1 + np.sum(checked._queries[check.queries] ** 2, axis=1)) * check.coefficients
            row = checked._row(check)
            deviation = ERROR * math.sqrt(1 + row @ row + norms @ norms)
            ratios.append((answers[check.place] - check.coefficients @ own[check.queries]) / deviation)
    assert np.std(ratios) == pytest.approx(1, abs=0.06)
    assert math.erfc(checks.DEVIATIONS / WORST / math.sqrt(2)) < 1e-9


def test_one_altered_answer_is_always_caught():
    assert share_passed(one_slot) == 0
    checked, _, answers = session(70)
    for place in range(len(checked)):
        altered = answers.copy()
        altered[place, 2] -= 0.2
        assert checked.failed_groups(altered, ERROR)
        altered[place, 2] = np.nan
        assert checked.failed_groups(altered, ERROR)
    # The control: without check rows nothing is noticed.
    bare = CheckedQueries(checked._queries, None)
    wrong = logits(checked._queries) + 100 * np.eye(70, CLASSES)
    assert not bare.failed_groups(wrong, ERROR)


def test_two_altered_answers_are_hardly_ever_missed(monkeypatch):
    for sign in (1, -1):
        assert share_passed(two_slots(sign)) < 0.03
    # The control: among coefficients of one size, two opposite errors cancel in a quarter of all sessions.
    monkeypatch.setattr(checks, "_coefficients", equal_sizes)
    assert 0.12 < share_passed(two_slots(-1)) < 0.35


def test_the_same_constant_on_all_answers_is_not_seen():
    """A limit: it is what another bias would give."""

    def constant(_random, answers):
        answers += [0.5, 0, -3, 0]

    assert share_passed(constant, 70, count=20) == 1


@pytest.mark.parametrize("switched", [34, 3 * 34], ids=["after the first group", "after the third"])
def test_another_head_for_later_groups_is_caught(monkeypatch, switched):
    def another_head(_random, answers):
        answers[switched:] += 0.5 * RANDOM.normal(size=CLASSES)

    queries = 32 * 5
    assert share_passed(another_head, queries, count=40) == 0
    # The control: in groups of their own, each head agrees with itself.
    monkeypatch.setattr(checks, "_FROM_LAST", 0)
    monkeypatch.setattr(checks, "_FROM_EARLIER", 0)
    assert share_passed(another_head, queries, count=40) == 1


def test_two_heads_in_one_group_are_caught():
    other = WEIGHT + 0.2 * RANDOM.normal(size=WEIGHT.shape)
    for seed in range(60):
        checked, rows, answers = session(32, seed)
        first = 1 + seed % 32
        answers[:first] = logits(rows[:first], other)
        assert checked.failed_groups(answers, ERROR)


def test_the_failed_groups_are_counted_and_nothing_is_returned():
    checked, _, answers = session(320)
    place = int(np.flatnonzero(checked._order == 319)[0])
    answers[place] += 1
    assert checked.failed_groups(answers, ERROR) == [9]
    with pytest.raises(RemoteProtocolError, match="1 of 10 groups") as caught:
        require_consistent(checked, answers, ERROR)
    assert caught.value.code is ErrorCode.ANSWERS_INCONSISTENT


def lying(evaluate):
    """Return a provider's answer that moves one logit of its first query by 1."""

    def altered(self, pool, first_slot, count, query):
        answer = np.frombuffer(evaluate(self, pool, first_slot, count, query), dtype="<f8").copy()
        answer[0] += 1
        return answer.tobytes()

    return altered


class Watched(api.InferenceProvider):
    """Keeps the provider's machines."""

    made: list[api.InferenceProvider] = []  # noqa: RUF012

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.made.append(self)


@pytest.fixture
def provider(monkeypatch):
    monkeypatch.setattr(Watched, "made", [])
    monkeypatch.setattr(api, "InferenceProvider", Watched)
    return Watched.made


QUERIES = RANDOM.normal(size=(20, DIMENSION))


def test_a_provider_that_lies_is_told_nothing(monkeypatch, provider):
    """The session ends in agreement; only then does the client refuse the answers."""
    monkeypatch.setattr(plaintext._HeadProvider, "evaluate", lying(plaintext._HeadProvider.evaluate))
    with pytest.raises(RemoteProtocolError) as caught:
        classify_in_process(WEIGHT, BIAS, QUERIES, suite="plaintext")
    assert caught.value.code is ErrorCode.ANSWERS_INCONSISTENT
    assert provider[0].state is State.DONE
    assert provider[0].error is None
    # The control: without the check its answers are taken.
    wrong = classify_in_process(WEIGHT, BIAS, QUERIES, suite="plaintext", verify_answers=False).logits
    assert np.abs(wrong - logits(QUERIES)).max() == pytest.approx(1)


def test_an_altered_h_that_tells_an_entry_of_the_secret_is_caught(monkeypatch, provider):
    """The logit is off where an entry of S is not zero: whoever sees which answers a client drops learns that entry."""
    prepare = LweHeadEvaluator.prepare

    def altered(self, pool, nonce):
        data = bytearray(prepare(self, pool, nonce))
        # Adds 2^36 or subtracts it, in one entry of H.
        data[HEADER_BYTES + 2 + 4] ^= 0x10
        return bytes(data)

    honest = classify_in_process(WEIGHT, BIAS, QUERIES, suite=TOY_LWE, entropy=SeededEntropy(b"h"))
    assert np.abs(honest.logits - logits(QUERIES)).max() < 1e-2
    monkeypatch.setattr(LweHeadEvaluator, "prepare", altered)
    with pytest.raises(RemoteProtocolError) as caught:
        classify_in_process(WEIGHT, BIAS, QUERIES, suite=TOY_LWE, entropy=SeededEntropy(b"h"))
    assert caught.value.code is ErrorCode.ANSWERS_INCONSISTENT
    assert provider[-1].state is State.DONE
    # The control: without the check some logits of the first class are taken as they are, and others are right.
    taken = classify_in_process(
        WEIGHT, BIAS, QUERIES, suite=TOY_LWE, verify_answers=False, entropy=SeededEntropy(b"h")
    ).logits
    wrong = np.abs(taken - honest.logits)[:, 0] > 0.1
    assert 0 < wrong.sum() < len(QUERIES)


def test_check_rows_are_counted_as_queries(provider):
    for count, rows in ((7, 7), (8, 10), (32, 34), (33, 37), (64, 68)):
        assert rows_with_checks(count) == rows
        classify_in_process(WEIGHT, BIAS, RANDOM.normal(size=(count, DIMENSION)), suite="plaintext")
        assert provider[-1].queries_answered == rows
        assert provider[-1]._pools == 1


def test_rows_are_the_same_when_they_are_made_again_and_lie_elsewhere_under_another_secret():
    queries = RANDOM.normal(size=(100, DIMENSION))
    first, again, other = (CheckedQueries(queries, SeededEntropy(seed)) for seed in (b"a", b"a", b"b"))
    np.testing.assert_array_equal(first.block(0, 200), again.block(0, 200))
    assert [check.place for check in first._checks] != [check.place for check in other._checks]
    np.testing.assert_array_equal(np.vstack([first.block(0, 7), first.block(7, 200)]), first.block(0, 200))


def label_session(seed, relabel=lambda random, rows, labels: labels, *, count=64, own_group=False):
    """Return checked queries for labels and the labels of all rows, changed by `relabel`.

    With `own_group` repeats are of queries of their own group.
    """
    random = np.random.default_rng(seed)
    checked = CheckedQueries(random.normal(size=(count, DIMENSION)), SeededEntropy(b"%d" % seed), labels=True)
    if own_group:
        bounds = [(first, last) for _, first, last, _ in _groups(count, SeededEntropy(b""))]
        checked._checks = [
            check._replace(queries=random.integers(*bounds[check.group], size=1)) for check in checked._checks
        ]
    rows = checked.block(0, len(checked))
    return checked, relabel(random, rows, logits(rows).argmax(axis=1).astype(float))


def test_repeated_queries_show_labels_that_are_made_up():
    def made_up(random, _rows, labels):
        return random.integers(0, CLASSES, size=len(labels)).astype(float)

    assert not any(label_session(seed)[0].different_labels(label_session(seed)[1]) for seed in range(20))
    found = [checked.different_labels(labels) for checked, labels in (label_session(s, made_up) for s in range(40))]
    assert np.mean([len(different) for different in found]) == pytest.approx(3, abs=0.4)


def test_labels_that_are_made_up_are_refused_and_a_query_at_a_boundary_is_not():
    random = np.random.default_rng(0)
    checked = CheckedQueries(random.normal(size=(320, DIMENSION)), SeededEntropy(b"l"), labels=True)
    honest = np.stack([logits(checked.block(0, len(checked))).argmax(axis=1), np.zeros(len(checked))], axis=1)
    assert require_same_labels(checked, honest, 16).shape == (320, 2)
    boundary = honest.copy()
    boundary[checked._checks[3].place, 0] += 1
    assert require_same_labels(checked, boundary, 16).shape == (320, 2)
    made_up = honest.copy()
    made_up[:, 0] = random.integers(0, CLASSES, size=len(checked))
    with pytest.raises(RemoteProtocolError, match="of 20 queries that were asked twice") as caught:
        require_same_labels(checked, made_up, 16)
    assert caught.value.code is ErrorCode.ANSWERS_INCONSISTENT
    # The control: without repeats the labels are taken.
    require_same_labels(CheckedQueries(checked._queries, None, labels=True), made_up[:320], 16)


def test_no_query_is_repeated_twice_and_repeats_are_of_earlier_groups():
    for count in (8, 33, 64, 1000):
        checks = label_session(1, count=count)[0]._checks
        repeated = [int(check.queries[0]) for check in checks]
        assert len(set(repeated)) == len(repeated) == rows_with_checks(count) - count
        for (_, first, last, _), pair in zip(
            _groups(count, SeededEntropy(b"")), np.reshape(repeated, (-1, 2)), strict=True
        ):
            assert (pair < (first or last)).all()


def five_in_a_hundred(random, rows, labels):
    """Lie (a): labels at random, one row in twenty."""
    return np.where(random.random(len(rows)) < 0.05, random.integers(CLASSES, size=len(rows)), labels)


def another_head(random, rows, labels):
    """Lie (b): the labels of another head in the second half of a session."""
    other = logits(rows, WEIGHT[:, ::-1]).argmax(axis=1)
    return np.where(np.arange(len(rows)) < len(rows) // 2, labels, other)


def one_batch(random, rows, labels):
    """Lie (c): one wrong label for all rows of a group."""
    batch = np.arange(len(rows)) // 34 == random.integers(len(rows) // 34)
    return np.where(batch, random.integers(CLASSES), labels)


def one_rule(_random, rows, labels):
    """A lie that always gives a query the same label."""
    return np.where(np.abs(rows[:, 0]) < 0.1, (labels + 1) % CLASSES, labels)


def refused(lie, count, **options):
    """Return how many of 30 sessions have labels that are refused."""
    found = 0
    for seed in range(30):
        checked, labels = label_session(seed, lie, count=count, **options)
        with suppress(RemoteProtocolError):
            require_same_labels(checked, np.stack([labels, np.zeros(len(labels))], axis=1), 16)
            found -= 1
        found += 1
    return found


@pytest.mark.parametrize(
    ("lie", "count", "least", "most"),
    [
        (five_in_a_hundred, 320, 0, 9),
        (five_in_a_hundred, 1280, 12, 30),
        (another_head, 320, 18, 30),
        (one_batch, 320, 3, 20),
        (one_rule, 320, 0, 0),
    ],
)
def test_how_many_lies_about_labels_are_caught(lie, count, least, most):
    assert least <= refused(lie, count) <= most


def test_another_head_for_later_labels_passes_where_repeats_are_of_their_own_group():
    """The control: both labels of a query are those of the same head."""
    assert refused(another_head, 320, own_group=True) == 0


def refused_at(blocks, answer, *, bits=None, size=32, error=ERROR):
    """Return the number of the first block whose answers, by number and rows, are refused; None if all pass."""
    checked = CheckedBlocks(lambda number: SeededEntropy(b"block %d" % number), bits)
    for number in range(blocks):
        queries = np.random.default_rng(number).normal(size=(size, DIMENSION))
        rows = checked.block(number, queries)
        answers = answer(number, rows.block(0, len(rows)))
        try:
            found = checked.settle(number, queries, rows, answers, error)
        except RemoteProtocolError:
            return number
        assert len(found) == size
    return None


def test_a_head_that_changes_from_block_to_block_is_caught(monkeypatch):
    def drift(step):
        return lambda number, rows: logits(rows) + number * step * np.eye(CLASSES)[0]

    def other_head(number, rows):
        return logits(rows) + (number >= 5) * 0.5 * np.arange(CLASSES)

    assert refused_at(12, lambda number, rows: logits(rows)) is None
    assert refused_at(12, other_head) == 5
    assert refused_at(12, drift(0.5)) == 1
    # Steps that no two neighbours show add up against the first block.
    slow = refused_at(200, drift(5 * ERROR))
    assert slow is not None
    assert slow > 20
    # The controls: against the block before alone, a slow change passes; without check rows every one does.
    remember = CheckedBlocks._remember
    with monkeypatch.context() as patch:
        patch.setattr(CheckedBlocks, "_remember", lambda self, number, block: remember(self, 0, block))
        assert refused_at(200, drift(5 * ERROR)) is None
    monkeypatch.setattr(CheckedBlocks, "_rows", lambda self, number, queries, earlier: CheckedQueries(queries, None))
    assert refused_at(12, other_head) is None


def test_a_block_is_made_again_after_its_neighbours_are_recalled():
    entropy = lambda number: SeededEntropy(b"%d" % number)  # noqa: E731
    queries = [RANDOM.normal(size=(64, DIMENSION)) for _ in range(4)]
    whole, resumed = CheckedBlocks(entropy), CheckedBlocks(entropy)
    asked = []
    for number in range(4):
        rows = whole.block(number, queries[number])
        asked.append(rows.block(0, 200))
        whole.settle(number, queries[number], rows, logits(asked[-1]), ERROR)
    for number in (0, 2):
        resumed.recall(number, queries[number], logits(asked[number]))
    np.testing.assert_allclose(resumed.block(3, queries[3]).block(0, 200), asked[3], atol=1e-12)


def test_labels_of_blocks_are_refused_when_too_many_differ_over_all():
    random = np.random.default_rng(5)

    def labelled(rows, labels):
        return np.stack([labels.astype(float), np.zeros(len(rows))], axis=1)

    def honest(_number, rows):
        return labelled(rows, logits(rows).argmax(axis=1))

    def made_up(_number, rows):
        return labelled(rows, random.integers(CLASSES, size=len(rows)))

    def boundary(number, rows):
        found = honest(number, rows)
        # One answer of every fortieth block is another one.
        found[0, 0] += number % 40 == 0
        return found

    assert refused_at(100, honest, bits=16) is None
    assert refused_at(100, boundary, bits=16) is None
    assert refused_at(20, made_up, bits=16) is not None


def made_up_labels(evaluate):
    """Return an evaluation that gives every row its own label."""
    random = np.random.default_rng(8)

    def evaluate_otherwise(self, pool, first_slot, count, query):
        evaluate(self, pool, first_slot, count, query)
        return np.stack([random.integers(CLASSES, size=count), np.zeros(count)], axis=1).astype("<f8").tobytes()

    return evaluate_otherwise


def test_a_provider_that_makes_labels_up_is_refused_once_the_session_is_over(monkeypatch, provider):
    queries = RANDOM.normal(size=(128, DIMENSION))
    honest = classify_in_process(WEIGHT, BIAS, queries, suite="plaintext", output="label").labels
    np.testing.assert_array_equal(honest, logits(queries).argmax(axis=1))
    monkeypatch.setattr(plaintext._HeadProvider, "evaluate", made_up_labels(plaintext._HeadProvider.evaluate))
    with pytest.raises(RemoteProtocolError) as caught:
        classify_in_process(WEIGHT, BIAS, queries, suite="plaintext", output="label")
    assert caught.value.code is ErrorCode.ANSWERS_INCONSISTENT
    assert provider[-1].state is State.DONE
    assert provider[-1].error is None
    # The control: without the check they are taken.
    wrong = classify_in_process(WEIGHT, BIAS, queries, suite="plaintext", output="label", verify_answers=False).labels
    assert (wrong != honest).mean() > 0.4


def test_one_altered_label_is_mostly_missed():
    """A limit: it is seen only where that query, or its copy, is one of the few that are asked twice."""

    def one(random, _rows, labels):
        labels[random.integers(len(labels))] += 1
        return labels

    seen = np.mean(
        [bool(checked.different_labels(labels)) for checked, labels in (label_session(s, one) for s in range(200))]
    )
    assert 0.04 < seen < 0.25
