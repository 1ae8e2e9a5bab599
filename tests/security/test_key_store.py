"""What a thief, a tamperer and a careless program can do to a key store, and to one without its protections."""

from __future__ import annotations

import base64
import copy
import hashlib
import io
import json
import logging
import pickle
import pprint
import traceback
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import pytest
import structlog
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from rich.console import Console
from rich.pretty import pretty_repr
from rich.traceback import Traceback

from securealign.errors import ErrorCode, KeyStoreError
from securealign.keys.entries import Contents
from securealign.keys.envelope import Envelope, Header, MasterKey, ScryptCost
from securealign.keys.handles import ExportToken, Purpose, issue
from securealign.keys.passphrase import EnvironmentPassphrase
from securealign.keys.store import KeyStore
from securealign.logs import configure_logs

COST = ScryptCost(4, 1, 1)
PHRASE = "correct horse"
PASSPHRASE = EnvironmentPassphrase("P", {"P": PHRASE})
TOKEN = ExportToken.i_understand_that_this_reveals_the_key()
ROOT = bytes(range(160, 192))
CODES = {ErrorCode.STORE_DAMAGED, ErrorCode.PASSPHRASE_WRONG}


class NoPassphrase:
    def read(self, *, new):
        raise AssertionError("the passphrase was asked for")


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "keys.store"
    KeyStore.create(path, PASSPHRASE, cost=COST).new_key(Purpose.TRAINING, max_uses=1)
    return path


def opened(path):
    return KeyStore.open(path, PASSPHRASE)


def rewrite(path, change):
    """Change the file as whoever can write it does, who makes the checksum fit."""
    body = bytearray(path.read_bytes()[:-32])
    change(body)
    path.write_bytes(bytes(body) + hashlib.sha256(body).digest())


def forms(octets):
    """Return what shows a secret: its beginning, raw, as Python, in hexadecimal and base64, and as numbers."""
    start = octets[:8]
    shown = (repr(start)[2:-1], start.hex(), base64.b64encode(start).decode()[:10], str(list(start))[1:-1])
    return {start, *(text.encode() for text in shown)}


def shows(data, secret):
    data = data.encode() if isinstance(data, str) else data
    return any(form in data or form in data.replace(b"\\\\", b"\\") for form in forms(secret))


# Whoever can write the file


def test_a_store_with_any_byte_changed_is_refused(path):
    data = path.read_bytes()
    for position in range(len(data) - 32):
        for mask in (0x01, 0x80):
            rewrite(path, lambda body, at=position, mask=mask: body.__setitem__(at, body[at] ^ mask))
            changed = path.read_bytes()
            with pytest.raises(KeyStoreError) as error:
                opened(path)
            assert error.value.code in CODES
            assert path.read_bytes() == changed
    path.write_bytes(data)
    assert opened(path).use(Purpose.TRAINING)


def test_every_change_of_the_entries_is_known_as_damage_and_not_as_a_wrong_passphrase(path):
    for position in range(Header.LAYOUT.size, path.stat().st_size - 32):
        rewrite(path, lambda body, at=position: body.__setitem__(at, body[at] ^ 1))
        with pytest.raises(KeyStoreError, match="was altered") as error:
            opened(path)
        assert error.value.code is ErrorCode.STORE_DAMAGED
        rewrite(path, lambda body, at=position: body.__setitem__(at, body[at] ^ 1))


class NoTag:
    """AES-CTR in the place of an AEAD, with room for a tag that nobody checks."""

    def __init__(self, key):
        self._key = key

    def _stream(self, data):
        return Cipher(algorithms.AES(self._key), modes.CTR(bytes(16))).encryptor().update(data)

    def encrypt(self, _nonce, data, _header):
        return self._stream(data) + bytes(16)

    def decrypt(self, _nonce, data, _header):
        return self._stream(data[:-16])


class NoHeader:
    """The AEAD without the header as associated data."""

    def __init__(self, key):
        self._aead = AESGCM(key)

    def encrypt(self, nonce, data, _header):
        return self._aead.encrypt(nonce, data, None)

    def decrypt(self, nonce, data, _header):
        return self._aead.decrypt(nonce, data, None)


def without(protection, monkeypatch, tmp_path):
    """Return the path of a store that is written and read without a protection."""
    monkeypatch.setattr("securealign.keys.envelope.AESGCM", protection)
    path = tmp_path / "weak.store"
    KeyStore.create(path, PASSPHRASE, cost=COST).new_key(Purpose.TRAINING, max_uses=1)
    return path


def raise_the_limit(path):
    """Turn max_uses from 1 into 9 without the passphrase: the attacker knows where the number stands."""
    record = KeyStore.open(path, PASSPHRASE)._load().contents.encode()
    at = Header.LAYOUT.size + record.index(b'"max_uses":1') + len(b'"max_uses":')
    rewrite(path, lambda body: body.__setitem__(at, body[at] ^ ord("1") ^ ord("9")))


def test_a_limit_cannot_be_raised(path):
    raise_the_limit(path)
    with pytest.raises(KeyStoreError, match="was altered"):
        opened(path)


def test_without_authentication_a_limit_is_raised(monkeypatch, tmp_path):
    path = without(NoTag, monkeypatch, tmp_path)
    raise_the_limit(path)
    assert [entry.max_uses for entry in opened(path).entries()] == [9]


def make_an_old_file_look_new(path, old):
    """Put an old copy back under a generation that satisfies whoever has seen the later one."""
    path.write_bytes(old)
    at = Header.LAYOUT.size - 4 - 32 - 8
    rewrite(path, lambda body: body.__setitem__(slice(at, at + 8), (1000).to_bytes(8, "big")))


def use_up_and_roll_back(path):
    store, old = opened(path), path.read_bytes()
    store.use(Purpose.TRAINING)
    make_an_old_file_look_new(path, old)
    return store


def test_the_generation_of_a_file_cannot_be_forged(path):
    store = use_up_and_roll_back(path)
    with pytest.raises(KeyStoreError, match="was altered"):
        store.use(Purpose.TRAINING)


def test_without_an_authenticated_header_it_can(monkeypatch, tmp_path):
    store = use_up_and_roll_back(without(NoHeader, monkeypatch, tmp_path))
    assert store.use(Purpose.TRAINING)


def test_a_process_notices_that_an_older_copy_was_put_back_while_it_runs(path):
    store, old = opened(path), path.read_bytes()
    store.use(Purpose.TRAINING)
    path.write_bytes(old)
    with pytest.raises(KeyStoreError, match="older copy") as error:
        store.use(Purpose.TRAINING)
    assert error.value.code is ErrorCode.STORE_DAMAGED
    assert path.read_bytes() == old


def test_a_process_that_starts_afterwards_cannot_know(path):
    """Encryption shows who wrote a file, not when: docs/keys.md says what follows from that."""
    old = path.read_bytes()
    opened(path).use(Purpose.TRAINING)
    path.write_bytes(old)
    assert opened(path).use(Purpose.TRAINING)


def test_a_copy_that_went_on_elsewhere_is_noticed(path, tmp_path):
    copied = tmp_path / "copy"
    copied.write_bytes(path.read_bytes())
    store = opened(path)
    store.new_key(Purpose.STORAGE)
    opened(copied).new_key(Purpose.STORAGE)
    path.write_bytes(copied.read_bytes())
    with pytest.raises(KeyStoreError, match="older copy or by another store"):
        store.entries()


def test_another_store_under_the_same_passphrase_is_noticed(path, tmp_path):
    store, other = opened(path), tmp_path / "other"
    for _ in range(2):
        KeyStore.open_or_create(other, PASSPHRASE, cost=COST).new_key(Purpose.TRAINING)
    path.write_bytes(other.read_bytes())
    with pytest.raises(KeyStoreError, match="another store"):
        store.use(Purpose.TRAINING)


@pytest.mark.parametrize("cost", [(63, 255, 255), (21, 8, 1), (20, 255, 1), (17, 8, 255), (20, 32, 1)])
def test_a_hostile_header_costs_neither_memory_nor_time(path, monkeypatch, cost):
    monkeypatch.setattr("securealign.keys.envelope.Scrypt", None)
    rewrite(path, lambda body: body.__setitem__(slice(10, 13), bytes(cost)))
    with pytest.raises(KeyStoreError, match="never writes") as error:
        KeyStore.open(path, NoPassphrase())
    assert error.value.code is ErrorCode.STORE_DAMAGED


@pytest.mark.parametrize("size", [0, 16, 1 << 31, (1 << 32) - 1])
def test_a_hostile_length_is_compared_with_the_file(path, size):
    rewrite(path, lambda body: body.__setitem__(slice(133, 137), size.to_bytes(4, "big")))
    with pytest.raises(KeyStoreError, match="bytes where"):
        KeyStore.open(path, NoPassphrase())


# Whoever can read the file


def folder_shows(path, secret):
    return any(shows(file.read_bytes(), secret) for file in path.parent.iterdir())


def test_neither_secrets_nor_metadata_stand_in_the_file(path):
    store = opened(path)
    key = store.use(Purpose.TRAINING)
    for secret in (store.export(key.name, TOKEN), PHRASE.encode(), bytes.fromhex(key.name), b"training", b"max_uses"):
        assert not folder_shows(path, secret)


def test_in_the_clear_they_would_be_found(path):
    store = opened(path)
    key = store.use(Purpose.TRAINING)
    path.with_name("clear").write_bytes(store._load().contents.encode())
    for secret in (store.export(key.name, TOKEN), bytes.fromhex(key.name), b"training", b"max_uses"):
        assert folder_shows(path, secret)


def plaintext(path):
    envelope = Envelope.parse(path.read_bytes())
    return MasterKey.of(PHRASE.encode(), envelope.header).open(envelope)


def test_a_destroyed_key_is_in_no_file_any_more(path):
    store = opened(path)
    key = store.current(Purpose.TRAINING)
    root = store.export(key.name, TOKEN)
    old = path.read_bytes()
    assert shows(plaintext(path), root)
    store.destroy(key.name)
    assert not shows(plaintext(path), root)
    assert key.name.encode() in plaintext(path)
    # Negative control: a copy of before still holds it.
    path.write_bytes(old)
    assert shows(plaintext(path), root)


def test_the_same_contents_are_never_encrypted_alike(path):
    one = path.read_bytes()
    opened(path).change_passphrase(PASSPHRASE, cost=COST)
    other = path.read_bytes()
    layout = Header.LAYOUT.size
    assert len(one) == len(other)
    assert one[layout:] != other[layout:]
    assert one[13:45] != other[13:45]
    assert plaintext(path)


# Careless programs


@dataclass
class NaiveHandle:
    """What a handle would be without care."""

    name: str
    root: bytes


def handle():
    return issue(ROOT, Purpose.TRAINING, created=datetime(2030, 1, 1, tzinfo=timezone.utc), expires=None)


def logged(value):
    stream = io.StringIO()
    logger = logging.Logger("test")
    logger.addHandler(logging.StreamHandler(stream))
    logger.warning("%s %r %s", value, value, {"held": [value]})
    return stream.getvalue()


def traced(value):
    def fail(held):
        raise ValueError(str(held))

    try:
        fail(value)
    except ValueError as error:
        report = traceback.TracebackException.from_exception(error, capture_locals=True)
        console = Console(file=io.StringIO(), width=200)
        console.print(Traceback.from_exception(type(error), error, error.__traceback__, show_locals=True))
        return "".join(report.format()) + console.file.getvalue()


def attributes(value):
    seen = [repr(getattr(value, name)) for name in dir(value) if not name.startswith("__")]
    return "".join([*seen, repr(getattr(value, "__dict__", ""))])


SHOWN = {
    "repr": repr,
    "str": str,
    "format": lambda value: f"{value} {value!s} {value!a}",
    "percent": lambda value: "%s %r" % (value, value),  # noqa: UP031
    "containers": lambda value: f"{[value]} {{1: {value}}} {(value,)}",
    "pprint": pprint.pformat,
    "rich": lambda value: pretty_repr(value, expand_all=True),
    "json": lambda value: json.dumps(value, default=repr),
    "logging": logged,
    "traceback": traced,
    "attributes": attributes,
}


@pytest.mark.parametrize("show", SHOWN.values(), ids=SHOWN)
def test_a_handle_shows_its_key_nowhere(show):
    assert not shows(show(handle()), ROOT)


@pytest.mark.parametrize("show", SHOWN.values(), ids=SHOWN)
def test_a_plain_object_would_show_it(show):
    assert shows(show(NaiveHandle("key", ROOT)), ROOT)


def test_a_handle_has_no_dictionary():
    with pytest.raises(TypeError):
        vars(handle())


@pytest.mark.parametrize("as_json", [True, False])
def test_an_event_shows_no_key(capsys, as_json):
    configure_logs(as_json=as_json, quiet=False)
    try:
        structlog.get_logger().info("session", handle=handle(), held=[handle()])
    finally:
        structlog.reset_defaults()
    captured = capsys.readouterr()
    assert "KeyHandle" in captured.out + captured.err
    assert not shows(captured.out + captured.err, ROOT)


DUPLICATES = {"pickle": pickle.dumps, "copy": copy.copy, "deepcopy": copy.deepcopy}


@pytest.mark.parametrize("duplicate", DUPLICATES.values(), ids=DUPLICATES)
def test_nothing_that_holds_a_key_is_duplicated(path, duplicate):
    store = opened(path)
    for holder in (handle(), store, store._master):
        with pytest.raises(TypeError, match="cannot be pickled or copied"):
            duplicate(holder)


def test_a_plain_object_would_be():
    assert shows(pickle.dumps(NaiveHandle("key", ROOT)), ROOT)


def test_records_show_their_keys_nowhere(path):
    contents = opened(path)._load().contents
    root = contents.records[0].root
    for show in (repr, str, pretty_repr, logged):
        assert not shows(show(contents), root)
    # Negative control: the search would find it.
    assert shows(repr(contents.records[0].model_dump()), root)


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record | {"name": "0" * 64},
        lambda record: record | {"destroyed": "2030-01-01T00:00:00Z"},
        lambda record: record | {"later_release": 1},
        lambda record: record | {"root": record["root"] + "00"},
        lambda record: record | {"uses": -1},
        lambda record: record | {"created": "2030-01-01T00:00:00"},
    ],
)
def test_entries_that_are_not_understood_are_refused_without_showing_them(path, change):
    held = json.loads(plaintext(path))
    root = bytes.fromhex(held["records"][0]["root"])
    held["records"][0] = change(held["records"][0])
    with pytest.raises(KeyStoreError, match="does not understand") as error:
        Contents.decode(json.dumps(held).encode())
    assert error.value.code is ErrorCode.STORE_DAMAGED
    assert not shows("".join(traceback.format_exception(error.value)), root)


def test_no_source_file_reveals_a_key_but_the_command_that_exports_one():
    folder = Path(__file__).parents[2]
    sources = [*folder.glob("securealign/**/*.py"), *folder.glob("parties/**/*.py")]
    reveal = {path.name for path in sources if "i_understand_that_this_reveals_the_key()" in path.read_text("utf-8")}
    assert len(sources) > 50
    assert reveal == {"keys.py", "handles.py"}
