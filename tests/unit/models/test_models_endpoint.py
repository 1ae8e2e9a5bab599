"""Encoders at OpenAI-compatible endpoints: what is sent, what is accepted, and how every failure is told."""

from __future__ import annotations

import json
import socket
import ssl
import time
from dataclasses import replace
from threading import Event

import numpy as np
import pytest
from support.endpoints import DIMENSION, Reply, expected, fake_endpoint, refusal, vector
from support.optional import needs

from securealign.errors import AssetError, ConfigurationError, EndpointError, ErrorCode, InputError
from securealign.models import EmbeddingCache, Endpoint, EndpointEncoder
from securealign.models.endpoint import check_reachable, usage_of
from securealign.models.endpoint.encoder import CANARIES

pytestmark = needs("openai", extra="endpoint")

KEY = "canary-key-2718281828"
TEXTS = ["first", "second", "", "fourth", "fifth"]


@pytest.fixture
def fake(monkeypatch, tmp_path):
    monkeypatch.setenv("EMBEDDING_KEY", KEY)
    monkeypatch.setenv("SECUREALIGN_CACHE", str(tmp_path / "cache"))
    with fake_endpoint() as endpoint:
        yield endpoint


@pytest.fixture
def waits(monkeypatch):
    """Collect the seconds that would be waited between tries."""
    made = []
    monkeypatch.setattr(time, "sleep", made.append)
    return made


def at(fake, **settings):
    return Endpoint(url=fake.url, model="m", **{"api_key_env": "EMBEDDING_KEY", "retries": 0, **settings})


def opened(fake, *, batch_size=2, revision="", prompt=None, **settings):
    return EndpointEncoder(at(fake, **settings), batch_size=batch_size, revision=revision, prompt=prompt)


def failing(fake, act, kind=EndpointError, **settings):
    """Return the error of embedding when the endpoint acts so once it is open."""
    encoder = opened(fake, **settings)
    fake.act = act
    with pytest.raises(kind) as caught:
        encoder.encode(TEXTS)
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize("options", [{}, {"base64": False}, {"shuffled": True}], ids=["base64", "floats", "shuffled"])
def test_embeddings_are_those_of_the_texts_in_their_order(fake, options):
    for name, value in options.items():
        setattr(fake, name, value)
    seen = []
    encoder = opened(fake)
    vectors = encoder.encode(TEXTS, progress=lambda done, total: seen.append((done, total)))
    np.testing.assert_allclose(vectors, expected(TEXTS), atol=1e-6)
    assert (vectors.dtype, encoder.dimension) == (np.float32, DIMENSION)
    assert seen == [(2, 5), (4, 5), (5, 5)]
    assert encoder.encode([]).shape == (0, DIMENSION)
    assert fake.texts == [list(CANARIES), TEXTS[:2], TEXTS[2:4], TEXTS[4:]]


def test_a_server_that_does_not_know_base64_is_asked_for_numbers(fake):
    fake.act = lambda request: refusal(400) if request.body["encoding_format"] == "base64" else None
    np.testing.assert_allclose(opened(fake).encode(TEXTS), expected(TEXTS), atol=1e-6)


def test_a_request_holds_the_texts_the_model_the_key_and_what_was_set_and_nothing_else(fake, monkeypatch):
    for name in ("API_KEY", "ADMIN_KEY", "ORG_ID", "PROJECT_ID"):
        monkeypatch.setenv(f"OPENAI_{name}", "ambient")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Surprise: ambient")
    opened(fake)
    opened(fake, dimensions=4, api_key_env=None)
    first, second = fake.requests
    assert first.path == "/v1/embeddings"
    assert first.body == {"input": list(CANARIES), "model": "m", "encoding_format": "base64"}
    assert first.headers["authorization"] == f"Bearer {KEY}"
    assert second.body["dimensions"] == 4
    assert "authorization" not in second.headers
    assert "ambient" not in str(fake.requests)
    assert len(first.headers) == 9


def test_a_prompt_stands_before_every_text(fake):
    vectors = opened(fake, prompt="query: ").encode(["a"])
    np.testing.assert_allclose(vectors[0], vector("query: a"), atol=1e-6)


def test_texts_tokens_and_seconds_are_counted(fake):
    ticks = iter(range(100))
    encoder = EndpointEncoder(at(fake), batch_size=2, clock=lambda: next(ticks))
    encoder.encode(TEXTS)
    figures = {"host": fake.url[7:-3], "embedded": 10, "tokens": 20, "seconds": 4, "per_second": 2.5}
    assert usage_of(encoder) == figures
    fake.usage = False
    assert usage_of(opened(fake))["tokens"] is None
    assert usage_of(object()) is None


def test_the_fingerprint_covers_every_setting_that_changes_embeddings(fake):
    plain = opened(fake)
    assert plain.fingerprint == opened(fake, batch_size=1, timeout_seconds=9).fingerprint
    others = [opened(fake, **{name: value}) for name, value in (("prompt", "q"), ("dimensions", 8), ("revision", "2"))]
    others.append(EndpointEncoder(Endpoint(url=fake.url, model="other", api_key_env="EMBEDDING_KEY")))
    with fake_endpoint() as elsewhere:
        others.append(opened(elsewhere))
    assert len({encoder.fingerprint for encoder in (plain, *others)}) == 6


def test_a_model_that_changed_is_refused_with_a_figure_until_the_revision_changes(fake):
    opened(fake)
    fake.seed = "two"
    with pytest.raises(EndpointError, match=r"differ from earlier ones by \d+% \(3% are allowed\)") as caught:
        opened(fake)
    assert caught.value.code is ErrorCode.ENDPOINT_CHANGED
    assert opened(fake, revision="2").dimension == DIMENSION


def test_without_the_canaries_that_were_kept_a_changed_model_would_pass(fake, tmp_path):
    opened(fake)
    (kept,) = (tmp_path / "cache" / "canaries").iterdir()
    assert kept.stat().st_mode & 0o777 == 0o600
    kept.unlink()
    fake.seed = "two"
    assert opened(fake).dimension == DIMENSION


def test_rounding_of_the_server_is_no_change(fake):
    opened(fake)

    def round_otherwise(items):
        for item in items:
            item["embedding"] = [1.005 * value for value in item["embedding"]]

    fake.base64 = False
    fake.act = fake.changed(round_otherwise)
    assert opened(fake).dimension == DIMENSION


def test_a_model_of_another_length_is_a_changed_one(fake):
    opened(fake)
    fake.base64 = False
    fake.act = fake.changed(lambda items: [item["embedding"].pop() for item in items])
    with pytest.raises(EndpointError, match="7 dimensions where it gave 8") as caught:
        opened(fake)
    assert caught.value.code is ErrorCode.ENDPOINT_CHANGED


def test_canaries_that_cannot_be_read_or_written_are_named(fake, tmp_path):
    opened(fake)
    (kept,) = (tmp_path / "cache" / "canaries").iterdir()
    kept.write_bytes(b"damaged")
    with pytest.raises(AssetError, match=r"canaries.*cannot be read"):
        opened(fake)
    kept.unlink()
    kept.parent.rmdir()
    kept.parent.write_bytes(b"a file")
    with pytest.raises(AssetError, match=r"canaries.*cannot be"):
        opened(fake)


def test_a_text_that_is_refused_is_found_and_named_by_its_index(fake, tmp_path):
    def refuse(request):
        return (
            refusal(400, "context_length_exceeded") if any(len(text) > 20 for text in request.body["input"]) else None
        )

    texts = [f"text {index}" for index in range(20)]
    texts[13] = "a text that is far too long for this model"
    encoder = opened(fake, batch_size=16)
    fake.act = refuse
    with pytest.raises(InputError, match=r"Text 13 is refused by m at 127\.0\.0\.1.*longer than the model reads"):
        encoder.encode(texts)
    assert len(fake.requests) < 15
    # The cache embeds texts in another order.
    with pytest.raises(InputError, match="Text 13 is refused"):
        EmbeddingCache(tmp_path / "vectors").encode(encoder, texts)
    fake.requests.clear()
    assert len(encoder.encode([text for text in texts if len(text) <= 20])) == 19


def test_half_a_character_is_named_before_anything_is_sent(fake):
    encoder = opened(fake)
    with pytest.raises(InputError, match="Text 3 holds a lone surrogate"):
        encoder.encode(["a", "b", "c", "d\ud800"])
    assert len(fake.requests) == 1


def test_more_texts_than_a_server_takes_at_once_are_sent_in_smaller_requests(fake):
    encoder = opened(fake, batch_size=32)
    fake.act = lambda request: refusal(413) if len(request.body["input"]) > 8 else None
    texts = [f"text {index}" for index in range(64)]
    np.testing.assert_allclose(encoder.encode(texts), expected(texts), atol=1e-6)
    assert [len(texts) for texts in fake.texts] == [5, 32, 16, *[8] * 8]


def set_at(index, value):
    """Return a change of one embedding."""
    return lambda items: items[index].update(embedding=value)


ANSWERS = {
    "too few": (lambda items: items.pop(), "gives 1 embeddings for 2 texts"),
    "too many": (lambda items: items.append(dict(items[0])), "gives 3 embeddings for 2 texts"),
    "an index twice": (lambda items: items[1].update(index=0), "no embedding with index 1"),
    "an index beyond": (lambda items: items[0].update(index=7), "no embedding with index 0"),
    "no index": (lambda items: items[0].pop("index"), "no list of embeddings as JSON"),
    "another length": (lambda items: [item["embedding"].append(0.5) for item in items], "9 dimensions, not 8"),
    "two lengths": (lambda items: items[1]["embedding"].append(0.5), "8 and 9 numbers"),
    "no numbers": (lambda items: [item.update(embedding=[]) for item in items], "of no numbers"),
    "null": (set_at(0, [None] * 8), "no list of embeddings as JSON"),
    "words": (set_at(0, "no base64!"), "no base64 of float32"),
    "cut base64": (set_at(0, "AAAAAAA="), "no base64 of float32"),
}


@pytest.mark.parametrize(("change", "said"), ANSWERS.values(), ids=ANSWERS)
def test_an_answer_that_cannot_belong_to_the_texts_is_refused(fake, change, said):
    fake.base64 = False
    error = failing(fake, fake.changed(change))
    assert said in error.message
    assert error.code is ErrorCode.ENDPOINT_ANSWER_INVALID


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e39])
def test_a_value_that_is_not_finite_is_refused_with_the_index_of_its_text(fake, value):
    fake.base64 = False
    spoil = fake.changed(set_at(1, [value] * DIMENSION))
    error = failing(fake, lambda request: spoil(request) if "fourth" in request.body["input"] else None, InputError)
    assert error.message.startswith("Text 3 has an embedding")
    assert error.code is ErrorCode.NON_FINITE_INPUT


def test_an_endpoint_that_gives_nan_from_the_start_is_no_encoder(fake):
    fake.base64 = False
    fake.act = fake.changed(set_at(1, [float("nan")] * DIMENSION))
    with pytest.raises(EndpointError, match="for plain sentences"):
        opened(fake)


def test_a_server_that_ignores_dimensions_is_refused(fake):
    fake.base64 = False
    fake.act = fake.changed(lambda items: [item["embedding"].append(0.5) for item in items])
    with pytest.raises(EndpointError, match="9 dimensions, not 8"):
        opened(fake, dimensions=8)


HTML = Reply(body=b"\n<html>login</html>", kind="text/html")
BODIES = {
    "HTML": (HTML, "answers with HTML"),
    "HTML called JSON": (Reply(body=b"<html>login</html>"), "answers with HTML"),
    "another object": (Reply(body=b'{"error": "no"}'), "no list of embeddings"),
    "nothing": (Reply(), "no list of embeddings"),
    "half": (Reply(body=b'{"data": [{"index": 0, "emb'), "no list of embeddings"),
    "bytes": (Reply(body=b"\xff\xfe\x00"), "no list of embeddings"),
}


@pytest.mark.parametrize(("reply", "said"), BODIES.values(), ids=BODIES)
def test_a_body_that_is_no_answer_is_refused(fake, reply, said):
    error = failing(fake, lambda _request: reply)
    assert said in error.message
    assert error.code is ErrorCode.ENDPOINT_ANSWER_INVALID


STATUSES = {
    301: ("redirects", ErrorCode.ENDPOINT_REFUSED),
    401: ("refuses the key", ErrorCode.ENDPOINT_REFUSED),
    403: ("may not use the model 'm'", ErrorCode.ENDPOINT_REFUSED),
    404: ("no model 'm'", ErrorCode.ENDPOINT_REFUSED),
    418: ("status 418", ErrorCode.ENDPOINT_REFUSED),
    429: ("too many requests, once", ErrorCode.ENDPOINT_UNAVAILABLE),
    500: ("status 500, once", ErrorCode.ENDPOINT_UNAVAILABLE),
    503: ("status 503, once", ErrorCode.ENDPOINT_UNAVAILABLE),
}


@pytest.mark.parametrize(("status", "expected_error"), STATUSES.items())
def test_every_status_is_told_in_words_without_what_the_server_says(fake, status, expected_error):
    said, code = expected_error
    error = failing(fake, lambda _request: refusal(status, said=f"{KEY} for 'first'", Location="http://x.test/"))
    assert said in error.message
    assert error.code is code


def test_a_key_that_is_wanted_or_an_account_that_is_empty_is_told(fake):
    assert "it wants a key" in failing(fake, lambda _: refusal(401), api_key_env=None).message
    fake.act = lambda _: None
    spent = failing(fake, lambda _: refusal(429, "insufficient_quota"), revision="2")
    assert "the account has nothing left" in spent.message


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_failure_that_may_pass_is_tried_again_after_growing_waits(fake, waits, status):
    encoder = opened(fake, retries=4)
    left = [refusal(status)] * 3
    fake.act = lambda _request: left.pop() if left else None
    np.testing.assert_allclose(encoder.encode(TEXTS[:2]), expected(TEXTS[:2]), atol=1e-6)
    assert len(waits) == 3
    assert waits == sorted(waits)
    fake.act = lambda _request: refusal(status, retry_after="7")
    with pytest.raises(EndpointError, match=r"status \d+.*, 5 times in \d+ s"):
        encoder.encode(TEXTS)
    assert waits[3:] == [7] * 4


def test_a_server_that_wants_a_long_wait_is_not_tried_again(fake, waits):
    error = failing(fake, lambda _request: refusal(429, retry_after="3600", x_should_retry="false"), retries=4)
    assert error.message.endswith("too many requests, once.")
    assert waits == []


def test_a_refusal_is_not_tried_again(fake, waits):
    failing(fake, lambda _request: refusal(401), retries=4)
    assert (len(fake.requests), waits) == (2, [])


def test_a_server_that_is_silent_is_given_up(fake):
    done = Event()
    encoder = opened(fake)
    encoder.endpoint = replace(encoder.endpoint, timeout_seconds=0.05)
    fake.act = lambda _request: done.wait(600) and None
    try:
        with pytest.raises(EndpointError, match=r"silent for 0\.05 s, once") as caught:
            encoder.encode(TEXTS)
    finally:
        done.set()
    assert caught.value.code is ErrorCode.ENDPOINT_UNAVAILABLE


def test_an_answer_that_is_cut_and_a_server_that_is_gone_are_told(fake, waits):
    error = failing(fake, lambda _request: Reply(body=b'{"data": [', length=1000), retries=1)
    assert "breaks off its answer, 2 times in" in error.message
    assert len(waits) == 1
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        gone = Endpoint(url=f"http://127.0.0.1:{free.getsockname()[1]}/v1", model="m", retries=0)
        with pytest.raises(EndpointError, match=r"cannot be reached: .*refused") as caught:
            EndpointEncoder(gone)
        assert caught.value.code is ErrorCode.ENDPOINT_UNAVAILABLE
        with pytest.raises(EndpointError, match=r"cannot be reached: .*refused"):
            check_reachable(gone)
    check_reachable(at(fake))


def test_a_certificate_that_nobody_vouches_for_is_refused(fake):
    with pytest.raises(EndpointError, match="cannot be reached"):
        check_reachable(Endpoint(url=fake.url.replace("http", "https"), model="m"))
    with pytest.raises(EndpointError, match="cannot be reached"):
        EndpointEncoder(Endpoint(url=fake.url.replace("http", "https"), model="m", retries=0))
    assert ssl.create_default_context().verify_mode is ssl.CERT_REQUIRED


@pytest.mark.parametrize(
    "url",
    ["", "x", "ftp://a/v1", "https://", "https://a:b/v1", "https://a:0/v1", "https://[::1/v1", "api.example.org/v1"],
)
def test_what_is_no_address_is_refused(url):
    with pytest.raises(ConfigurationError, match="endpoint is no address"):
        Endpoint(url=url, model="m")


@pytest.mark.parametrize("url", ["https://me:secret@a/v1", "https://a/v1?key=secret", "https://a/v1#secret"])
def test_an_address_that_holds_more_is_refused_and_not_shown(url):
    with pytest.raises(ConfigurationError, match="endpoint holds a user name") as caught:
        Endpoint(url=url, model="m")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("end", ["/embeddings", "/embeddings/"])
def test_the_address_ends_before_the_function(end):
    with pytest.raises(ConfigurationError, match="End it before /embeddings"):
        Endpoint(url=f"https://a/v1{end}", model="m")


def test_texts_travel_in_clear_on_this_machine_alone_or_where_the_user_says_so():
    for host in ("localhost", "127.0.0.1:8080", "[::1]"):
        assert Endpoint(url=f"http://{host}/v1", model="m").host == host
    with pytest.raises(ConfigurationError, match=r"travel to api\.example in clear"):
        Endpoint(url="http://api.example/v1", model="m")
    assert Endpoint(url="http://api.example/v1", model="m", allow_plain_http=True).host == "api.example"


@pytest.mark.parametrize("value", ["", " ", "with space", "schl\u00fcssel"])
def test_a_variable_without_a_usable_key_is_told_before_anything_is_sent(fake, monkeypatch, value):
    monkeypatch.setenv("EMBEDDING_KEY", value)
    with pytest.raises(ConfigurationError, match="The environment variable that api_key_env names"):
        opened(fake)
    assert fake.requests == []


def test_the_end_of_a_line_is_no_part_of_the_key(fake, monkeypatch):
    monkeypatch.setenv("EMBEDDING_KEY", f"{KEY}\n")
    opened(fake)
    assert fake.requests[0].headers["authorization"] == f"Bearer {KEY}"


def test_a_key_in_the_place_of_its_variable_s_name_is_not_shown():
    with pytest.raises(ConfigurationError, match="api_key_env is no name") as caught:
        Endpoint(url="https://a/v1", model="m", api_key_env="sk-secret")
    assert "sk-secret" not in str(caught.value)


def test_the_error_of_a_message_names_no_text(fake):
    error = failing(fake, lambda request: refusal(500, said=json.dumps(request.body)))
    assert "first" not in str(error)
