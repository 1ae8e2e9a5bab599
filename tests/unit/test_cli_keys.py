"""securealign keys, as an operator runs it."""

from __future__ import annotations

import json
import stat
import sys
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from securealign.cli import app
from securealign.errors import ExitCode
from securealign.keys import passphrase as sources
from securealign.keys import store as stores
from securealign.keys.envelope import ScryptCost
from securealign.keys.handles import Purpose, key_name
from securealign.keys.passphrase import EnvironmentPassphrase
from securealign.keys.store import KeyStore

PASSPHRASE = "correct horse"


@pytest.fixture(autouse=True)
def cheap_scrypt(monkeypatch):
    create, change = KeyStore.create.__func__, KeyStore.change_passphrase
    cost = ScryptCost(4, 1, 1)
    monkeypatch.setattr(
        KeyStore, "create", classmethod(lambda cls, *args, **named: create(cls, *args, **(named | {"cost": cost})))
    )
    monkeypatch.setattr(KeyStore, "change_passphrase", lambda self, new: change(self, new, cost=cost))


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.setenv("PASS", PASSPHRASE)
    monkeypatch.setenv("NEXT", "battery staple")
    monkeypatch.setenv("SECUREALIGN_KEY_STORE", str(tmp_path / "keys.store"))
    return tmp_path / "keys.store"


def run(*arguments, answers=None, source=("--passphrase-env", "PASS")):
    return CliRunner().invoke(app, ["keys", *map(str, arguments), *map(str, source)], input=answers)


def result(*arguments, **named):
    done = run(*arguments, "--json", **named)
    assert done.stdout.count("\n") == 1
    return done, json.loads(done.stdout)


def made(*arguments):
    done, key = result(*arguments)
    assert done.exit_code == ExitCode.OK
    assert done.stderr == ""
    return key


def opened(path, variable="PASS"):
    return KeyStore.open(path, EnvironmentPassphrase(variable))


def test_create_makes_the_store_and_then_adds_to_it(path):
    done = run("create", "training")
    assert done.exit_code == ExitCode.OK
    assert str(path) in done.stdout
    assert "for training" in done.stdout
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    key = made("create", "inference")
    assert [entry.purpose for entry in opened(path).entries()] == [Purpose.TRAINING, Purpose.INFERENCE]
    assert opened(path).current(Purpose.INFERENCE).name == key["name"]


def test_the_store_is_keys_store_here_unless_named(path, tmp_path, monkeypatch):
    monkeypatch.delenv("SECUREALIGN_KEY_STORE")
    monkeypatch.chdir(tmp_path)
    made("create", "training")
    assert path.exists()
    made("create", "training", "--store", tmp_path / "deep" / "other")
    assert (tmp_path / "deep" / "other").exists()
    assert len(opened(path).entries()) == 1


def test_limits_are_those_that_were_given(path):
    made("create", "training")
    made("create", "training", "--days", 7, "--max-uses", 3)
    made("create", "training", "--no-expiry")
    days = [entry.lifetime and entry.lifetime.days for entry in opened(path).entries()]
    assert days == [365, 7, None]
    assert [entry.max_uses for entry in opened(path).entries()] == [None, 3, None]


@pytest.mark.parametrize(
    "arguments",
    [
        ("create",),
        ("create", "signing"),
        ("create", "training", "--days", "0"),
        ("create", "training", "--max-uses", "0"),
        ("rotate", "training", "--days", "-1"),
        ("destroy",),
        ("export", "0" * 16, "--reveal"),
    ],
)
def test_a_wrong_command_line_makes_nothing(path, arguments):
    done = run(*arguments)
    assert done.exit_code == ExitCode.USAGE
    assert done.stdout == ""
    assert not path.exists()


def test_list_shows_every_key_to_a_person(path):
    key = made("create", "training", "--max-uses", 5)
    opened(path).use(Purpose.TRAINING)
    made("rotate", "training", "--days", 30)
    gone = made("create", "storage", "--no-expiry")
    made("destroy", gone["name"], "--yes")
    lines = run("list").stdout.splitlines()
    assert lines[0].split() == ["key", "purpose", "state", "created,", "UTC", "expires,", "UTC", "uses"]
    assert [line.split()[1:3] for line in lines[1:]] == [
        ["training", "retired"],
        ["training", "active"],
        ["storage", "destroyed"],
    ]
    assert lines[1].startswith(key["name"][:16] + " ")
    assert lines[1].endswith("1 / 5")
    assert "never" in lines[3]


def test_list_shows_every_key_to_a_machine(path):
    key = made("create", "training", "--max-uses", 5)
    shown = made("list")
    assert shown == {"store": str(path), "generation": 2, "keys": [key]}
    assert (key["purpose"], key["state"], key["uses"], key["max_uses"]) == ("training", "active", 0, 5)
    assert len(key["name"]) == 64
    assert key["created"].endswith("+00:00")


def test_an_empty_store_is_told(path):
    KeyStore.create(path, EnvironmentPassphrase("PASS"))
    assert run("list").stdout == f"{path} holds no keys.\n"


def test_no_output_shows_a_secret(path):
    key = made("create", "training")
    root = opened(path).export(key["name"], stores.ExportToken.i_understand_that_this_reveals_the_key())
    for arguments in (["list"], ["list", "--json"], ["rotate", "training"], ["destroy", key["name"], "--yes"]):
        done = run(*arguments)
        assert root.hex() not in done.output
        assert PASSPHRASE not in done.output


def test_rotate_retires_the_old_key(path):
    old = made("create", "training", "--days", 7)
    new = made("rotate", "training")
    assert opened(path).current(Purpose.TRAINING).name == new["name"]
    assert [key["state"] for key in made("list")["keys"]] == ["retired", "active"]
    assert opened(path).get(old["name"]).name == old["name"]
    assert opened(path).entries()[1].lifetime.days == 7


def test_export_writes_a_closed_file_and_shows_nothing(path, tmp_path):
    key = made("create", "training")
    output = tmp_path / "key.hex"
    done = run("export", key["name"][:8], "--reveal", "--output", output)
    assert done.exit_code == ExitCode.OK
    secret = output.read_text(encoding="ascii").strip()
    assert key_name(bytes.fromhex(secret)) == key["name"]
    assert secret not in done.output
    assert stat.S_IMODE(output.stat().st_mode) == 0o600


def test_export_tells_a_machine_where_the_key_is(path, tmp_path):
    key = made("create", "storage")
    exported = made("export", key["name"], "--reveal", "--output", tmp_path / "out")
    assert exported == {"name": key["name"], "purpose": "storage", "output": str(tmp_path / "out")}


def test_export_needs_the_flag(path, tmp_path):
    key = made("create", "training")
    done, error = result("export", key["name"], "--output", tmp_path / "out")
    assert done.exit_code == ExitCode.USAGE
    assert "--reveal" in error["hint"]
    assert not (tmp_path / "out").exists()


def test_export_replaces_no_file(path, tmp_path):
    key = made("create", "training")
    (tmp_path / "out").write_text("mine", encoding="ascii")
    done, error = result("export", key["name"], "--reveal", "--output", tmp_path / "out")
    assert done.exit_code == ExitCode.USAGE
    assert "not replaced" in error["message"]
    assert (tmp_path / "out").read_text(encoding="ascii") == "mine"
    assert run("export", key["name"], "--reveal", "--output", "/dev/stdout").exit_code == ExitCode.USAGE


@pytest.mark.parametrize(
    ("purpose", "lost"),
    [
        ("training", "nobody can decrypt their results"),
        ("inference", "nobody can decrypt their answers"),
        ("storage", "Records of sessions"),
    ],
)
def test_destroy_says_what_is_lost_and_asks(path, purpose, lost):
    key = made("create", purpose)
    done = run("destroy", key["name"][:10], answers="y\n")
    assert done.exit_code == ExitCode.OK
    assert lost in done.stderr
    assert "cannot be undone" in done.stderr
    assert "destroyed" in done.stdout
    assert "Backups of the store" in done.stdout
    assert made("list")["keys"][0]["state"] == "destroyed"


@pytest.mark.parametrize("answers", ["n\n", "\n", ""])
def test_without_a_yes_nothing_is_destroyed(path, answers):
    key = made("create", "training")
    done, error = result("destroy", key["name"], answers=answers)
    assert done.exit_code == ExitCode.USAGE
    assert "Nothing was destroyed" in error["message"]
    assert made("list")["keys"][0]["state"] == "active"


def test_yes_destroys_without_a_question(path):
    key = made("create", "training")
    done, gone = result("destroy", key["name"], "--yes")
    assert done.stderr == ""
    assert gone["state"] == "destroyed"
    done, error = result("destroy", key["name"], "--yes")
    assert done.exit_code == ExitCode.INPUT
    assert error["error"] == "KEY_UNUSABLE"


def test_a_passphrase_is_changed(path):
    key = made("create", "training")
    done = run("passphrase", "--new-passphrase-env", "NEXT")
    assert done.exit_code == ExitCode.OK
    assert "Copies made before" in done.stdout
    assert opened(path, "NEXT").find(key["name"]).name == key["name"]
    done, error = result("list")
    assert done.exit_code == ExitCode.INPUT
    assert error["error"] == "PASSPHRASE_WRONG"


def test_a_changed_passphrase_is_told_to_a_machine(path):
    made("create", "training")
    assert made("passphrase", "--new-passphrase-env", "NEXT") == {"store": str(path), "generation": 3}


def test_a_passphrase_comes_from_a_file(path, tmp_path):
    file = tmp_path / "passphrase"
    file.write_text(PASSPHRASE + "\n", encoding="ascii")
    file.chmod(0o600)
    key = made("create", "training")
    assert result("list", source=("--passphrase-file", file))[1]["keys"] == [key]
    file.chmod(0o644)
    assert result("list", source=("--passphrase-file", file))[1]["error"] == "FILE_INVALID"


def test_a_passphrase_is_generated_for_a_new_store(path, tmp_path):
    file = tmp_path / "generated"
    for count in (1, 2):
        assert run("create", "training", source=("--passphrase-generated", file)).exit_code == ExitCode.OK
        assert len(result("list", source=("--passphrase-file", file))[1]["keys"]) == count
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_passphrase_comes_from_the_keyring(path, monkeypatch):
    held = {}
    fake = SimpleNamespace(
        get_password=lambda *account: held.get(account),
        set_password=lambda service, account, value: held.update({(service, account): value}),
        errors=SimpleNamespace(KeyringError=KeyError),
    )
    monkeypatch.setitem(sys.modules, "keyring", fake)
    source = ("--passphrase-keyring", "me")
    assert run("create", "training", source=source).exit_code == ExitCode.OK
    assert list(held) == [("securealign", "me")]
    assert len(result("list", source=source)[1]["keys"]) == 1


def test_a_passphrase_is_asked_for_otherwise(path, monkeypatch):
    asked = []
    monkeypatch.setattr(sources.getpass, "getpass", lambda question: asked.append(question) or PASSPHRASE)
    assert run("create", "training", source=()).exit_code == ExitCode.OK
    assert asked == ["Passphrase of the key store: ", "Passphrase of the key store, again: "]
    assert len(result("list", source=())[1]["keys"]) == 1
    del asked[:]
    assert run("passphrase", source=()).exit_code == ExitCode.OK
    assert asked == [
        "Passphrase of the key store: ",
        "New passphrase of the key store: ",
        "New passphrase of the key store, again: ",
    ]


def test_a_passphrase_has_one_source(path):
    done, error = result("create", "training", "--passphrase-file", "x")
    assert done.exit_code == ExitCode.USAGE
    assert error["message"] == "A passphrase has one source."
    assert not path.exists()


def test_a_missing_store_is_told(path):
    done, error = result("list")
    assert done.exit_code == ExitCode.INPUT
    assert error["error"] == "FILE_INVALID"
    assert "keys create" in error["hint"]
    assert result("rotate", "training")[1]["error"] == "FILE_INVALID"


def test_a_damaged_store_is_told_and_left_alone(path):
    made("create", "training")
    damaged = path.read_bytes()[:-1]
    path.write_bytes(damaged)
    for command in (("list",), ("create", "training"), ("rotate", "training"), ("destroy", "0" * 8, "--yes")):
        done, error = result(*command)
        assert done.exit_code == ExitCode.INPUT
        assert error["error"] == "STORE_DAMAGED"
    assert path.read_bytes() == damaged
