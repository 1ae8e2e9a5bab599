"""The encrypted store of a party's keys, shared by its processes and its operator.

The file is the only state: everything is read from it anew, and changed under a lock. A change is a function from
the contents to the new contents, so that none can lose what another process wrote in between.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import NoReturn

from securealign.errors import ConfigurationError, ErrorCode, InputError, KeyStoreError
from securealign.files import write_atomically
from securealign.keys.entries import Contents, KeyEntry, KeyState, Record
from securealign.keys.envelope import MAX_STORE_BYTES, Envelope, Header, MasterKey, ScryptCost
from securealign.keys.handles import KEY_BYTES, ExportToken, KeyHandle, Purpose, key_name
from securealign.keys.passphrase import Passphrase
from securealign.locks import exclusive

Clock = Callable[[], datetime]

_PREFIX = re.compile(r"[0-9a-f]{8,64}")
_DEFAULT_COST = ScryptCost()


def utc_now() -> datetime:
    """Return the time of the machine."""
    return datetime.now(timezone.utc)


class KeyStore:
    """An open store; made by `open`, `create` and `open_or_create`.

    Every method that reads or writes raises `KeyStoreError` when the file is damaged, is older than what this object
    has already seen, or belongs to another store; those that write also when another process keeps it locked.
    """

    def __init__(self, path: Path, passphrase: Passphrase, clock: Clock) -> None:
        self._path, self._passphrase, self._clock = path, passphrase, clock
        self._master: MasterKey | None = None
        self._seen: Header | None = None

    def __repr__(self) -> str:
        return f"<KeyStore {self._path}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a key store cannot be pickled or copied")

    @classmethod
    def open(cls, path: Path, passphrase: Passphrase, *, clock: Clock = utc_now) -> KeyStore:
        """Open a store that exists; asks for the passphrase and runs scrypt once."""
        store = cls(path.resolve(), passphrase, clock)
        store._load()
        return store

    @classmethod
    def create(
        cls, path: Path, passphrase: Passphrase, *, clock: Clock = utc_now, cost: ScryptCost = _DEFAULT_COST
    ) -> KeyStore:
        """Make an empty store, mode 0600; raises `ConfigurationError` when there is a file at `path`."""
        store = cls(path.resolve(), passphrase, clock)
        with store._locked():
            if store._path.exists():
                raise ConfigurationError(
                    f"{store._path} exists already; a key store is never replaced.",
                    hint="Name another file, or open this one.",
                )
            master = MasterKey.fresh(passphrase.read(new=True), cost)
            store._save(_State(master, master.header(), Contents()))
        return store

    @classmethod
    def open_or_create(
        cls, path: Path, passphrase: Passphrase, *, clock: Clock = utc_now, cost: ScryptCost = _DEFAULT_COST
    ) -> KeyStore:
        """Open the store at `path`, or make an empty one when there is none."""
        if not path.exists():
            try:
                return cls.create(path, passphrase, clock=clock, cost=cost)
            except ConfigurationError:
                # Another process has made it in the meantime.
                if not path.exists():
                    raise
        return cls.open(path, passphrase, clock=clock)

    @property
    def path(self) -> Path:
        """Where the store is, with links followed."""
        return self._path

    @property
    def generation(self) -> int:
        """How often the store had been written when this object last read or wrote it."""
        return self._seen.generation if self._seen else 0

    def new_key(self, purpose: Purpose, *, lifetime: timedelta | None = None, max_uses: int | None = None) -> KeyHandle:
        """Make a key that lives as long and begins as many sessions as given; without, there is no such limit."""
        record = self._fresh(purpose, lifetime, max_uses)
        with self._changing() as state:
            state.contents = state.contents.replaced(record)
        return _live(record)

    def rotate(self, purpose: Purpose, *, lifetime: timedelta | None = None, max_uses: int | None = None) -> KeyHandle:
        """Make a new key and retire the others of its purpose, which begin no session any more but can finish theirs.

        Without new limits, it gets the lifetime and the uses of the newest key of the purpose, when there is one.
        """
        with self._changing() as state:
            old = state.contents.of(purpose)
            if old:
                lifetime = old[-1].lifetime if lifetime is None else lifetime
                max_uses = old[-1].max_uses if max_uses is None else max_uses
            record = self._fresh(purpose, lifetime, max_uses)
            ended = [r.changed(retired=record.created) for r in old if r.retired is None and r.destroyed is None]
            state.contents = state.contents.replaced(*ended, record)
        return _live(record)

    def current(self, purpose: Purpose) -> KeyHandle:
        """Return the newest usable key of a purpose, without counting a use; raises `KeyStoreError` without one."""
        return _live(self._newest(self._load().contents, purpose))

    def use(self, purpose: Purpose) -> KeyHandle:
        """Return the newest usable key of a purpose after one use of it has been counted on disk.

        One use is one session. Raises `KeyStoreError` when no key is usable.
        """
        with self._changing() as state:
            record = self._newest(state.contents, purpose)
            state.contents = state.contents.replaced(record.changed(uses=record.uses + 1))
        return _live(record)

    def get(self, name: str) -> KeyHandle:
        """Return a key that was not destroyed, usable or not, for what was begun with it.

        `name` is the key's name or the first characters of it, at least eight. Raises `KeyStoreError` for a key that is
        unknown or destroyed, `InputError` for what is no name or fits several.
        """
        return _live(_find(self._load().contents, name))

    def export(self, name: str, token: ExportToken) -> bytes:
        """Return the root of a key, 32 bytes; `name` as for `get`."""
        return self.get(name).reveal(token)

    def destroy(self, name: str) -> KeyEntry:
        """Delete the secret of a key and return what remains of it, a record without secret; `name` as for `get`.

        Copies of the file made before still hold the key, under the passphrase of their time.
        """
        with self._changing() as state:
            record = _find(state.contents, name)
            gone = record.changed(root=None, destroyed=self._now())
            state.contents = state.contents.replaced(gone)
        return gone.entry()

    def find(self, name: str) -> KeyEntry:
        """Return what is known about a key that was not destroyed; `name` as for `get`."""
        return _find(self._load().contents, name).entry()

    def entries(self) -> list[KeyEntry]:
        """Return what is known about all keys, the oldest first, destroyed ones included."""
        return [record.entry() for record in self._load().contents.records]

    def state(self, entry: KeyEntry) -> KeyState:
        """Return what may be done with a key now."""
        return entry.state(self._now())

    def change_passphrase(self, passphrase: Passphrase, *, cost: ScryptCost = _DEFAULT_COST) -> None:
        """Put the store under another passphrase; copies of the file made before stay under the old one."""
        self._load()
        master = MasterKey.fresh(passphrase.read(new=True), cost)
        with self._changing() as state:
            state.master = master
            state.header = master.adopt(state.header)
        self._passphrase = passphrase

    def _now(self) -> datetime:
        return self._clock().astimezone(timezone.utc)

    def _fresh(self, purpose: Purpose, lifetime: timedelta | None, max_uses: int | None) -> Record:
        if max_uses is not None and max_uses < 1:
            raise ConfigurationError(f"A key of {max_uses} uses is of no use.", hint="Give one or more, or no limit.")
        if lifetime is not None and lifetime <= timedelta():
            raise ConfigurationError("The lifetime of a key is not positive.", hint="Give a longer one, or no limit.")
        now = self._now()
        try:
            expires = None if lifetime is None else now + lifetime
        except OverflowError:
            raise ConfigurationError(
                "The lifetime of a key ends after the year 9999.", hint="Give a shorter one, or no limit."
            ) from None
        root = secrets.token_bytes(KEY_BYTES)
        return Record(
            name=key_name(root),
            purpose=purpose,
            created=now,
            expires=expires,
            uses=0,
            max_uses=max_uses,
            root=root,
        )

    def _newest(self, contents: Contents, purpose: Purpose) -> Record:
        now = self._now()
        records = contents.of(purpose)
        for record in reversed(records):
            if record.state(now) is KeyState.ACTIVE:
                return record
        raise KeyStoreError(
            f"There is no usable key for {purpose.value}: {_why(records, now)}.",
            hint=f"Make one with 'securealign keys {'rotate' if records else 'create'} {purpose.value}'.",
            code=ErrorCode.KEY_UNUSABLE,
        )

    def _load(self) -> _State:
        # Taken before the file is read: another thread may write a later one in between.
        seen = self._seen
        envelope = Envelope.parse(_file(self._path))
        header = envelope.header
        if seen is not None and not header.follows(seen):
            raise KeyStoreError(
                f"{self._path} was replaced by an older copy or by another store while it was in use.",
                hint="Put the latest file back. If the older copy is what you want, restart what uses it.",
            )
        master = self._master
        if master is None or not master.opens(header):
            master = MasterKey.of(self._passphrase.read(new=False), header)
        state = _State(master, header, Contents.decode(master.open(envelope)))
        self._saw(state)
        return state

    def _saw(self, state: _State) -> None:
        if self._seen is None or state.header.follows(self._seen):
            self._master, self._seen = state.master, state.header

    def _save(self, state: _State) -> None:
        data = state.master.seal(state.header, state.contents.encode())
        if len(data) > MAX_STORE_BYTES:
            raise KeyStoreError(
                f"{self._path} has no room for another key.",
                hint="Begin a new store, and keep this one for what was begun with its keys.",
                code=ErrorCode.KEY_UNUSABLE,
            )
        try:
            write_atomically(self._path, data, mode=0o600)
        except OSError as error:
            raise _unusable_file(self._path, "written", error) from error
        self._saw(state)

    @contextmanager
    def _changing(self) -> Iterator[_State]:
        """Yield what the store holds, and write what the caller made of it unless that fails."""
        with self._locked():
            state = self._load()
            yield state
            state.header = state.header.next()
            self._save(state)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        _refuse_to_take_over(self._path)
        with exclusive(self._path):
            yield


@dataclass
class _State:
    """What a file holds, opened."""

    master: MasterKey
    header: Header
    contents: Contents


def _file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_STORE_BYTES + 1)
    except FileNotFoundError:
        raise KeyStoreError(
            f"There is no key store at {path}.",
            hint="Make one with 'securealign keys create', or name the right file.",
            code=ErrorCode.FILE_INVALID,
        ) from None
    except OSError as error:
        raise _unusable_file(path, "read", error) from error
    if len(data) > MAX_STORE_BYTES:
        raise KeyStoreError(f"{path} is larger than any key store.", hint="Name the right file.")
    return data


def _unusable_file(path: Path, done: str, error: OSError) -> KeyStoreError:
    return KeyStoreError(
        f"The key store {path} cannot be {done}: {error.strerror or type(error).__name__}.",
        hint="Check its permissions and the space on the disk.",
        code=ErrorCode.FILE_INVALID,
    )


def _refuse_to_take_over(path: Path) -> None:
    """A file that root replaces belongs to root, and the party that runs as another user could not read it again."""
    if os.geteuid() == 0 and path.exists() and path.stat().st_uid != 0:
        raise KeyStoreError(
            f"{path} belongs to another user, who could not read it any more once root has written it.",
            hint=f"Run this as that user: sudo -u '#{path.stat().st_uid}' ...",
            code=ErrorCode.FILE_INVALID,
        )


def _find(contents: Contents, name: str) -> Record:
    if not _PREFIX.fullmatch(name):
        raise InputError(
            f"{name!r} is no name of a key.",
            hint="Give at least its first eight characters, as 'keys list' shows them.",
        )
    found = [record for record in contents.records if record.name.startswith(name)]
    if len(found) > 1:
        raise InputError(f"{len(found)} keys have names that begin with {name}.", hint="Give more characters.")
    if not found:
        raise KeyStoreError(
            f"The store holds no key {name[:16]}.",
            hint="See 'securealign keys list', and check that this is the right store.",
            code=ErrorCode.KEY_UNUSABLE,
        )
    _live(found[0])
    return found[0]


def _live(record: Record) -> KeyHandle:
    handle = record.handle()
    if handle is None:
        raise KeyStoreError(
            f"The key {record.name[:16]} was destroyed on {record.destroyed:%Y-%m-%d %H:%M} UTC.",
            hint="What was begun with it cannot be taken up again; begin anew with another key.",
            code=ErrorCode.KEY_UNUSABLE,
        )
    return handle


def _why(records: Sequence[Record], now: datetime) -> str:
    if not records:
        return "the store holds none"
    newest = records[-1]
    return f"the newest, {newest.name[:16]}, is {newest.state(now).value}"
