"""Where a passphrase comes from, and what is refused as one."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securealign.errors import ConfigurationError, DependencyError, ErrorCode, InputError
from securealign.keys.passphrase import (
    EnvironmentPassphrase,
    FilePassphrase,
    GeneratedPassphrase,
    KeyringPassphrase,
    PassphraseChoice,
    PromptPassphrase,
)

LONG = "correct horse"


def typing(*answers):
    """Return a prompt at which these are typed, and the questions it was asked."""
    left, asked = list(answers), []

    def ask(question):
        asked.append(question)
        return left.pop(0)

    return PromptPassphrase(ask=ask), asked


@pytest.fixture
def secret_file(tmp_path):
    def make(data=b"correct horse", mode=0o600):
        path = tmp_path / "passphrase"
        path.write_bytes(data)
        path.chmod(mode)
        return path

    return make


def test_a_prompt_asks_once_for_a_store_that_exists():
    prompt, asked = typing("x")
    assert prompt.read(new=False) == b"x"
    assert asked == ["Passphrase of the key store: "]


def test_a_prompt_asks_twice_for_a_new_store():
    prompt, asked = typing(LONG, LONG)
    assert prompt.read(new=True) == LONG.encode()
    assert asked == ["Passphrase of the key store: ", "Passphrase of the key store, again: "]


def test_two_different_new_passphrases_are_refused():
    prompt, _ = typing(LONG, LONG + "s")
    with pytest.raises(InputError, match="two passphrases differ"):
        prompt.read(new=True)


READ = "from securealign.keys.passphrase import *; print(PromptPassphrase().read(new=False))"


def test_without_a_terminal_a_prompt_says_what_to_do():
    command = [sys.executable, "-c", READ]
    done = subprocess.run(command, input="typed\n", capture_output=True, text=True, check=False, start_new_session=True)
    assert done.returncode == 1
    assert "ConfigurationError: A passphrase is needed, and there is no terminal to ask for it." in done.stderr
    assert done.stdout == ""


def test_what_is_typed_on_a_terminal_is_not_shown():
    ours, theirs = os.openpty()
    command = [sys.executable, "-c", READ]
    with subprocess.Popen(
        command, stdin=theirs, stdout=subprocess.PIPE, stderr=theirs, text=True, start_new_session=True
    ) as process:
        os.close(theirs)
        shown = b""
        while not shown.endswith(b"store: "):
            shown += os.read(ours, 100)
        os.write(ours, b"typed\n")
        assert process.stdout.read() == "b'typed'\n"
    os.close(ours)
    assert b"typed" not in shown


@pytest.mark.parametrize("mode", [0o600, 0o400])
@pytest.mark.parametrize("ending", [b"", b"\n", b"\r\n"])
def test_a_file_is_read_without_its_last_newline(secret_file, mode, ending):
    assert FilePassphrase(secret_file(LONG.encode() + ending, mode)).read(new=True) == LONG.encode()


def test_one_newline_alone_does_not_count(secret_file):
    assert FilePassphrase(secret_file(b" two words \n\n")).read(new=False) == b" two words \n"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601, 0o644])
def test_a_file_open_to_others_is_refused(secret_file, mode):
    with pytest.raises(InputError, match=r"by others than its owner.*chmod 600") as error:
        FilePassphrase(secret_file(mode=mode)).read(new=False)
    assert error.value.code is ErrorCode.FILE_INVALID


def test_a_credential_that_systemd_keeps_is_taken_with_its_access_list(secret_file, tmp_path, monkeypatch):
    path = secret_file(mode=0o440)
    assert FilePassphrase(path, {"CREDENTIALS_DIRECTORY": str(tmp_path)}).read(new=False) == LONG.encode()
    monkeypatch.chdir(tmp_path)
    for elsewhere in (str(tmp_path.parent), ""):
        with pytest.raises(InputError, match="by others"):
            FilePassphrase(path, {"CREDENTIALS_DIRECTORY": elsewhere}).read(new=False)


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(InputError, match=f"{path} cannot be read") as error:
            FilePassphrase(path).read(new=True)
        assert error.value.code is ErrorCode.FILE_INVALID


def test_a_file_that_is_too_large_to_be_a_passphrase_is_refused(secret_file):
    assert len(FilePassphrase(secret_file(b"x" * 4096)).read(new=False)) == 4096
    with pytest.raises(InputError, match="no passphrase file"):
        FilePassphrase(secret_file(b"x" * 4097)).read(new=False)


def test_an_environment_variable_is_read():
    assert EnvironmentPassphrase("P", {"P": LONG}).read(new=True) == LONG.encode()
    with pytest.raises(ConfigurationError, match="P for the passphrase is not set"):
        EnvironmentPassphrase("P", {}).read(new=False)


def test_files_and_variables_come_from_the_environment_of_the_process(monkeypatch, secret_file, tmp_path):
    monkeypatch.setenv("SOME_PASSPHRASE", LONG)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert EnvironmentPassphrase("SOME_PASSPHRASE").read(new=False) == LONG.encode()
    assert FilePassphrase(secret_file(mode=0o440)).read(new=False) == LONG.encode()


@pytest.mark.parametrize("new", [True, False])
def test_an_empty_passphrase_is_refused_everywhere(secret_file, new):
    for source in (typing("")[0], FilePassphrase(secret_file(b"\n")), EnvironmentPassphrase("P", {"P": ""})):
        with pytest.raises(ConfigurationError, match="is empty"):
            source.read(new=new)


def test_a_short_passphrase_opens_what_exists_but_protects_nothing_new(secret_file):
    source = FilePassphrase(secret_file(b"1234567"))
    assert source.read(new=False) == b"1234567"
    with pytest.raises(ConfigurationError, match="shorter than 8 characters"):
        source.read(new=True)
    assert FilePassphrase(secret_file(b"12345678")).read(new=True) == b"12345678"


def test_letters_are_the_same_however_they_were_composed(secret_file):
    composed, decomposed = "caf\u00e9 cr\u00e8me", "cafe\u0301 cre\u0300me"
    expected = composed.encode()
    assert typing(decomposed, decomposed)[0].read(new=True) == expected
    assert FilePassphrase(secret_file(decomposed.encode())).read(new=True) == expected
    assert EnvironmentPassphrase("P", {"P": decomposed}).read(new=True) == expected


@given(st.binary(min_size=8, max_size=64).filter(lambda data: not data.endswith(b"\n")))
def test_octets_that_are_no_text_are_taken_as_they_are(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("octets") / "file"
    path.write_bytes(b"\xff" + data)
    path.chmod(0o600)
    assert FilePassphrase(path).read(new=True) == b"\xff" + data


class FakeKeyring:
    """The part of the package keyring that is used."""

    errors = SimpleNamespace(KeyringError=type("KeyringError", (Exception,), {}))

    def __init__(self, broken=False):
        self.held = {}
        self.broken = broken

    def get_password(self, service, account):
        if self.broken:
            raise self.errors.KeyringError("locked")
        return self.held.get((service, account))

    def set_password(self, service, account, value):
        self.held[service, account] = value


@pytest.fixture
def keyring(monkeypatch):
    fake = FakeKeyring()
    monkeypatch.setitem(sys.modules, "keyring", fake)
    return fake


def test_the_keyring_is_asked_for_the_account(keyring):
    keyring.held["securealign", "me"] = LONG
    assert KeyringPassphrase("me").read(new=False) == LONG.encode()
    assert KeyringPassphrase("me").read(new=True) == LONG.encode()


def test_a_new_store_gets_a_random_passphrase_in_the_keyring(keyring):
    made = KeyringPassphrase("me").read(new=True)
    assert len(made) == 64
    assert made != KeyringPassphrase("other").read(new=True)
    assert KeyringPassphrase("me").read(new=False) == made


def test_a_keyring_without_the_account_makes_none_for_a_store_that_exists(keyring):
    with pytest.raises(ConfigurationError, match=r"holds no passphrase.*keyring set securealign me"):
        KeyringPassphrase("me").read(new=False)
    assert keyring.held == {}


def test_a_keyring_that_does_not_work_is_told(keyring):
    keyring.broken = True
    with pytest.raises(ConfigurationError, match="keyring cannot be used: KeyringError"):
        KeyringPassphrase("me").read(new=True)


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(DependencyError, match=r"pip install 'securealign\[keyring\]'"):
        KeyringPassphrase("me").read(new=False)


def test_a_passphrase_is_generated_once_in_a_closed_file(tmp_path):
    path = tmp_path / "deep" / "passphrase"
    made = GeneratedPassphrase(path).read(new=True)
    assert len(made) == 64
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [*path.parent.iterdir()] == [path]
    for new in (True, False):
        assert GeneratedPassphrase(path).read(new=new) == made
    assert FilePassphrase(path).read(new=False) == made
    assert GeneratedPassphrase(tmp_path / "other").read(new=True) != made


def test_no_passphrase_is_generated_for_a_store_that_exists(tmp_path):
    with pytest.raises(InputError, match="restore it from a backup"):
        GeneratedPassphrase(tmp_path / "passphrase").read(new=False)
    assert [*tmp_path.iterdir()] == []


def test_of_two_that_generate_at_once_both_read_the_first(tmp_path, monkeypatch):
    path = tmp_path / "passphrase"
    link = os.link

    def slow(draft, target):
        target.write_bytes(LONG.encode())
        target.chmod(0o600)
        link(draft, target)

    monkeypatch.setattr(os, "link", slow)
    assert GeneratedPassphrase(path).read(new=True) == LONG.encode()
    assert [*tmp_path.iterdir()] == [path]


def test_a_folder_that_cannot_hold_the_file_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be made") as error:
        GeneratedPassphrase(tmp_path / "file" / "passphrase").read(new=True)
    assert error.value.code is ErrorCode.FILE_INVALID


def test_a_configuration_names_a_source(tmp_path):
    file = tmp_path / "file"
    assert PassphraseChoice().open() == PromptPassphrase()
    assert PassphraseChoice(source="file", file=file).open() == FilePassphrase(file)
    assert PassphraseChoice(source="generated", file=file).open() == GeneratedPassphrase(file)
    assert PassphraseChoice(source="environment", variable="V").open() == EnvironmentPassphrase("V")
    assert PassphraseChoice(source="keyring", account="A").open() == KeyringPassphrase("A")


@pytest.mark.parametrize("source", ["file", "generated"])
def test_a_source_that_needs_a_file_says_so(source):
    with pytest.raises(ConfigurationError, match=f"'{source}' needs a file"):
        PassphraseChoice(source=source).open()


def test_no_source_shows_a_passphrase(monkeypatch):
    monkeypatch.setenv("SOME_PASSPHRASE", LONG)
    for source in (EnvironmentPassphrase("SOME_PASSPHRASE"), EnvironmentPassphrase("P", {"P": LONG}), typing(LONG)[0]):
        assert LONG not in repr(source)
