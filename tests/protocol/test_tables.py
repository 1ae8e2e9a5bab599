"""Tables are made while they are sent: nothing keeps them whole, and a client that lacks some gets the same again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.journal import MemoryJournal
from support.machines import inference_provider
from support.pair import LABELS, PLAINTEXT, TOY_LWE, InferenceCase, Pair

from securealign.errors import CiphertextError, ErrorCode, KeyStoreError, RemoteProtocolError
from securealign.he import plaintext
from securealign.he.interface import HeadShape, LabelTerms
from securealign.he.plaintext import PlaintextSuite
from securealign.limits import Limits
from securealign.protocol import messages as m
from securealign.protocol.inference.slots import sizes_within
from securealign.protocol.policy.rates import RateLimiter, pools_per_hour
from securealign.protocol.resume.session import ResumableProvider
from securealign.protocol.resume.snapshot import restore
from securealign.protocol.states import State
from securealign.wire import InferenceCodec

CASE = InferenceCase(policy=LABELS, class_names=("red", "green", "blue"))
CODEC = InferenceCodec()
TABLES = b"tables"


def choices(pool: int) -> bytes:
    return CODEC.encode(m.ChoicesChunk(pool=pool, total=7, offset=0, data=b"choices"))


def prepare(pool: int) -> bytes:
    return CODEC.encode(m.Prepare(pool=pool, nonce=bytes(32)))


def is_table(frame: bytes) -> bool:
    return isinstance(CODEC.decode(frame), m.TablesChunk)


class Served:
    """A provider with a journal, and what a client has of it; pool 0 is ready."""

    def __init__(self, throttle=None) -> None:
        self.journal, self.throttle = MemoryJournal(), throttle
        pair = CASE.pair()
        pair.provider = self.endpoint = ResumableProvider(self.provider(), self.journal)
        pair.start()
        pair.carry()
        #: Frames from the provider.
        self.got = [carried.frame for carried in pair.carried if not carried.to_provider]

    def provider(self):
        return inference_provider((PLAINTEXT,), CASE.head, policy=LABELS, prepare_throttle=self.throttle)

    def hand(self, frame: bytes, frames: int | None = None) -> None:
        """Hand a frame to the provider and take all replies, or the first few."""
        for reply in self.endpoint.receive(frame):
            if isinstance(CODEC.decode(reply), m.DurableAck):  # not counted
                continue
            self.got.append(reply)
            if frames is not None and (frames := frames - 1) == 0:
                return

    def come_back(self, received: int, *, crashed: bool) -> list[bytes]:
        """Lose the connection, or the provider; resume after so many messages and return what follows."""
        if not crashed:
            self.endpoint.detach()
        machine = self.provider()
        restore(machine, self.journal.recover())
        self.endpoint = ResumableProvider(machine, self.journal)
        _, *frames = self.endpoint.resume(received)
        return frames


@pytest.fixture
def in_pieces(small_chunks):
    """Chunks of one byte: the tables of a pool are six messages."""

    def begun(throttle=None) -> Served:
        small_chunks(1)
        served = Served(throttle)
        served.hand(prepare(1))
        for at, byte in enumerate(b"choices"[:-1]):
            served.hand(CODEC.encode(m.ChoicesChunk(pool=1, total=7, offset=at, data=bytes([byte]))))
        return served

    return begun


LAST_CHOICE = CODEC.encode(m.ChoicesChunk(pool=1, total=7, offset=6, data=b"s"))


@pytest.mark.parametrize("crashed", [True, False], ids=["the provider dies", "the connection breaks"])
def test_a_client_that_lacks_tables_gets_the_same_again_wherever_they_were_cut(in_pieces, crashed):
    whole = in_pieces()
    whole.hand(LAST_CHOICE)
    assert [is_table(frame) for frame in whole.got[-7:]] == [False] + [True] * 6
    start = len(whole.got) - 6
    for sent in range(1, 7):
        for received in range(start, start + sent + 1):
            served = in_pieces()
            served.hand(LAST_CHOICE, sent)
            assert served.got[:received] + served.come_back(received, crashed=crashed) == whole.got
            # It goes on: the pool that was being made answers.
            query = m.Query(pool=1, first_slot=0, count=1, data=np.ones(3).tobytes())
            assert isinstance(CODEC.decode(next(iter(served.endpoint.receive(CODEC.encode(query))))), m.Answer)


def test_a_later_record_makes_earlier_tables_again_between_other_messages(in_pieces):
    served = in_pieces()
    served.hand(LAST_CHOICE)
    before = len(served.got) - 7
    served.hand(CODEC.encode(m.Query(pool=1, first_slot=0, count=1, data=np.ones(3).tobytes())))
    for received in range(before, len(served.got) + 1):
        assert served.got[:received] + served.come_back(received, crashed=True) == served.got


def test_no_table_is_in_the_record_and_choices_leave_it_once_the_client_has_recorded_the_tables(in_pieces):
    served = in_pieces()
    served.hand(LAST_CHOICE)
    served.endpoint.detach()
    recorded = served.journal.recover()
    assert not any(map(is_table, served.journal.frames(0)))
    assert not any(TABLES in blob for blob in recorded.blobs.values())
    assert {"choices/1", "garbled/1"} <= set(recorded.blobs)
    assert "chosen/1" not in recorded.blobs
    served.endpoint.machine.receive(CODEC.encode(m.DurableAck(messages=len(served.got))))
    served.endpoint.detach()
    assert "choices/1" not in served.journal.recover().blobs


def test_a_record_without_the_choices_is_refused(in_pieces):
    served = in_pieces()
    served.hand(LAST_CHOICE)
    start = len(served.got) - 6
    served.endpoint.detach()
    del served.journal._blobs["choices/1"]
    with pytest.raises(KeyStoreError, match="choices/1"):
        served.come_back(start, crashed=True)
    assert served.come_back(len(served.got), crashed=True) == []


def test_a_message_that_arrives_while_a_reply_is_made_ends_the_session(in_pieces):
    served = in_pieces()
    replies = served.endpoint.machine.receive(LAST_CHOICE)
    next(replies)
    (abort,) = served.endpoint.machine.receive(prepare(2))
    assert CODEC.decode(abort) == m.Abort(code=ErrorCode.INTERNAL)
    assert list(replies) == []
    # The control: once the reply is complete, it is welcome.
    served = in_pieces()
    list(served.endpoint.machine.receive(LAST_CHOICE))
    assert isinstance(CODEC.decode(next(iter(served.endpoint.machine.receive(prepare(2))))), m.PoolChunk)


def test_a_failure_between_two_tables_ends_the_session(in_pieces, monkeypatch):
    def failing(party, pool):
        yield TABLES[:2]
        raise CiphertextError("Something is wrong.")

    monkeypatch.setattr(plaintext._HeadProvider, "_made", failing)
    served = in_pieces()
    served.hand(LAST_CHOICE)
    *tables, abort = (CODEC.decode(frame) for frame in served.got[-3:])
    assert [table.data for table in tables] == [b"t", b"a"]
    assert abort == m.Abort(code=ErrorCode.CIPHERTEXT_MALFORMED)
    assert served.endpoint.machine.state is State.ABORTED
    assert served.journal.outcome == "CIPHERTEXT_MALFORMED"


# How often a peer can make the provider garble.


def test_a_pool_is_garbled_once_so_the_rate_of_pools_bounds_garbling():
    garbled = []
    limiter = RateLimiter(pools_per_hour(3))
    served = Served(lambda count: limiter.take("peer", 0.0, count))
    evaluator = served.endpoint.machine._evaluator
    honest = evaluator.garble
    evaluator.garble = lambda pool, data: garbled.append(pool) or honest(pool, data)
    for pool in (1, 2):
        served.hand(prepare(pool))
        served.hand(choices(pool))
    assert garbled == [1, 2]
    served.hand(prepare(3))
    assert CODEC.decode(served.got[-1]) == m.Abort(code=ErrorCode.RATE_LIMITED)
    assert garbled == [1, 2]
    again = Served()
    again.hand(choices(0))
    assert CODEC.decode(again.got[-1]) == m.Abort(code=ErrorCode.SEQUENCE_BROKEN)


@pytest.mark.parametrize("limited", [True, False])
def test_tables_that_are_made_again_count_as_a_pool(in_pieces, limited):
    """Otherwise a client could come back as often as it likes, without its tables."""
    limiter = RateLimiter(pools_per_hour(4))
    served = in_pieces(lambda count: limiter.take("peer", 0.0, count) if limited else None)
    served.hand(LAST_CHOICE)
    start = len(served.got) - 6
    for _ in range(2):
        assert served.come_back(start, crashed=True) == served.got[start:]
    # A client that lacks nothing is charged nothing.
    assert served.come_back(len(served.got), crashed=False) == []
    if limited:
        with pytest.raises(RemoteProtocolError) as refused:
            served.come_back(start, crashed=True)
        assert refused.value.code is ErrorCode.RATE_LIMITED
    else:
        assert served.come_back(start, crashed=True) == served.got[start:]


# How many slots fit.


def shape(slots: int, classes: int = 6) -> HeadShape:
    return HeadShape(provider_dim=3, classes=classes, slots=slots, labels=LabelTerms())


@pytest.mark.parametrize("limit", ["max_tables_bytes", "max_choices_bytes"])
def test_a_refusal_says_how_many_slots_fit_and_so_many_do(limit):
    limits = Limits(**{limit: 200_000})
    with pytest.raises(RemoteProtocolError, match=r"\d+ slots fit") as refused:
        sizes_within(TOY_LWE, shape(1024), limits)
    assert refused.value.code is ErrorCode.LIMIT_EXCEEDED
    assert limit in refused.value.hint
    fitting = int(refused.value.message.split(": ")[1].split()[0])
    assert sizes_within(TOY_LWE, shape(fitting), limits)
    with pytest.raises(RemoteProtocolError, match=f": {fitting} slots fit"):
        sizes_within(TOY_LWE, shape(fitting + 1), limits)
    with pytest.raises(RemoteProtocolError, match=": 0 slots fit"):
        sizes_within(TOY_LWE, shape(2), Limits(**{limit: 10}))


def test_default_limits_hold_31_classes_in_the_largest_pool_and_205_slots_of_150():
    assert sizes_within(TOY_LWE, shape(1024, 31), Limits())
    with pytest.raises(RemoteProtocolError, match=": 205 slots fit"):
        sizes_within(TOY_LWE, shape(1024, 150), Limits())


@pytest.mark.parametrize("side", ["provider", "client"])
def test_either_party_refuses_before_it_makes_its_side(side, monkeypatch):
    limits = {"limits" if side == "provider" else "client_limits": Limits(max_tables_bytes=5)}
    made = []

    def counted(name: str) -> None:
        make = getattr(PlaintextSuite, name)
        monkeypatch.setattr(PlaintextSuite, name, lambda *args, **more: made.append(name) or make(*args, **more))

    counted("head_evaluator")
    counted("head_encryptor")
    pair: Pair = replace(CASE, **limits).opened()
    pair.assert_aborted(ErrorCode.LIMIT_EXCEEDED, by=side)
    assert made == (["head_evaluator"] if side == "client" else [])
