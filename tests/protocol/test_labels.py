"""Label-only answers: the client learns a label, what it sends does not depend on one, and pools take choices once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.pair import LABELS, PLAINTEXT, InferenceCase, Pair

from securealign.errors import ConfigurationError, ErrorCode, KeyStoreError
from securealign.he.plaintext import PlaintextSuite
from securealign.limits import Limits
from securealign.protocol import messages as m
from securealign.protocol.context import ProviderContext
from securealign.protocol.inference.provider import InferenceProvider
from securealign.protocol.offers import OfferedHead, only_head
from securealign.protocol.policy.rules import Policy, Rules
from securealign.protocol.resume.snapshot import restore, take_snapshot
from securealign.protocol.states import State

CASE = InferenceCase(policy=LABELS, class_names=("red", "green", "blue"))
ABSTAINING = replace(LABELS, abstain_below=1.0)
BUCKETS = replace(LABELS, abstain_below=0.0, confidence_thresholds=(1.0, 2.0, 3.0))
CHOICES = b"choices"


def choices(pool: int, data: bytes = CHOICES, *, total: int | None = None, offset: int = 0) -> m.ChoicesChunk:
    return m.ChoicesChunk(pool=pool, total=len(data) if total is None else total, offset=offset, data=data)


def tables(pool: int, data: bytes = b"tables") -> m.TablesChunk:
    return m.TablesChunk(pool=pool, total=len(data), offset=0, data=data)


def prepare(pool: int) -> m.Prepare:
    return m.Prepare(pool=pool, nonce=bytes(32))


def query(pool: int, first: int = 0) -> m.Query:
    return m.Query(pool=pool, first_slot=first, count=1, data=np.ones(3).tobytes())


def refused(pair: Pair, *messages: m.Message, code: ErrorCode = ErrorCode.SEQUENCE_BROKEN) -> None:
    """Hand messages to the provider, of which it refuses the last alone."""
    *replies, last = pair.to_provider(*messages)
    assert not any(isinstance(reply, m.Abort) for reply in replies)
    assert last == m.Abort(code=code)


def answered(pair: Pair) -> np.ndarray:
    return np.vstack([found for _, found in sorted(pair.client.take_answers(), key=lambda answer: answer[0])])


@pytest.mark.parametrize("policy", [LABELS, ABSTAINING, BUCKETS], ids=["labels", "abstention", "buckets"])
def test_answers_are_labels_over_several_pools_and_batches(policy):
    case = replace(CASE, policy=policy)
    pair = case.opened()
    queries = case.queries(12)
    for first in range(0, 12, 3):
        if pair.client.free_slots < 3:
            pair.up.extend(pair.client.prepare())
            pair.carry()
        pair.up.extend(pair.client.submit(queries[first : first + 3]))
        pair.carry()
    found = answered(pair)
    np.testing.assert_array_equal(found, case.labelled(queries))
    pair.up.extend(pair.client.finish())
    pair.carry()
    pair.assert_done()
    assert len(np.unique(found[:, 0])) > 1
    assert (found[:, 0] == 3).any() == (policy is not LABELS)
    assert len(np.unique(found[:, 1])) > 1 or policy is not BUCKETS


@pytest.mark.parametrize(
    ("policy", "mode", "bits"),
    [
        (LABELS, m.OutputMode.LABEL, 2),
        (ABSTAINING, m.OutputMode.LABEL, 2),
        (BUCKETS, m.OutputMode.LABEL_CONFIDENCE, 5),
    ],
)
def test_the_mode_and_its_terms_are_announced_and_charged(policy, mode, bits):
    pair = replace(CASE, policy=policy).finished()
    pair.assert_done()
    accepted = pair.client.accepted
    assert (accepted.output, accepted.classes, accepted.class_names) == (mode, 3, ("red", "green", "blue"))
    terms = accepted.labels
    assert (terms.buckets, terms.abstains) == (len(policy.confidence_thresholds), policy.abstain_below is not None)
    assert pair.client.facts == pair.provider.facts
    assert pair.provider.facts["answer_bits"] == bits
    assert pair.provider.bits_answered == 3 * bits


def test_without_labels_all_logits_are_answered():
    """The control: the same session under the other policy shows every logit."""
    case = replace(CASE, policy=Policy(allow_unencrypted=True))
    pair = case.opened()
    pair.up.extend(pair.client.submit(case.queries(2)))
    pair.carry()
    np.testing.assert_allclose(answered(pair), case.head.logits(case.queries(2)))
    assert pair.client.accepted.labels is None


@pytest.mark.parametrize("policy", [LABELS, BUCKETS])
def test_a_client_without_the_mode_is_refused(policy):
    pair = replace(CASE, policy=policy, outputs=(m.OutputMode.LOGITS,)).opened()
    pair.assert_aborted(ErrorCode.OUTPUT_REFUSED, by="provider")


def test_a_client_that_wants_labels_alone_is_not_given_logits():
    labels = (m.OutputMode.LABEL,)
    replace(CASE, policy=Policy(allow_unencrypted=True), outputs=labels).opened().assert_aborted(
        ErrorCode.OUTPUT_REFUSED, by="provider"
    )
    replace(CASE, outputs=labels).finished().assert_done()
    pair = replace(CASE, outputs=labels).pair()
    pair.start()
    pair.provider._policy = Policy(allow_unencrypted=True)
    hello = replace(pair.codec.decode(pair.up.popleft()), outputs=(m.OutputMode.LOGITS,))
    pair.to_provider(*pair.to_client(*pair.to_provider(hello)))
    pair.assert_aborted(ErrorCode.OUTPUT_REFUSED, by="client")


class LogitsAlone(PlaintextSuite):
    @property
    def info(self):
        return replace(super().info, label_only=False)


def test_a_suite_without_labels_is_refused():
    pair = replace(CASE, suites=(LogitsAlone(),)).opened()
    pair.assert_aborted(ErrorCode.OUTPUT_REFUSED, by="provider")
    assert "'plaintext' cannot give" in pair.provider.error.message
    replace(CASE, suites=(LogitsAlone(),), policy=Policy(allow_unencrypted=True)).finished().assert_done()


DEAD = [prepare(1), choices(1), prepare(2)]
NO_CHOICES = {
    "before any pool of that number": [choices(1)],
    "a second time": [choices(0)],
    "a second time for a later pool": [prepare(1), choices(1), choices(1)],
    "for a dead pool that has tables": [*DEAD, choices(0)],
    "for a dead pool that has none": [prepare(1), prepare(2), prepare(3), choices(1)],
    "cut, and another message between": [prepare(1), choices(1, CHOICES[:3], total=7), prepare(2)],
}


@pytest.mark.parametrize("messages", NO_CHOICES.values(), ids=NO_CHOICES)
def test_choices_are_taken_once_for_a_live_pool(messages, small_chunks):
    pair = CASE.opened()
    small_chunks(3)
    if len(messages[-1].__dict__.get("data", b"")) > 3:
        small_chunks(7)
    refused(pair, *messages)


def test_choices_in_pieces_belong_to_one_pool(small_chunks):
    small_chunks(3)
    pieces = [choices(1, CHOICES[at : at + 3], total=7, offset=at) for at in (0, 3, 6)]
    pair = CASE.opened()
    (*_, last) = pair.to_provider(prepare(1), *pieces)
    assert isinstance(last, m.TablesChunk)
    pair = CASE.opened()
    refused(pair, prepare(1), pieces[0], replace(pieces[1], pool=0))


BAD_CHOICES = {
    "longer than due": (choices(1, CHOICES + b"!"), ErrorCode.LIMIT_EXCEEDED),
    "cut": (choices(1, CHOICES[:3], total=7), ErrorCode.SEQUENCE_BROKEN),
    "shorter": (choices(1, CHOICES[:3]), ErrorCode.CIPHERTEXT_MALFORMED),
    "nothing": (choices(1, b""), ErrorCode.CIPHERTEXT_MALFORMED),
    "other bytes": (choices(1, b"CHOICES"), ErrorCode.CIPHERTEXT_MALFORMED),
}


@pytest.mark.parametrize(("message", "code"), BAD_CHOICES.values(), ids=BAD_CHOICES)
def test_malformed_choices_end_the_session(message, code):
    refused(CASE.opened(), prepare(1), message, code=code)


def test_choices_above_the_providers_limit_are_refused():
    pair = replace(CASE, limits=Limits(max_choices_bytes=6)).opened()
    pair.assert_aborted(ErrorCode.LIMIT_EXCEEDED, by="provider")


def test_tables_above_the_clients_limit_are_refused():
    pair = replace(CASE, client_limits=Limits(max_tables_bytes=5)).opened()
    pair.assert_aborted(ErrorCode.LIMIT_EXCEEDED, by="client")


def test_choices_are_refused_where_answers_are_logits():
    pair = replace(CASE, policy=Policy(allow_unencrypted=True)).opened()
    refused(pair, choices(0))


def test_slots_answer_only_once_the_pool_has_tables():
    pair = CASE.opened()
    refused(pair, query(0), prepare(1), query(1))
    pair = CASE.opened()
    (*_, last) = pair.to_provider(prepare(1), choices(1), query(1))
    assert isinstance(last, m.Answer)
    assert pair.provider.queries_answered == 1


BAD_TABLES = {
    "before the hint": (tables(1), ErrorCode.SEQUENCE_BROKEN),
    "of a pool that is ready": (tables(0), ErrorCode.SEQUENCE_BROKEN),
}


@pytest.mark.parametrize(("message", "code"), BAD_TABLES.values(), ids=BAD_TABLES)
def test_tables_that_are_not_due_are_refused(message, code):
    pair = CASE.opened()
    pair.client.prepare()
    pair.to_provider(*pair.to_client(message))
    pair.assert_aborted(code, by="client")


AFTER_CHOICES = {
    "a second hint": (m.PoolChunk(pool=1, total=0, offset=0, data=b""), ErrorCode.SEQUENCE_BROKEN),
    "longer than due": (tables(1, b"tables!"), ErrorCode.LIMIT_EXCEEDED),
    "shorter": (tables(1, b"table"), ErrorCode.CIPHERTEXT_MALFORMED),
    "another pool": (tables(0), ErrorCode.SEQUENCE_BROKEN),
}


@pytest.mark.parametrize(("message", "code"), AFTER_CHOICES.values(), ids=AFTER_CHOICES)
def test_after_its_choices_a_client_takes_nothing_but_tables(message, code):
    pair = CASE.opened()
    pair.client.prepare()
    (sent,) = pair.to_client(m.PoolChunk(pool=1, total=0, offset=0, data=b""))
    assert sent == choices(1)
    assert pair.client.preparing
    assert pair.client.free_slots == 4
    pair.to_provider(*pair.to_client(message))
    pair.assert_aborted(code, by="client")


def test_a_session_waits_for_its_tables_before_it_ends():
    pair = CASE.opened()
    pair.up.extend(pair.client.prepare())
    pair.deliver_up()
    pair.deliver_down()
    assert pair.client.preparing
    pair.carry()
    assert pair.client.free_slots == 8
    pair.up.extend(pair.client.finish())
    pair.carry()
    pair.assert_done()


# Nothing that depends on an answer is sent.


@pytest.mark.parametrize(
    "answer",
    [[0.0, 0.0], [2.0, 0.0], [3.0, 0.0], [-1.0, 0.0], [0.5, 7.0], [1e300, 0.0], [np.nan, 0.0]],
    ids=["a label", "another", "no class", "negative", "a fraction", "huge", "NaN"],
)
def test_what_a_client_sends_does_not_depend_on_the_answer(answer):
    honest, lied = CASE.opened(), CASE.opened()
    sent = []
    for pair, row in ((honest, [1.0, 0.0]), (lied, answer)):
        (frame,) = pair.client.submit(CASE.queries(1))
        data = np.array([row]).tobytes()
        reply = m.Answer(pool=0, first_slot=0, count=1, total=len(data), offset=0, data=data)
        assert pair.to_client(reply) == []
        sent.append([frame, *pair.client.prepare(), *pair.client.submit(CASE.queries(2))])
    assert sent[0] == sent[1]
    ((_, found),) = lied.client.take_answers()
    known = answer[0] in {0.0, 1.0, 2.0}
    assert np.isnan(found[0, 0]) != known
    assert (lied.client.undecrypted is None) is known


def test_the_sizes_of_answers_do_not_depend_on_the_label():
    sizes = {
        len(carried.frame)
        for scale in (1.0, -1.0, 0.0)
        for carried in replace(CASE, policy=BUCKETS, scale=scale).finished().carried
        if carried.number and b"tables" not in carried.frame
    }
    again = {len(carried.frame) for carried in replace(CASE, policy=BUCKETS).finished().carried if carried.number}
    assert sizes <= again


# What the operator may set.

CONTRADICTIONS = {
    "abstention of logits": ({"abstain_below": 1.0}, "belong to labels"),
    "confidence of logits": ({"confidence_thresholds": (1.0,)}, "belong to labels"),
    "coarse labels": ({"output": "label", "output_bits": 8}, "coarsens logits"),
    "confidence without abstention": ({"output": "label", "confidence_thresholds": (1.0,)}, "need abstain_below"),
    "four thresholds": (
        {"output": "label", "abstain_below": 0.0, "confidence_thresholds": (1.0, 2.0, 3.0, 4.0)},
        "at most 3",
    ),
    "descending": ({"output": "label", "abstain_below": 0.0, "confidence_thresholds": (2.0, 1.0)}, "ascend"),
    "below abstention": ({"output": "label", "abstain_below": 2.0, "confidence_thresholds": (1.0,)}, "ascend"),
    "no number": ({"output": "label", "abstain_below": float("nan")}, "finite"),
    "infinite": ({"output": "label", "abstain_below": float("inf")}, "finite"),
}


@pytest.mark.parametrize(("rules", "sentence"), CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_rules_that_exclude_each_other_are_refused(rules, sentence):
    with pytest.raises(ConfigurationError, match=sentence) as caught:
        Rules(**rules)
    assert caught.value.hint
    assert Rules(output="label", abstain_below=0.0, confidence_thresholds=(1.0, 2.0, 3.0)).labels.buckets == 3


# What a restored provider goes on with.


def restored(pair: Pair, policy: Policy) -> InferenceProvider:
    context: ProviderContext = replace(pair.provider._context, policy=policy)
    other = InferenceProvider(context, only_head(OfferedHead(head=CASE.head)))
    restore(other, take_snapshot(pair.provider))
    return other


def recorded_pair() -> Pair:
    pair = CASE.pair()
    pair.provider.record.wanted = True
    pair.start()
    pair.carry()
    return pair


def test_a_restored_provider_makes_the_same_offer_and_answers_in_its_pools():
    pair = recorded_pair()
    offer = pair.client.accepted.labels.offer
    pair.provider = restored(pair, LABELS)
    assert pair.provider._evaluator.offer() == offer
    pair.up.extend(pair.client.submit(CASE.queries(4)))
    pair.carry()
    np.testing.assert_array_equal(answered(pair), CASE.labelled(CASE.queries(4)))
    refused(pair, choices(0))


def test_a_restored_provider_takes_choices_for_a_pool_that_waits_for_them():
    pair = recorded_pair()
    pair.to_provider(prepare(1))
    pair.provider = restored(pair, LABELS)
    assert pair.to_provider(choices(1)) == [tables(1)]


@pytest.mark.parametrize("policy", [ABSTAINING, BUCKETS, Policy(allow_unencrypted=True)])
def test_a_session_does_not_go_on_with_another_output(policy):
    with pytest.raises(KeyStoreError, match="Policy has changed"):
        restored(recorded_pair(), policy)


def test_no_seed_and_no_tables_are_kept_of_a_session_that_is_over():
    pair = recorded_pair()
    assert {"transfer", "garbled/0"} <= set(pair.provider.record.blobs)
    assert "pool/0" not in pair.provider.record.blobs
    pair.up.extend(pair.client.finish())
    pair.carry()
    pair.assert_done()
    assert set(pair.provider.capture().blobs) == {"hello", "accept"}


def test_a_retired_pool_is_forgotten():
    pair = recorded_pair()
    pair.to_provider(prepare(1), choices(1), prepare(2))
    assert {name for name in pair.provider.record.blobs if "/" in name} == {"garbled/1", "choices/1", "pool/2"}
    assert pair.provider.state is State.READY
    assert PLAINTEXT.info.label_only
