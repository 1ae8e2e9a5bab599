"""A store of keys: which key is used, what is counted, and that nothing is lost."""

from __future__ import annotations

import copy
import os
import pickle
import stat
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from securealign.errors import ConfigurationError, ErrorCode, InputError, KeyStoreError
from securealign.keys import envelope
from securealign.keys import store as stores
from securealign.keys.entries import KeyState
from securealign.keys.envelope import ScryptCost
from securealign.keys.handles import ExportToken, Purpose, key_name
from securealign.keys.passphrase import EnvironmentPassphrase
from securealign.keys.store import KeyStore

COST = ScryptCost(4, 1, 1)
DAY = timedelta(days=1)
PASSPHRASE = EnvironmentPassphrase("P", {"P": "correct horse"})
OTHER = EnvironmentPassphrase("P", {"P": "battery staple"})
TOKEN = ExportToken.i_understand_that_this_reveals_the_key()


class Clock:
    def __init__(self):
        self.now = datetime(2030, 1, 1, tzinfo=timezone.utc)

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "deep" / "keys.store"


@pytest.fixture
def store(path, clock):
    return KeyStore.create(path, PASSPHRASE, clock=clock, cost=COST)


def again(store, passphrase=PASSPHRASE):
    return KeyStore.open(store.path, passphrase, clock=store._clock)


def refuses(code, call, match=None):
    with pytest.raises(KeyStoreError, match=match) as error:
        call()
    assert error.value.code is code
    assert error.value.hint


def states(store):
    return [store.state(entry) for entry in store.entries()]


# Making and opening


def test_a_new_store_is_empty_and_closed_to_others(store, path):
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert again(store).entries() == []
    assert sorted(file.name for file in path.parent.iterdir()) == ["keys.store", "keys.store.lock"]


def test_a_store_is_never_replaced(store, path):
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match="exists already"):
        KeyStore.create(path, OTHER, cost=COST)
    assert path.read_bytes() == before


def test_opening_makes_nothing(path):
    refuses(ErrorCode.FILE_INVALID, lambda: KeyStore.open(path, PASSPHRASE), "no key store at")
    assert not path.parent.exists()


def test_open_or_create_does_what_is_missing(path):
    first = KeyStore.open_or_create(path, PASSPHRASE, cost=COST)
    key = first.new_key(Purpose.TRAINING)
    assert KeyStore.open_or_create(path, PASSPHRASE, cost=COST).get(key.name) == key


def test_open_or_create_opens_what_another_process_made_first(path, store, monkeypatch):
    answers = [False]
    exists = Path.exists
    monkeypatch.setattr(Path, "exists", lambda self: answers.pop() if answers else exists(self))
    assert KeyStore.open_or_create(path, PASSPHRASE, cost=COST).entries() == []


def test_open_or_create_tells_why_none_was_made(path):
    with pytest.raises(ConfigurationError, match="not set"):
        KeyStore.open_or_create(path, EnvironmentPassphrase("P", {}), cost=COST)
    assert not path.exists()


def test_a_wrong_passphrase_opens_nothing_and_changes_nothing(store, path):
    before = path.read_bytes()
    refuses(ErrorCode.PASSPHRASE_WRONG, lambda: again(store, OTHER), "does not open")
    assert path.read_bytes() == before


@pytest.mark.parametrize("data", [b"", b"x", b"SAKEYS\r\n" + bytes(200)], ids=["empty", "short", "zeros"])
def test_a_damaged_store_is_refused_and_left_as_it_is(store, path, data):
    path.write_bytes(data)
    for call in (
        lambda: again(store),
        lambda: store.new_key(Purpose.TRAINING),
        lambda: store.use(Purpose.TRAINING),
        store.entries,
        lambda: store.change_passphrase(OTHER, cost=COST),
    ):
        refuses(ErrorCode.STORE_DAMAGED, call)
        assert path.read_bytes() == data


def test_a_file_too_large_for_a_store_is_not_read(store, path, monkeypatch):
    monkeypatch.setattr("securealign.keys.store.MAX_STORE_BYTES", 100)
    refuses(ErrorCode.STORE_DAMAGED, lambda: again(store), "larger than any key store")


def test_a_full_store_takes_no_more_keys_and_keeps_those_it_has(store, path, monkeypatch):
    key = store.new_key(Purpose.TRAINING)
    monkeypatch.setattr("securealign.keys.store.MAX_STORE_BYTES", path.stat().st_size)
    refuses(ErrorCode.KEY_UNUSABLE, lambda: store.new_key(Purpose.TRAINING), "no room")
    assert again(store).current(Purpose.TRAINING) == key


def test_a_folder_is_no_store(tmp_path):
    refuses(ErrorCode.FILE_INVALID, lambda: KeyStore.open(tmp_path, PASSPHRASE), "cannot be read: Is a directory")


def test_a_link_to_a_store_stays_a_link(store, path, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(path)
    key = KeyStore.open(link, PASSPHRASE).new_key(Purpose.STORAGE)
    assert link.is_symlink()
    assert again(store).get(key.name) == key


@pytest.fixture
def owned_by_1234(store, monkeypatch):
    stat_of = Path.stat

    def stat_of_another(path, **named):
        fields = list(stat_of(path, **named)[:10])
        fields[stat.ST_UID] = 1234
        return os.stat_result(fields)

    monkeypatch.setattr(Path, "stat", stat_of_another)


def test_root_does_not_take_over_the_file_of_a_user(store, owned_by_1234, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    refuses(ErrorCode.FILE_INVALID, lambda: store.new_key(Purpose.TRAINING), r"belongs to another user.*#1234")


def test_a_user_changes_their_own_file(store, owned_by_1234, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1234)
    assert store.new_key(Purpose.TRAINING)


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_store_is_not_pickled_or_copied(store, duplicate):
    with pytest.raises(TypeError, match="cannot be pickled or copied"):
        duplicate(store)


def test_a_store_shows_its_path_only(store, path):
    assert repr(store) == f"<KeyStore {path}>"


# Keys and their limits


def test_a_key_is_the_same_whenever_the_store_is_opened(store):
    key = store.new_key(Purpose.TRAINING)
    same = again(store).get(key.name)
    assert same == key
    assert same.derive(b"session") == key.derive(b"session")
    assert (same.purpose, same.created, same.expires) == (key.purpose, key.created, key.expires)


def test_every_key_is_named_by_the_hash_of_its_public_part(store):
    key = store.new_key(Purpose.TRAINING)
    root = store.export(key.name, TOKEN)
    assert key_name(root) == key.name
    assert len(root) == 32
    assert root != store.export(store.new_key(Purpose.TRAINING).name, TOKEN)
    with pytest.raises(TypeError, match="ExportToken"):
        store.export(key.name, "token")


def test_keys_of_different_purposes_are_separate(store):
    training, inference = store.new_key(Purpose.TRAINING), store.new_key(Purpose.INFERENCE)
    assert store.current(Purpose.TRAINING) == training
    assert store.current(Purpose.INFERENCE) == inference
    refuses(ErrorCode.KEY_UNUSABLE, lambda: store.current(Purpose.STORAGE), "for storage: the store holds none")
    store.rotate(Purpose.TRAINING)
    assert store.current(Purpose.INFERENCE) == inference


def test_the_newest_usable_key_is_current(store, clock):
    old = store.new_key(Purpose.TRAINING)
    new = store.new_key(Purpose.TRAINING, lifetime=DAY)
    assert store.current(Purpose.TRAINING) == store.use(Purpose.TRAINING) == new
    clock.now += DAY
    assert store.current(Purpose.TRAINING) == store.use(Purpose.TRAINING) == old


def test_a_key_expires_to_the_moment_and_can_still_be_got(store, clock):
    key = store.new_key(Purpose.TRAINING, lifetime=DAY)
    assert key.expires == clock.now + DAY
    clock.now += DAY - timedelta(microseconds=1)
    assert store.use(Purpose.TRAINING) == key
    clock.now += timedelta(microseconds=1)
    for call in (store.use, store.current):
        refuses(ErrorCode.KEY_UNUSABLE, lambda call=call: call(Purpose.TRAINING), "is expired.*keys rotate training")
    assert store.get(key.name) == key
    assert states(store) == [KeyState.EXPIRED]


def test_a_key_is_used_up_after_its_uses_and_can_still_be_got(store):
    key = store.new_key(Purpose.INFERENCE, max_uses=2)
    assert [again(store).use(Purpose.INFERENCE) for _ in range(2)] == [key, key]
    refuses(ErrorCode.KEY_UNUSABLE, lambda: store.use(Purpose.INFERENCE), "is used up")
    assert store.get(key.name) == key
    assert store.entries()[0].uses == 2
    assert states(store) == [KeyState.USED_UP]


def test_only_uses_are_counted(store):
    key = store.new_key(Purpose.TRAINING, max_uses=1)
    for _ in range(3):
        store.current(Purpose.TRAINING)
        store.get(key.name)
        store.entries()
    assert store.entries()[0].uses == 0


@pytest.mark.parametrize(
    ("limits", "match"),
    [
        ({"max_uses": 0}, "of 0 uses"),
        ({"lifetime": timedelta()}, "not positive"),
        ({"lifetime": -DAY}, "not positive"),
        ({"lifetime": timedelta.max}, "year 9999"),
    ],
)
def test_limits_that_make_no_sense_are_refused(store, limits, match):
    for make in (store.new_key, store.rotate):
        with pytest.raises(ConfigurationError, match=match):
            make(Purpose.TRAINING, **limits)
    assert store.entries() == []


def test_times_are_kept_in_utc(store, clock):
    clock.now = datetime(2030, 1, 1, 5, tzinfo=timezone(timedelta(hours=5)))
    store.new_key(Purpose.TRAINING)
    assert store.entries()[0].created.isoformat() == "2030-01-01T00:00:00+00:00"


# Rotation and destruction


def test_rotation_retires_all_older_keys_of_the_purpose_and_no_other(store):
    old = [store.new_key(Purpose.TRAINING), store.new_key(Purpose.TRAINING), store.new_key(Purpose.STORAGE)]
    new = store.rotate(Purpose.TRAINING)
    assert store.current(Purpose.TRAINING) == new
    assert states(store) == [KeyState.RETIRED, KeyState.RETIRED, KeyState.ACTIVE, KeyState.ACTIVE]
    assert [store.get(key.name) for key in old] == old


def test_rotation_keeps_the_limits_of_the_last_key_unless_given_others(store, clock):
    store.new_key(Purpose.TRAINING, lifetime=DAY, max_uses=3)
    clock.now += 5 * DAY
    store.rotate(Purpose.TRAINING)
    store.rotate(Purpose.TRAINING, lifetime=2 * DAY)
    store.rotate(Purpose.TRAINING, max_uses=9)
    store.rotate(Purpose.TRAINING)
    limits = [(entry.lifetime, entry.max_uses) for entry in store.entries()]
    assert limits == [(DAY, 3), (DAY, 3), (2 * DAY, 3), (2 * DAY, 9), (2 * DAY, 9)]
    assert [entry.uses for entry in store.entries()] == [0] * 5


def test_rotation_makes_the_first_key_of_a_purpose(store):
    assert store.rotate(Purpose.TRAINING) == store.current(Purpose.TRAINING)


def test_rotation_changes_neither_retired_nor_destroyed_keys(store, clock):
    store.new_key(Purpose.TRAINING)
    store.destroy(store.rotate(Purpose.TRAINING).name)
    before = store.entries()
    clock.now += DAY
    store.rotate(Purpose.TRAINING)
    assert store.entries()[:2] == before


def test_a_destroyed_key_leaves_a_record_and_nothing_else(store, clock):
    key = store.new_key(Purpose.TRAINING, max_uses=5)
    store.use(Purpose.TRAINING)
    before = store.entries()[0]
    clock.now += DAY
    gone = store.destroy(key.name)
    assert gone == before.model_copy(update={"destroyed": clock.now})
    assert again(store).entries() == [gone]
    assert states(store) == [KeyState.DESTROYED]
    for call in (store.get, store.find, store.destroy, lambda name: store.export(name, TOKEN)):
        refuses(ErrorCode.KEY_UNUSABLE, lambda call=call: call(key.name), "was destroyed on 2030-01-02 00:00 UTC")
    refuses(ErrorCode.KEY_UNUSABLE, lambda: store.use(Purpose.TRAINING), "is destroyed")


def test_a_handle_of_before_still_works_in_its_process(store):
    key = store.new_key(Purpose.TRAINING)
    derived = key.derive(b"session")
    store.destroy(key.name)
    assert key.derive(b"session") == derived


def test_keys_are_found_by_the_beginning_of_their_name(store):
    key = store.new_key(Purpose.TRAINING)
    for length in (8, 16, 63, 64):
        assert store.get(key.name[:length]) == key
        assert store.find(key.name[:length]).name == key.name


@pytest.mark.parametrize("name", ["", "1234567", "x" * 16, "A" * 16, "0" * 65, "12345678\n"])
def test_what_is_no_name_is_refused(store, name):
    store.new_key(Purpose.TRAINING)
    for call in (store.get, store.find, store.destroy):
        with pytest.raises(InputError, match="no name of a key"):
            call(name)


def test_an_unknown_name_is_told(store):
    refuses(ErrorCode.KEY_UNUSABLE, lambda: store.get("0" * 64), f"no key {'0' * 16}")


def test_a_name_that_fits_several_is_refused(store, monkeypatch):
    monkeypatch.setattr("securealign.keys.store.key_name", lambda root: "ab" * 16 + key_name(root)[32:])
    monkeypatch.setattr("securealign.keys.entries.key_name", lambda root: "ab" * 16 + key_name(root)[32:])
    for _ in range(2):
        store.new_key(Purpose.TRAINING)
    with pytest.raises(InputError, match="2 keys have names that begin with abababab"):
        store.destroy("abababab")
    assert states(store) == [KeyState.ACTIVE, KeyState.ACTIVE]


# Passphrases


def test_a_changed_passphrase_opens_the_store_and_the_old_one_does_not(store):
    key = store.new_key(Purpose.TRAINING)
    store.change_passphrase(OTHER, cost=COST)
    assert again(store, OTHER).get(key.name) == key
    refuses(ErrorCode.PASSPHRASE_WRONG, lambda: again(store))
    assert store.use(Purpose.TRAINING) == key


def test_a_process_that_has_the_store_open_asks_its_source_again(store, path):
    values = {"P": "correct horse"}
    unattended = KeyStore.open(path, EnvironmentPassphrase("P", values), clock=store._clock)
    store.new_key(Purpose.TRAINING)
    store.change_passphrase(OTHER, cost=COST)
    refuses(ErrorCode.PASSPHRASE_WRONG, lambda: unattended.use(Purpose.TRAINING))
    values["P"] = "battery staple"
    assert unattended.use(Purpose.TRAINING) == store.current(Purpose.TRAINING)


def test_a_store_asks_the_source_of_its_latest_passphrase(store):
    store.new_key(Purpose.TRAINING)
    store.change_passphrase(OTHER, cost=COST)
    again(store, OTHER).change_passphrase(OTHER, cost=COST)
    assert store.use(Purpose.TRAINING)


def test_a_passphrase_that_cannot_be_had_changes_nothing(store, path):
    before = path.read_bytes()
    with pytest.raises(ConfigurationError):
        store.change_passphrase(EnvironmentPassphrase("P", {}), cost=COST)
    assert path.read_bytes() == before
    store.new_key(Purpose.TRAINING)
    assert len(again(store).entries()) == 1


def test_scrypt_runs_once_while_the_store_stays_as_it_is(store, path, monkeypatch):
    runs = []
    scrypt = envelope.Scrypt
    monkeypatch.setattr(envelope, "Scrypt", lambda **named: runs.append(named) or scrypt(**named))
    opened = again(store)
    for _ in range(3):
        store.new_key(Purpose.TRAINING)
        opened.use(Purpose.TRAINING)
    assert len(runs) == 1
    assert {name: runs[0][name] for name in "nrp"} == {"n": 16, "r": 1, "p": 1}


# Several processes, and crashes


def test_stores_that_are_open_at_once_see_each_other(store):
    other = again(store)
    key = other.new_key(Purpose.TRAINING, max_uses=3)
    assert store.use(Purpose.TRAINING) == other.use(Purpose.TRAINING) == key
    new = store.rotate(Purpose.TRAINING)
    assert other.current(Purpose.TRAINING) == new
    other.destroy(key.name)
    refuses(ErrorCode.KEY_UNUSABLE, lambda: store.get(key.name), "was destroyed")


def test_a_thread_that_reads_while_another_writes_sees_no_old_copy(store, monkeypatch):
    key = store.new_key(Purpose.TRAINING)
    read = stores._file
    writes = [lambda: store.use(Purpose.TRAINING)]

    def overtaken(path):
        data = read(path)
        if writes:
            writes.pop()()
        return data

    monkeypatch.setattr(stores, "_file", overtaken)
    assert store.current(Purpose.TRAINING) == key
    assert store.generation == again(store).generation


def test_threads_that_share_a_store_lose_no_count(store):
    store.new_key(Purpose.TRAINING)

    def work():
        for _ in range(15):
            store.use(Purpose.TRAINING)
            store.current(Purpose.TRAINING)

    with ThreadPoolExecutor(4) as threads:
        for done in [threads.submit(work) for _ in range(4)]:
            done.result()
    assert store.entries()[0].uses == 60


WORKER = """
import sys
from pathlib import Path
from securealign.keys.handles import Purpose
from securealign.keys.passphrase import EnvironmentPassphrase
from securealign.keys.store import KeyStore
store = KeyStore.open(Path(sys.argv[1]), EnvironmentPassphrase("P", {"P": "correct horse"}))
for _ in range(int(sys.argv[2])):
    store.use(Purpose.TRAINING)
    print("used", flush=True)
"""


def worker(path, uses):
    return subprocess.Popen([sys.executable, "-c", WORKER, str(path), str(uses)], stdout=subprocess.PIPE, text=True)


def test_processes_that_use_and_rotate_at_once_lose_no_count_and_no_key(path):
    store = KeyStore.create(path, PASSPHRASE, cost=COST)
    store.new_key(Purpose.TRAINING)
    workers = [worker(path, 40) for _ in range(3)]
    for process in workers:
        assert process.stdout.readline() == "used\n"
    for _ in range(10):
        store.rotate(Purpose.TRAINING)
        store.use(Purpose.TRAINING)
    for process in workers:
        process.communicate()
        assert process.returncode == 0
    entries = again(store).entries()
    assert len(entries) == 11
    assert sum(entry.uses for entry in entries) == 3 * 40 + 10


@pytest.mark.parametrize("uses", [1, 5, 12])
def test_a_process_that_is_killed_has_counted_what_it_has_used(path, uses):
    store = KeyStore.create(path, PASSPHRASE, cost=COST)
    store.new_key(Purpose.TRAINING)
    process = worker(path, 100_000)
    for _ in range(uses):
        assert process.stdout.readline() == "used\n"
    process.kill()
    rest, _ = process.communicate()
    told = uses + rest.count("used")
    assert again(store).entries()[0].uses in {told, told + 1}
    store.use(Purpose.TRAINING)


@pytest.mark.parametrize("step", ["fchmod", "fsync", "fdopen"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=repr)
def test_a_write_that_fails_leaves_the_store_as_it_was(store, path, monkeypatch, step, error):
    key = store.new_key(Purpose.TRAINING)
    before = path.read_bytes()

    def fail(*_arguments):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(os, step, fail)
        if isinstance(error, OSError):
            refuses(ErrorCode.FILE_INVALID, lambda: store.use(Purpose.TRAINING), "cannot be written: No space left")
        else:
            with pytest.raises(KeyboardInterrupt):
                store.use(Purpose.TRAINING)
    assert path.read_bytes() == before
    assert sorted(file.name for file in path.parent.iterdir()) == ["keys.store", "keys.store.lock"]
    assert store.use(Purpose.TRAINING) == key
    assert store.entries()[0].uses == 1


def test_a_use_is_on_disk_before_it_is_granted(store, path, monkeypatch):
    store.new_key(Purpose.TRAINING)
    steps = []
    replace, fsync = Path.replace, os.fsync
    monkeypatch.setattr(os, "fsync", lambda descriptor: (steps.append("sync"), fsync(descriptor)))
    monkeypatch.setattr(Path, "replace", lambda self, target: (steps.append("replace"), replace(self, target))[1])
    store.use(Purpose.TRAINING)
    assert steps == ["sync", "replace", "sync"]


def test_a_store_counts_how_often_it_was_written(store):
    assert store.generation == 1
    store.new_key(Purpose.TRAINING)
    store.use(Purpose.TRAINING)
    store.current(Purpose.TRAINING)
    assert store.generation == again(store).generation == 3


# Any sequence of all of these, against a model


class Model(RuleBasedStateMachine):
    """A store beside a plain list of what it should hold."""

    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.clock = Clock()
        self.store = KeyStore.create(Path(self.folder.name) / "s", PASSPHRASE, clock=self.clock, cost=COST)
        self.keys = []

    def teardown(self):
        self.folder.cleanup()

    def usable(self, purpose):
        return [
            key
            for key in self.keys
            if key["purpose"] is purpose
            and key["live"]
            and not key["retired"]
            and key["uses"] < key["max_uses"]
            and self.clock.now < key["expires"]
        ]

    def add(self, handle, days, max_uses):
        expires = self.clock.now + days * DAY
        self.keys.append(
            {
                "name": handle.name,
                "purpose": handle.purpose,
                "uses": 0,
                "max_uses": max_uses,
                "expires": expires,
                "retired": False,
                "live": True,
            }
        )

    @rule(purpose=st.sampled_from(Purpose), days=st.integers(1, 5), max_uses=st.integers(1, 3))
    def create(self, purpose, days, max_uses):
        self.add(self.store.new_key(purpose, lifetime=days * DAY, max_uses=max_uses), days, max_uses)

    @rule(purpose=st.sampled_from(Purpose), days=st.integers(1, 5), max_uses=st.integers(1, 3))
    def rotate(self, purpose, days, max_uses):
        handle = self.store.rotate(purpose, lifetime=days * DAY, max_uses=max_uses)
        for key in self.keys:
            key["retired"] |= key["purpose"] is purpose and key["live"]
        self.add(handle, days, max_uses)

    @rule(purpose=st.sampled_from(Purpose))
    def use(self, purpose):
        usable = self.usable(purpose)
        if not usable:
            refuses(ErrorCode.KEY_UNUSABLE, lambda: self.store.use(purpose))
            return
        assert self.store.current(purpose).name == usable[-1]["name"]
        assert self.store.use(purpose).name == usable[-1]["name"]
        usable[-1]["uses"] += 1

    @precondition(lambda self: any(key["live"] for key in self.keys))
    @rule(data=st.data())
    def destroy(self, data):
        key = data.draw(st.sampled_from([key for key in self.keys if key["live"]]))
        self.store.destroy(key["name"])
        key["live"] = False

    @rule(days=st.integers(0, 3))
    def wait(self, days):
        self.clock.now += days * DAY

    @rule()
    def reopen(self):
        self.store = again(self.store)

    @invariant()
    def it_holds_what_the_model_holds(self):
        entries = self.store.entries()
        held = [(e.name, e.purpose, e.uses, e.max_uses, e.expires, e.destroyed is None) for e in entries]
        names = ("name", "purpose", "uses", "max_uses", "expires", "live")
        assert held == [tuple(key[name] for name in names) for key in self.keys]
        for key in self.keys:
            if key["live"]:
                assert self.store.get(key["name"]).name == key["name"]


Model.TestCase.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
test_any_sequence_of_changes = Model.TestCase
