"""How often a peer may ask: a token bucket for each authenticated peer.

A bucket holds `count` tokens, starts full, and is filled at a constant rate, so a peer may use a whole period's share
at once and then goes on at the average. Nothing here reads a clock: `now` is seconds of a clock that does not go back,
and buckets of a process that starts again are full again.
"""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import NamedTuple

from securealign.errors import ConfigurationError, ErrorCode, RemoteProtocolError

#: Part of a token that a bucket may lack for rounding, so that a peer that waited as told is granted.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Rate:
    """At most `count` of `what` in `seconds`, on average and at once; `rule` is the setting it comes from."""

    count: int
    seconds: float
    what: str
    rule: str

    def __post_init__(self) -> None:
        if self.count < 1 or not self.seconds > 0:
            raise ConfigurationError(f"{self.rule} = {self.count} allows nothing.", hint="Use 1 or more.")


def sessions_per_hour(count: int) -> Rate:
    """Return the rate of the setting `max_sessions_per_hour`."""
    return Rate(count, 3600.0, "sessions", "max_sessions_per_hour")


def queries_per_minute(count: int) -> Rate:
    """Return the rate of the setting `max_queries_per_minute`."""
    return Rate(count, 60.0, "queries", "max_queries_per_minute")


def pools_per_hour(count: int) -> Rate:
    """Return the rate of the setting `max_pools_per_hour`."""
    return Rate(count, 3600.0, "pools", "max_pools_per_hour")


def listings_per_minute(count: int) -> Rate:
    """Return the rate of the setting `max_listings_per_minute`."""
    return Rate(count, 60.0, "listings", "max_listings_per_minute")


class _Bucket(NamedTuple):
    tokens: float
    filled: float


class RateLimiter:
    """The buckets of all peers under one rate, behind a lock if sessions run in threads."""

    def __init__(self, rate: Rate, lock: AbstractContextManager[object] | None = None) -> None:
        self._rate = rate
        self._lock = lock or nullcontext()
        self._buckets: dict[str, _Bucket] = {}

    @property
    def peers(self) -> int:
        """Peers whose buckets are not known to be full."""
        return len(self._buckets)

    def take(self, peer: str, now: float, amount: int = 1) -> None:
        """Take tokens; raises `RemoteProtocolError`, and takes none, when the bucket holds fewer."""
        with self._lock:
            tokens = self._tokens(peer, now)
            if amount > tokens + _ROUNDING:
                raise self._refusal(amount, tokens)
            # A clock that went back fills nothing twice.
            filled = max(now, self._buckets[peer].filled) if peer in self._buckets else now
            self._forget_full(now)
            self._buckets[peer] = _Bucket(tokens - amount, filled)

    def wait(self, peer: str, now: float, amount: int = 1) -> float:
        """Return the seconds until `take` grants `amount`: 0 if it would now, infinity if it never does."""
        if amount > self._rate.count:
            return float("inf")
        with self._lock:
            missing = max(0.0, amount - self._tokens(peer, now))
        return missing * self._rate.seconds / self._rate.count

    def _tokens(self, peer: str, now: float) -> float:
        rate = self._rate
        bucket = self._buckets.get(peer)
        if bucket is None:
            return rate.count
        return min(rate.count, bucket.tokens + max(0.0, now - bucket.filled) * rate.count / rate.seconds)

    def _forget_full(self, now: float) -> None:
        for peer in [peer for peer in self._buckets if self._tokens(peer, now) >= self._rate.count]:
            del self._buckets[peer]

    def _refusal(self, amount: int, tokens: float) -> RemoteProtocolError:
        rate = self._rate
        seconds = (amount - tokens) * rate.seconds / rate.count
        hint = (
            f"The peer can try again in {seconds:.0f} s, or raise {rate.rule}."
            if amount <= rate.count
            else f"No message of {amount} passes; raise {rate.rule}, or let the peer send smaller messages."
        )
        return RemoteProtocolError(
            f"The peer asks for {amount} {rate.what}; {rate.rule} allows {rate.count} in {rate.seconds:g} s, and "
            f"{int(tokens)} are left.",
            hint=hint,
            code=ErrorCode.RATE_LIMITED,
        )
