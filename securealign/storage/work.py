"""A client's work, carried over as many processes as it takes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import structlog

from securealign.errors import ErrorCode, KeyStoreError, SecurealignError
from securealign.keys.handles import Purpose
from securealign.protocol.client import ClientParty
from securealign.protocol.endpoint import ClientEndpoint
from securealign.protocol.randomness import Root
from securealign.storage.journal import SessionJournal
from securealign.storage.opening import State
from securealign.storage.sessions import ClientSessions

P = TypeVar("P", bound=ClientParty)
T = TypeVar("T")

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


class DurableWork:
    """Does pieces of work in sessions that another process can go on with."""

    def __init__(self, state: State, *, keep_seconds: float) -> None:
        self._state = state
        self._sessions = ClientSessions(state.folder, keep_seconds=keep_seconds)

    def run(
        self,
        purpose: Purpose,
        work: bytes,
        make: Callable[[Root], P],
        do: Callable[[P, ClientEndpoint], T],
    ) -> T:
        """Return what `do` returns for a machine that `make` makes, begun anew or where an earlier process ended.

        `do` finishes with everything that depends on the session: once it returns, the session is forgotten. When it
        raises because the connection is gone, calling this again goes on. Raises `KeyStoreError` when another process
        does the same work.
        """
        phase = purpose.value
        with self._sessions.locked(phase, work):
            try:
                result = do(*self._continue_or_begin(purpose, work, make))
            except SecurealignError as error:
                if error.code not in _BEGIN_AGAIN:
                    raise
                log.warning("interrupted session cannot go on; beginning again", reason=error.message)
                self._sessions.delete(phase, work)
                result = do(*self._begin(purpose, work, make))
            self._sessions.delete(phase, work)
            return result

    def _continue_or_begin(self, purpose: Purpose, work: bytes, make: Callable[[Root], P]) -> tuple[P, ClientEndpoint]:
        try:
            journal = self._sessions.find(purpose.value, work)
            restored = None if journal is None else self._restore(journal, make)
        except KeyStoreError as error:
            if error.code is ErrorCode.STORE_LOCKED:
                raise
            log.warning("interrupted session is lost; beginning again", reason=error.message)
            restored = None
        return restored or self._begin(purpose, work, make)

    def _restore(self, journal: SessionJournal, make: Callable[[Root], P]) -> tuple[P, ClientEndpoint] | None:
        snapshot = journal.recover()
        if snapshot is None:
            return None
        party = make(self._state.keys.get(journal.key))
        party.restore(snapshot)
        log.info("going on with an interrupted session", phase=journal.phase, received=party.received, sent=party.sent)
        return party, ClientEndpoint(party, journal)

    def _begin(self, purpose: Purpose, work: bytes, make: Callable[[Root], P]) -> tuple[P, ClientEndpoint]:
        key = self._state.begin(purpose)
        journal = self._sessions.create(purpose.value, work, key=key.name)
        party = make(key)
        return party, ClientEndpoint(party, journal)
