"""The state of a party: keys that are replaced in time, records that stay readable, files for their owner alone."""

from __future__ import annotations

import os
import stat
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace

import pytest
from support.peers import CHEAP, FixedPassphrase, open_cheaply

from securealign.errors import ErrorCode, KeyStoreError
from securealign.keys.entries import KeyState
from securealign.keys.handles import Purpose
from securealign.keys.store import KeyStore
from securealign.protocol.resume.snapshot import Snapshot
from securealign.storage.opening import KeyLimits, State, usable_key
from securealign.storage.session_store import SessionStore

SNAPSHOT = Snapshot({"sent": 1}, {"key": b"secret part"})


@pytest.fixture
def state(tmp_path):
    state = open_cheaply(tmp_path / "state")
    yield state
    state.close()


@pytest.fixture
def clock():
    return SimpleNamespace(now=datetime(2030, 1, 1, tzinfo=timezone.utc))


@pytest.fixture
def timed(tmp_path, clock):
    """A state whose keys live ten days and begin two sessions."""
    keys = KeyStore.create(tmp_path / "keys.store", FixedPassphrase(), cost=CHEAP, clock=lambda: clock.now)
    return State(keys, None, KeyLimits(lifetime=timedelta(days=10), sessions=2))


def test_opening_makes_what_is_missing_and_finds_it_again(tmp_path):
    folder = tmp_path / "deep" / "state"
    state = State.open(folder, FixedPassphrase())
    sealing = state.keys.current(Purpose.STORAGE).name
    state.close()
    again = State.open(folder, FixedPassphrase())
    assert again.keys.current(Purpose.STORAGE).name == sealing
    assert again.limits == KeyLimits()
    again.close()
    with pytest.raises(KeyStoreError) as caught:
        State.open(folder, FixedPassphrase(b"another one"))
    assert caught.value.code is ErrorCode.PASSPHRASE_WRONG


def test_only_the_owner_can_read_what_is_kept(tmp_path):
    before = os.umask(0)
    try:
        state = open_cheaply_at(tmp_path / "state")
        journal = SessionStore(state.folder).create("one", "training")
        journal.record(0, [bytes(100_000)], SNAPSHOT)
        with state.folder.locked("provider"):
            modes = {
                path.relative_to(tmp_path): (path.is_dir(), stat.S_IMODE(path.stat().st_mode))
                for path in [tmp_path / "state", *(tmp_path / "state").rglob("*")]
            }
        state.close()
    finally:
        os.umask(before)
    assert {path.name for path in modes} >= {"state", "keys.store", "sessions.db", "sessions.db-wal", "blobs", "locks"}
    assert {mode for is_folder, mode in modes.values() if is_folder} == {0o700}
    assert {mode for is_folder, mode in modes.values() if not is_folder} == {0o600}


def open_cheaply_at(folder):
    folder.mkdir(mode=0o700)
    return open_cheaply(folder)


def test_sessions_begun_under_an_earlier_storage_key_stay_readable(tmp_path):
    state = open_cheaply(tmp_path)
    SessionStore(state.folder).create("old", "training").record(0, [b"frame"], SNAPSHOT)
    old = state.keys.current(Purpose.STORAGE).name
    state.keys.rotate(Purpose.STORAGE)
    state.close()

    state = open_cheaply(tmp_path)
    records = SessionStore(state.folder)
    assert state.folder.sealers.current.name != old
    journal = records.find("old")
    assert journal.recover().blobs["key"] == b"secret part"
    assert list(journal.frames(0)) == [b"frame"]
    records.create("new", "training").record(0, [], SNAPSHOT)

    # The control: once the old key is destroyed, its sessions are lost, and those of the new one are not.
    state.keys.destroy(old)
    with pytest.raises(KeyStoreError):
        records.find("old")
    assert records.find("new").recover().blobs["key"] == b"secret part"
    state.close()


def test_nothing_that_is_sealed_can_be_read_without_the_key(tmp_path):
    state = open_cheaply(tmp_path)
    SessionStore(state.folder).create("one", "training").record(0, [b"canary frame"], SNAPSHOT)
    state.close()
    stored = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"canary frame" not in stored
    assert b"secret part" not in stored
    assert b"training" in stored


def test_a_key_begins_as_many_sessions_as_it_may_and_another_takes_its_place(timed):
    names = [timed.begin(Purpose.TRAINING).name for _ in range(5)]
    assert names[0] == names[1] != names[2] == names[3] != names[4]
    assert [entry.uses for entry in timed.keys.entries()] == [2, 2, 1]
    # What was begun under the first can be finished.
    assert timed.keys.get(names[0]).name == names[0]


def test_an_expired_key_is_replaced(timed, clock):
    first = timed.begin(Purpose.INFERENCE).name
    clock.now += timedelta(days=9)
    assert timed.begin(Purpose.INFERENCE).name == first
    clock.now += timedelta(days=2)
    second = timed.begin(Purpose.INFERENCE)
    assert second.name != first
    assert second.expires == clock.now + timedelta(days=10)


def test_keys_of_different_purposes_are_not_the_same(timed):
    assert timed.begin(Purpose.TRAINING).name != timed.begin(Purpose.INFERENCE).name


def test_a_usable_key_is_kept(timed):
    first = usable_key(timed.keys, Purpose.TRAINING, timed.limits)
    assert usable_key(timed.keys, Purpose.TRAINING, timed.limits) == first
    assert timed.keys.state(timed.keys.find(first.name)) is KeyState.ACTIVE


def test_the_last_use_of_a_key_that_another_process_takes_in_between_is_replaced(timed, monkeypatch):
    original, raced = KeyStore.use, []

    def race(self, purpose):
        if not raced:
            raced.append(1)
            original(self, purpose)
            original(self, purpose)
        return original(self, purpose)

    monkeypatch.setattr(KeyStore, "use", race)
    assert timed.begin(Purpose.TRAINING).name == timed.keys.current(Purpose.TRAINING).name
    assert len(timed.keys.entries()) == 2


def test_a_store_whose_keys_are_always_taken_says_so(timed, monkeypatch):
    def taken(self, purpose):
        raise KeyStoreError("used up", code=ErrorCode.KEY_UNUSABLE)

    monkeypatch.setattr(KeyStore, "use", taken)
    with pytest.raises(KeyStoreError) as caught:
        timed.begin(Purpose.TRAINING)
    assert caught.value.code is ErrorCode.KEY_UNUSABLE


@pytest.mark.parametrize("method", ["use", "current"])
def test_a_damaged_store_is_not_replaced_by_new_keys(timed, monkeypatch, method):
    def damaged(self, purpose):
        raise KeyStoreError("damaged", code=ErrorCode.STORE_DAMAGED)

    monkeypatch.setattr(KeyStore, method, damaged)
    with pytest.raises(KeyStoreError) as caught:
        timed.begin(Purpose.TRAINING)
    assert caught.value.code is ErrorCode.STORE_DAMAGED
    assert len(timed.keys.entries()) == (1 if method == "use" else 0)


def test_sessions_that_are_over_are_not_counted_as_kept(state):
    records = SessionStore(state.folder)
    first = records.create("one", "training")
    records.create("two", "training")
    assert state.kept_sessions() == 2
    first.end("CANCELLED")
    assert state.kept_sessions() == 1
