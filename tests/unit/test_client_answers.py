"""A client's answers: asked with check rows among the queries, also over a restart, and refused when a check fails."""

from __future__ import annotations

import numpy as np
import pytest
from support.durable import FixedRoot
from support.pair import PLAINTEXT

from securealign.client.app import _checks
from securealign.client.work import Answers
from securealign.errors import ErrorCode, RemoteProtocolError
from securealign.protocol.messages import Accept, InferenceAccept, OutputMode, SuiteOffer
from securealign.transport.meter import Meter

RANDOM = np.random.default_rng(0)
QUERIES, WEIGHT = RANDOM.normal(size=(40, 5)), RANDOM.normal(size=(5, 3))
INFO = PLAINTEXT.info
OFFER = SuiteOffer(name=INFO.name, parameter_set=INFO.parameter_set, parameter_digest=INFO.parameter_digest)
ACCEPTED = InferenceAccept(
    accept=Accept(version=3, suite=OFFER, nonce=bytes(32)),
    classes=3,
    class_names=(),
    output=OutputMode.LOGITS,
    queries_left=100,
    window=4,
    live_pools=2,
    head_digest=bytes(range(32)),
)


class Session:
    """An open session that keeps the rows it was asked, and breaks after some of them."""

    logit_error = 0.0
    accepted = ACCEPTED

    def __init__(self, restored=(), most=1000, shift=0.0):
        self.rows = list(restored)
        self.restored = np.array(self.rows).reshape(-1, 5) @ WEIGHT
        self.most, self.shift = most, shift

    def await_slots(self):
        pass

    def answers(self, rows):
        if len(self.rows) + len(rows) > self.most:
            raise ConnectionError
        self.rows.extend(rows)
        answers = rows @ WEIGHT
        answers[0, 1] += self.shift
        return answers


class Machine:
    nonce = bytes(32)


def answers(checked=True):
    return Answers(QUERIES, 16, lambda done, total: None, _checks(FixedRoot(), Machine()) if checked else None)


def classify(made):
    return made.classification(ACCEPTED, Meter(counted="client"), "plaintext")


def test_check_rows_are_asked_and_left_out_of_the_results():
    made, session = answers(), Session()
    made.ask(session)
    result = classify(made)
    np.testing.assert_allclose(result.logits, QUERIES @ WEIGHT)
    assert (result.figures["queries"], result.figures["checks"], len(session.rows)) == (40, 4, 44)
    assert result.figures["head"] == bytes(range(32)).hex()
    plain, session = answers(checked=False), Session()
    plain.ask(session)
    np.testing.assert_array_equal(session.rows, QUERIES)
    assert classify(plain).figures["checks"] == 0


def test_another_process_goes_on_with_the_same_rows():
    whole, broken = Session(), Session(most=20)
    answers().ask(whole)
    with pytest.raises(ConnectionError):
        answers().ask(broken)
    made, rest = answers(), Session(restored=broken.rows)
    made.ask(rest)
    np.testing.assert_array_equal(rest.rows, whole.rows)
    np.testing.assert_allclose(classify(made).logits, QUERIES @ WEIGHT)


def test_answers_that_contradict_each_other_are_refused():
    made = answers()
    made.ask(Session(shift=0.5))
    with pytest.raises(RemoteProtocolError, match="contradict") as caught:
        classify(made)
    assert caught.value.code is ErrorCode.ANSWERS_INCONSISTENT
    unchecked = answers(checked=False)
    unchecked.ask(Session(shift=0.5))
    assert np.abs(classify(unchecked).logits - QUERIES @ WEIGHT).max() == pytest.approx(0.5)
