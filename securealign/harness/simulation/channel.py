"""A gRPC stream between two parties in virtual time: both directions of a TCP connection, and what is around it."""

from __future__ import annotations

from random import Random

from securealign.harness.simulation.networks import Network
from securealign.harness.simulation.tcp import Pipe
from securealign.transport.framing import stream_bytes

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
        self._network = network
        self._random = random
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
