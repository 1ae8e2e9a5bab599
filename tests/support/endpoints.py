"""An embedding endpoint on loopback that answers as OpenAI's, or as a test tells it to."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

DIMENSION = 8


@dataclass
class Request:
    """What arrived."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]


@dataclass
class Reply:
    """What is sent; `length` is the one that the header declares, None for the true one."""

    status: int = 200
    body: bytes = b""
    kind: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    length: int | None = None


Act = Callable[[Request], Reply | None]


def vector(text: str, seed: str = "one", dimension: int = DIMENSION) -> np.ndarray:
    """Return the embedding of a text by the model `seed`."""
    state = int.from_bytes(hashlib.sha256(f"{seed} {text}".encode()).digest()[:8], "big")
    return np.random.default_rng(state).normal(size=dimension).astype(np.float32)


@dataclass
class FakeEndpoint:
    """The server: `act` may return another reply than the right one, None for the right one."""

    url: str
    requests: list[Request] = field(default_factory=list)
    seed: str = "one"
    act: Act = lambda request: None
    base64: bool = True
    shuffled: bool = False
    usage: bool = True

    @property
    def texts(self) -> list[list[str]]:
        """The texts of each request."""
        return [request.body.get("input", []) for request in self.requests]

    def answer(self, request: Request) -> dict[str, Any]:
        """Return the right answer to a request."""
        dimension = request.body.get("dimensions", DIMENSION)
        items: list[dict[str, Any]] = []
        for index, text in enumerate(request.body["input"]):
            embedding = vector(text, self.seed, dimension)
            coded: Any = embedding.tolist()
            if self.base64 and request.body.get("encoding_format") == "base64":
                coded = base64.b64encode(embedding.tobytes()).decode()
            items.append({"object": "embedding", "index": index, "embedding": coded})
        answer: dict[str, Any] = {"object": "list", "model": "m", "data": items[::-1] if self.shuffled else items}
        if self.usage:
            answer["usage"] = {"prompt_tokens": len(items), "total_tokens": 2 * len(items)}
        return answer

    def changed(self, change: Callable[[list[dict[str, Any]]], object]) -> Act:
        """Return what answers rightly but for a change of the list of embeddings."""

        def act(request: Request) -> Reply:
            answer = self.answer(request)
            change(answer["data"])
            return Reply(body=json.dumps(answer).encode())

        return act


def refusal(status: int, code: str = "", said: str = "", **headers: str) -> Reply:
    """Return an error in the form of OpenAI's."""
    body = json.dumps({"error": {"message": said, "code": code}}).encode()
    return Reply(status, body, headers={name.replace("_", "-"): value for name, value in headers.items()})


@contextmanager
def fake_endpoint(**options: Any) -> Iterator[FakeEndpoint]:
    """Serve on a free port of loopback."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 1 << 16  # head and body in one packet

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Request(self.path, headers, body)
            fake.requests.append(request)
            reply = fake.act(request) or Reply(body=json.dumps(fake.answer(request)).encode())
            self.send_response(reply.status)
            declared = len(reply.body) if reply.length is None else reply.length
            for name, value in {"content-type": reply.kind, "content-length": str(declared), **reply.headers}.items():
                self.send_header(name, value)
            with suppress(ConnectionError):  # a client that has given up
                self.end_headers()
                self.wfile.write(reply.body)
                self.wfile.flush()
            self.close_connection = declared != len(reply.body)

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    fake = FakeEndpoint(f"http://127.0.0.1:{server.server_port}/v1", **options)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def expected(texts: Sequence[str], seed: str = "one", dimension: int = DIMENSION) -> np.ndarray:
    """Return the embeddings that the endpoint gives for texts."""
    return np.stack([vector(text, seed, dimension) for text in texts])
