"""The key of an embedding endpoint, and the texts that it sees, reach the configured host and nothing else.

Each test has its negative control: without the protection, the search finds what it looks for.
"""

from __future__ import annotations

import logging
import ssl
import traceback
from contextlib import contextmanager, suppress

import pytest
from support.endpoints import Reply, fake_endpoint, refusal
from support.optional import later, needs

from securealign.errors import EndpointError
from securealign.models import Endpoint, EndpointEncoder
from securealign.models.endpoint import service

pytestmark = needs("openai", extra="endpoint")
openai = later("openai")

KEY = "canary-key-1618033988"
TEXT = "canary text 5772156649"


@pytest.fixture
def fake(monkeypatch, tmp_path):
    monkeypatch.setenv("EMBEDDING_KEY", KEY)
    monkeypatch.setenv("SECUREALIGN_CACHE", str(tmp_path / "cache"))
    with fake_endpoint() as endpoint:
        yield endpoint


@pytest.fixture
def elsewhere():
    with fake_endpoint() as endpoint:
        yield endpoint


def opened(fake):
    return EndpointEncoder(Endpoint(url=fake.url, model="m", api_key_env="EMBEDDING_KEY", retries=0))


def loose(monkeypatch, **options):
    """Have HTTP clients made with other options: the defaults of the library, for instance."""
    plain = openai.DefaultHttpxClient
    monkeypatch.setattr("openai.DefaultHttpxClient", lambda **given: plain(**{**given, **options}))


def redirected(fake, elsewhere, status):
    encoder = opened(fake)
    fake.act = lambda _request: Reply(status, headers={"Location": f"{elsewhere.url}/embeddings"})
    with suppress(EndpointError):
        encoder.encode([TEXT])
    return str(elsewhere.requests)


@pytest.mark.parametrize("status", [307, 308])
def test_a_redirect_to_another_host_gets_neither_key_nor_texts(fake, elsewhere, status, monkeypatch):
    assert redirected(fake, elsewhere, status) == "[]"
    fake.act = lambda _request: None
    loose(monkeypatch, follow_redirects=True)
    written = redirected(fake, elsewhere, status)
    assert KEY in written
    assert TEXT in written


def test_a_proxy_of_the_environment_gets_neither_key_nor_texts(fake, elsewhere, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, elsewhere.url)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "")
    opened(fake).encode([TEXT])
    assert elsewhere.requests == []
    loose(monkeypatch, trust_env=True)
    opened(fake).encode([TEXT])
    assert KEY in str(elsewhere.requests)
    assert TEXT in str(elsewhere.requests)


def test_the_certificate_of_the_host_is_checked(fake, monkeypatch):
    made = []
    plain = openai.DefaultHttpxClient
    monkeypatch.setattr("openai.DefaultHttpxClient", lambda **given: made.append(given) or plain(**given))
    opened(fake)
    assert made[0]["verify"].verify_mode is ssl.CERT_REQUIRED
    assert made[0]["verify"].check_hostname


def said_by(encoder, fake, caplog):
    """Return everything that is logged, with all loggers at their lowest level, and every form of the errors."""
    echo = f"{KEY} {TEXT}"
    fake.act = lambda request: refusal(500, KEY, echo, X_Echo=echo) if TEXT in request.body["input"] else None
    written = []
    with caplog.at_level(logging.DEBUG):
        for name in ("openai", "httpx", "httpx2", "httpcore", "httpcore2"):
            logging.getLogger(name).setLevel(logging.DEBUG)
        try:
            encoder.encode(["harmless"])
            encoder.encode([TEXT])
        except EndpointError as error:
            written += [str(error), repr(error), "".join(traceback.format_exception(error))]
            seen = error
            while (seen := seen.__cause__ or seen.__context__) is not None:
                written += [repr(seen), str(vars(seen))]
    written += [repr(encoder.endpoint), encoder.name, encoder.fingerprint, str(vars(encoder))]
    return "\n".join([*written, *(f"{record.getMessage()} {record.args}" for record in caplog.records)])


def test_no_log_and_no_error_holds_the_key_or_a_text(fake, caplog):
    written = said_by(opened(fake), fake, caplog)
    assert "status 500" in written
    assert KEY not in written
    assert TEXT not in written


def test_unmuted_the_libraries_log_what_a_server_says(fake, caplog, monkeypatch):
    @contextmanager
    def talkative(_names):
        yield

    monkeypatch.setattr(service, "muted", talkative)
    written = said_by(opened(fake), fake, caplog)
    assert KEY in written
    assert TEXT in written


def test_the_errors_of_the_library_hold_texts_and_what_the_server_says(fake):
    fake.act = lambda _request: refusal(500, said=f"{KEY} {TEXT}")
    library = openai.OpenAI(base_url=fake.url, api_key=KEY, max_retries=0)
    with library, pytest.raises(openai.InternalServerError) as caught:
        library.embeddings.create(input=[TEXT], model="m")
    assert KEY in str(caught.value)
    assert TEXT in caught.value.request.content.decode()


def test_nothing_on_disk_holds_the_key(fake, tmp_path):
    opened(fake).encode([TEXT])
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    assert [path for path in files if KEY.encode() in path.read_bytes()] == []
