"""A gRPC stream in virtual time: both directions of a TCP connection as Linux sends, and what is around it.

A direction has slow start, CUBIC, recovery and restart after idling.
Segments leave in small groups, since one event for each would only be slower: a group leaves when the congestion window
has room, queues at the bottleneck, and is acknowledged one delay after it arrived. Reading is in order, so what follows
a lost segment waits for it. References: RFC 5681, RFC 9438 (CUBIC), RFC 9406 (HyStart), RFC 8985 (RACK-TLP).
"""

import math
from collections import deque
from random import Random
from typing import NamedTuple

from securealign.harness.simulation.networks import Network
from securealign.transport.framing import SEGMENT_BYTES, SEGMENT_HEADER_BYTES, stream_bytes

#: Segments that may leave before the first acknowledgement (RFC 6928).
_INITIAL_WINDOW = 10.0
#: What is left of the window after a loss, and how fast it grows back (RFC 9438, section 4).
_BETA, _CUBIC = 0.7, 0.4
#: Least seconds that Linux adds to the round trip in its retransmission timeout.
_LEAST_TIMEOUT = 0.2
#: Round trips until the lost end of a flight arrives: two until the sender probes, one until it knows the losses, one
#: to send them again, and most of one for the bytes that were queued before the probe.
_TAIL_ROUND_TRIPS = 4.75
#: Bytes that may wait for the bottleneck, unless one round trip of traffic is more.
LEAST_QUEUE_BYTES = 256 * 1024
#: Parts of the window that leave as a group.
_GROUPS = 8


class _Group(NamedTuple):
    """Segments on their way: when they left, when they are acknowledged, and how many left before them."""

    left: float
    acknowledged: float
    size: int
    number: int


class Pipe:
    """Carries bytes in one direction; `deliver` is called with times that do not go back."""

    def __init__(
        self, *, mbit: float, delay: float, jitter: float, loss: float, random: Random, receive_window: int
    ) -> None:
        per_byte = 8 / (mbit * 1e6)
        self._seconds_per_segment = (SEGMENT_BYTES + SEGMENT_HEADER_BYTES) * per_byte
        self._delay, self._jitter, self._loss = delay, jitter, loss
        self._random = random
        self._round_trip = 2 * delay + self._seconds_per_segment
        self._queue_seconds = max(2 * delay, LEAST_QUEUE_BYTES * per_byte)
        self._most = max(2.0, receive_window / SEGMENT_BYTES)
        self._window = min(_INITIAL_WINDOW, self._most)
        self._start = _SlowStart(self._round_trip)
        #: Window before the last loss, or at the end of slow start, and since when it has been growing from there.
        self._largest, self._since = 0.0, -math.inf
        self._flying: deque[_Group] = deque()
        self._in_flight = self._most_in_flight = self._sent = 0
        self._link_free = self._last_left = self._last_read = self._last_arrival = 0.0

    def deliver(self, at: float, stream: int) -> float:
        """Return when the last of `stream` bytes, written at `at`, can be read."""
        now = max(at, self._last_left)
        self._settle(now)
        if not self._in_flight:
            self._restart(now)
        remaining = -(-stream // SEGMENT_BYTES)
        last = (stream % SEGMENT_BYTES or SEGMENT_BYTES) / SEGMENT_BYTES
        while remaining:
            while self._in_flight >= int(self._window):
                now = max(now, self._flying[0].acknowledged)
                self._settle(now)
            room = int(self._window) - self._in_flight
            group = min(remaining, room, max(2, int(self._window) // _GROUPS))
            remaining -= group
            self._send(now, group, group if remaining else group - 1 + last, remaining)
        self._last_left = now
        return self._last_read

    def _send(self, now: float, group: int, full: float, following: int) -> None:
        """Let a group of segments leave, as long as `full` full ones; `following` more of the same write will."""
        begin = max(now, self._link_free)
        self._link_free = begin + full * self._seconds_per_segment
        arrival = max(self._link_free + self._delay + self._wait(group), self._last_arrival)
        read = arrival
        if self._link_free - now > self._queue_seconds:
            read += self._round_trip if following else _TAIL_ROUND_TRIPS * self._round_trip
            self._reduce(now)
        elif self._loss and self._random.random() < 1 - (1 - self._loss) ** group:
            read += self._recovery(group + following)
            self._reduce(now)
        self._last_arrival = arrival
        self._last_read = max(read, self._last_read)
        self._flying.append(_Group(now, arrival + self._delay, group, self._sent))
        self._sent += group
        self._in_flight += group
        self._most_in_flight = max(self._most_in_flight, self._in_flight)

    def _wait(self, group: int) -> float:
        """Return what the slowest packet of a group waits, each evenly between nothing and the jitter."""
        return self._jitter * float(self._random.random() ** (1 / group)) if self._jitter else 0.0

    def _recovery(self, following: int) -> float:
        """Return how much later a lost segment arrives: the receiver reports the gap, or the sender probes."""
        if following > 3:
            return self._round_trip
        return 2 * self._round_trip + (_LEAST_TIMEOUT if following == 1 else 0.0)

    def _settle(self, now: float) -> None:
        """Take the acknowledgements that have arrived by `now`."""
        while self._flying and self._flying[0].acknowledged <= now:
            group = self._flying.popleft()
            self._in_flight -= group.size
            self._grow(group)

    def _grow(self, group: _Group) -> None:
        ended = self._start.ends(group, self._window, self._sent, group.size * self._seconds_per_segment)
        # A window that is not used says nothing about what the path could carry.
        if self._window >= 2 * self._most_in_flight:
            return
        if self._start.over:
            self._window = max(self._window, self._cubic(group.acknowledged - self._since))
        else:
            self._window += group.size
        if ended:
            self._start.over = True
            self._largest, self._since = self._window, group.acknowledged
        self._window = min(self._window, self._most)

    def _cubic(self, elapsed: float) -> float:
        """Return the window after so many seconds of growing back, at least what Reno's would be."""
        turning = math.pow(self._largest * (1 - _BETA) / _CUBIC, 1 / 3)
        cubic = _CUBIC * (elapsed - turning) ** 3 + self._largest
        reno = self._largest * _BETA + 3 * (1 - _BETA) / (1 + _BETA) * elapsed / max(self._round_trip, 1e-6)
        return max(cubic, reno)

    def _reduce(self, now: float) -> None:
        """Shrink the window after a loss, at most once a round trip."""
        if now - self._since < self._round_trip:
            return
        # A window that did not reach the last one leaves room for others (RFC 9438, section 4.7).
        shrinking = self._window < self._largest
        self._largest, self._since = self._window * ((1 + _BETA) / 2 if shrinking else 1), now
        self._window = max(2.0, self._window * _BETA)
        self._start.over = True

    def _restart(self, now: float) -> None:
        """Shrink a window that nothing has used for a while, by half for each timeout."""
        self._most_in_flight = 0
        timeout = self._round_trip + _LEAST_TIMEOUT
        idle = now - self._last_arrival - self._delay
        if self._window > _INITIAL_WINDOW and idle > timeout:
            self._window = max(_INITIAL_WINDOW, self._window / 2 ** min(int(idle / timeout), 32))


class _SlowStart:
    """Finds the end of slow start, once each round trip: acknowledgements come in a train as long as half of it, or the
    first ones are late."""

    #: Segments below which neither is looked for, and acknowledgements that are looked at.
    _LEAST_WINDOW, _SAMPLES = 16, 8
    #: Seconds between acknowledgements of one train.
    _TRAIN_GAP = 0.002
    #: By which part of the round trip, within bounds in seconds, the first acknowledgements are late.
    _LATE_PART, _LEAST_LATE, _MOST_LATE = 8, 0.004, 0.016

    def __init__(self, round_trip: float) -> None:
        self.over = False
        self._round_trip = round_trip
        self._late = round_trip + min(max(round_trip / self._LATE_PART, self._LEAST_LATE), self._MOST_LATE)
        self._begun = self._last = 0.0
        self._least = math.inf
        self._samples = 0
        #: Number of the segment whose acknowledgement ends the round.
        self._end = 0

    def ends(self, group: _Group, window: float, sent: int, train: float) -> bool:
        """Return whether this acknowledgement ends it, of segments that take `train` seconds at the bottleneck."""
        if self.over:
            return False
        now = group.acknowledged
        if group.number >= self._end:
            self._begun, self._end, self._least, self._samples = now - train, sent, math.inf, 0
            self._last = self._begun
        in_train = now - self._last <= train + self._TRAIN_GAP
        if in_train:
            self._last = now
        if self._samples < self._SAMPLES:
            self._least = min(self._least, now - group.left - train)
            self._samples += group.size
        if window < self._LEAST_WINDOW:
            return False
        long = in_train and now - self._begun > self._round_trip / 2
        return long or (self._samples >= self._SAMPLES and self._least > self._late)


#: Seconds that gRPC and TLS add to a message at both ends together. Measured between parties on one core each: a round
#: trip of two messages takes 0.9 ms beyond the network and the compute of both, most of it for threads that wake up one
#: after the other on an idle core. A tight loop of small messages takes half of that.
_MESSAGE_SECONDS = 0.45e-3
#: What they add to each byte: 1.5 ms per MiB beyond plain TCP over 1 Gbit/s, 20 MiB at a time.
_BYTE_SECONDS = 1.5e-9
#: Bytes up and down in each round trip of a connection: TCP's handshake, then TLS 1.3 with elliptic-curve certificates
#: of both sides, the second answer being session tickets and HTTP/2's settings; counted on the cable.
_FLIGHTS = ((1, 1), (520, 1_250), (1_110, 1_900))
#: Connections of a session: the client meets the provider, then opens the channel.
_CONNECTIONS = 2
#: Seconds of compute for certificates and handshakes at both ends, in a process that connects for the first time, as
#: the programs do: 19 ms for meeting the provider, 13 ms for the channel. A second session takes half of that.
_CONNECTION_SECONDS = 0.032
#: What Linux lets a connection receive ahead of its reader.
_RECEIVE_WINDOW = 3 << 20


def pipes(network: Network, random: Random) -> tuple[Pipe, Pipe]:
    """Return both directions of a new connection, up and down."""
    up, down = (
        Pipe(
            mbit=mbit,
            delay=network.round_trip_ms / 2000,
            jitter=network.jitter_ms / 1000,
            loss=network.loss,
            # Each direction draws its own random numbers, whatever happens in the other.
            random=Random(random.random()),  # noqa: S311 - simulated losses, no secret
            receive_window=_RECEIVE_WINDOW,
        )
        for mbit in (network.up_mbit, network.down_mbit)
    )
    return up, down


class Channel:
    """Carries the messages of one session."""

    def __init__(self, network: Network, random: Random) -> None:
        self._network, self._random = network, random
        self._up, self._down = pipes(network, random)
        #: When the latest message could be taken, by direction.
        self._taken = {True: 0.0, False: 0.0}

    def connect(self) -> float:
        """Return the seconds from the first packet until a message can leave."""
        now = 0.0
        for _ in range(_CONNECTIONS):
            # The windows of the channel hardly grow by its handshake, so they begin anew after it.
            up, down = pipes(self._network, self._random)
            for request, answer in _FLIGHTS:
                now = down.deliver(up.deliver(now, request), answer)
        return now + _CONNECTION_SECONDS

    def send(self, at: float, size: int, *, up: bool) -> float:
        """Return when the receiver can read a message of `size` bytes that is sent at `at`."""
        overhead = _MESSAGE_SECONDS + _BYTE_SECONDS * size
        arrival = (self._up if up else self._down).deliver(at, stream_bytes(size)) + overhead
        # A short message does not overtake a long one that is still being copied.
        self._taken[up] = max(self._taken[up], arrival)
        return self._taken[up]
