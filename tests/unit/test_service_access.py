"""Where the service may listen, and which tokens are taken."""

from __future__ import annotations

import socket

import pytest
from support.service import TOKEN

from securealign.console.access import Access, listen, open_access
from securealign.errors import ConfigurationError, ErrorCode, FileError, InputError


@pytest.fixture
def token_file(tmp_path):
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n", encoding="utf-8")
    file.chmod(0o600)
    return file


@pytest.mark.parametrize("address", ["127.0.0.1:8080", "localhost:0", "[::1]:8080", "127.8.0.1:1"])
def test_this_machine_needs_no_token(address):
    access = open_access(address)
    assert access.token is None
    assert access.admits("")


@pytest.mark.parametrize("address", ["0.0.0.0:8080", "[::]:8080", "192.0.2.7:8080", "service.example:8080"])
def test_other_machines_need_one(address, token_file):
    with pytest.raises(ConfigurationError, match="there is no token"):
        open_access(address)
    access = open_access(address, token_file=token_file)
    assert access.admits(f"Bearer {TOKEN}")
    assert not access.admits("")


@pytest.mark.parametrize(
    "address", ["", "8080", ":8080", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:99999", "a@b:1", "a:1/b"]
)
def test_what_is_no_address_is_refused(address):
    with pytest.raises(ConfigurationError, match="no address"):
        open_access(address)


def test_a_token_file_is_its_owners_alone(token_file):
    token_file.chmod(0o640)
    with pytest.raises(FileError, match=r"The token file .* by others"):
        open_access("127.0.0.1:0", token_file=token_file)
    token_file.chmod(0o400)
    assert open_access("127.0.0.1:0", token_file=token_file).token == TOKEN.encode()


@pytest.mark.parametrize("content", ["", "\n", TOKEN[:-1], f" {TOKEN[:-1]} \n"])
def test_a_short_token_is_refused(content, token_file):
    token_file.write_text(content, encoding="utf-8")
    with pytest.raises((ConfigurationError, InputError)):
        open_access("127.0.0.1:0", token_file=token_file)


def test_a_missing_token_file_is_named(tmp_path):
    with pytest.raises(FileError, match="missing"):
        open_access("127.0.0.1:0", token_file=tmp_path / "missing")


def test_the_token_is_not_shown():
    assert TOKEN not in repr(Access(host="127.0.0.1", port=1, token=TOKEN.encode()))


@pytest.mark.parametrize("address", ["127.0.0.1:0", "localhost:0", "[::1]:0"])
def test_only_the_address_is_bound(address):
    try:
        bound = listen(open_access(address))
    except ConfigurationError:
        if not address.startswith("["):
            raise
        pytest.skip("this machine has no IPv6")
    with bound:
        assert bound.getsockname()[0] in {"127.0.0.1", "::1"}


def test_a_taken_port_is_told_from_an_address_of_another_machine(token_file):
    with listen(open_access("127.0.0.1:0")) as bound:
        port = bound.getsockname()[1]
        with pytest.raises(ConfigurationError) as taken:
            listen(open_access(f"127.0.0.1:{port}"))
    assert (taken.value.code, taken.value.code.exit_code) == (ErrorCode.ADDRESS_TAKEN, 75)
    with pytest.raises(ConfigurationError) as other:
        listen(open_access("192.0.2.7:8080", token_file=token_file))
    assert other.value.code is ErrorCode.CONFIGURATION_INVALID
    with listen(open_access(f"127.0.0.1:{port}")):
        assert isinstance(port, int)


def test_a_name_without_an_address_is_refused(token_file, monkeypatch):
    def unknown(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(ConfigurationError, match="not known"):
        listen(open_access("nowhere.example:80", token_file=token_file))
