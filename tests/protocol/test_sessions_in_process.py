"""A session in one process: who is blamed, what is counted, and pools prepared ahead of need."""

from __future__ import annotations

import math

import numpy as np
import pytest
from support.pair import LABELS, OPEN_POLICY, TOY_LWE, InferenceCase, TrainingCase

from securealign.errors import ErrorCode, KeyStoreError, LocalProtocolError, PeerAborted, RemoteProtocolError
from securealign.transport.meter import Meter
from securealign.transport.sessions import InferenceSession, train
from securealign.transport.steps import InProcessLink

CASE = InferenceCase(suites=(TOY_LWE,), slots=2)


def link(pair, meter=None) -> InProcessLink:
    return InProcessLink(pair.client, pair.provider, meter or Meter(counted="client"))


def session(case=CASE) -> InferenceSession:
    pair = case.pair()
    return InferenceSession(link(pair), pair.client, Meter(counted="client"))


def test_training_returns_the_product():
    case = TrainingCase()
    pair = case.pair()
    np.testing.assert_allclose(train(link(pair), pair.client, Meter(counted="client")), case.product)
    pair.assert_done()


@pytest.mark.parametrize(
    ("case", "code"),
    [
        (TrainingCase(rows=4), ErrorCode.TOO_FEW_ROWS),
        (TrainingCase(provider_dataset=bytes(32)), ErrorCode.DATASET_MISMATCH),
    ],
)
def test_the_party_that_found_the_fault_explains_it(case, code):
    pair = case.pair()
    with pytest.raises(RemoteProtocolError) as caught:
        train(link(pair), pair.client, Meter(counted="client"))
    assert caught.value.code is code
    assert isinstance(pair.client.error, PeerAborted)


def test_a_session_that_stalls_says_so():
    with pytest.raises(LocalProtocolError, match="stalled"):
        link(TrainingCase().pair()).drive((), lambda: False)


def test_an_inference_session_uses_as_many_pools_as_it_needs():
    opened = session()
    assert opened.accepted.class_names == ("red", "green")
    for count in (1, 2, 5):
        queries = CASE.queries(count)
        np.testing.assert_allclose(opened.logits(queries), CASE.head.logits(queries), atol=1e-4)
    assert opened.logits(np.empty((0, 3))).shape == (0, 2)
    opened.close()


def test_pools_prepared_ahead_are_all_used():
    opened = session()
    for _ in range(3):
        opened.prepare()
    queries = CASE.queries(9)
    np.testing.assert_allclose(opened.logits(queries), CASE.head.logits(queries), atol=1e-4)
    opened.prepare()
    opened.close()


@pytest.mark.parametrize("policy", [OPEN_POLICY, LABELS], ids=["logits", "labels"])
def test_the_next_pool_is_asked_for_when_half_of_the_slots_are_used_and_more_queries_come(policy):
    case = InferenceCase(policy=policy, slots=4)
    pair = case.pair()
    opened = InferenceSession(link(pair), pair.client, Meter(counted="client"))
    asked = []
    for count, more in ((1, math.inf), (1, 2), (0, math.inf), (1, math.inf), (1, math.inf), (3, 0), (1, 0)):
        opened.answers(case.queries(count), more=more)
        asked.append(pair.provider._pools)
    # Half of the four slots are used after two queries; two more fit into the others.
    assert asked == [1, 1, 1, 2, 2, 2, 2]
    opened.answers(case.queries(1))
    assert pair.provider._pools == 3
    assert (opened.submitted, opened.queries_left) == (9, opened.accepted.queries_left - 9)
    assert opened.open
    opened.close()
    assert not opened.open


def test_the_record_of_answers_is_given_up_on_request():
    pair = InferenceCase(slots=8).opened()
    pair.client.record.wanted = True
    for _ in range(3):
        pair.up.extend(pair.client.submit(InferenceCase().queries(2)))
        pair.carry()
    opened = InferenceSession(link(pair), pair.client, Meter(counted="client"))
    opened.forget(1, 4)
    assert [name for name in pair.client.record.blobs if name.startswith("answer")] == ["answer/0/2", "answer/4/2"]


def test_nothing_is_known_before_the_handshake():
    pair = CASE.pair()

    class Silent:
        def drive(self, frames, until):
            list(frames)

    with pytest.raises(LocalProtocolError, match="handshake is not over"):
        _ = InferenceSession(Silent(), pair.client, Meter(counted="client")).accepted


def test_a_session_that_is_closed_takes_no_more_queries():
    opened = session()
    opened.close()
    for _ in range(2):
        with pytest.raises(LocalProtocolError):
            opened.logits(CASE.queries(2))


def test_the_counts_of_both_sides_agree():
    pairs = []
    for counted in ("client", "provider"):
        meter = Meter(counted=counted)
        pair = InferenceCase().pair()
        for side in ("client", "provider"):
            getattr(pair, side)._observer = meter.observer(side)
        opened = InferenceSession(link(pair, meter), pair.client, meter)
        opened.logits(InferenceCase().queries(3))
        opened.close()
        pairs.append((meter.stats().bytes_up, meter.stats().bytes_down))
    assert pairs[0] == pairs[1]


def test_labels_are_answers_and_never_logits():
    case = InferenceCase(policy=LABELS, slots=2)
    opened, queries = session(case), case.queries(5)
    with pytest.raises(LocalProtocolError, match="labels, which hold no logits"):
        opened.logits(queries)
    np.testing.assert_array_equal(opened.answers(queries), case.labelled(queries))
    assert opened.answers(np.empty((0, 3))).shape == (0, 2)
    assert opened.restored == []
    opened.close()


@pytest.mark.parametrize("columns", [2, 3])
def test_answers_that_were_kept_have_the_output_of_the_session(columns):
    """Logits of three classes would be taken for labels and confidence otherwise."""
    pair = InferenceCase(policy=LABELS, class_names=("red", "green", "blue")).opened()
    pair.up.extend(pair.client.submit(pair.provider._offer.head.weight.T[:2]))
    pair.carry()
    pair.client._answers = [(0, np.zeros((2, columns)))]
    if columns == 2:
        ((number, answers),) = InferenceSession(link(pair), pair.client, Meter(counted="client")).restored
        assert (number, answers.shape) == (0, (2, 2))
        return
    with pytest.raises(KeyStoreError, match="another output"):
        InferenceSession(link(pair), pair.client, Meter(counted="client"))
