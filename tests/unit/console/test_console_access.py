"""Who may use a console: addresses, tokens, names of hosts, and requests that another site made."""

from __future__ import annotations

import base64
import socket

import pytest
from fastapi import HTTPException

from securealign.console.access import Access, listen, open_access, stays_here
from securealign.console.guard import require_own_host, require_same_origin, require_token
from securealign.errors import ConfigurationError, ErrorCode, FileError

TOKEN = "0123456789abcdef" * 2


@pytest.fixture
def token_file(tmp_path):
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n", encoding="ascii")
    file.chmod(0o600)
    return file


def refusal(check, *arguments):
    """Return the status with which a request is refused, None for one that is let in."""
    try:
        check(*arguments)
    except HTTPException as error:
        return error.status_code
    return None


@pytest.mark.parametrize("address", ["127.0.0.1:0", "127.8.0.1:9", "localhost:1", "[::1]:1"])
def test_loopback_needs_no_token(address):
    access = open_access(address)
    assert access.token is None
    assert stays_here(access)


@pytest.mark.parametrize("address", ["0.0.0.0:1", "[::]:1", "192.0.2.1:80", "provider.example.org:80"])
def test_other_addresses_need_a_token(address, token_file):
    with pytest.raises(ConfigurationError, match="there is no token") as caught:
        open_access(address)
    assert "token_file" in caught.value.hint
    access = open_access(address, token_file=token_file)
    assert access.token == TOKEN.encode()
    assert not stays_here(access)
    assert TOKEN not in repr(access)


@pytest.mark.parametrize("address", ["", "9465", "host", "a:b", "[::1:5", "127.0.0.1:99999", "me@127.0.0.1:1"])
def test_what_is_no_address_is_refused(address):
    with pytest.raises(ConfigurationError, match="is no address"):
        open_access(address)


def test_a_token_file_is_long_enough_and_its_owners_alone(token_file):
    token_file.chmod(0o644)
    with pytest.raises(FileError, match="read or changed by others"):
        open_access("127.0.0.1:0", token_file=token_file)
    token_file.chmod(0o600)
    token_file.write_text(TOKEN[1:], encoding="ascii")
    with pytest.raises(ConfigurationError, match="fewer than 32"):
        open_access("127.0.0.1:0", token_file=token_file)


def test_an_address_that_is_taken_is_named_as_such():
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(ConfigurationError) as caught:
        listen(Access(host="127.0.0.1", port=other.getsockname()[1]))
    assert caught.value.code is ErrorCode.ADDRESS_TAKEN
    with pytest.raises(ConfigurationError) as caught:
        listen(Access(host="192.0.2.1", port=0))
    assert caught.value.code is ErrorCode.CONFIGURATION_INVALID


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8080", None),
        ("127.0.0.1:8080", None),
        ("[::1]:8080", None),
        ("192.0.2.7", None),
        ("console.example.org.", None),
        ("evil.example", 421),
        ("localhost.evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("[::1", 421),
        ("", 421),
    ],
)
def test_a_name_that_nobody_gave_this_machine_is_refused(host, status):
    access = open_access("127.0.0.1:0", hosts=["Console.example.org"])
    assert refusal(require_own_host, {"host": host}, access.hosts) == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "http://127.0.0.1:80", "sec-fetch-site": "same-origin"}, None),
        ({"origin": "http://127.0.0.1:80"}, None),
        ({"origin": "http://127.0.0.1:81", "sec-fetch-site": "same-site"}, 403),
        ({"origin": "http://127.0.0.1:80", "sec-fetch-site": "cross-site"}, 403),
        ({"origin": "https://evil.example", "sec-fetch-site": "cross-site"}, 403),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({}, 403),
    ],
)
def test_only_the_own_page_may_ask_for_work(headers, status):
    assert refusal(require_same_origin, {"host": "127.0.0.1:80", **headers}) == status


def basic(user, password):
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


@pytest.mark.parametrize(
    ("given", "status"),
    [
        (f"Bearer {TOKEN}", None),
        (basic("anybody", TOKEN), None),
        (basic("", TOKEN), None),
        (basic(TOKEN, ""), 401),
        (basic("anybody", TOKEN[1:]), 401),
        ("Bearer", 401),
        (f"Digest {TOKEN}", 401),
        ("Basic ?", 401),
        ("Basic gA==", 401),
        ("", 401),
    ],
)
def test_the_token_is_a_bearer_or_the_password_of_any_name(given, status, token_file):
    access = open_access("127.0.0.1:0", token_file=token_file)
    assert refusal(require_token, {"authorization": given}, access) == status
    assert refusal(require_token, {"authorization": given}, open_access("127.0.0.1:0")) is None
