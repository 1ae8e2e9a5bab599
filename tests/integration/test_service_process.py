"""The client's service as a process: where it listens, how it ends, and its answers over a real provider."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from threading import Thread

import httpx2
import numpy as np
import pytest
from support.endpoints import DIMENSION, fake_endpoint, vector
from support.peers import embeddings
from support.sites import provider_process, run_client, write_texts

from securealign.alignment import LinearHead
from securealign.pki.certificates import create_certificates

pytestmark = pytest.mark.thorough

TESTS = Path(__file__).parents[1]
#: Seconds that end a hang.
DEADLINE = 600


@contextmanager
def running(command, **options):
    """Run a service; yields the process and the address that it printed."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    with subprocess.Popen(command, env={**environment, **options}, **pipes) as process:
        try:
            address = None
            while address is None:
                address = json.loads(process.stdout.readline()).get("address")
            yield process, address
        finally:
            process.kill()


def fake_service(grace):
    return running([sys.executable, "-m", "support.serving", "127.0.0.1:0", str(grace)])


def asking(address):
    """Begin a request in a thread; returns it and the list that gets the response."""
    found = []

    def ask():
        body = {"input": ["one", "two"]}
        try:
            found.append(httpx2.post(f"http://{address}/v1/classify", json=body, timeout=DEADLINE).status_code)
        except httpx2.HTTPError:
            found.append(0)

    thread = Thread(target=ask)
    thread.start()
    waits = 'securealign_client_waiting{head="topics"} 2.0'
    while waits not in httpx2.get(f"http://{address}/metrics", timeout=DEADLINE).text:
        pass
    return thread, found


def wait_until_closed(address):
    host, _, port = address.rpartition(":")
    with suppress(OSError):
        while True:
            socket.create_connection((host, int(port)), DEADLINE).close()


def listening(pid):
    """Return the addresses of IPv4 and the rows of IPv6 at which a process listens."""
    own = {str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()}

    def places(table):
        rows = [line.split() for line in Path(f"/proc/{pid}/net/{table}").read_text(encoding="ascii").splitlines()[1:]]
        return [row[1] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in own]

    found = []
    for place in places("tcp"):
        host, port = place.split(":")
        found.append(f"{socket.inet_ntoa(bytes.fromhex(host)[::-1])}:{int(port, 16)}")
    return found, places("tcp6")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_requests_under_way_are_finished_before_the_end(number):
    with fake_service(DEADLINE) as (process, address):
        assert listening(process.pid) == ([address], [])
        thread, found = asking(address)
        process.send_signal(number)
        wait_until_closed(address)
        assert process.poll() is None
        process.stdin.write("answer\n")
        process.stdin.flush()
        thread.join(DEADLINE)
        assert (found, process.wait(DEADLINE)) == ([200], 0)


def test_the_end_does_not_wait_for_ever():
    with fake_service(1) as (process, address):
        thread, found = asking(address)
        process.send_signal(signal.SIGTERM)
        thread.join(DEADLINE)
        assert (found, process.wait(DEADLINE)) == ([503], 0)


CLIENT = """
[provider]
certificates = "certs/client"
[encoder]
endpoint = "{url}"
model = "small"
[public]
texts = "public.jsonl"
[alignment]
map = "ridge"
"""
PROVIDER = """
[server]
address = "127.0.0.1:0"
certificates = "certs/provider"
[spaces.news]
texts = "public.jsonl"
embeddings = "public.npy"
[heads.topics]
folder = "head"
space = "news"
max_queries = 40
[heads.words]
folder = "words"
space = "news"
output = "label"
[policy]
max_rank_fraction = 1.0
"""
ROWS, DIM_A = 120, 12


def test_a_real_provider_answers_over_http(tmp_path, monkeypatch):
    monkeypatch.setenv("SECUREALIGN_CACHE", str(tmp_path / "cache"))
    create_certificates(tmp_path / "certs", days=1)
    write_texts(tmp_path, ROWS)
    rng = np.random.default_rng(0)
    z_b = np.stack([vector(f"public text {row}") for row in range(ROWS)])
    mixing = rng.normal(size=(DIMENSION, DIM_A))
    np.save(tmp_path / "public.npy", z_b @ mixing + 0.01 * embeddings(ROWS, DIM_A, 1))
    head = LinearHead(rng.normal(size=(DIM_A, 3)), rng.normal(size=3), ("red", "green", "blue"))
    head.save_pretrained(tmp_path / "head")
    # The same labels; the same weights under two names would be refused.
    replace(head, weight=2 * head.weight, bias=2 * head.bias).save_pretrained(tmp_path / "words")
    texts = [f"private text {row}" for row in range(16)]
    logits = np.stack([vector(text) for text in texts]) @ mixing @ head.weight + head.bias
    sure = np.sort(logits)[:, -1] - np.sort(logits)[:, -2] > 1.0
    with fake_endpoint() as endpoint:
        (tmp_path / "provider.toml").write_text(PROVIDER, encoding="utf-8")
        (tmp_path / "client.toml").write_text(CLIENT.format(url=endpoint.url), encoding="utf-8")
        with provider_process(tmp_path / "provider.toml") as (_, ready):
            port = ready["port"]
            aligned = run_client(tmp_path / "client.toml", port, "align", "--json", "--quiet")
            assert aligned.returncode == 0, aligned.stdout + aligned.stderr
            program = [sys.executable, "-m", "securealign.client", "serve", "--json", "--address", "127.0.0.1:0"]
            options = ["--config", str(tmp_path / "client.toml"), "--set", f"provider.address=127.0.0.1:{port}"]
            with running([*program, *options, "--set", "provider.head=topics"]) as (process, address):
                with httpx2.Client(base_url=f"http://{address}", timeout=DEADLINE) as http:
                    answers = {
                        name: http.post("/v1/classify", json={"model": name, "input": texts}).json()["data"]
                        for name in ("topics", "words")
                    }
                    models = [model["id"] for model in http.get("/v1/models").json()["data"]]
                    used_up = http.post("/v1/classify", json={"input": texts * 3})
                process.terminate()
                assert process.wait(DEADLINE) == 0
    expected = [head.class_names[index] for index in logits.argmax(axis=1)]
    for answered in answers.values():
        assert [item["label"] for item, keep in zip(answered, sure, strict=True) if keep] == [
            label for label, keep in zip(expected, sure, strict=True) if keep
        ]
    assert all(abs(sum(item["probs"]) - 1) < 1e-9 for item in answers["topics"])
    assert all(item["probs"] is None for item in answers["words"])
    assert sorted(models) == ["topics", "words"]
    assert (used_up.status_code, used_up.json()["error"]["code"]) == (429, "QUERY_BUDGET_EXHAUSTED")
