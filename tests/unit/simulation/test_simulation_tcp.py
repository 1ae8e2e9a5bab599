"""One direction of a TCP connection in virtual time: what no link can do, and what a slow start looks like."""

from __future__ import annotations

from random import Random
from statistics import mean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from securealign.harness.simulation.tcp import Pipe
from securealign.transport.framing import SEGMENT_BYTES, SEGMENT_HEADER_BYTES

MIB = 1 << 20
#: A window that fits into the queue of every link, so that nothing is lost but by chance.
SMALL_WINDOW, LARGE_WINDOW = 128 * 1024, 3 * MIB
#: So fast that only round trips take time.
FAST = 1e6
#: Room for rounding, as a part of a time.
ROUNDING = 1e-9

mbits = st.floats(0.1, 10_000)
delays = st.floats(0, 0.4)
sizes = st.integers(1, 4 * MIB)
seeds = st.integers(0, 2**32)
links = st.fixed_dictionaries(
    {
        "mbit": mbits,
        "delay": delays,
        "jitter": st.floats(0, 0.1),
        "loss": st.floats(0, 0.2),
        "seed": seeds,
        "window": st.sampled_from([SMALL_WINDOW, LARGE_WINDOW]),
    }
)
#: The machine that runs the tests may be busy.
patient = settings(deadline=None)
steps = st.lists(st.tuples(st.floats(0, 5), st.integers(1, MIB)), min_size=1, max_size=8)


def pipe(*, mbit=100.0, delay=0.02, jitter=0.0, loss=0.0, seed=0, window=LARGE_WINDOW):
    """Return a connection on which nothing has been sent."""
    return Pipe(mbit=mbit, delay=delay, jitter=jitter, loss=loss, random=Random(seed), receive_window=window)  # noqa: S311


def alone(size, **link):
    """Return when a message arrives that is the first on its connection."""
    return pipe(**link).deliver(0.0, size)


def walk(steps, **link):
    """Return when messages arrive that are sent so many seconds after each other."""
    connection, now, arrivals = pipe(**link), 0.0, []
    for pause, size in steps:
        now += pause
        arrivals.append(connection.deliver(now, size))
    return arrivals


def serialising(size, mbit):
    """Return the seconds that a link is busy with a message and the headers of its segments."""
    return size / SEGMENT_BYTES * (SEGMENT_BYTES + SEGMENT_HEADER_BYTES) * 8 / (mbit * 1e6)


def segments(count):
    """Return the bytes of so many full segments."""
    return count * SEGMENT_BYTES


@patient
@given(steps, links)
def test_messages_arrive_in_order_and_none_before_it_can(steps, link):
    arrivals, now = walk(steps, **link), 0.0
    for (pause, size), arrival in zip(steps, arrivals, strict=True):
        now += pause
        assert arrival >= (now + link["delay"] + serialising(size, link["mbit"])) * (1 - ROUNDING)
    assert arrivals == sorted(arrivals)


@patient
@given(steps, links)
def test_a_link_never_carries_more_than_its_bandwidth(steps, link):
    carried = sum(serialising(size, link["mbit"]) for _, size in steps)
    assert walk(steps, **link)[-1] >= (steps[0][0] + carried + link["delay"]) * (1 - ROUNDING)


@patient
@given(steps, links)
def test_a_seed_gives_the_same_times_to_the_last_bit(steps, link):
    assert walk(steps, **link) == walk(steps, **link)


@pytest.mark.parametrize("luck", [{"jitter": 0.005}, {"loss": 0.01}], ids=["jitter", "loss"])
def test_another_seed_is_other_luck(luck):
    assert len({alone(MIB, seed=seed, **luck) for seed in range(20)}) > 1


@patient
@given(sizes, seeds, seeds)
def test_without_jitter_and_loss_there_is_no_luck(size, one, other):
    assert alone(size, seed=one) == alone(size, seed=other)


@patient
@given(sizes, sizes, mbits, delays)
def test_more_bytes_never_arrive_earlier(size, more, mbit, delay):
    link = {"mbit": mbit, "delay": delay, "window": SMALL_WINDOW}
    assert alone(size, **link) <= alone(size + more, **link)


@patient
@given(sizes, mbits, delays)
def test_twice_the_bandwidth_is_never_slower(size, mbit, delay):
    slow, fast = (alone(size, mbit=bandwidth, delay=delay, window=SMALL_WINDOW) for bandwidth in (mbit, 2 * mbit))
    assert fast <= slow * (1 + ROUNDING)


@patient
@given(sizes, mbits, delays)
def test_a_longer_way_is_never_faster(size, mbit, delay):
    near, far = (alone(size, mbit=mbit, delay=way, window=SMALL_WINDOW) for way in (delay, delay + 0.05))
    assert near < far


@patient
@given(sizes, mbits, delays, st.floats(1e-4, 0.2), seeds)
def test_losses_never_help(size, mbit, delay, loss, seed):
    link = {"mbit": mbit, "delay": delay, "window": SMALL_WINDOW}
    assert alone(size, **link) <= alone(size, **link, loss=loss, seed=seed) * (1 + ROUNDING)


@patient
@given(st.integers(1, segments(10)), mbits, delays, st.floats(1e-5, 0.1), seeds)
def test_jitter_never_helps_what_leaves_at_once(size, mbit, delay, jitter, seed):
    without, late = (alone(size, mbit=mbit, delay=delay, jitter=most, seed=seed) for most in (0.0, jitter))
    assert without <= late <= (without + jitter) * (1 + ROUNDING)


@pytest.mark.thorough
@pytest.mark.parametrize("luck", [{"jitter": 0.01}, {"loss": 0.002}], ids=["jitter", "loss"])
@pytest.mark.parametrize("mbit", [5, 50, 500])
def test_jitter_and_losses_cost_time_on_average(mbit, luck):
    size = 2 * MIB
    unlucky = [alone(size, mbit=mbit, seed=seed, **luck) for seed in range(30)]
    assert mean(unlucky) > alone(size, mbit=mbit)


@pytest.mark.parametrize("rare", [0.0005, pytest.param(0.002, marks=pytest.mark.thorough)])
def test_more_losses_cost_more_time_on_average(rare):
    fewer, more = (mean(alone(8 * MIB, loss=loss, seed=seed) for seed in range(30)) for loss in (rare, 10 * rare))
    assert fewer < more


def least_cost_of_a_loss(count):
    """Return by how much the luckiest of many unlucky messages of so many segments is late."""
    link = {"mbit": FAST, "delay": 0.05}
    lossless = alone(segments(count), **link)
    late = [alone(segments(count), **link, loss=0.01, seed=seed) - lossless for seed in range(300)]
    return min(seconds for seconds in late if seconds > ROUNDING)


def test_the_end_of_a_message_is_missed_longer_than_its_middle():
    """What follows a lost segment tells the sender of it; of the last one only a timer does."""
    assert least_cost_of_a_loss(1) > least_cost_of_a_loss(10)


@pytest.mark.parametrize("mbit", [2, 20, 200])
def test_a_long_transfer_approaches_the_bandwidth(mbit):
    size = 60 * MIB
    share = serialising(size, mbit) / alone(size, mbit=mbit, delay=0.005)
    assert 0.9 < share < 1


@pytest.mark.parametrize("delay", [0.01, 0.1])
def test_a_link_that_is_faster_than_the_receiver_reads_carries_a_window_each_round_trip(delay):
    size = 200 * MIB
    rate = size / alone(size, mbit=FAST, delay=delay)
    assert rate <= LARGE_WINDOW / (2 * delay)
    assert rate > 0.8 * LARGE_WINDOW / (2 * delay)


def round_trips(connection, at, size, delay=0.05):
    """Return how many round trips pass after a message was sent until its last segment leaves."""
    return round((connection.deliver(at, size) - at - delay) / (2 * delay))


def test_a_first_message_of_ten_segments_leaves_at_once_and_a_larger_one_does_not():
    assert round_trips(pipe(mbit=FAST, delay=0.05), 0.0, segments(10)) == 0
    assert round_trips(pipe(mbit=FAST, delay=0.05), 0.0, segments(11)) == 1
    assert round_trips(pipe(mbit=FAST, delay=0.05), 0.0, segments(31)) == 2


def test_the_window_doubles_every_round_trip_at_the_beginning():
    waited = [round_trips(pipe(mbit=FAST, delay=0.05), 0.0, segments(10 * (2**n - 1))) for n in range(1, 7)]
    assert waited == [0, 1, 2, 3, 4, 5]


def test_a_second_message_finds_the_window_open():
    connection = pipe(mbit=FAST, delay=0.05)
    assert round_trips(connection, 0.0, segments(100)) == 3
    assert round_trips(connection, 0.5, segments(100)) == 0


def test_a_window_that_nothing_used_for_many_timeouts_has_shrunk_again():
    connection = pipe(mbit=FAST, delay=0.05)
    connection.deliver(0.0, segments(100))
    assert round_trips(connection, 60.0, segments(100)) == 3
    assert round_trips(connection, 60.5, segments(100)) == 0


def test_a_window_that_is_not_used_does_not_grow():
    """Small messages say nothing about what the link could carry."""
    connection = pipe(mbit=FAST, delay=0.05)
    for number in range(200):
        connection.deliver(0.2 * number, segments(1))
    assert round_trips(connection, 40.0, segments(100)) >= 2


def test_a_loss_shrinks_the_window():
    unlucky = next(
        connection
        for connection in (pipe(mbit=FAST, delay=0.05, loss=0.01, seed=seed) for seed in range(100))
        if round_trips(connection, 0.0, segments(100)) > 3
    )
    assert round_trips(unlucky, 2.0, segments(100)) > 0


def test_a_window_grows_back_after_a_loss():
    """A link that loses one segment in two thousand is still used for the most part."""
    size = 100 * MIB
    for seed in range(5):
        assert alone(size, mbit=50, delay=0.01, loss=0.0005, seed=seed) < 2 * alone(size, mbit=50, delay=0.01)


def test_a_queue_that_overflows_costs_time_and_loses_nothing():
    """A window wider than what a link and its queue hold is paid for, and all arrives."""
    size, link = 8 * MIB, {"mbit": 3, "delay": 0.3}
    least = serialising(size, 3) + 0.3
    assert least < alone(size, **link) < 2 * least


@patient
@given(st.integers(1, 40))
def test_pieces_that_are_written_one_after_another_take_as_long_as_one_message(count):
    link = {"mbit": 10, "delay": 0.01, "window": SMALL_WINDOW}
    pieces = walk([(0.0, segments(20))] * count, **link)
    assert pieces[-1] == pytest.approx(alone(segments(20 * count), **link), rel=0.1)
