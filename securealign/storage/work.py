"""A client's work, carried over as many processes as it takes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType

import numpy as np
import numpy.typing as npt
import structlog

from securealign.errors import ErrorCode, KeyStoreError, SecurealignError
from securealign.keys.handles import Purpose
from securealign.protocol.client import ClientMachine
from securealign.protocol.randomness import Root
from securealign.protocol.resume.session import ResumableClient
from securealign.protocol.resume.snapshot import Snapshot, restore
from securealign.protocol.states import State
from securealign.storage.journal import SessionJournal
from securealign.storage.opening import State as PartyState
from securealign.storage.session_store import SessionStore

#: Reasons for which an interrupted session cannot go on, while a new one can do its work.
_BEGIN_AGAIN = frozenset({ErrorCode.SESSION_UNKNOWN, ErrorCode.SESSION_ROLLED_BACK})

log = structlog.get_logger()


def work_name(*parts: str | bytes | npt.NDArray[np.floating]) -> bytes:
    """Return what names a piece of work, 32 bytes: a digest of everything that it depends on."""
    digest = hashlib.sha256(b"securealign/work")
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        content = data if isinstance(data, bytes) else np.ascontiguousarray(data).tobytes() + str(data.shape).encode()
        digest.update(hashlib.sha256(content).digest())
    return digest.digest()


class Attempt:
    """One session for a piece of work; a context manager that notes why a session could not go on."""

    def __init__(self, root: Root, journal: SessionJournal, snapshot: Snapshot | None, *, last: bool = False) -> None:
        #: Secret that the randomness of the session derives from.
        self.root = root
        self._journal = journal
        self._snapshot = snapshot
        self._last = last
        #: Whether the record of the session could not be used.
        self.lost = False
        #: Whether the provider does not go on with the session.
        self.refused = False
        #: Says when work fails whether the caller will look for this session again.
        self.wanted: Callable[[], bool] = lambda: True
        self._client: ClientMachine | None = None

    def session(self, client: ClientMachine) -> ResumableClient:
        """Return the session of a machine, which goes on where an earlier process ended."""
        self._client = client
        if self._snapshot is not None:
            try:
                restore(client, self._snapshot)
            except KeyStoreError as error:
                self.lost = True
                _warn_lost(error)
                raise
            log.info(
                "going on with an interrupted session",
                phase=self._journal.kind,
                received=client.received,
                sent=client.sent,
            )
        return ResumableClient(client, self._journal)

    @property
    def useless(self) -> bool:
        """Whether nobody can or will go on with the session."""
        return not self.wanted() or (self._client is not None and self._client.state is State.ABORTED)

    def __enter__(self) -> Attempt:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if isinstance(error, SecurealignError) and error.code in _BEGIN_AGAIN and not self._last:
            log.warning("interrupted session cannot go on; beginning again", reason=error.message)
            self.refused = True
        return self.lost or self.refused


@contextmanager
def durable_attempts(
    state: PartyState, purpose: Purpose, work: bytes, *, keep_seconds: float
) -> Iterator[Iterator[Attempt]]:
    """Hold a piece of work and give the attempts at it: going on where an earlier process ended, or beginning anew.

    The next attempt is made only if the one before could not go on; one that succeeds is the last. The caller finishes
    all that depends on the session inside the block: after it the session is forgotten. When the block raises because
    the connection is gone, the same call goes on later; a session that nobody goes on with is forgotten at once. Raises
    `KeyStoreError` when another process does the same work:
    two processes on one session would use its slots twice.
    """
    sessions = _Sessions(state, purpose, work)
    sessions.store.delete_older(state.folder.clock() - keep_seconds)
    with state.folder.locked(sessions.handle):
        try:
            yield sessions.attempts()
        except BaseException:
            if sessions.last is not None and sessions.last.useless:
                sessions.store.delete(sessions.handle)
            raise
        sessions.store.delete(sessions.handle)


class _Sessions:
    """The sessions for one piece of work, one at a time."""

    def __init__(self, state: PartyState, purpose: Purpose, work: bytes) -> None:
        self.handle = f"{purpose.value}/{work.hex()}"
        self.store = SessionStore(state.folder)
        self._state = state
        self._purpose = purpose
        #: The attempt that was made last.
        self.last: Attempt | None = None

    def attempts(self) -> Iterator[Attempt]:
        attempt = self._interrupted()
        if attempt is not None:
            yield attempt
        if attempt is None or attempt.lost:
            attempt = self._begin()
            yield attempt
        if attempt.refused:
            yield self._begin(last=True)

    def _interrupted(self) -> Attempt | None:
        try:
            journal = self.store.find(self.handle)
            snapshot = journal.recover() if journal is not None else None
            if journal is not None and snapshot is not None:
                self.last = Attempt(self._state.keys.get(journal.key), journal, snapshot)
                return self.last
        except KeyStoreError as error:
            if error.code is ErrorCode.STORE_LOCKED:
                raise
            _warn_lost(error)
        return None

    def _begin(self, *, last: bool = False) -> Attempt:
        key = self._state.begin(self._purpose)
        self.store.delete(self.handle)
        journal = self.store.create(self.handle, self._purpose.value, key=key.name)
        self.last = Attempt(key, journal, None, last=last)
        return self.last


def _warn_lost(error: KeyStoreError) -> None:
    log.warning("interrupted session is lost; beginning again", reason=error.message)
