"""Connections to the service end when nothing happens on them, and there are not too many."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress

from support.open_clients import FakeProvider
from support.service import until

from securealign.client.service.clients import Clients
from securealign.client.service.limits import ServiceLimits
from securealign.client.service.server import make_server
from securealign.console.access import listen, open_access

GET = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
POST = b"POST /v1/classify HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"


def served(check, **limits):
    """Return what `check` returns for a server that is running: it gets a function that connects, and the client."""

    async def run():
        access, own = open_access("127.0.0.1:0"), ServiceLimits(**limits)
        provider = FakeProvider({"gate": asyncio.Event()})
        server = make_server(Clients(provider, "topics", own), access, own)
        with listen(access) as bound:
            port = bound.getsockname()[1]
            serving = asyncio.create_task(server._serve([bound]))
            await until(lambda: server.started)
            writers = []

            async def connect():
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writers.append(writer)
                return reader, writer

            try:
                return await check(connect, provider.opened["topics"])
            finally:
                for writer in writers:
                    writer.close()
                    with suppress(ConnectionError):
                        await writer.wait_closed()
                server.should_exit = True
                await serving

    return asyncio.run(run())


async def response(reader):
    """Return the status and the body of one response."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    length = int(head.split("content-length: ")[1].split("\r\n")[0])
    return int(head.split()[1]), json.loads(await reader.readexactly(length))


async def end_of(reader):
    """Return what arrives until the connection ends."""
    with suppress(ConnectionResetError):
        return await reader.read()
    return b""


def test_a_head_that_does_not_arrive_ends_the_connection():
    async def check(connect, _client):
        ends = []
        for before, beginning in ((b"", b""), (b"", GET[:-2]), (GET, GET[:-2])):
            reader, writer = await connect()
            writer.write(before)
            if before:
                assert (await response(reader))[0] == 200
            writer.write(beginning)
            ends.append(await end_of(reader))
        return ends

    assert served(check, header_seconds=0.05) == [b""] * 3


def test_a_connection_is_kept_while_an_answer_is_computed():
    async def check(connect, client):
        reader, writer = await connect()
        body = b'{"input": "one"}'
        writer.write(POST + f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
        await until(lambda: client.waiting)
        idle, _ = await connect()
        # Whoever came later was given up by now.
        assert await idle.read() == b""
        client.gate.set()
        first = await response(reader)
        writer.write(GET)
        return first[0], await response(reader)

    assert served(check, header_seconds=0.05) == (200, (200, {"status": "ok"}))


def test_too_many_connections_are_told_so():
    async def check(connect, _client):
        first, second = await connect(), await connect()
        for reader, writer in (first, second):
            writer.write(GET)
            assert (await response(reader))[0] == 200
        reader, _ = await connect()
        refused = await response(reader)
        first[1].close()
        await first[1].wait_closed()
        while True:
            reader, writer = await connect()
            writer.write(GET)
            later = await response(reader)
            if later[0] == 200:
                return refused

    status, body = served(check, max_connections=2)
    assert (status, body["error"]["code"]) == (503, "SERVER_BUSY")


def test_a_body_in_pieces_without_an_end_is_cut():
    async def check(connect, client):
        reader, writer = await connect()
        writer.write(POST + b"Transfer-Encoding: chunked\r\n\r\n")
        for _ in range(200):
            writer.write(b"400\r\n" + b"x" * 1024 + b"\r\n")
        status, body = await response(reader)
        # What still comes is not waited for.
        return status, body["error"]["code"], await end_of(reader), client.calls

    assert served(check, max_body=100_000, header_seconds=0.2) == (413, "LIMIT_EXCEEDED", b"", [])


def test_a_caller_that_hangs_up_leaves_nothing_waiting():
    async def check(connect, client):
        _, writer = await connect()
        body = b'{"input": ["one", "two"]}'
        writer.write(POST + f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
        await until(lambda: client.waiting == 2)
        writer.close()
        await until(lambda: client.cancelled)
        return client.waiting, client.calls

    assert served(check) == (0, [])


def test_headers_say_nothing_of_the_software():
    async def check(connect, _client):
        reader, writer = await connect()
        writer.write(GET)
        return await reader.readuntil(b"\r\n\r\n")

    head = served(check).lower()
    assert b"server:" not in head
    assert b"uvicorn" not in head
