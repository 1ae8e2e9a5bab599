"""A web service of your own in front of a provider: concurrent requests share one session and its batches."""

import json
import threading
import time
import urllib.request
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import trial
import uvicorn
from fastapi import FastAPI

import securealign


def service(config: str) -> FastAPI:
    """Return an application that classifies the texts that are posted to it."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with securealign.aconnect(config) as client:
            app.state.client = client
            yield

    app = FastAPI(lifespan=lifespan)

    @app.post("/topics")
    async def topics(texts: list[str]) -> list[str]:
        return [prediction.label for prediction in await app.state.client.classify(texts)]

    return app


def post(url: str, texts: list[str]) -> list[str]:
    """Return what the service answers."""
    request = urllib.request.Request(url, json.dumps(texts).encode(), {"content-type": "application/json"})  # noqa: S310
    with urllib.request.urlopen(request) as answer:  # noqa: S310 - on this machine
        return list(json.load(answer))


with trial.start() as here:
    server = uvicorn.Server(uvicorn.Config(service(str(here.config)), port=0, log_level="warning"))
    serving = threading.Thread(target=server.run)
    serving.start()
    while serving.is_alive() and not server.started:
        time.sleep(0.01)
    url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/topics"

    # Twenty users come at the same time.
    texts, _ = here.news(20)
    with ThreadPoolExecutor(20) as users:
        answers = list(users.map(post, [url] * 20, [[text] for text in texts]))
    for text, answer in zip(texts[:3], answers, strict=False):
        print(f"{answer[0]:8} {text[:60]}")
    print(f"{len(answers)} requests were answered")
    server.should_exit = True
    serving.join()
