"""Label-only sessions between two processes that are killed while choices, tables and answers pass."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import sqlite3
import subprocess
from contextlib import closing

import numpy as np
import pytest
from support.peers import embeddings, settled, stored_space
from support.sites import make_site
from support.watched import Watcher

from securealign.alignment import AlignmentMap, LinearHead

DIM_A, DIM_B, QUERIES = 24, 16, 60
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
output = "label"
"""

CLIENT = """
[provider]
address = "127.0.0.1:{port}"
certificates = "certs/client"
[public]
texts = "public.jsonl"
embeddings = "public_b.npy"
[inference]
pool_slots = 8
"""

#: Who is killed, in this order, and where: the party that comes to a message then waits. What a party is about to send
#: is made and not yet recorded.
STRIKES = [
    ("client", "provider receive ChoicesChunk"),
    ("provider", "provider receive ChoicesChunk"),
    ("provider", "provider send TablesChunk"),
    ("client", "client receive TablesChunk"),
    ("provider", "provider send Answer"),
    ("client", "client receive Answer"),
]


class Pair:
    """Both programs over one folder: the next strike of the list kills one of them, and it is started again.

    A client that is `forgetful` loses its state folder when it is killed.
    """

    def __init__(self, site, strikes, *, forgetful=False):
        self.site = site
        self.forgetful = forgetful
        self.strikes = list(strikes)
        self.watcher = Watcher(self._hear)
        self.processes = {}
        #: The query that each slot was asked for, by session, pool and number; and slots that were asked for another.
        self.asked, self.asked_twice = {}, []

    def start_provider(self):
        command = self.watcher.command("provider", "--config", str(self.site / "provider.toml"), "--json")
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.processes["provider"] = process
        return settled(process)

    def classify(self, *arguments):
        """Give the client the same command until it ends by itself; returns its exit code."""
        command = self.watcher.command("client", "classify", "--config", str(self.site / "client.toml"), *arguments)
        code = -signal.SIGKILL
        while code == -signal.SIGKILL:
            process = self.processes["client"] = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            code = process.wait(600)
            if self.forgetful and code == -signal.SIGKILL:
                shutil.rmtree(self.site / "client-state")
        return code

    def close(self):
        for process in self.processes.values():
            process.kill()
            process.wait(600)
            if process.stdout is not None:
                process.stdout.close()
        self.watcher.close()

    def _hear(self, fact):
        if fact["did"] == "answer":
            pool, first, count = fact["slots"]
            for place in ((fact["session"], pool, slot) for slot in range(first, first + count)):
                if self.asked.setdefault(place, fact["query"]) != fact["query"]:
                    self.asked_twice.append(place)
        if self.strikes and self.strikes[0][1] == f"{fact['party']} {fact['did']} {fact['message']}":
            party, _ = self.strikes.pop(0)
            process = self.processes[party]
            process.kill()
            process.wait(600)
            if party == "provider":
                process.stdout.close()
                self.start_provider()


@pytest.fixture
def site(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    settings = {"provider.toml": PROVIDER.format(port=port), "client.toml": CLIENT.format(port=port)}
    return make_site(tmp_path, settings, (120, DIM_A, DIM_B), CLASSES)


def clear_queries(site, space):
    """Save a map into a space and queries that lie far from boundaries; returns the labels of these in clear."""
    found = AlignmentMap(embeddings(DIM_B, DIM_A, 5), np.zeros(DIM_A), {"space": space})
    found.save_pretrained(site / "alignment")
    head = stored_space(site).fold(LinearHead.from_pretrained(site / "head"))
    queries = embeddings(4 * QUERIES, DIM_B, 6)
    logits = np.sort(head.logits(found.apply(queries)), axis=1)
    queries = queries[logits[:, -1] - logits[:, -2] > 0.02 * logits.std()][:QUERIES]
    np.save(site / "private.npy", queries)
    return head.predict(found.apply(queries))


def classified(site, pair):
    """Let a pair classify all queries; returns the labels, those in clear, the figures and what the ledger holds."""
    try:
        expected = clear_queries(site, pair.start_provider()["space"])
        files = [f"--{name}={site / file}" for name, file in (("output", "labels"), ("stats", "stats.json"))]
        assert pair.classify(f"--embeddings={site / 'private.npy'}", "--batch=4", "--json", *files) == 0
    finally:
        pair.close()
    assert pair.strikes == []
    lines = (site / "labels").read_text(encoding="utf-8").splitlines()
    stats = json.loads((site / "stats.json").read_text(encoding="utf-8"))
    with closing(sqlite3.connect(site / "provider-state" / "sessions.db")) as connection:
        charged = dict(connection.execute("SELECT name, value FROM counter WHERE ledger = 'answers'"))
    return [json.loads(line)["label"] for line in lines], expected, stats, charged


@pytest.mark.thorough
def test_the_same_command_ends_with_the_right_labels_wherever_a_party_is_killed(site):
    pair = Pair(site, STRIKES)
    labels, expected, stats, charged = classified(site, pair)
    assert labels == expected
    assert len(set(expected)) == len(CLASSES)
    assert (stats["output"], stats["queries"], stats["checks"]) == ("label", QUERIES, 4)
    # One session went on through all of it: each row was asked in one slot, and is charged once.
    rows = stats["queries"] + stats["checks"]
    assert pair.asked_twice == []
    assert len({session for session, _, _ in pair.asked}) == 1
    assert len(pair.asked) == rows
    assert charged == {"client/queries": rows, "client/bits": 2 * rows}


@pytest.mark.thorough
def test_a_client_that_lost_its_state_begins_again_and_is_charged_for_what_it_had(site):
    """The control: without the record of its session, the client asks in another one."""
    pair = Pair(site, [("client", "client receive Answer")], forgetful=True)
    labels, expected, stats, charged = classified(site, pair)
    assert labels == expected
    rows = stats["queries"] + stats["checks"]
    assert len({session for session, _, _ in pair.asked}) == 2
    assert len(pair.asked) == charged["client/queries"] > rows
