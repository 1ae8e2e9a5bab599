"""A gRPC stream between two parties in virtual time: both directions of a TCP connection, and what is around it."""

from __future__ import annotations

from random import Random

from securealign.simulation.networks import Network
from securealign.simulation.tcp import Pipe
from securealign.transport.framing import stream_bytes

#: Seconds that threads and copies of gRPC and TLS add to a message at both ends together, and to each of its bytes.
_MESSAGE_SECONDS = 0.2e-3
_BYTE_SECONDS = 1.5e-9
#: Round trips until the first message of a session can leave: the client meets the provider (TCP, TLS, settings of
#: HTTP/2), then opens the channel (the same).
_CONNECTION_ROUND_TRIPS = 6
#: Seconds of compute for certificates and handshakes at both ends.
_CONNECTION_SECONDS = 0.016
#: What Linux lets a connection receive ahead of its reader.
_RECEIVE_WINDOW = 3 << 20


class Channel:
    """Carries the messages of one session."""

    def __init__(self, network: Network, random: Random) -> None:
        self._network = network
        self._up = self._pipe(network.up_mbit, random)
        self._down = self._pipe(network.down_mbit, random)
        #: When the latest message could be taken, by direction.
        self._taken = {True: 0.0, False: 0.0}

    def _pipe(self, mbit: float, random: Random) -> Pipe:
        network = self._network
        return Pipe(
            mbit=mbit,
            delay=network.round_trip_ms / 2000,
            jitter=network.jitter_ms / 1000,
            loss=network.loss,
            # Each direction has luck of its own, whatever happens in the other.
            random=Random(random.random()),  # noqa: S311 - luck, no secret
            receive_window=_RECEIVE_WINDOW,
        )

    def connect(self) -> float:
        """Return the seconds from the first packet until a message can leave."""
        return _CONNECTION_ROUND_TRIPS * self._network.round_trip_ms / 1000 + _CONNECTION_SECONDS

    def send(self, at: float, size: int, *, up: bool) -> float:
        """Return when a message of `size` bytes, sent at `at`, can be taken at the other end."""
        overhead = _MESSAGE_SECONDS + _BYTE_SECONDS * size
        arrival = (self._up if up else self._down).deliver(at, stream_bytes(size)) + overhead
        # A short message does not overtake a long one that is still being copied.
        self._taken[up] = max(self._taken[up], arrival)
        return self._taken[up]
