"""The consoles of both parties over a real provider: sessions show on its page, and no browser slows a session."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager
from types import SimpleNamespace

import httpx2
import numpy as np
import pytest
from structlog.testing import capture_logs
from support.consoles import client_app, served
from support.sites import make_site

from securealign.alignment import LinearHead
from securealign.client.awaited import AsyncOpenClient
from securealign.client.config import ClientSettings
from securealign.client.connection import OpenClient
from securealign.errors import ConfigurationError, ErrorCode, SecurealignError
from securealign.provider import app
from securealign.provider.config import ProviderSettings
from securealign.settings import load_settings

pytestmark = pytest.mark.thorough

PROVIDER = """
[server]
address = "127.0.0.1:0"
certificates = "certs/provider"
[public]
texts = "public.jsonl"
embeddings = "public_a.npy"
[head]
folder = "head"
[policy]
output = "logits"
max_queries = 30
[console]
address = "127.0.0.1:0"
"""
CLIENT = """
[provider]
certificates = "certs/client"
[public]
texts = "public.jsonl"
embeddings = "public_b.npy"
[inference]
pool_slots = 8
"""
#: Connections of browsers that ask and do not read.
DEAD = 20


class Told:
    """Takes the place of signals in a thread: serves until it is told to stop."""

    def __init__(self):
        self.serving, self.stop = threading.Event(), threading.Event()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def __iter__(self):
        yield False
        self.serving.set()
        self.stop.wait(600)


@contextmanager
def running(site, monkeypatch, *overrides):
    """Run a provider in a thread; yields the addresses of its port and of its console."""
    told = Told()
    monkeypatch.setattr(app, "Signals", lambda: told)
    failed = []

    def serve():
        try:
            app.Provider(load_settings(ProviderSettings, site / "provider.toml", list(overrides))).serve()
        except SecurealignError as error:
            failed.append(error)
            told.serving.set()

    with capture_logs() as logs:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            assert told.serving.wait(600)
            if failed:
                raise failed[0]
            ports = {entry["event"]: entry["port"] for entry in logs if "port" in entry}
            yield SimpleNamespace(
                address=f"127.0.0.1:{ports['listening']}", console=f"http://127.0.0.1:{ports['console']}", logs=logs
            )
        finally:
            told.stop.set()
            thread.join(600)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    settings = {"provider.toml": PROVIDER, "client.toml": CLIENT}
    return make_site(tmp_path_factory.mktemp("site"), settings, (120, 24, 16), ("sport", "trade"))


def client_of(site, provider):
    return OpenClient(load_settings(ClientSettings, site / "client.toml", [f"provider.address={provider.address}"]))


def page(url):
    answer = httpx2.get(url, timeout=600)
    assert answer.status_code == 200
    return answer.text


def test_what_clients_do_shows_on_both_pages_and_dead_browsers_slow_nothing(site, monkeypatch):
    with running(site, monkeypatch) as provider, client_of(site, provider) as client:
        assert "No client was here yet." in page(provider.console)
        port = int(provider.console.rpartition(":")[2])
        dead = [socket.create_connection(("127.0.0.1", port)) for _ in range(DEAD)]
        for each in dead:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
            each.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 50)
        client.align()
        assert len(client.classify(np.load(site / "private.npy"))) == 20
        text = page(provider.console)
        queries = client.status().queries + client.status().checks
        assert f'data-label="Queries">{queries}<' in text
        assert f'data-label="Queries left">{30 - queries}<' in text
        assert 'scope="rowgroup">client<' in text
        assert "No client was here yet." not in text
        with served(client_app(**{"": AsyncOpenClient(client)})) as url:
            shown = page(url)
            assert "encrypted queries" in shown
            assert "lwe-128" in shown
            while "not told yet" in (shown := page(f"{url}/console/status")):
                pass
        assert f">{30 - queries}<" in shown
        assert ">24<" in shown
        for each in dead:
            each.close()


def test_a_console_that_others_could_read_ends_the_provider_before_it_serves(site, monkeypatch):
    with pytest.raises(ConfigurationError, match="there is no token"):
        running(site, monkeypatch, "console.address=0.0.0.0:0").__enter__()
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(ConfigurationError) as caught:
        running(site, monkeypatch, f"console.address=127.0.0.1:{other.getsockname()[1]}").__enter__()
    assert caught.value.code is ErrorCode.ADDRESS_TAKEN


def test_a_provider_serves_its_page_until_it_stops(site, monkeypatch):
    with running(site, monkeypatch) as provider:
        text = page(provider.console)
        assert "24" in text
        assert "certificate</strong> expires in 0 days" in text
        head = LinearHead.from_pretrained(site / "head")
        numbers = (*head.weight.flat, *head.bias.flat, *np.load(site / "public_a.npy").flat)
        assert [number for number in numbers if f"{abs(number):.5f}" in text] == []
        assert "public text" not in text
    with pytest.raises(httpx2.ConnectError):
        httpx2.get(provider.console, timeout=600)
