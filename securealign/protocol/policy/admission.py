"""Limits on all sessions together: open sessions of one peer, and memory of the process.

A session takes a permit when its stream opens, and reserves memory when its hello tells suite and shape, before
anything is allocated for it. What it reserves is an upper bound of what it will hold (`CovarianceSizes.memory`,
`HeadSizes.memory`); the sum over open permits stays within the limit.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from types import TracebackType

from securealign.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from securealign.limits import MEBIBYTE


class Admission:
    """The permits that are taken, behind a lock if sessions run in threads; a limit of None is none."""

    def __init__(
        self,
        *,
        max_peer_sessions: int | None = None,
        max_memory_bytes: int | None = None,
        lock: AbstractContextManager[object] | None = None,
    ) -> None:
        self._max_peer_sessions, self._max_memory_bytes = max_peer_sessions, max_memory_bytes
        self._lock = lock or nullcontext()
        self._permits: dict[str, int] = {}
        self._reserved = 0

    @property
    def reserved(self) -> int:
        """Bytes reserved by all open permits."""
        return self._reserved

    def sessions(self, peer: str) -> int:
        """Return the open permits of a peer."""
        return self._permits.get(peer, 0)

    def enter(self, peer: str) -> Permit:
        """Open a permit for an authenticated peer; raises `RemoteProtocolError` when it has as many as it may."""
        with self._lock:
            taken = self.sessions(peer)
            if self._max_peer_sessions is not None and taken >= self._max_peer_sessions:
                raise RemoteProtocolError(
                    f"The peer has {taken} sessions open; max_peer_sessions allows {self._max_peer_sessions}.",
                    hint="End one of them, or raise max_peer_sessions.",
                    code=ErrorCode.SERVER_BUSY,
                )
            self._permits[peer] = taken + 1
        return Permit(self, peer)

    def _reserve(self, size: int) -> None:
        with self._lock:
            limit = self._max_memory_bytes
            if limit is not None and self._reserved + size > limit:
                fits = "Try again when others are over" if size <= limit else "It never fits"
                raise RemoteProtocolError(
                    f"A session would take up to {size // MEBIBYTE} MiB beside {self._reserved // MEBIBYTE} MiB of "
                    f"others; max_memory_bytes allows {limit // MEBIBYTE} MiB.",
                    hint=f"{fits}, or raise max_memory_bytes if the machine has more.",
                    code=ErrorCode.MEMORY_EXHAUSTED,
                )
            self._reserved += size

    def _leave(self, peer: str, reserved: int) -> None:
        with self._lock:
            self._reserved -= reserved
            self._permits[peer] -= 1
            if not self._permits[peer]:
                del self._permits[peer]


class Permit:
    """The right of one session to run; a context manager that returns it, with the memory that was reserved."""

    def __init__(self, admission: Admission, peer: str) -> None:
        self._admission, self._peer = admission, peer
        self._reserved = 0
        self._open = True

    def reserve(self, size: int) -> None:
        """Reserve bytes for the session; raises `RemoteProtocolError`, and reserves none, when they are not there."""
        if not self._open:
            raise LocalProtocolError("A session that is over reserves nothing.")
        self._admission._reserve(size)
        self._reserved += size

    def close(self) -> None:
        """Give everything back; idempotent."""
        if self._open:
            self._open = False
            self._admission._leave(self._peer, self._reserved)

    def __enter__(self) -> Permit:
        """Return the permit itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give everything back."""
        self.close()
