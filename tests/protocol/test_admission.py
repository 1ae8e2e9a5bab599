"""Sessions take permits and memory, and give both back however they end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securealign.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from securealign.limits import MEBIBYTE
from securealign.protocol.policy.admission import Admission


def test_a_peer_has_as_many_sessions_as_it_may():
    admission = Admission(max_peer_sessions=2)
    first, _ = admission.enter("a"), admission.enter("a")
    with pytest.raises(RemoteProtocolError, match="max_peer_sessions allows 2") as caught:
        admission.enter("a")
    assert caught.value.code is ErrorCode.SERVER_BUSY
    admission.enter("b")
    first.close()
    admission.enter("a")
    assert admission.sessions("a") == 2


def test_memory_is_reserved_before_it_is_used_and_the_sum_stays_within_the_limit():
    admission = Admission(max_memory_bytes=100 * MEBIBYTE)
    first, second = admission.enter("a"), admission.enter("b")
    first.reserve(60 * MEBIBYTE)
    with pytest.raises(RemoteProtocolError, match=r"up to 41 MiB beside 60 MiB.*max_memory_bytes allows 100") as caught:
        second.reserve(41 * MEBIBYTE)
    assert caught.value.code is ErrorCode.MEMORY_EXHAUSTED
    assert "when others are over" in caught.value.hint
    second.reserve(40 * MEBIBYTE)
    assert admission.reserved == 100 * MEBIBYTE
    first.close()
    assert admission.reserved == 40 * MEBIBYTE


def test_a_session_that_never_fits_is_told_so():
    with pytest.raises(RemoteProtocolError) as caught:
        Admission(max_memory_bytes=MEBIBYTE).enter("a").reserve(2 * MEBIBYTE)
    assert "never fits" in caught.value.hint


def test_without_limits_everyone_enters():
    admission = Admission()
    for _ in range(100):
        admission.enter("a").reserve(1 << 50)
    assert admission.sessions("a") == 100


def test_a_seat_is_given_back_once_and_when_its_session_fails():
    admission = Admission(max_peer_sessions=1, max_memory_bytes=10)

    def failing_session():
        with permit:
            permit.reserve(10)
            raise ZeroDivisionError

    permit = admission.enter("a")
    with pytest.raises(ZeroDivisionError):
        failing_session()
    for _ in range(2):
        permit.close()
    with pytest.raises(LocalProtocolError):
        permit.reserve(1)
    assert (admission.sessions("a"), admission.reserved) == (0, 0)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 60), st.booleans()), max_size=40))
def test_no_sequence_of_sessions_exceeds_the_limits_or_loses_a_byte(steps):
    admission = Admission(max_peer_sessions=3, max_memory_bytes=100)
    permits, refusals = [], set()
    for peer, size, leave in steps:
        try:
            permit = admission.enter(peer)
            permits.append(permit)
            permit.reserve(size)
        except RemoteProtocolError as error:
            refusals.add(error.code)
        assert admission.reserved <= 100
        assert all(admission.sessions(peer) <= 3 for peer in "ab")
        if leave and permits:
            permits.pop(0).close()
    assert refusals <= {ErrorCode.SERVER_BUSY, ErrorCode.MEMORY_EXHAUSTED}
    for permit in permits:
        permit.close()
    assert (admission.reserved, admission.sessions("a"), admission.sessions("b")) == (0, 0, 0)
