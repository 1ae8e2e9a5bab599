"""Keys and rows arrive whole, in order and no faster than the receiver has processed them."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.pair import TOY_LWE, InferenceCase, Pair, TrainingCase

from securealign.errors import CiphertextError, ErrorCode, RemoteProtocolError
from securealign.he.plaintext import PlaintextSuite
from securealign.limits import MAX_CHUNK_BYTES, Limits
from securealign.protocol import messages as m
from securealign.protocol import streams
from securealign.protocol.states import State
from securealign.protocol.streams import Assembler, Uploader, chunks

KEY = m.KeyChunk(total=9, offset=0, data=b"plaintext")


def row(first: int, count: int = 1) -> m.RowBatch:
    return m.RowBatch(first=first, count=count, data=np.ones((count, 5)).tobytes())


def accepted(case: TrainingCase | InferenceCase | None = None) -> Pair:
    """Return a session in which the provider has accepted and nothing is on its way."""
    pair = (case or TrainingCase()).pair()
    pair.start()
    pair.deliver_up()
    pair.deliver_down()
    pair.up.clear()
    return pair


def uploading() -> Pair:
    """Return a session with the key and half of the twelve rows uploaded."""
    pair = accepted()
    pair.to_provider(KEY, row(0, 6))
    return pair


def tell_the_client(pair: Pair, replies: list[m.Message]) -> None:
    assert replies
    pair.to_client(replies[-1])


@pytest.mark.parametrize("window", [1, 2, 3, 8, 100])
def test_no_more_than_the_window_is_unacknowledged(window, small_chunks):
    small_chunks(48)
    pair = TrainingCase(limits=Limits(upload_window=window), client_limits=Limits(upload_window=100)).pair()
    pair.start()
    pair.deliver_up()
    pair.deliver_down()
    sent, acknowledged = len(pair.up), 0
    while pair.client.state is not State.RESULT or pair.up:
        assert sent - acknowledged <= window
        pair.deliver_up()
        if not (pair.down and isinstance(pair.codec.decode(pair.down[0]), m.UploadAck)):
            break
        acknowledged = pair.codec.decode(pair.down[0]).uploads
        before = len(pair.up)
        pair.deliver_down()
        sent += len(pair.up) - before
    pair.carry()
    pair.assert_done()


@pytest.mark.parametrize("case", [TrainingCase(), InferenceCase()], ids=["training", "inference"])
@pytest.mark.parametrize("received", [3, 2**64 - 1])
def test_an_acknowledgement_of_what_was_not_sent_is_refused(case, received):
    narrow = Limits(upload_window=1)
    pair = (TrainingCase if isinstance(case, TrainingCase) else InferenceCase)(client_limits=narrow).pair()
    pair.start()
    pair.deliver_up()
    pair.deliver_down()
    pair.to_provider(*pair.to_client(m.UploadAck(uploads=received)))
    pair.assert_aborted(ErrorCode.SEQUENCE_BROKEN, by="client")


def test_an_acknowledgement_that_goes_back_is_refused():
    pair = TrainingCase(client_limits=Limits(upload_window=2)).pair()
    pair.start()
    pair.deliver_up()
    pair.deliver_down()
    pair.to_client(m.UploadAck(uploads=2))
    pair.to_provider(*pair.to_client(m.UploadAck(uploads=1)))
    pair.assert_aborted(ErrorCode.SEQUENCE_BROKEN, by="client")


def test_a_repeated_acknowledgement_grants_nothing():
    uploader = Uploader(iter([m.Finish()] * 9), window=2)
    assert len(list(uploader.ready())) == 2
    uploader.acknowledge(1)
    assert len(list(uploader.ready())) == 1
    uploader.acknowledge(1)
    assert list(uploader.ready()) == []


def test_messages_are_made_no_sooner_than_they_are_sent():
    made = []
    uploader = Uploader((made.append(number) or m.Finish() for number in range(9)), window=2)
    for received in range(4):
        uploader.acknowledge(received)
        for _ in uploader.ready():
            assert len(made) == uploader.sent
    assert made == [0, 1, 2, 3, 4]


def test_progress_counts_rows_as_they_are_sent(small_chunks):
    small_chunks(48)
    pair = TrainingCase(limits=Limits(upload_window=1)).pair()
    pair.start()
    seen = []
    while pair.up:
        pair.deliver_up()
        pair.deliver_down()
        seen.append(pair.client.progress)
    assert seen[:4] == [(0, 12), (1, 12), (2, 12), (3, 12)]
    assert seen[-1] == (12, 12)


BAD_ROWS = {
    "rows before the key": (accepted, [row(0)], ErrorCode.SEQUENCE_BROKEN),
    "rows before the key is whole": (
        accepted,
        [m.KeyChunk(total=9, offset=0, data=b"plain"), row(0)],
        ErrorCode.SEQUENCE_BROKEN,
    ),
    "a gap": (uploading, [row(7)], ErrorCode.SEQUENCE_BROKEN),
    "a duplicate": (uploading, [row(5)], ErrorCode.SEQUENCE_BROKEN),
    "the first rows again": (uploading, [row(0, 6)], ErrorCode.SEQUENCE_BROKEN),
    "more rows than announced": (uploading, [row(6, 7)], ErrorCode.SHAPE_MISMATCH),
    "rows after the last": (uploading, [row(6, 6), row(12)], ErrorCode.SHAPE_MISMATCH),
    "a count that its bytes do not hold": (
        uploading,
        [m.RowBatch(first=6, count=2, data=row(6).data)],
        ErrorCode.CIPHERTEXT_MALFORMED,
    ),
    "an early end": (uploading, [m.Finish()], ErrorCode.SEQUENCE_BROKEN),
    "an end without rows": (accepted, [KEY, m.Finish()], ErrorCode.UNEXPECTED_MESSAGE),
    "an end without a key": (accepted, [m.Finish()], ErrorCode.UNEXPECTED_MESSAGE),
}


@pytest.mark.parametrize(("prepare", "sent", "code"), BAD_ROWS.values(), ids=BAD_ROWS)
def test_rows_out_of_place_are_refused(prepare, sent, code):
    pair = prepare()
    tell_the_client(pair, pair.to_provider(*sent))
    pair.assert_aborted(code, by="provider")


BAD_KEYS = {
    "a gap": ([m.KeyChunk(total=9, offset=0, data=b"pl"), m.KeyChunk(total=9, offset=3, data=b"intext")], "SEQUENCE"),
    "a late start": ([m.KeyChunk(total=9, offset=1, data=b"laintext")], "SEQUENCE"),
    "a duplicate": ([m.KeyChunk(total=9, offset=0, data=b"plain")] * 2, "SEQUENCE"),
    "another total": (
        [m.KeyChunk(total=9, offset=0, data=b"pl"), m.KeyChunk(total=8, offset=2, data=b"a")],
        "SEQUENCE",
    ),
    "an empty piece": ([m.KeyChunk(total=9, offset=0, data=b"")], "SEQUENCE"),
    "more than the key": ([KEY, m.KeyChunk(total=9, offset=9, data=b"")], "SEQUENCE"),
    "the key again": ([KEY, KEY], "SEQUENCE"),
    "a larger total than due": ([m.KeyChunk(total=10, offset=0, data=b"plaintext")], "LIMIT"),
    "a vast total": ([m.KeyChunk(total=2**64 - 1, offset=0, data=b"plaintext")], "LIMIT"),
    "no bytes at all": ([m.KeyChunk(total=0, offset=0, data=b"")], "CIPHERTEXT"),
    "another key": ([m.KeyChunk(total=9, offset=0, data=b"plaintexT")], "CIPHERTEXT"),
}
CODES = {
    "SEQUENCE": ErrorCode.SEQUENCE_BROKEN,
    "LIMIT": ErrorCode.LIMIT_EXCEEDED,
    "CIPHERTEXT": ErrorCode.CIPHERTEXT_MALFORMED,
}


@pytest.mark.parametrize("case", [TrainingCase(), InferenceCase()], ids=["training", "inference"])
@pytest.mark.parametrize(("sent", "code"), BAD_KEYS.values(), ids=BAD_KEYS)
def test_a_key_in_disorder_is_refused(case, sent, code):
    pair = accepted(case)
    tell_the_client(pair, pair.to_provider(*sent))
    pair.assert_aborted(CODES[code], by="provider")


@pytest.mark.parametrize("make", [TrainingCase, InferenceCase])
def test_a_key_above_the_operators_limit_is_refused(make):
    pair = make(limits=Limits(max_key_bytes=8)).run_alone()
    pair.assert_aborted(ErrorCode.LIMIT_EXCEEDED, by="provider")


def awaiting_result() -> Pair:
    """Return a session whose client has sent all rows."""
    pair = TrainingCase().pair()
    pair.start()
    pair.deliver_up()
    pair.deliver_down()
    while pair.up:
        pair.deliver_up()
    pair.down.clear()
    return pair


RESULT = np.ones((3, 5)).tobytes()
BAD_RESULTS = {
    "a larger total than due": ([m.ResultChunk(total=121, offset=0, data=RESULT)], "LIMIT"),
    "a gap": ([m.ResultChunk(total=120, offset=8, data=RESULT[8:])], "SEQUENCE"),
    "an empty piece": ([m.ResultChunk(total=120, offset=0, data=b"")], "SEQUENCE"),
    "a duplicate": ([m.ResultChunk(total=120, offset=0, data=RESULT[:8])] * 2, "SEQUENCE"),
}


@pytest.mark.parametrize(("sent", "code"), BAD_RESULTS.values(), ids=BAD_RESULTS)
def test_a_result_in_disorder_is_refused(sent, code):
    pair = awaiting_result()
    pair.to_provider(*pair.to_client(*sent))
    pair.assert_aborted(CODES[code], by="client")


def test_a_result_above_the_clients_limit_is_refused():
    pair = TrainingCase(client_limits=Limits(max_result_bytes=119)).finished()
    pair.assert_aborted(ErrorCode.LIMIT_EXCEEDED, by="client")


def test_a_result_that_the_provider_never_sent_is_noticed():
    pair = awaiting_result()
    (confirm,) = pair.to_client(m.ResultChunk(total=8, offset=0, data=bytes(8)))
    pair.to_client(*pair.to_provider(confirm))
    pair.assert_aborted(ErrorCode.TRANSCRIPT_MISMATCH, by="provider")


def test_a_result_that_is_no_ciphertext_yields_no_product(monkeypatch):
    """It is decrypted after the session: what a decryption makes of it is nothing that the provider may learn."""
    pair = TrainingCase().pair()
    pair.start()
    pair.deliver_up()
    monkeypatch.setattr(pair.provider._evaluator, "finish", lambda: bytes(8))
    pair.carry()
    pair.assert_done()
    with pytest.raises(CiphertextError):
        pair.client.product()


@pytest.mark.parametrize("suite", [PlaintextSuite(), TOY_LWE], ids=["plaintext", "toy"])
@pytest.mark.parametrize("size", [300, 1000, MAX_CHUNK_BYTES])
def test_the_product_does_not_depend_on_the_cut(suite, size, small_chunks):
    small_chunks(size)
    case = TrainingCase(suites=(suite,))
    pair = case.finished()
    pair.assert_done()
    np.testing.assert_allclose(pair.client.product(), case.product, atol=1e-3)


@given(data=st.binary(max_size=200), size=st.integers(1, 64))
def test_chunks_join_to_what_was_cut(data, size):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streams, "MAX_CHUNK_BYTES", size)
        pieces = list(chunks(m.PoolChunk, data, pool=7))
        assert len(pieces) == max(1, -(-len(data) // size))
        assembler = Assembler(len(data))
        for piece in pieces:
            assert not assembler.complete
            assembler.add(piece)
        assert assembler.complete
        assert assembler.take() == data


def test_a_piece_cut_short_is_refused_since_its_rest_might_never_come():
    assembler = Assembler(100)
    with pytest.raises(RemoteProtocolError) as caught:
        assembler.add(m.PoolChunk(pool=0, total=17, offset=0, data=bytes(16)))
    assert caught.value.code is ErrorCode.SEQUENCE_BROKEN


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40), st.binary(max_size=16)), max_size=12))
def test_an_assembler_never_holds_more_than_its_limit(pieces):
    assembler = Assembler(32)
    for total, offset, data in pieces:
        with suppress(RemoteProtocolError):
            assembler.add(m.KeyChunk(total=max(total, offset + len(data)), offset=offset, data=data))
        assert len(assembler._data) <= 32
