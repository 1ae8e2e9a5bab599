"""Every rule of a provider's policy refuses with a code of its own, and tells its operator which setting it was."""

from __future__ import annotations

import re

import numpy as np
import pytest
from support.entropy import SeededEntropy
from support.machines import inference_provider, training_provider
from support.pair import DATASET, PLAINTEXT, TOY_LWE, InferenceCase, Pair, TrainingCase

from securealign.errors import ConfigurationError, ErrorCode, KeyStoreError, RemoteProtocolError
from securealign.he.interface import CovarianceShape, HeadShape
from securealign.limits import Limits
from securealign.protocol.inference.provider import InferenceProvider
from securealign.protocol.policy.admission import Admission
from securealign.protocol.policy.budget import QueryAccount
from securealign.protocol.policy.rank import RankAccount
from securealign.protocol.policy.rates import RateLimiter, pools_per_hour, queries_per_minute
from securealign.protocol.policy.rules import Policy, Rules
from securealign.protocol.resume.snapshot import restore, take_snapshot

TRAINING, INFERENCE = TrainingCase(), InferenceCase()
ANSWER_BITS = PLAINTEXT.head_sizes(HeadShape(provider_dim=3, classes=2, slots=4)).answer_bits


def training(**options) -> Pair:
    """Run a training session of twelve rows and four dimensions as far as it gets."""
    policy = {name: options.pop(name) for name in set(options) & set(Policy.__dataclass_fields__)}
    pair = TRAINING.pair()
    pair.provider = training_provider(
        [PLAINTEXT], TRAINING.z_a, policy=Policy(allow_unencrypted=True, **policy), **options
    )
    pair.start()
    pair.carry()
    return pair


def policy_provider(**options) -> InferenceProvider:
    """Return the provider of three features, two classes and four slots."""
    policy = {name: options.pop(name) for name in set(options) & set(Policy.__dataclass_fields__)}
    return inference_provider([PLAINTEXT], INFERENCE.head, policy=Policy(allow_unencrypted=True, **policy), **options)


def inference(*, recorded: bool = False, **options) -> Pair:
    """Open an inference session."""
    pair = INFERENCE.pair()
    pair.provider = policy_provider(**options)
    pair.provider.record.wanted = recorded
    pair.start()
    pair.carry()
    return pair


def ask(pair: Pair, count: int) -> None:
    pair.up.extend(pair.client.submit(INFERENCE.queries(count)))
    pair.carry()


@pytest.mark.parametrize(
    ("policy", "refused"),
    [
        ({"min_rows": 12}, False),
        ({"min_rows": 13}, True),
        ({"min_rows_per_dimension": 3.0}, False),
        ({"min_rows_per_dimension": 3.01}, True),
        ({"min_rows": 13, "min_rows_per_dimension": 1.0}, True),
        ({"min_rows": 1, "min_rows_per_dimension": 3.01}, True),
    ],
)
def test_public_rows_are_counted_in_all_and_by_dimension(policy, refused):
    pair = training(**policy)
    if not refused:
        pair.assert_done()
        return
    pair.assert_aborted(ErrorCode.TOO_FEW_ROWS, by="provider")
    for name, value in policy.items():
        assert f"{name} = {value:g}" in pair.provider.error.message


@pytest.mark.parametrize("rows", [5, 4, 1])
def test_no_policy_allows_as_many_columns_as_rows(rows):
    with pytest.raises(RemoteProtocolError) as caught:
        Policy(min_rows_per_dimension=0, min_rows=0).check_training(rows, 4, Limits())
    assert caught.value.code is ErrorCode.TOO_FEW_ROWS


def permit(size: int):
    """Return a permit of a provider with so much memory left."""
    return Admission(max_memory_bytes=size).enter("peer")


def test_a_training_session_reserves_its_estimate_before_anything_is_charged_for_good():
    shape = CovarianceShape(rows=12, provider_dim=3, columns=5)
    needed = PLAINTEXT.covariance_sizes(shape).memory
    account = RankAccount.of("peer", DATASET)
    pair = training(reserve=permit(needed - 1).reserve, account=account, max_rank_fraction=1.0)
    pair.assert_aborted(ErrorCode.MEMORY_EXHAUSTED, by="provider")
    assert "max_memory_bytes" in pair.provider.error.message
    assert account.store == {f"charged/{account.name}": 0}
    training(reserve=permit(needed).reserve).assert_done()


def test_an_inference_session_reserves_its_estimate():
    needed = PLAINTEXT.head_sizes(HeadShape(provider_dim=3, classes=2, slots=4)).memory
    inference(reserve=permit(needed - 1).reserve).assert_aborted(ErrorCode.MEMORY_EXHAUSTED, by="provider")
    assert inference(reserve=permit(needed).reserve).provider.error is None


def test_queries_are_throttled_before_they_are_charged():
    limiter, account = RateLimiter(queries_per_minute(3)), QueryAccount.of("peer")
    pair = inference(throttle=lambda count: limiter.take("peer", 0.0, count), account=account)
    ask(pair, 2)
    ask(pair, 2)
    pair.assert_aborted(ErrorCode.RATE_LIMITED, by="provider")
    assert "max_queries_per_minute" in pair.provider.error.message
    assert account.queries == 2


def test_each_pool_is_asked_for_within_its_rate():
    limiter = RateLimiter(pools_per_hour(1))
    options = {"prepare_throttle": lambda count: limiter.take("peer", 0.0, count)}
    assert inference(**options).provider.error is None
    refused = inference(**options)
    refused.assert_aborted(ErrorCode.RATE_LIMITED, by="provider")
    assert "max_pools_per_hour" in refused.provider.error.message
    assert refused.provider.free_slots == 0
    assert inference().provider.error is None


def test_a_retry_is_neither_throttled_nor_charged():
    asked, account = [], QueryAccount.of("peer")
    pair = inference(throttle=asked.append, account=account)
    (frame,) = pair.client.submit(INFERENCE.queries(2))
    assert pair.provider.receive(frame) == pair.provider.receive(frame)
    assert (asked, account.queries, account.bits) == ([2], 2, 2 * ANSWER_BITS)


@pytest.mark.parametrize(
    ("policy", "left", "rule"),
    [
        ({"max_queries": 5}, 5, "max_queries"),
        ({"max_answer_bits": 3 * ANSWER_BITS}, 3, "max_answer_bits"),
        ({"max_queries": 2, "max_answer_bits": 3 * ANSWER_BITS}, 2, "max_queries"),
        ({"max_queries": 5, "max_answer_bits": 3 * ANSWER_BITS}, 3, "max_answer_bits"),
    ],
)
def test_sessions_of_a_peer_share_one_budget_and_are_told_what_is_left(policy, left, rule):
    store = {}
    first = inference(account=QueryAccount.of("peer", store=store), **policy)
    assert first.client.accepted.queries_left == left
    ask(first, 1)
    second = inference(account=QueryAccount.of("peer", store=store), **policy)
    assert second.client.accepted.queries_left == left - 1
    ask(second, left - 1)
    ask(first, 1)
    first.assert_aborted(ErrorCode.QUERY_BUDGET_EXHAUSTED, by="provider")
    assert f"{rule} allows" in first.provider.error.message
    assert inference(account=QueryAccount.of("peer", store=store), **policy).client.accepted.queries_left == 0
    assert inference(account=QueryAccount.of("other", store=store), **policy).client.accepted.queries_left == left


def test_a_query_is_charged_before_it_is_evaluated():
    account = QueryAccount.of("peer")
    pair = inference(account=account)
    pair.provider._evaluator.evaluate = None
    ask(pair, 2)
    pair.assert_aborted(ErrorCode.INTERNAL, by="provider")
    assert account.queries == 2


@pytest.mark.parametrize("shared", [False, True])
def test_a_session_that_was_restored_has_the_budget_that_it_had(shared):
    account = QueryAccount.of("peer")
    options = {"account": account if shared else None, "max_queries": 3}
    pair = inference(recorded=True, **options)
    ask(pair, 2)
    before = account.queries
    restored = policy_provider(**options)
    restore(restored, take_snapshot(pair.provider))
    assert (restored.queries_answered, account.queries) == (2, before)
    pair.provider = restored
    ask(pair, 2)
    assert restored.error.code is ErrorCode.QUERY_BUDGET_EXHAUSTED


def coarse(suite, bits: int | None) -> Pair:
    case = InferenceCase(suites=(suite,), policy=Policy(allow_unencrypted=True, output_bits=bits))
    return case.opened()


@pytest.mark.parametrize(("bits", "announced", "worst"), [(None, 0, 1e-3), (8, 8, 0.2), (4, 4, 3.0)])
def test_logits_hold_the_bits_that_policy_gives_them_and_the_client_knows(bits, announced, worst):
    pair = coarse(TOY_LWE, bits)
    assert pair.client.accepted.logit_bits == announced
    queries = INFERENCE.queries(4)
    pair.up.extend(pair.client.submit(queries))
    pair.carry()
    ((_, logits),) = pair.client.take_answers()
    error = np.abs(logits - (queries @ INFERENCE.head.weight + INFERENCE.head.bias)).max()
    assert error < worst
    assert bits is None or error > worst / 100


def test_a_suite_that_cannot_give_less_is_refused():
    coarse(PLAINTEXT, 8).assert_aborted(ErrorCode.OUTPUT_REFUSED, by="provider")


def test_a_client_of_coarse_logits_plans_with_the_same_flood():
    """The control: a client that fills the modulus as if the flood were narrow wraps around."""
    pair = coarse(TOY_LWE, 4)
    narrow = TOY_LWE.head_encryptor(HeadShape(provider_dim=3, classes=2, slots=4), bytes(32), SeededEntropy(b""))
    assert pair.client._encryptor._plan.message_norm < narrow._plan.message_norm * 0.95


def test_a_session_does_not_go_on_with_coarser_logits_than_it_began():
    pair = inference(recorded=True)
    other = policy_provider(output_bits=8)
    with pytest.raises(KeyStoreError, match="Policy has changed") as caught:
        restore(other, take_snapshot(pair.provider))
    assert caught.value.code is ErrorCode.SESSION_UNKNOWN


def test_a_session_does_not_go_on_under_another_head():
    pair = inference(recorded=True)
    other = policy_provider(head_digest=bytes([1]) * 32)
    with pytest.raises(RemoteProtocolError, match="was changed after the session began") as caught:
        restore(other, take_snapshot(pair.provider))
    assert caught.value.code is ErrorCode.HEAD_CHANGED


def test_every_refusal_says_what_to_do():
    errors = [
        training(min_rows=13).provider.error,
        training(reserve=permit(1).reserve).provider.error,
        training(account=RankAccount.of("peer", DATASET), max_rank_fraction=0.1).provider.error,
    ]
    assert all(re.search(r"[Aa]gree on|[Rr]aise|[Tt]ry", error.hint) for error in errors)


def test_a_policy_takes_the_rules_of_the_operator_as_they_are():
    rules = Rules(min_rows=7, max_rank_fraction=0.25, output_bits=8, publish_class_names=False)
    policy = Policy.of(rules, privacy=None, allow_unencrypted=True)
    assert policy == Policy(
        min_rows=7, max_rank_fraction=0.25, output_bits=8, publish_class_names=False, allow_unencrypted=True
    )


def test_an_output_that_is_none_is_refused():
    with pytest.raises(ConfigurationError, match="An output is no 'labels'") as refused:
        Rules(output="labels")
    assert "logits, label" in refused.value.hint
