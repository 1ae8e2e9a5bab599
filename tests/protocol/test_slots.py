"""A slot carries one query. The budget, the pools and the answers are kept by both parties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.pair import OPEN_POLICY, SUITES, InferenceCase, Pair

from securealign.errors import ErrorCode, InputError, LocalProtocolError, RemoteProtocolError
from securealign.limits import Limits
from securealign.protocol import messages as m
from securealign.protocol import streams
from securealign.protocol.inference.slots import SlotAllocator, SlotLedger, SlotRange
from securealign.protocol.policy.rules import Policy
from securealign.protocol.states import State

CASE = InferenceCase()
EACH_SUITE = pytest.mark.parametrize("suite", SUITES.values(), ids=SUITES)


def query(pool: int, first: int, count: int, *, value: float = 1.0) -> m.Query:
    return m.Query(pool=pool, first_slot=first, count=count, data=np.full((count, CASE.features), value).tobytes())


def prepare(pool: int) -> m.Prepare:
    return m.Prepare(pool=pool, nonce=bytes(32))


def asked(pair: Pair, *messages: m.Message) -> list[m.Message]:
    """Hand messages to the provider and tell the client if it refuses one."""
    replies = pair.to_provider(*messages)
    if pair.provider.state is State.ABORTED:
        pair.to_client(replies[-1])
    return replies


def answers(pair: Pair) -> np.ndarray:
    return np.vstack([logits for _, logits in sorted(pair.client.take_answers(), key=lambda answer: answer[0])])


@EACH_SUITE
def test_logits_are_those_of_the_head(suite):
    case = InferenceCase(suites=(suite,), slots=8)
    pair = case.opened()
    assert pair.client.free_slots == 8
    pair.up.extend(pair.client.submit(case.queries(5)))
    assert (pair.client.free_slots, pair.client.outstanding) == (3, 5)
    pair.carry()
    assert pair.client.outstanding == 0
    np.testing.assert_allclose(answers(pair), case.head.logits(case.queries(5)), atol=1e-4)
    assert pair.client.take_answers() == []
    pair.up.extend(pair.client.finish())
    pair.carry()
    pair.assert_done()
    assert pair.provider.queries_answered == 5


@EACH_SUITE
def test_queries_may_span_pools(suite):
    case = InferenceCase(suites=(suite,), slots=3)
    pair = case.opened()
    pair.up.extend(pair.client.prepare())
    pair.carry()
    assert pair.client.free_slots == 6
    pair.up.extend(pair.client.submit(case.queries(5)))
    assert [pair.codec.decode(frame).pool for frame in pair.up] == [0, 1]
    pair.carry()
    np.testing.assert_allclose(answers(pair), case.head.logits(case.queries(5)), atol=1e-4)


def test_many_pools_are_used_one_after_the_other():
    case = InferenceCase(suites=(SUITES["toy"],), slots=1)
    pair = case.opened()
    for number, row in enumerate(case.queries(6)):
        if number:
            pair.up.extend(pair.client.prepare())
            pair.carry()
        pair.up.extend(pair.client.submit(row[None]))
        pair.carry()
    np.testing.assert_allclose(answers(pair), case.head.logits(case.queries(6)), atol=1e-4)


def test_answers_carry_the_number_of_their_first_query(small_chunks):
    small_chunks(48)
    pair = CASE.opened()
    pair.up.extend(pair.client.submit(CASE.queries(3)))
    assert len(pair.up) == 2
    pair.carry()
    assert [(number, len(logits)) for number, logits in pair.client.take_answers()] == [(0, 2), (2, 1)]


OVERLAPS = {
    "the same slot": (query(0, 1, 1, value=2.0), True),
    "the same slots": (query(0, 1, 2, value=2.0), True),
    "from below": (query(0, 0, 2, value=2.0), True),
    "from above": (query(0, 2, 2, value=2.0), True),
    "around": (query(0, 0, 4, value=2.0), True),
    "the same bytes over fewer slots": (query(0, 1, 1), True),
    "below": (query(0, 0, 1, value=2.0), False),
    "above": (query(0, 3, 1, value=2.0), False),
}


@pytest.mark.parametrize(("second", "refused"), OVERLAPS.values(), ids=OVERLAPS)
def test_a_slot_takes_no_second_query(second, refused):
    pair = CASE.opened()
    (reply, *_) = asked(pair, query(0, 1, 2))
    assert isinstance(reply, m.Answer)
    (reply,) = asked(pair, second)
    assert isinstance(reply, m.Abort) is refused
    if refused:
        pair.assert_aborted(ErrorCode.SLOT_REUSED, by="provider")


@EACH_SUITE
def test_a_retry_gets_the_same_bytes_and_costs_nothing(suite):
    case = InferenceCase(suites=(suite,), policy=Policy(allow_unencrypted=True, max_queries=2))
    pair = case.opened()
    (frame,) = pair.client.submit(case.queries(2))
    first = pair.provider.receive(frame)
    assert pair.provider.receive(frame) == first
    assert pair.provider.receive(frame) == first
    assert pair.provider.queries_answered == 2


def test_without_the_ledger_a_retry_would_get_another_flood():
    """The control: two evaluations of one query differ, and their mean is nearer to what the flood hides."""
    case = InferenceCase(suites=(SUITES["toy"],))
    pair = case.opened()
    message = pair.codec.decode(pair.client.submit(case.queries(2))[0])
    evaluate = pair.provider._evaluator.evaluate
    assert evaluate(0, 0, 2, message.data) != evaluate(0, 0, 2, message.data)


def test_the_budget_is_announced_and_kept():
    pair = InferenceCase(policy=Policy(allow_unencrypted=True, max_queries=3)).opened()
    assert pair.client.accepted.queries_left == 3
    asked(pair, query(0, 0, 2))
    asked(pair, query(0, 2, 2))
    pair.assert_aborted(ErrorCode.QUERY_BUDGET_EXHAUSTED, by="provider")
    assert pair.provider.queries_answered == 2


def test_a_query_that_fails_is_paid_for():
    pair = CASE.opened()
    asked(pair, m.Query(pool=0, first_slot=0, count=2, data=b"no ciphertext"))
    pair.assert_aborted(ErrorCode.CIPHERTEXT_MALFORMED, by="provider")
    assert pair.provider.queries_answered == 2


NO_SLOTS = {
    "an unknown pool": [query(1, 0, 1)],
    "slots beyond the pool": [query(0, 3, 2)],
    "a slot far beyond": [query(0, 2**32 - 1, 1)],
    "a retired pool": [prepare(1), prepare(2), query(0, 0, 1)],
    "a retry in a retired pool": [query(0, 0, 1), prepare(1), prepare(2), query(0, 0, 1)],
    "a pool out of order": [prepare(2)],
    "a pool again": [prepare(0)],
}


@pytest.mark.parametrize("messages", NO_SLOTS.values(), ids=NO_SLOTS)
def test_slots_that_do_not_exist_are_refused(messages):
    pair = CASE.opened()
    *replies, last = asked(pair, *messages)
    assert not any(isinstance(reply, m.Abort) for reply in replies)
    assert isinstance(last, m.Abort)
    pair.assert_aborted(ErrorCode.SEQUENCE_BROKEN, by="provider")


def test_a_pool_is_asked_for_after_the_key():
    pair = CASE.pair()
    pair.start()
    pair.deliver_up()
    asked(pair, prepare(0))
    assert pair.provider.error.code is ErrorCode.SEQUENCE_BROKEN


def test_a_query_before_any_pool_is_refused():
    pair = CASE.pair()
    pair.start()
    pair.deliver_up()
    asked(pair, query(0, 0, 1))
    assert pair.provider.error.code is ErrorCode.UNEXPECTED_MESSAGE


def test_live_pools_are_bounded():
    ledger = SlotLedger(slots=4, live_pools=2)
    assert [ledger.open_pool(pool) for pool in range(4)] == [[], [], [0], [1]]


@pytest.mark.parametrize(
    ("queries", "code"),
    [
        ([[np.nan, 0.0, 0.0]], ErrorCode.NON_FINITE_INPUT),
        ([[0.0, 0.0, 0.0], [0.0, np.inf, 0.0]], ErrorCode.NON_FINITE_INPUT),
        ([[0.0, 0.0]], ErrorCode.SHAPE_MISMATCH),
        ([0.0, 0.0, 0.0], ErrorCode.SHAPE_MISMATCH),
        ([["a", "b", "c"]], ErrorCode.INPUT_INVALID),
    ],
    ids=["NaN", "infinity", "columns", "a vector", "texts"],
)
def test_unusable_queries_cost_no_slot(queries, code):
    pair = CASE.opened()
    with pytest.raises(InputError) as caught:
        pair.client.submit(queries)
    assert caught.value.code is code
    assert (pair.client.free_slots, pair.client.outstanding, pair.client.state) == (4, 0, State.READY)
    pair.up.extend(pair.client.submit(CASE.queries(4)))
    pair.carry()
    assert len(answers(pair)) == 4


def test_more_queries_than_slots_are_refused_before_any_is_used():
    pair = CASE.opened()
    with pytest.raises(LocalProtocolError, match="5 slots are needed and 4 are free"):
        pair.client.submit(CASE.queries(5))
    assert pair.client.free_slots == 4


def test_queries_wait_for_the_handshake():
    with pytest.raises(LocalProtocolError, match="has not been set up"):
        CASE.pair().client.submit(CASE.queries(1))


def test_one_pool_is_under_way_at_a_time():
    pair = CASE.pair()
    with pytest.raises(LocalProtocolError, match="can be requested now"):
        pair.client.prepare()
    pair = CASE.opened()
    frames = pair.client.prepare()
    assert pair.client.preparing
    with pytest.raises(LocalProtocolError, match="can be requested now"):
        pair.client.prepare()
    pair.up.extend(frames)
    pair.carry()
    assert not pair.client.preparing


def test_pools_are_not_prepared_beyond_what_the_provider_keeps():
    """A third pool would retire the first, whose slots are not used yet."""
    pair = CASE.opened()
    pair.up.extend(pair.client.prepare())
    pair.carry()
    with pytest.raises(LocalProtocolError, match="can be requested now"):
        pair.client.prepare()
    pair.up.extend(pair.client.submit(CASE.queries(4)))
    pair.up.extend(pair.client.prepare())
    pair.up.extend(pair.client.submit(CASE.queries(4)))
    pair.carry()
    assert len(answers(pair)) == 8


def test_a_session_is_not_finished_while_something_is_outstanding():
    pair = CASE.opened()
    pair.up.extend(pair.client.submit(CASE.queries(1)))
    with pytest.raises(LocalProtocolError, match="outstanding"):
        pair.client.finish()
    pair.carry()
    pair.up.extend(pair.client.prepare())
    with pytest.raises(LocalProtocolError, match="outstanding"):
        pair.client.finish()
    pair.carry()
    pair.up.extend(pair.client.finish())
    pair.carry()
    pair.assert_done()


def test_nothing_is_sent_before_or_after_the_session():
    pair = CASE.pair()
    with pytest.raises(LocalProtocolError):
        pair.client.finish()
    pair = CASE.finished()
    with pytest.raises(LocalProtocolError):
        pair.client.submit(CASE.queries(1))
    pair.assert_done()


ANSWER = np.ones((1, 2)).tobytes()


def answer(data, *, pool=0, first_slot=0, count=2, total=None, offset=0):
    total = len(data) if total is None else total
    return m.Answer(pool=pool, first_slot=first_slot, count=count, total=total, offset=offset, data=data)


BAD_ANSWERS = {
    "nobody asked": (answer(ANSWER, first_slot=3, count=1), ErrorCode.SEQUENCE_BROKEN),
    "another count": (answer(ANSWER, count=1), ErrorCode.SEQUENCE_BROKEN),
    "another pool": (answer(ANSWER * 2, pool=1), ErrorCode.SEQUENCE_BROKEN),
    "larger than due": (answer(ANSWER, total=1 << 20), ErrorCode.LIMIT_EXCEEDED),
    "begins in the middle": (answer(ANSWER, total=32, offset=16), ErrorCode.SEQUENCE_BROKEN),
    "a pool nobody asked for": (m.PoolChunk(pool=1, total=0, offset=0, data=b""), ErrorCode.SEQUENCE_BROKEN),
}


@pytest.mark.parametrize(("message", "code"), BAD_ANSWERS.values(), ids=BAD_ANSWERS)
def test_answers_that_do_not_fit_the_questions_are_refused(message, code):
    pair = CASE.opened()
    pair.client.submit(CASE.queries(2))
    pair.to_provider(*pair.to_client(message))
    pair.assert_aborted(code, by="client")


@pytest.mark.parametrize("data", [ANSWER, b"answer", b""], ids=["too few logits", "no ciphertext", "nothing"])
def test_an_answer_that_does_not_decrypt_is_nothing_the_provider_learns_of(data):
    pair = CASE.opened()
    pair.client.submit(CASE.queries(2))
    assert pair.to_client(answer(data)) == []
    ((number, logits),) = pair.client.take_answers()
    assert number == 0
    assert np.isnan(logits).all()
    assert logits.shape == (2, 2)
    assert pair.client.undecrypted.code is ErrorCode.CIPHERTEXT_MALFORMED
    assert pair.client.state is State.READY


def test_an_answer_may_come_in_pieces(monkeypatch):
    pair = CASE.opened()
    monkeypatch.setattr(streams, "MAX_CHUNK_BYTES", 5)
    queries = CASE.queries(2)
    pieces = pair.to_provider(pair.codec.decode(pair.client.submit(queries)[0]))
    assert len(pieces) == -(-pieces[0].total // 5)
    for piece in pieces:
        assert pair.client.outstanding == 2
        assert pair.to_client(piece) == []
    assert pair.client.outstanding == 0
    ((_, logits),) = pair.client.take_answers()
    assert logits.shape == (2, 2)
    assert np.isfinite(logits).all()


def test_an_answer_is_taken_once():
    pair = CASE.opened()
    answer = pair.to_provider(pair.codec.decode(pair.client.submit(CASE.queries(2))[0]))[0]
    assert pair.to_client(answer) == []
    pair.to_provider(*pair.to_client(answer))
    pair.assert_aborted(ErrorCode.SEQUENCE_BROKEN, by="client")


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (m.PoolChunk(pool=1, total=1, offset=0, data=b"x"), ErrorCode.LIMIT_EXCEEDED),
        (m.PoolChunk(pool=0, total=0, offset=0, data=b""), ErrorCode.SEQUENCE_BROKEN),
    ],
    ids=["larger than due", "another pool"],
)
def test_a_pool_that_was_not_asked_for_is_refused(message, code):
    pair = CASE.opened()
    pair.client.prepare()
    pair.to_provider(*pair.to_client(message))
    pair.assert_aborted(code, by="client")


def test_a_pool_above_the_clients_limit_is_refused():
    pair = InferenceCase(suites=(SUITES["toy"],), client_limits=Limits(max_pool_bytes=100)).opened()
    pair.assert_aborted(ErrorCode.LIMIT_EXCEEDED, by="client")


@given(
    slots=st.integers(1, 6),
    batch=st.integers(1, 7),
    steps=st.lists(st.one_of(st.just("pool"), st.integers(0, 9)), max_size=20),
)
def test_an_allocator_hands_out_every_slot_once_and_in_order(slots, batch, steps):
    allocator, pools, used = SlotAllocator(slots), 0, []
    for step in steps:
        if step == "pool":
            allocator.add_pool(pools)
            pools += 1
        elif step > allocator.free:
            with pytest.raises(LocalProtocolError):
                allocator.take(step, batch)
        else:
            ranges = allocator.take(step, batch)
            assert all(0 < taken.count <= batch and taken.first + taken.count <= slots for taken in ranges)
            used += [taken.pool * slots + taken.first + offset for taken in ranges for offset in range(taken.count)]
        assert allocator.free == pools * slots - len(used)
    assert used == list(range(len(used)))


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 5), st.integers(1, 5), st.binary(max_size=1)), max_size=12))
def test_a_ledger_lets_no_slot_carry_two_queries(requests):
    ledger, owners = SlotLedger(slots=6, live_pools=2), {}
    ledger.open_pool(0)
    ledger.open_pool(1)
    for pool, first, count, data in requests:
        slots = SlotRange(pool, first, count)
        try:
            replay = ledger.replay(slots, data)
        except RemoteProtocolError:
            continue
        owner = (slots, data)
        assert replay == (repr(owner).encode() if owner in owners.values() else None)
        if replay is None:
            ledger.record(slots, data, repr(owner).encode())
        for slot in range(first, first + count):
            assert owners.setdefault((pool, slot), owner) == owner


def test_the_default_budget_belongs_to_one_session():
    first, second = (InferenceCase(policy=OPEN_POLICY).opened() for _ in range(2))
    asked(first, query(0, 0, 1))
    assert (first.provider.queries_answered, second.provider.queries_answered) == (1, 0)
