"""How long a client tries to get back to its provider: what it waits, when it gives up, and what it says then."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from securealign.errors import ErrorCode, PeerAborted, SecurealignError, TransportError
from securealign.transport.retrying import RETRYABLE, Backoff, RetryPolicy


def lost(message="lost", code=ErrorCode.CONNECTION_LOST):
    return TransportError(message, code=code)


@pytest.fixture
def world():
    """A clock that sleeping turns, what was slept, and the chance that the next waits draw."""
    world = SimpleNamespace(now=1000.0, slept=[], chance=1.0)

    def sleep(seconds):
        world.slept.append(seconds)
        world.now += seconds

    world.sleep = sleep
    return world


def waiting(world, **settings):
    return Backoff(RetryPolicy(clock=lambda: world.now, sleep=world.sleep, chance=lambda: world.chance, **settings))


def test_waits_double_up_to_the_longest(world):
    wait = waiting(world, first_seconds=0.2, longest_seconds=3.0)
    for _ in range(7):
        wait.after(lost())
    assert world.slept == pytest.approx([0.2, 0.4, 0.8, 1.6, 3.0, 3.0, 3.0])


@pytest.mark.parametrize(("chance", "share"), [(0.0, 0.5), (0.5, 0.75), (1.0, 1.0)])
def test_up_to_half_of_each_wait_is_left_to_chance(world, chance, share):
    world.chance = chance
    wait = waiting(world, first_seconds=1.0, longest_seconds=4.0)
    for _ in range(4):
        wait.after(lost())
    assert world.slept == pytest.approx([share * seconds for seconds in (1.0, 2.0, 4.0, 4.0)])


def test_clients_of_one_provider_do_not_come_back_at_once():
    slept = []
    patience = RetryPolicy(clock=lambda: 0.0, sleep=slept.append)
    for _ in range(50):
        Backoff(patience).after(lost())
    assert len(set(slept)) > 40
    assert all(0.1 <= seconds <= 0.2 for seconds in slept)


def test_the_error_after_too_long_is_the_first_one(world):
    wait = waiting(world, seconds=10.0, first_seconds=4.0)
    first = lost("the cause")
    wait.after(first)
    wait.after(lost("nobody there", ErrorCode.PEER_UNREACHABLE))
    assert world.now == 1012.0
    with pytest.raises(TransportError) as caught:
        wait.after(lost("nobody there", ErrorCode.PEER_UNREACHABLE))
    assert caught.value is first
    assert world.slept == [4.0, 8.0]


def test_patience_ends_exactly_at_its_bound(world):
    wait = waiting(world, seconds=10.0, first_seconds=0.0)
    wait.after(lost())
    world.now += 9.999
    wait.after(lost())
    world.now = 1010.0
    with pytest.raises(TransportError):
        wait.after(lost())


def test_without_patience_the_first_failure_is_final(world):
    error = lost()
    with pytest.raises(TransportError) as caught:
        waiting(world, seconds=0.0).after(error)
    assert caught.value is error
    assert not world.slept


def test_what_was_received_gives_all_patience_back(world):
    wait = waiting(world, seconds=10.0, first_seconds=1.0)
    wait.after(lost("earlier"))
    wait.after(lost())
    world.now += 100
    wait.progressed()
    later = lost("later")
    wait.after(later)
    assert world.slept == [1.0, 2.0, 1.0]
    world.now += 10
    with pytest.raises(TransportError) as caught:
        wait.after(lost())
    assert caught.value is later


@pytest.mark.parametrize("code", ErrorCode)
def test_only_failures_that_may_pass_are_waited_for(world, code):
    error = lost(code=code)
    if code in RETRYABLE:
        waiting(world).after(error)
        assert len(world.slept) == 1
        return
    with pytest.raises(SecurealignError) as caught:
        waiting(world).after(error)
    assert caught.value is error
    assert not world.slept


def test_a_failure_that_will_not_pass_ends_a_wait_with_its_own_reason(world):
    wait = waiting(world)
    wait.after(lost())
    refusal = PeerAborted(ErrorCode.CERTIFICATE_REVOKED)
    with pytest.raises(PeerAborted) as caught:
        wait.after(refusal)
    assert caught.value is refusal


def test_refusals_by_policy_do_not_pass_by_waiting():
    assert RETRYABLE.isdisjoint(
        {
            ErrorCode.INTERNAL,
            ErrorCode.SESSION_UNKNOWN,
            ErrorCode.RATE_LIMITED,
            ErrorCode.QUERY_BUDGET_EXHAUSTED,
            ErrorCode.WRONG_ROLE,
            ErrorCode.PEER_UNTRUSTED,
            ErrorCode.DEADLINE_EXCEEDED,
        }
    )
