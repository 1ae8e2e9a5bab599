"""Where a console or a service listens, and who is let in."""

from __future__ import annotations

import base64
import binascii
import errno
import hmac
import ipaddress
import socket
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from securealign.errors import ConfigurationError, ErrorCode
from securealign.keys.passphrase import FilePassphrase

#: Characters of the shortest token that is taken: 128 bits in hexadecimal digits.
MIN_TOKEN = 32


@dataclass(frozen=True, kw_only=True)
class Access:
    """The address, the token that requests must carry if there is one, and the names that requests may give as host.

    A site can give its own name this machine's address (DNS rebinding), and then a browser sends its requests here. It
    cannot do so with an address, so a host is an address or one of `hosts`, in lower case.
    """

    host: str
    port: int
    token: bytes | None = field(default=None, repr=False)
    hosts: frozenset[str] = frozenset()

    def knows_host(self, header: str) -> bool:
        """Return whether a `Host` header names this place."""
        try:
            name = (urlsplit(f"//{header}").hostname or "").rstrip(".")
        except ValueError:
            return False
        return name in self.hosts or _ip(name) is not None

    def admits(self, authorization: str) -> bool:
        """Return whether an `Authorization` header carries the token: as a bearer, or as the password of any user.

        The second is what browsers can do.
        """
        if self.token is None:
            return True
        scheme, _, given = authorization.partition(" ")
        if scheme.lower() == "basic":
            given = _password(given)
        elif scheme.lower() != "bearer":
            return False
        return hmac.compare_digest(given.strip().encode("utf-8", "surrogateescape"), self.token)


def open_access(address: str, *, token_file: Path | None = None, hosts: Iterable[str] = ()) -> Access:
    """Return the access of an address host:port; raises `ConfigurationError` for one beyond this machine without token.

    Raises `FileError` for a token file that others than its owner can read.
    """
    try:
        parts = urlsplit(f"//{address}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or port is None or parts.username is not None or parts.path:
        raise ConfigurationError(
            f"{address!r} is no address to serve on.", hint="Write host:port, such as 127.0.0.1:8080."
        )
    token = None if token_file is None else _read_token(token_file)
    if token is None and not _is_loopback(host):
        raise ConfigurationError(
            f"What listens on {address} could be used from other machines, and there is no token.",
            hint="Listen on 127.0.0.1, or name a file that holds a token: --token-file, or token_file in the settings.",
        )
    own = (name for name in ("localhost", host) if _ip(name) is None)
    return Access(host=host, port=port, token=token, hosts=frozenset({*own, *(name.lower() for name in hosts)}))


def listen(access: Access) -> socket.socket:
    """Return a socket that is bound to the address alone; raises `ConfigurationError` when it cannot be."""
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            access.host, access.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
    except OSError as error:
        raise _unusable(access, error) from error
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind(place)
        # Another process may be bound to the address without listening yet.
        bound.listen()
    except OSError as error:
        bound.close()
        raise _unusable(access, error) from error
    return bound


def stays_here(access: Access) -> bool:
    """Return whether requests stay on this machine, where nobody else can read them on their way."""
    return _is_loopback(access.host)


def _unusable(access: Access, error: OSError) -> ConfigurationError:
    taken = error.errno == errno.EADDRINUSE
    return ConfigurationError(
        f"Cannot listen on {access.host} port {access.port}: {error.strerror or type(error).__name__}.",
        hint="Choose a free port, or stop the program that uses it." if taken else "Choose an address of this machine.",
        code=ErrorCode.ADDRESS_TAKEN if taken else ErrorCode.CONFIGURATION_INVALID,
    )


def _read_token(file: Path) -> bytes:
    token = FilePassphrase(file, what="token").read(new=False).strip()
    if len(token) < MIN_TOKEN:
        raise ConfigurationError(
            f"The token in {file} has fewer than {MIN_TOKEN} characters.",
            hint=f"Make one: (umask 077; openssl rand -hex 32 > {file})",
        )
    return token


def _is_loopback(host: str) -> bool:
    address = _ip(host)
    return host == "localhost" if address is None else address.is_loopback


def _ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _password(given: str) -> str:
    try:
        return base64.b64decode(given, validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return ""
