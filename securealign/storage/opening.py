"""Opening the state of a party: its key store, and the folder that one of its keys seals."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from securealign.errors import ErrorCode, KeyStoreError
from securealign.keys.handles import KeyHandle, Purpose
from securealign.keys.passphrase import Passphrase
from securealign.keys.store import KeyStore
from securealign.storage.folder import Sealers, StateFolder

_TRIES = 3


@dataclass(frozen=True, kw_only=True)
class KeyLimits:
    """How long a new key may begin sessions, and how many; None is without limit."""

    lifetime: timedelta | None = None
    sessions: int | None = None


@dataclass(frozen=True)
class State:
    """The keys of a party and what it keeps on disk under them."""

    keys: KeyStore
    folder: StateFolder
    limits: KeyLimits

    @classmethod
    def open(cls, folder: Path, passphrase: Passphrase, limits: KeyLimits | None = None) -> State:
        """Open the state in a folder, and make what is missing; raises `KeyStoreError` for what cannot be opened."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        keys = KeyStore.open_or_create(folder / "keys.store", passphrase)
        sealing = usable_key(keys, Purpose.STORAGE)
        return cls(keys, StateFolder(folder, Sealers(sealing, keys.get)), limits or KeyLimits())

    def begin(self, purpose: Purpose) -> KeyHandle:
        """Return the key for a new session, and count it; one that is expired or used up is replaced by a new one."""
        for _ in range(_TRIES):
            usable_key(self.keys, purpose, self.limits)
            try:
                return self.keys.use(purpose)
            except KeyStoreError as error:
                # Another process has taken the last use in between.
                if error.code is not ErrorCode.KEY_UNUSABLE:
                    raise
        return self.keys.use(purpose)

    def kept_sessions(self) -> int:
        """Return how many sessions are recorded and not over."""
        with self.folder.database.reading() as connection:
            return int(connection.execute("SELECT count(*) FROM session WHERE outcome = ''").fetchone()[0])

    def close(self) -> None:
        """Close the database."""
        self.folder.close()


def usable_key(keys: KeyStore, purpose: Purpose, limits: KeyLimits | None = None) -> KeyHandle:
    """Return the current key of a purpose; a new one takes the place of none, and of one past its limits."""
    limits = limits or KeyLimits()
    try:
        return keys.current(purpose)
    except KeyStoreError as error:
        if error.code is not ErrorCode.KEY_UNUSABLE:
            raise
    return keys.rotate(purpose, lifetime=limits.lifetime, max_uses=limits.sessions)
