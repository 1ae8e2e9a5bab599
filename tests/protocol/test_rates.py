"""A peer asks as often as its bucket allows, and a refusal says when to come back."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from securealign.errors import ConfigurationError, ErrorCode, RemoteProtocolError
from securealign.protocol.policy.rates import Rate, RateLimiter, queries_per_minute, sessions_per_hour

MINUTE = queries_per_minute(6)


def taken(limiter, peer, now, amount=1):
    try:
        limiter.take(peer, now, amount)
    except RemoteProtocolError:
        return False
    return True


def test_a_period_s_share_is_there_at_once_and_then_the_average():
    limiter = RateLimiter(MINUTE)
    assert [taken(limiter, "peer", 100.0) for _ in range(8)] == [True] * 6 + [False] * 2
    assert not taken(limiter, "peer", 109.9)
    assert taken(limiter, "peer", 110.0)
    assert not taken(limiter, "peer", 110.0)
    assert [taken(limiter, "peer", 10_000.0) for _ in range(7)] == [True] * 6 + [False]


def test_peers_have_buckets_of_their_own():
    limiter = RateLimiter(MINUTE)
    limiter.take("a", 0.0, 6)
    limiter.take("b", 0.0, 6)
    assert not taken(limiter, "a", 0.0)


def test_a_refusal_takes_nothing_and_says_when_to_come_back():
    limiter = RateLimiter(MINUTE)
    limiter.take("peer", 0.0, 4)
    with pytest.raises(RemoteProtocolError, match="max_queries_per_minute allows 6 in 60 s, and 2 are left") as caught:
        limiter.take("peer", 0.0, 5)
    assert caught.value.code is ErrorCode.RATE_LIMITED
    assert "in 30 s" in caught.value.hint
    assert taken(limiter, "peer", 0.0, 2)


def test_waiting_as_long_as_one_is_told_is_enough():
    limiter = RateLimiter(MINUTE)
    limiter.take("peer", 0.0, 4)
    assert limiter.wait("peer", 0.0, 2) == 0
    seconds = limiter.wait("peer", 0.0, 5)
    assert seconds == pytest.approx(30)
    assert not taken(limiter, "peer", seconds - 0.01, 5)
    assert taken(limiter, "peer", seconds, 5)


@given(now=st.floats(0, 1e9), spent=st.integers(1, 6), amount=st.integers(1, 6))
def test_waiting_is_enough_whatever_the_clock_shows(now, spent, amount):
    limiter = RateLimiter(MINUTE)
    limiter.take("peer", now, spent)
    assert taken(limiter, "peer", now + limiter.wait("peer", now, amount), amount)


def test_what_exceeds_a_bucket_never_passes_and_the_hint_says_so():
    limiter = RateLimiter(MINUTE)
    assert limiter.wait("peer", 0.0, 7) == math.inf
    with pytest.raises(RemoteProtocolError) as caught:
        limiter.take("peer", 0.0, 7)
    assert "smaller messages" in caught.value.hint


@given(st.lists(st.tuples(st.floats(-5, 30), st.integers(1, 6)), max_size=60))
def test_no_sequence_of_requests_passes_more_than_the_share_of_its_time_and_one_burst(steps):
    """Time that goes back fills nothing."""
    limiter = RateLimiter(MINUTE)
    now = total = 0.0
    times = []
    for step, amount in steps:
        now += step
        times.append(now)
        total += amount * taken(limiter, "peer", now, amount)
        assert total <= MINUTE.count + np.ptp(times) * MINUTE.count / MINUTE.seconds + 1e-6


def test_a_clock_that_goes_back_takes_nothing_away():
    limiter = RateLimiter(MINUTE)
    limiter.take("peer", 1000.0, 4)
    assert limiter.wait("peer", 0.0, 2) == 0
    assert taken(limiter, "peer", 0.0, 2)
    assert not taken(limiter, "peer", 1000.0)


def test_full_buckets_are_forgotten():
    limiter = RateLimiter(MINUTE)
    for peer in range(50):
        limiter.take(str(peer), 0.0)
    assert limiter.peers == 50
    limiter.take("another", 60.0)
    assert limiter.peers == 1


def test_sessions_are_counted_by_the_hour():
    limiter = RateLimiter(sessions_per_hour(2))
    assert [taken(limiter, "peer", 0.0) for _ in range(3)] == [True, True, False]
    assert not taken(limiter, "peer", 1799.0)
    assert taken(limiter, "peer", 1801.0)


@pytest.mark.parametrize(("count", "seconds"), [(0, 60.0), (-1, 60.0), (1, 0.0), (1, math.nan)])
def test_a_rate_that_allows_nothing_is_refused(count, seconds):
    with pytest.raises(ConfigurationError, match="max_sessions_per_hour"):
        Rate(count, seconds, "sessions", "max_sessions_per_hour")
