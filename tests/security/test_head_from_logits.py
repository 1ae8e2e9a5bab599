"""A client solves for the head from the logits of d_A + 1 queries: a leak by design, which the query budget bounds.

Nothing in the answers is at fault here, so no suite helps. What helps is a budget below d_A + 1; its own limits are
tested as well, since whoever relies on it should know them.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from support.machines import inference_client, inference_provider
from support.pair import SUITES, Pair

from securealign.alignment.head import LinearHead
from securealign.errors import ErrorCode
from securealign.matrices import FloatMatrix
from securealign.protocol.policy.rules import Policy
from securealign.protocol.states import State
from securealign.wire import InferenceCodec

EACH_SUITE = pytest.mark.parametrize("suite", SUITES.values(), ids=SUITES)
FEATURES, CLASSES = 6, 3
NEEDED = FEATURES + 1
HEAD = LinearHead(
    np.random.default_rng(0).normal(size=(FEATURES, CLASSES)),
    np.random.default_rng(1).normal(size=CLASSES),
    ("a", "b", "c"),
)
QUERIES = np.random.default_rng(2).normal(size=(2 * NEEDED, FEATURES))
#: V over c, which the attacker is after.
TRUTH = np.vstack([HEAD.weight, HEAD.bias])


def session(suite, budget: int, head: LinearHead = HEAD) -> Pair:
    codec = InferenceCodec()
    client = inference_client([suite], len(head.weight), slots=len(QUERIES))
    policy = Policy(allow_unencrypted=True, max_queries=budget)
    provider = inference_provider([suite], head, policy=policy)
    pair = Pair(client, provider, codec)
    pair.start()
    pair.carry()
    return pair


def logits(pair: Pair, queries: FloatMatrix) -> FloatMatrix:
    """Ask one query after the other until one is refused; return the logits so far."""
    answers = [np.empty((0, len(pair.provider._offer.head.class_names)))]
    for query in queries:
        if pair.client.state is State.ABORTED:
            break
        pair.up.extend(pair.client.submit(query[None]))
        pair.carry()
        answers += [rows for _, rows in pair.client.take_answers()]
    return np.vstack(answers)


def extracted(queries: FloatMatrix, answers: FloatMatrix) -> FloatMatrix:
    """Return the head of least norm that explains the answers."""
    asked = np.hstack([queries[: len(answers)], np.ones((len(answers), 1))])
    return np.linalg.lstsq(asked, answers, rcond=None)[0]


def relative_error(head: FloatMatrix) -> float:
    return float(np.linalg.norm(head - TRUTH) / np.linalg.norm(TRUTH))


@EACH_SUITE
def test_as_many_queries_as_a_column_has_entries_determine_the_head(suite):
    pair = session(suite, NEEDED)
    answers = logits(pair, QUERIES[:NEEDED])
    assert len(answers) == NEEDED
    assert relative_error(extracted(QUERIES, answers)) < (1e-12 if suite is SUITES["plaintext"] else 1e-3)


@EACH_SUITE
def test_a_budget_ends_the_session_before_the_head_is_determined(suite):
    pair = session(suite, FEATURES)
    answers = logits(pair, QUERIES)
    pair.assert_aborted(ErrorCode.QUERY_BUDGET_EXHAUSTED, by="provider")
    assert len(answers) == FEATURES
    assert relative_error(extracted(QUERIES, answers)) > 0.1


@EACH_SUITE
def test_the_error_falls_with_the_budget_and_vanishes_at_one_query_more_than_dimensions(suite):
    errors = [
        relative_error(extracted(QUERIES, logits(session(suite, budget), QUERIES))) for budget in range(1, NEEDED + 2)
    ]
    assert all(later < earlier for earlier, later in pairwise(errors[:NEEDED]))
    assert min(errors[:FEATURES]) > 0.1
    assert max(errors[FEATURES:]) < 1e-3


def test_a_budget_bounds_one_session_and_not_many():
    """Without an account; with one, sessions of a peer count together (test_query_budget)."""
    half = NEEDED // 2 + 1
    parts = [QUERIES[:half], QUERIES[half : 2 * half]]
    answers = [logits(session(SUITES["plaintext"], half), part) for part in parts]
    assert relative_error(extracted(np.vstack(parts), np.vstack(answers))) < 1e-12


@EACH_SUITE
def test_a_budget_counts_queries_and_not_the_bits_of_their_answers(suite):
    """Without an account: weights of few bits, side by side in the digits of one logit."""
    weight = np.random.default_rng(3).integers(-1, 2, size=(FEATURES, CLASSES)).astype(float)
    head = replace(HEAD, weight=weight, bias=np.zeros(CLASSES))
    (answer,) = logits(session(suite, 1, head), 3.0 ** np.arange(FEATURES)[None])
    digits, rest = [], np.rint(answer)
    for _ in range(FEATURES):
        digit = (rest + 1) % 3 - 1
        digits.append(digit)
        rest = (rest - digit) / 3
    assert (np.array(digits) == weight).all()
