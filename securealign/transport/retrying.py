"""How long, and how often, a client tries to reach its provider again."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from securealign.errors import ErrorCode, SecurealignError

#: Failures after which another try may succeed.
RETRYABLE = frozenset(
    {
        ErrorCode.CONNECTION_LOST,
        # A provider that is stopped ends the streams that it serves so.
        ErrorCode.CANCELLED,
        ErrorCode.PEER_UNREACHABLE,
        ErrorCode.SERVER_BUSY,
        ErrorCode.STARTING,
        ErrorCode.MEMORY_EXHAUSTED,
    }
)


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """Waits that double from `first_seconds` to `longest_seconds`; each is shortened at random by up to a half.

    The random part keeps the clients of a provider that restarts from returning all at once. A failure is final when
    nothing has been received for `seconds`.
    """

    seconds: float = 300.0
    #: For a provider that was never reached: enough for one that is starting, short for a wrong address.
    first_meeting_seconds: float = 10.0
    first_seconds: float = 0.2
    longest_seconds: float = 15.0
    #: Called when waiting begins, with the reason.
    notice: Callable[[SecurealignError], None] = lambda error: None
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    chance: Callable[[], float] = random.random


class Backoff:
    """The waits of one client since it last received something."""

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self._since = 0.0
        self._first: SecurealignError | None = None
        self._next = policy.first_seconds

    def progressed(self) -> None:
        """Begin anew, because something was received."""
        self._first = None
        self._next = self._policy.first_seconds

    def after(self, error: SecurealignError, *, met: bool = True) -> None:
        """Wait before another try; `met` says whether the provider was ever reached, for if not, less is waited.

        Raises the error itself when another try cannot succeed, and the first error since something was received when
        that was too long ago.
        """
        policy = self._policy
        if error.code not in RETRYABLE:
            raise error
        now = policy.clock()
        longest = policy.seconds if met else min(policy.seconds, policy.first_meeting_seconds)
        begins = self._first is None
        if self._first is None:
            self._first, self._since = error, now
        if now - self._since >= longest:
            raise self._first
        if begins:
            policy.notice(error)
        policy.sleep(self._next * (0.5 + 0.5 * policy.chance()))
        self._next = min(2 * self._next, policy.longest_seconds)
