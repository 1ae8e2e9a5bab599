"""Requests to an OpenAI-compatible endpoint: what is sent, to which host alone, and how its failures are told."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from securealign.errors import ConfigurationError, EndpointError, ErrorCode
from securealign.models.pretrained import first_line
from securealign.models.quiet import muted
from securealign.optional import require

Ask = Callable[[Sequence[str], str], bytes]

_CONNECT_SECONDS = 10.0
#: All headers of a request. The library would add others, such as those that its own environment variables name; by the
#: last one it knows that it shall not read the answer.
_HEADERS = (
    *("host", "accept", "accept-encoding", "connection", "content-type", "content-length", "user-agent"),
    "x-stainless-raw-response",
)
_VARIABLE = re.compile(r"[A-Za-z_]\w*", re.ASCII)
#: Statuses by which servers refuse what is in a request: a text, how many there are, or a parameter.
_REFUSED_CONTENT = frozenset({400, 413, 422})
#: These libraries log requests, which hold texts, at lower levels.
_LIBRARIES = ("openai", "httpx", "httpx2", "httpcore", "httpcore2")


class RefusedContent(EndpointError):
    """The endpoint refuses what a request holds; with fewer or other texts it may accept."""

    default_code = ErrorCode.ENDPOINT_REFUSED


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """A model at an OpenAI-compatible endpoint, whose `url` ends before /embeddings.

    The key is read from the environment variable `api_key_env` when a request is made; without one no key is sent.
    `timeout_seconds` bounds each wait for the server, and a failed request is tried again `retries` times. Raises
    `ConfigurationError` for a URL that is none, holds more than an address, or would send texts in clear.
    """

    url: str
    model: str
    dimensions: int | None = None
    api_key_env: str | None = None
    allow_plain_http: bool = False
    timeout_seconds: float = 60.0
    retries: int = 4

    def __post_init__(self) -> None:
        _check_url(self.url, allow_plain_http=self.allow_plain_http)
        # Not shown: somebody may have written the key itself there.
        if self.api_key_env is not None and _VARIABLE.fullmatch(self.api_key_env) is None:
            raise ConfigurationError(
                "api_key_env is no name of an environment variable.",
                hint="Put the key into a variable, and name that variable.",
            )

    @property
    def host(self) -> str:
        """Host, and port if one is named, for people."""
        return urlsplit(self.url).netloc

    @property
    def key(self) -> str | None:
        """The key, None where none is sent; raises `ConfigurationError` where the variable holds none."""
        if self.api_key_env is None:
            return None
        key = os.environ.get(self.api_key_env, "").strip()
        if not key:
            raise ConfigurationError(
                "The environment variable that api_key_env names is not set.", hint="Set it to the key of the endpoint."
            )
        if not (key.isascii() and key.isprintable()) or " " in key:
            raise ConfigurationError(
                "The environment variable that api_key_env names holds characters that no key has.",
                hint="Set it to the key alone, without quotes or other text.",
            )
        return key

    @contextmanager
    def connected(self) -> Iterator[Ask]:
        """Yield a function that returns the body of the answer for some texts, embedded in "base64" or "float".

        It raises `RefusedContent` where fewer or other texts may be accepted, `EndpointError` for other failures.
        Raises `ConfigurationError` for a key that is not set, `DependencyError` where openai is not installed.
        """
        openai = require("openai", "An embedding endpoint", extra="endpoint")
        optional = {} if self.dimensions is None else {"dimensions": self.dimensions}
        tries: list[float] = []
        with _http_client(openai, self, tries) as http:
            # The key is added to each request by the HTTP client.
            library = openai.OpenAI(base_url=self.url, api_key="none", max_retries=self.retries, http_client=http)
            embeddings = library.embeddings.with_raw_response

            def ask(texts: Sequence[str], encoding: str) -> bytes:
                tries.clear()
                sent = {"input": list(texts), "model": self.model, "encoding_format": encoding, **optional}
                try:
                    with muted(_LIBRARIES):
                        return bytes(embeddings.create(**sent, timeout=http.timeout).content)
                except openai.APIStatusError as error:
                    problem = self._of_status(error.status_code, str(error.code), _times(tries))
                except openai.APIConnectionError as error:
                    problem = self._of_connection(error, _times(tries), late=isinstance(error, openai.APITimeoutError))
                # Outside of the handlers: errors of the library hold texts and answers, and stay out of the chain.
                raise problem

            yield ask

    def _of_status(self, status: int, code: str, tried: str) -> EndpointError:
        """Return the error for an HTTP status; what else the answer says may quote a key or a text."""
        said, kind = f"{self.host} answers with HTTP status {status}", EndpointError
        hint = "Check endpoint, and what its vendor says of this status."
        error_code = ErrorCode.ENDPOINT_REFUSED
        if status < 400:
            said += ": it redirects to another address, where neither texts nor the key are sent"
            hint = "Set endpoint to the address that you trust."
        elif status == 401:
            said += ": it refuses the key" if self.api_key_env else ": it wants a key"
            hint = "Check the key in the variable." if self.api_key_env else "Name a variable by api_key_env."
        elif status == 403:
            said += f": the key may not use the model {self.model!r}"
            hint = "Have the vendor allow that, or use another model."
        elif status == 404:
            said += f": it has no model {self.model!r}, or no /embeddings under this address"
            hint = "Check model and endpoint; the address of most vendors ends in /v1."
        elif status in _REFUSED_CONTENT:
            said += ": it refuses the request"
            hint = "Check model and dimensions; leave dimensions out for a model that has one length only."
            kind = RefusedContent
        elif status == 429:
            error_code = ErrorCode.ENDPOINT_UNAVAILABLE
            spent = code == "insufficient_quota"
            said += ": the account has nothing left" if spent else f": too many requests, {tried}"
            hint = "Raise the quota at the vendor." if spent else "Try again later, or raise the rate at the vendor."
        elif status >= 500:
            error_code = ErrorCode.ENDPOINT_UNAVAILABLE
            said += f", {tried}"
            hint = "Try again later; what was embedded for the cache is kept."
        return kind(f"{said}.", hint=hint, code=error_code)

    def _of_connection(self, error: Exception, tried: str, *, late: bool) -> EndpointError:
        cause = error.__cause__
        kind = type(cause).__name__
        if kind == "ConnectTimeout":
            said, hint = f"{self.host} accepts no connection", "Check endpoint and network."
        elif late:
            said, hint = f"{self.host} is silent for {self.timeout_seconds:g} s", "Raise timeout_seconds, or try later."
        elif kind == "ConnectError" and isinstance(cause, Exception):
            # Nothing was sent yet, so the reason quotes neither a key nor a text.
            said, hint = f"{self.host} cannot be reached: {first_line(cause)}", "Check endpoint and network."
        else:
            said, hint = f"{self.host} breaks off its answer", "Try again later; it may be overloaded."
        return EndpointError(f"{said}, {tried}.", hint=hint)


def check_reachable(endpoint: Endpoint, *, seconds: float = 5.0) -> None:
    """Raise `EndpointError` unless the host accepts a connection, under TLS for https; sends neither key nor text."""
    parts = urlsplit(endpoint.url)
    host = parts.hostname or ""
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        with socket.create_connection((host, port), timeout=seconds) as connection:
            if parts.scheme == "https":
                _trust().wrap_socket(connection, server_hostname=host).close()
    except OSError as error:
        raise EndpointError(
            f"{endpoint.host} cannot be reached: {first_line(error)}.",
            hint="Check endpoint and network; proxies of the environment are not used.",
        ) from error


@contextmanager
def _http_client(openai: Any, endpoint: Endpoint, tries: list[float]) -> Iterator[Any]:  # noqa: ANN401 - openai is optional
    """Yield an HTTP client that follows no redirect, uses no proxy of the environment, and adds the key itself.

    `tries` gets the time of each request.
    """
    key = endpoint.key

    def prepare(request: Any) -> None:  # noqa: ANN401
        for name in list(request.headers):
            if name.lower() not in _HEADERS:
                del request.headers[name]
        if key is not None:
            request.headers["Authorization"] = f"Bearer {key}"
        tries.append(time.monotonic())

    with openai.DefaultHttpxClient(
        follow_redirects=False,
        trust_env=False,
        verify=_trust(),
        timeout=openai.Timeout(endpoint.timeout_seconds, connect=min(_CONNECT_SECONDS, endpoint.timeout_seconds)),
        event_hooks={"request": [prepare]},
    ) as client:
        yield client


def _times(tries: Sequence[float]) -> str:
    return "once" if len(tries) < 2 else f"{len(tries)} times in {tries[-1] - tries[0]:.0f} s"


@cache
def _trust() -> ssl.SSLContext:
    """Return the authorities that this machine trusts, or those that SSL_CERT_FILE names."""
    return ssl.create_default_context()


def _check_url(url: str, *, allow_plain_http: bool) -> None:
    # Not shown whole: it may hold a password.
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, urlsplit("")
    if parts.scheme not in {"http", "https"} or not host or port == 0:
        raise ConfigurationError("endpoint is no address.", hint='Write it as "https://HOST/v1".')
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise ConfigurationError(
            "endpoint holds a user name, a password, a query or a fragment.",
            hint="Give the key by api_key_env, and the address alone here.",
        )
    if parts.path.rstrip("/").endswith("/embeddings"):
        raise ConfigurationError("endpoint names one function of the API.", hint="End it before /embeddings.")
    if parts.scheme == "http" and not (allow_plain_http or _is_this_machine(host)):
        raise ConfigurationError(
            f"Texts and key would travel to {host} in clear.",
            hint="Use https://, or set allow_plain_http = true where the network protects them.",
        )


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
