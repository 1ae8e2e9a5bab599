"""The provider's page as text, what is read for it, and who may reach it."""

from __future__ import annotations

import json
import socket
import sys
import threading
from dataclasses import replace

import pytest
from fastapi.testclient import TestClient
from prometheus_client import CollectorRegistry
from support.consoles import DAY, EMPTY, FULL, HOSTILE, LOCAL, NOON, budget, client, head, served
from support.markup import parsed

from securealign.console import provider as console
from securealign.console.pages import duration, moment, size
from securealign.console.provider import provider_app
from securealign.errors import ConfigurationError, DependencyError, ErrorCode
from securealign.ops.audit import AuditLog
from securealign.ops.observability import Metrics
from securealign.provider.config import ConsoleSection, PolicySection
from securealign.provider.console import Visits, Watched, open_console

TOKEN = b"0123456789abcdef" * 2


def page(state, access=LOCAL):
    return TestClient(provider_app(lambda: state, access, clock=lambda: NOON), base_url="http://127.0.0.1")


def test_a_provider_that_starts_has_a_page():
    text = page(EMPTY).get("/").text
    parsed(text)
    for words in ("Starting:", "No head is offered", "No client was here yet.", "None.", "No space is ready."):
        assert words in text


def test_a_page_shows_heads_clients_refusals_and_certificates():
    text = page(FULL).get("/").text
    parsed(text)
    for words in (
        "1,204,331",
        "9 days",
        "labels alone",
        "acme, birch, cedar-and-daughters.example.org",
        "all clients",
        "3ac07b913ac07b91",
        "2026-11-24 11:59:20",
        "none asked",
        "not offered",
        "no limit",
        "RATE_LIMITED",
        "try again later.",
        "expires in 11 days",
        "2026-12-06",
    ):
        assert words in text, words
    assert "Starting:" not in text
    assert text.index("RATE_LIMITED") < text.index("NOT_OFFERED"), "the most frequent first"


@pytest.mark.parametrize(
    ("days", "words"),
    [
        (31, None),
        (29.5, "expires in 29 days"),
        (1.5, "expires in 1 day,"),
        (0.5, "expires in 0 days"),
        (-1, "has expired"),
    ],
)
def test_a_certificate_that_expires_soon_is_warned_of(days, words):
    text = page(replace(FULL, certificates=(("own", NOON + days * DAY),))).get("/").text
    assert ("warning" in text) == (words is not None)
    assert words is None or words in text


def test_names_of_others_are_shown_as_text():
    state = replace(
        FULL,
        address=f"{HOSTILE}:1",
        heads=(head(HOSTILE, clients=(HOSTILE,), space=HOSTILE),),
        clients=(client(HOSTILE, budget(HOSTILE)),),
        refusals=((HOSTILE, 1),),
        suites=(HOSTILE,),
    )
    text = page(state).get("/").text
    assert [tag for tag, attributes in parsed(text) if tag == "script" and "src" not in attributes] == []
    assert HOSTILE not in text


def test_clients_seen_last_come_first_and_the_page_stays_small():
    many = tuple(client(f"client-{number:04}", seen=NOON + number) for number in range(console.MAX_CLIENTS + 5))
    text = page(replace(FULL, clients=many)).get("/").text
    assert "client-0204" in text
    assert "client-0004" not in text
    assert "5 more clients" in text
    assert len(text) < 200_000


def test_many_readers_cost_one_reading_a_second(monkeypatch):
    now, readings = [0.0], []

    def read():
        readings.append(now[0])
        return FULL

    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    reader = TestClient(provider_app(read, LOCAL), base_url="http://127.0.0.1")
    for _ in range(5):
        reader.get("/console/status")
    now[0] = 1.5
    reader.get("/console/status")
    assert readings == [0.0, 1.5]


@pytest.mark.parametrize("path", ["/", "/console/status", "/console/static/base.css"])
def test_nothing_is_shown_without_the_token_or_under_a_foreign_name(path):
    guarded = page(FULL, replace(LOCAL, token=TOKEN))
    refused = guarded.get(path)
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"].startswith("Basic")
    assert "acme" not in refused.text
    assert guarded.get(path, auth=("any", TOKEN.decode())).status_code == 200
    assert page(FULL).get(path, headers={"Host": "evil.example"}).status_code == 421
    assert page(FULL).get(path).status_code == 200


def test_nothing_can_be_changed_and_nothing_else_is_served():
    reader = page(FULL)
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert reader.request(method, "/").status_code == 405
    for path in ("/docs", "/openapi.json", "/metrics"):
        assert reader.get(path).status_code == 404


def test_units():
    assert [size(value) for value in (0, 999, 1000, 99_960, 1_234_567, 2.5e9)] == [
        "0 B",
        "999 B",
        "1 KB",
        "100 KB",
        "1.23 MB",
        "2.5 GB",
    ]
    assert [duration(seconds) for seconds in (5, 60, 7300, 86_400, 9e5)] == [
        "less than a minute",
        "1 minute",
        "2 hours",
        "1 day",
        "10 days",
    ]
    assert moment(None) == "never"


def test_visits_are_those_of_the_log_before_and_of_this_process(tmp_path):
    now = [NOON]
    file = tmp_path / "audit.log"
    with AuditLog(file) as log:
        log.append("session opened", identity="acme", phase="inference")
        log.append("stream refused", identity="acme", rule="NOT_OFFERED")
        log.append("stream refused", identity="", rule="PEER_UNTRUSTED")
    entry = json.loads(file.read_bytes().splitlines()[1])
    visits = Visits(file, clock=lambda: now[0])
    # What this process logs is counted as it happens, and not again when the log is read.
    visits.started = 4e9
    visits.refused("acme")
    visits.refused("")
    visits.opened("birch")
    now[0] += 5
    visits.opened("birch")
    seen, refused = visits.so_far()
    assert seen["birch"] == NOON + 5
    assert moment(seen["acme"]) == entry["time"][:19].replace("T", " ")
    assert refused == {"acme": 2}
    late = Visits(file, clock=lambda: 0.0)
    assert late.so_far() == ({}, {})
    assert Visits(tmp_path / "none.log").so_far() == ({}, {})


class Offered:
    """Offers of a provider that has nothing yet."""

    ready = False

    class catalogue:  # noqa: N801
        heads: dict = {}  # noqa: RUF012
        spaces: dict = {}  # noqa: RUF012

    @staticmethod
    def charged():
        return {"acme/queries": 3, "acme/bits": 12, "older of birch/queries": 4}


class Settings:
    policy = PolicySection()

    @staticmethod
    def path(value):
        return value


def watched(tmp_path, registry=None):
    visits = Visits(tmp_path / "audit.log", clock=lambda: NOON)
    return Watched("127.0.0.1:1", Settings(), Offered(), registry or CollectorRegistry(), visits)


def test_the_state_is_read_from_metrics_and_ledgers(tmp_path):
    metrics = Metrics()
    metrics.session_opened("training")
    metrics.session_opened("inference")
    metrics.kept_sessions(lambda: 5)
    metrics.refused(ErrorCode.NOT_OFFERED)
    metrics.certificate_expires("own", lambda: NOON + DAY)
    metrics.certificate_expires("revocation list", lambda: float("inf"))
    state = watched(tmp_path, metrics.registry).state()
    assert (state.sessions_open, state.sessions_kept, state.queries) == (2, 5, 7)
    assert state.refusals == (("NOT_OFFERED", 1),)
    assert state.certificates == (("own", NOON + DAY),)
    assert [(each.name, each.budgets[0].head, each.budgets[0].queries_left) for each in state.clients] == [
        ("acme", "default", None),
        ("birch", "older", None),
    ]


def test_a_console_that_others_could_read_is_refused_and_so_is_a_taken_port(tmp_path):
    with pytest.raises(ConfigurationError, match="there is no token"):
        open_console(ConsoleSection(address="0.0.0.0:0"), watched(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(ConfigurationError) as caught:
        open_console(ConsoleSection(address=f"127.0.0.1:{other.getsockname()[1]}"), watched(tmp_path))
    assert caught.value.code is ErrorCode.ADDRESS_TAKEN


def test_what_is_not_installed_is_named(tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "securealign.console.serving")
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(DependencyError, match="uvicorn") as caught:
        open_console(ConsoleSection(address="127.0.0.1:0"), watched(tmp_path))
    assert "securealign[service]" in caught.value.hint


def test_a_server_stops_though_a_browser_keeps_its_connection(tmp_path):
    with served(provider_app(watched(tmp_path).state, LOCAL)) as url:
        port = int(url.rpartition(":")[2])
        silent = socket.create_connection(("127.0.0.1", port))
        with socket.create_connection(("127.0.0.1", port)) as asking:
            asking.settimeout(600)
            asking.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
            assert asking.recv(15) == b"HTTP/1.1 200 OK"
    silent.close()
    assert "console" not in {thread.name for thread in threading.enumerate()}
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
