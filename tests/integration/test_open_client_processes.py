"""An open client against a provider process that is killed and started again while many callers ask."""

from __future__ import annotations

import socket
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.peers import embeddings, settled
from support.sites import make_site, provider_command

import securealign
from securealign.errors import ErrorCode, SecurealignError

DIM_A, DIM_B, CALLS, CALLERS = 24, 16, 30, 16
CLASSES = ("sports", "politics", "weather")

PROVIDER = """
[server]
address = "127.0.0.1:{port}"
certificates = "certs/provider"
[public]
texts = "public.jsonl"
embeddings = "public_a.npy"
[head]
folder = "head"
[policy]
output = "logits"
"""

CLIENT = """
[provider]
address = "127.0.0.1:{port}"
certificates = "certs/client"
[public]
texts = "public.jsonl"
embeddings = "public_b.npy"
"""


class Provider:
    """A provider's process that can be killed, and started again on the same port."""

    def __init__(self, site):
        self._site = site
        self._process = None
        self.start()

    def start(self):
        command = provider_command(self._site / "provider.toml")
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        return settled(self._process)

    def kill(self):
        self._process.kill()
        self._process.wait(600)
        self._process.stdout.close()


@pytest.fixture
def site(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    settings = {"provider.toml": PROVIDER.format(port=port), "client.toml": CLIENT.format(port=port)}
    return make_site(tmp_path, settings, (400, DIM_A, DIM_B), CLASSES)


@pytest.fixture
def provider(site):
    made = Provider(site)
    yield made
    made.kill()


@pytest.mark.thorough
def test_a_provider_that_is_killed_under_load_costs_its_callers_time_and_no_answer(site, provider):
    queries = embeddings(CALLS * CALLERS, DIM_B, 6)
    asked = threading.Semaphore(0)

    def call(number):
        (found,) = client.classify(queries[number : number + 1])
        asked.release()
        return found.label

    def kill_twice():
        for _ in range(2):
            for _ in range(CALLS * CALLERS // 4):
                asked.acquire()
            provider.kill()
            provider.start()

    with securealign.connect(site / "client.toml") as client:
        report = client.align()
        assert (report.rows, report.kind) == (400, "soft")
        assert 0 < report.leaked_fraction < 0.5
        expected = client.predict(queries)
        killer = threading.Thread(target=kill_twice)
        killer.start()
        with ThreadPoolExecutor(CALLERS) as threads:
            found = list(threads.map(call, range(len(queries))))
        killer.join()
        assert found == list(expected)
        status = client.status()
        spent = 100_000 - client.budget.queries
    assert not status.failures
    # What was asked before a kill is answered from its record: nothing is charged twice.
    assert spent == status.queries + status.checks
    assert set(found) <= set(CLASSES)


@pytest.mark.thorough
def test_a_provider_that_is_gone_for_good_is_an_error_and_closing_does_not_wait(site, provider):
    with securealign.connect(site / "client.toml", overrides=["provider.patience_seconds=0.5"]) as client:
        client.align()
        assert client.classes_ == CLASSES
        assert [head.name for head in client.heads()] == ["default"]
        client.classify(embeddings(4, DIM_B, 6))
        provider.kill()
        for _ in range(2):
            with pytest.raises(SecurealignError) as caught:
                client.classify(embeddings(4, DIM_B, 6))
            assert caught.value.code in {ErrorCode.PEER_UNREACHABLE, ErrorCode.CONNECTION_LOST}
        provider.start()
        assert len(client.classify(embeddings(4, DIM_B, 6))) == 4
        provider.kill()
    provider.start()
