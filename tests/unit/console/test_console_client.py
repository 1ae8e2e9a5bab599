"""The client's page as text: what it says of traffic and budgets, answers line by line, and texts that are markup."""

from __future__ import annotations

import json
from dataclasses import replace
from urllib.parse import urlencode

import pytest
from fastapi.testclient import TestClient
from support.consoles import BUSY, HOSTILE, STATUS, FakeClient, client_app, listing
from support.markup import parsed

from securealign.client.predictions import Failure, Traffic
from securealign.console import client as console
from securealign.console.kinds import KINDS, words
from securealign.errors import ErrorCode, TransportError
from securealign.protocol import messages
from securealign.protocol.messages import Key

OWN = {"Origin": "http://127.0.0.1", "Sec-Fetch-Site": "same-origin", "Accept": "application/x-ndjson"}
EVIL = {**OWN, "Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture
def opened():
    """A function that opens a client of the page of some clients; the loop lasts as long as the test."""
    made = []

    def open_page(**clients):
        made.append(TestClient(client_app(**clients), base_url="http://127.0.0.1"))
        return made[-1].__enter__()

    yield open_page
    for each in made:
        each.__exit__(None, None, None)


def post(page, texts, *, head="", headers=OWN):
    return page.post(
        "/console/classify", content=urlencode({"head": head, "texts": texts}), headers={**FORM, **headers}
    )


def lines(answer):
    return [json.loads(line) for line in answer.text.splitlines()]


def settled(page, words="", tries=50):
    """Return the live part once it holds some words; each reading lets the question to the provider go on."""
    for _ in range(tries):
        text = page.get("/console/status").text
        if words in text:
            return text
    pytest.fail(f"{words!r} did not appear")


def test_a_page_before_the_first_session_says_that_nothing_left(opened):
    text = opened(topics=FakeClient()).get("/").text
    parsed(text)
    assert "Nothing yet." in text
    assert "not told yet" in text
    assert "none yet" in text
    assert 'aria-label="Heads" hidden' in text


def test_a_page_says_what_left_and_what_the_provider_sees(opened):
    page = opened(topics=FakeClient(replace(STATUS, **BUSY), listed=(listing(bits_left=1234),)))
    text = settled(page, "99,956")
    parsed(text)
    assert "encrypted queries" in text
    assert "312 KB" in text
    assert "15.2 MB" in text, "all that was sent, and not what came back"
    assert "27.9 MB" in text, "what came back"
    assert "of them 3 of this client" in text
    assert ">44<" in text
    assert "labels alone" in text
    assert ">384<" in text
    assert ">acme<" in text
    assert "1,234" in text
    assert "The session goes on by itself" in text
    assert "CONNECTION_LOST, 2026-11-24 12:00:00 UTC" in text


def test_a_budget_without_a_limit_of_bits_is_named(opened):
    assert "no limit" in settled(opened(topics=FakeClient(listed=(listing(),))), "99,956")


def test_the_provider_is_asked_once_a_minute_and_after_answers(opened):
    client = FakeClient(listed=(listing(),))
    page = opened(topics=client)
    settled(page, "99,956")
    for _ in range(3):
        page.get("/console/status")
    assert client.listings == 1
    post(page, "a text")
    settled(page, "99,956")
    assert client.listings == 2


def test_a_provider_that_is_away_leaves_the_page_as_it_was(opened):
    class Away(FakeClient):
        async def heads(self):
            self.listings += 1
            raise TransportError("away", code=ErrorCode.PEER_UNREACHABLE)

    client = Away()
    page = opened(topics=client)
    for _ in range(3):
        assert "not told yet" in page.get("/console/status").text
    assert client.listings == 1


def test_answers_come_as_lines_with_their_texts(opened):
    client = FakeClient()
    answer = post(opened(topics=client), "one\r\n\n  two  \nthree\n")
    assert answer.headers["content-type"] == "application/x-ndjson"
    *rows, end = lines(answer)
    assert client.asked == [["one", "two", "three"]]
    assert [(row["text"], row["label"], row["score"], row["abstained"]) for row in rows] == [
        ("one", "sport", 0.9371, False),
        ("two", "trade", 0.9371, False),
        ("three", "", None, True),
    ]
    assert (end["answered"], end["asked"]) == (3, 3)


def test_an_error_comes_after_the_answers_before_it(opened):
    error = TransportError("The connection was lost.", hint="Try again.", code=ErrorCode.CONNECTION_LOST)
    *rows, end = lines(post(opened(topics=FakeClient(error=error)), "one\ntwo"))
    assert len(rows) == 1
    assert end["error"] == {"code": "CONNECTION_LOST", "message": "The connection was lost.", "hint": "Try again."}


def test_a_browser_without_a_script_gets_a_page_with_the_answers(opened):
    page = opened(topics=FakeClient(scores=False))
    answer = post(page, f"{HOSTILE}\nanother", headers={**OWN, "Accept": "text/html"})
    assert answer.status_code == 200
    parsed(answer.text)
    assert HOSTILE not in answer.text
    assert "sport" in answer.text
    assert "not told" in answer.text
    assert "2 of 2 answered" in answer.text
    answer = post(page, "\n", headers={**OWN, "Accept": "text/html"})
    assert answer.status_code == 400
    assert "There is no text." in answer.text


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (urlencode({"texts": " \n "}), "There is no text."),
        (urlencode({"texts": "a\n" * 1001}), "1,001 texts"),
        ("texts=%ff", "no form"),
        ("texts=ä".encode(), "no form"),
        ("a&" * 10, "no form"),
        ("texts=" + "a" * console.MAX_BYTES, "more than 1 MB"),
    ],
)
def test_what_cannot_be_classified_is_refused_before_anything_is_asked(opened, body, message):
    client = FakeClient()
    answer = opened(topics=client).post("/console/classify", content=body, headers={**FORM, **OWN})
    assert answer.status_code == 400
    assert message in answer.json()["error"]["message"]
    assert client.asked == []


def test_another_site_can_neither_ask_nor_be_the_host(opened):
    client = FakeClient()
    page = opened(topics=client)
    evil = {**OWN, "Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    assert post(page, "a text", headers=evil).status_code == 403
    assert (
        post(page, "a text", headers={**OWN, "Host": "evil.example", "Origin": "http://evil.example"}).status_code
        == 421
    )
    assert page.get("/", headers={"Host": "evil.example"}).status_code == 421
    assert page.get("/console/status", headers={"Host": "evil.example"}).status_code == 421
    assert client.asked == []
    assert post(page, "a text").status_code == 200


def test_without_the_check_another_site_could_ask(opened, monkeypatch):
    monkeypatch.setattr(console, "require_same_origin", lambda headers: None)
    client = FakeClient()
    post(
        opened(topics=client),
        "a text",
        headers={**OWN, "Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"},
    )
    assert client.asked == [["a text"]]


def test_names_of_others_are_shown_as_text(opened):
    hostile = replace(
        STATUS,
        **{
            **BUSY,
            **dict.fromkeys(("address", "suite", "head", "head_digest", "output"), HOSTILE),
            "traffic": (Traffic(kind=HOSTILE, sent=True, messages=1, bytes=1),),
            "failures": (Failure(at=0.0, code=HOSTILE, message=HOSTILE, hint=HOSTILE),),
        },
    )
    page = opened(topics=FakeClient(hostile, listed=(listing(HOSTILE), listing("spam"))))
    settled(page, "taken")
    text = page.get("/").text
    assert [tag for tag, attributes in parsed(text) if tag == "script" and "src" not in attributes] == []
    assert HOSTILE not in text
    assert "&lt;script&gt;" in text


def test_heads_that_are_offered_are_linked_and_others_are_unknown(opened):
    offered = (listing("topics"), listing("spam"))
    page = opened(topics=FakeClient(listed=offered), spam=FakeClient(listed=offered, labels=("ham",)))
    settled(page, "99,956")
    assert 'href="/?head=spam"' in page.get("/").text
    assert page.get("/?head=spam").status_code == 200
    assert page.get("/?head=other").status_code == 404
    assert lines(post(page, "a text", head="spam"))[0]["label"] == "ham"


def test_a_suite_without_encryption_is_warned_of(opened):
    text = opened(topics=FakeClient(replace(STATUS, **{**BUSY, "suite": "plaintext"}))).get("/").text
    assert "encrypts nothing" in text
    assert "encrypted queries" not in text
    assert "in clear" in text
    assert "texts, embeddings, the map" not in text
    text = opened(topics=FakeClient(replace(STATUS, **BUSY))).get("/").text
    assert "encrypts nothing" not in text
    assert "texts, embeddings, the map" in text


def test_pages_allow_their_own_files_alone(opened):
    page = opened(topics=FakeClient())
    for path in ("/", "/console/status", "/console/static/base.css"):
        headers = page.get(path).headers
        assert "default-src 'self'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in headers
    assert page.get("/").headers["cache-control"] == "no-store"
    elements = parsed(page.get("/").text)
    files = {a[name] for _, a in elements for name in ("src", "href") if a.get(name, "").startswith("/console/static/")}
    assert len(files) == 5
    for file in files:
        assert page.get(file).status_code == 200
    assert not [a for _, a in elements if "style" in a or any(name.startswith("on") for name in a)]
    for other in ("../client.py", "..%2fclient.py", "nothing.css"):
        assert page.get(f"/console/static/{other}").status_code == 404


def test_every_message_of_the_protocol_has_words():
    sent = {name for name, kind in vars(messages).items() if isinstance(kind, type) and hasattr(kind, "sender")}
    assert sent <= set(KINDS)
    for kind in sent:
        assert words(kind)[0] != kind
        secret = getattr(messages, kind).key is Key.CLIENT
        assert (words(kind, encrypted=False)[1] == "in clear: this suite encrypts nothing") == secret
    assert words("Other") == ("Other", "")
