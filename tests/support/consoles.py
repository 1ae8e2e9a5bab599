"""Consoles for tests: a client that answers from a table, states of a provider, and their pages on a port."""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace

from fastapi import FastAPI, HTTPException

from securealign.client.predictions import ClientStatus, Failure, Prediction, Traffic
from securealign.console.access import open_access
from securealign.console.client import client_routes
from securealign.console.serving import ConsoleServer
from securealign.console.state import BudgetState, ClientState, HeadState, ProviderState, SpaceState

HOSTILE = "<script>document.title='taken'</script>"
NOON = 1_795_521_600.0
DAY = 86_400.0
LOCAL = open_access("127.0.0.1:0")

STATUS = ClientStatus(
    address="provider.example.org:50051",
    head="topics",
    open=False,
    suite="",
    output="",
    head_digest="",
    classes=0,
    slots=0,
    sessions=0,
    queries=0,
    checks=0,
    waiting=0,
    online_ms_median=None,
    online_ms_p95=None,
    traffic=(),
    failures=(),
)
TRAFFIC = (
    Traffic(kind="PoolChunk", sent=False, messages=42, bytes=18_402_113),
    Traffic(kind="ChoicesChunk", sent=True, messages=12, bytes=11_811_840),
    Traffic(kind="TablesChunk", sent=False, messages=20, bytes=9_437_184),
    Traffic(kind="KeyChunk", sent=True, messages=3, bytes=3_072_133),
    Traffic(kind="Query", sent=True, messages=41, bytes=312_420),
    Traffic(kind="Answer", sent=False, messages=41, bytes=90_213),
    Traffic(kind="Prepare", sent=True, messages=2, bytes=96),
    Traffic(kind="InferenceHello", sent=True, messages=1, bytes=311),
    Traffic(kind="InferenceAccept", sent=False, messages=1, bytes=402),
)
BUSY = {
    "open": True,
    "suite": "lwe-128",
    "output": "label",
    "head_digest": "9f2c4b7d" * 8,
    "classes": 8,
    "slots": 256,
    "sessions": 2,
    "queries": 41,
    "checks": 3,
    "waiting": 4,
    "online_ms_median": 4.6,
    "online_ms_p95": 11.2,
    "traffic": TRAFFIC,
    "failures": (
        Failure(
            at=NOON,
            code="CONNECTION_LOST",
            message="The connection to the provider was lost.",
            hint="The session goes on by itself when the provider is back.",
        ),
    ),
}


@dataclass
class FakeClient:
    """A client whose answers and offers a test chooses; `gate` is awaited before each answer."""

    state: ClientStatus = STATUS
    labels: tuple[str | None, ...] = ("sport", "trade", None)
    scores: bool = True
    listed: tuple[object, ...] = ()
    error: Exception | None = None
    asked: list[list[str]] = field(default_factory=list)
    listings: int = 0
    gate: object = None

    def status(self):
        return self.state

    async def heads(self):
        self.listings += 1
        return self.listed

    async def stream(self, texts):
        self.asked.append(list(texts))
        for index in range(len(texts)):
            if self.gate is not None:
                await self.gate(index)
            if self.error is not None and index == len(texts) - 1:
                raise self.error
            label = self.labels[index % len(self.labels)]
            yield Prediction(
                index=index,
                label=label or "",
                score=0.9371 if self.scores and label else None,
                abstained=label is None,
                confidence=None,
            )


class Gate:
    """Holds answers back until they are let through."""

    def __init__(self):
        self._free = threading.Semaphore(0)

    async def __call__(self, index):
        await asyncio.to_thread(self._free.acquire)

    def let(self, count):
        self._free.release(count)


def listing(name="topics", **changes):
    """Return what a provider lists of a head."""
    return SimpleNamespace(**{"name": name, "provider_dim": 384, "queries_left": 99_956, "bits_left": None, **changes})


def client_app(**clients):
    """Return an application with the page of these clients by head; the first one is the default."""

    @asynccontextmanager
    async def use(name):
        if name and name not in clients:
            raise HTTPException(404)
        key = name or next(iter(clients))
        yield key, clients[key]

    app = FastAPI(openapi_url=None)
    app.include_router(client_routes(SimpleNamespace(use=use), identity="acme"))
    return app


def head(name, **changes):
    values = {
        "name": name,
        "space": "news",
        "output": "label",
        "classes": 8,
        "dimension": 384,
        "digest": "3ac07b91" * 8,
        "queries": 41_203,
        "clients": None,
    }
    return HeadState(**{**values, **changes})


def budget(name, **changes):
    values = {"head": name, "queries": 204, "queries_left": 99_796, "bits": 612, "bits_left": None}
    return BudgetState(**{**values, **changes})


def client(name, *budgets, **changes):
    return ClientState(**{"name": name, "seen": NOON - 40, "refused": 0, **changes}, budgets=budgets)


EMPTY = ProviderState(
    address="127.0.0.1:50051",
    ready=False,
    started=NOON,
    suites=(),
    sessions_open=0,
    sessions_kept=0,
    queries=0,
    heads=(),
    spaces=(),
    clients=(),
    refusals=(),
    certificates=(),
)
FULL = ProviderState(
    address="provider.example.org:50051",
    ready=True,
    started=NOON - 9 * DAY,
    suites=("lwe",),
    sessions_open=3,
    sessions_kept=5,
    queries=1_204_331,
    heads=(
        head("topics", clients=("acme", "birch", "cedar-and-daughters.example.org")),
        head("spam", output="logits", classes=2, queries=300, space="mail", dimension=768),
    ),
    spaces=(
        SpaceState(name="news", identifier="5bd1e995" * 4, dimension=384, rows=12_000, digest="0c1d2e3f" * 8),
        SpaceState(name="mail", identifier="77aa01fe" * 4, dimension=768, rows=None, digest=None),
    ),
    clients=(
        client("acme", budget("spam", queries=300, queries_left=0, bits=10_800, bits_left=0), budget("topics")),
        client("birch", budget("topics", queries=41_000, queries_left=59_000, bits=123_000), refused=12),
        client("cedar-and-daughters.example.org", seen=None, refused=1),
        client("drum", budget("older", queries_left=None)),
    ),
    refusals=(("QUERY_BUDGET_EXHAUSTED", 4), ("NOT_OFFERED", 1), ("RATE_LIMITED", 8)),
    certificates=(("own", NOON + 11.5 * DAY), ("authority", NOON + 700 * DAY), ("revocation list", NOON + 40.2 * DAY)),
)


@contextmanager
def served(app):
    """Yield the address of an application that a thread serves on a free port."""
    with ConsoleServer(app, LOCAL) as server:
        yield f"http://127.0.0.1:{server.port}"
