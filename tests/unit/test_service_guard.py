"""The service lets in who may use it, takes no more than its limits, and ends the work of callers that have gone."""

from __future__ import annotations

import asyncio
import base64
import json
import logging

import pytest
import structlog
from support.service import TOKEN, Exchange, service, until, with_service

from securealign.client.service.limits import ServiceLimits
from securealign.console.access import Access
from securealign.logs import _Relay, configure_logs

GUARDED = Access(host="192.0.2.1", port=8080, token=TOKEN.encode())
ONE = b'{"input": "one"}'


@pytest.fixture(autouse=True)
def logs():
    """Leave no log of a test to the next one."""
    yield
    structlog.reset_defaults()
    logging.root.handlers[:] = [each for each in logging.root.handlers if not isinstance(each, _Relay)]


def statuses(requests, **options):
    """Return the set of statuses of requests with these headers, and the number of texts that were asked."""

    async def check(made):
        found = {await Exchange(made.app, headers).body(ONE).run() for headers in requests}
        return found, len(made.client.calls)

    return with_service(check, **options)


BASIC = base64.b64encode(f"anyone:{TOKEN}".encode()).decode()


RIGHT = (f"Bearer {TOKEN}", f"bearer {TOKEN}", f"Basic {BASIC}")
WRONG = ("", "Bearer", f"Bearer {TOKEN[:-1]}", f"Bearer {TOKEN}0", TOKEN, f"Digest {TOKEN}", "Basic ===", "Bearer \xe9")


def test_the_token_lets_in_and_without_it_nothing_is_read():
    async def check(made):
        right = [await Exchange(made.app, {"authorization": value}).body(ONE).run() for value in RIGHT]
        wrong = [Exchange(made.app, {"authorization": value}).body(ONE) for value in WRONG]
        return right, [(await exchange.run(), exchange.taken) for exchange in wrong], len(made.client.calls)

    right, wrong, asked = with_service(check, access=GUARDED)
    assert right == [200] * asked
    assert wrong == [(401, 0)] * len(WRONG)


def test_without_a_token_file_anyone_on_this_machine_is_let_in():
    assert statuses([{}, *({"authorization": value} for value in WRONG)]) == ({200}, 1 + len(WRONG))


def test_probes_alone_need_no_token():
    paths = ("/healthz", "/readyz", "/v1/models", "/metrics", "/openapi.json")

    async def check(made):
        return [await Exchange(made.app, {}, "GET", path).body(b"").run() for path in paths]

    assert with_service(check, access=GUARDED) == [200, 200, 401, 401, 401]


def test_a_name_that_another_site_gives_this_machine_is_refused():
    hosts = ("evil.example", "evil.example:8080", "127.0.0.1.evil.example", "", "[", "a@evil.example")
    assert statuses({"host": host} for host in hosts) == ({421}, 0)

    # Without the check of the host, such a request is answered: its page and this service have one origin.
    class Everyone(Access):
        def knows_host(self, header):
            return True

    anyone = Everyone(host="127.0.0.1", port=8080)
    own_page = {"host": "evil.example", "origin": "http://evil.example", "sec-fetch-site": "same-origin"}
    assert statuses([own_page], access=anyone) == ({200}, 1)
    assert statuses([own_page]) == ({421}, 0)


def test_own_names_are_served():
    own = Access(host="127.0.0.1", port=8080, hosts=frozenset({"localhost", "proxy.example"}))
    hosts = ("127.0.0.1:8080", "localhost:8080", "LOCALHOST", "[::1]:8080", "proxy.example")
    assert statuses(({"host": host} for host in hosts), access=own) == ({200}, len(hosts))


def test_pages_of_other_sites_cannot_ask():
    others = [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9999"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ]
    assert statuses(others) == ({403}, 0)
    assert statuses([{"origin": "http://127.0.0.1:8080", "sec-fetch-site": "same-origin"}]) == ({200}, 1)


def test_types_that_pages_send_without_asking_are_refused():
    kinds = ("text/plain", "application/x-www-form-urlencoded", "", "application/jsonx")
    assert statuses({"content-type": kind} for kind in kinds) == ({415}, 0)
    assert statuses([{"content-type": "application/json; charset=utf-8"}]) == ({200}, 1)


def test_no_other_origin_is_allowed_by_a_header():
    async def check(made):
        headers = {"origin": "https://evil.example", "access-control-request-method": "POST"}
        return await made.http.options("/v1/classify", headers=headers), await made.http.get(
            "/healthz", headers=headers
        )

    for response in with_service(check):
        assert not [name for name in response.headers if name.startswith("access-control")]


LIMITS = ServiceLimits(max_body=1024)


def test_a_body_that_is_declared_too_long_is_not_read():
    async def check(made):
        lengths = ("1025", "9" * 30, "-1", "x", "1_0")
        exchanges = [Exchange(made.app, {"content-length": length}).body(ONE) for length in lengths]
        return {(await exchange.run(), exchange.taken) for exchange in exchanges}

    assert with_service(check, limits=LIMITS) == {(413, 0)}


def test_a_body_without_a_length_is_cut_at_the_limit():
    async def check(made, pieces):
        exchange = Exchange(made.app)
        exchange.body(b'{"input": "', more=True)
        for _ in range(pieces):
            exchange.body(b"x" * 100, more=True)
        return await exchange.body(b'"}').run(), exchange.taken

    assert with_service(lambda made: check(made, 5), limits=LIMITS) == (200, 513)
    status, taken = with_service(lambda made: check(made, 1000), limits=LIMITS)
    assert (status, taken < 1200) == (413, True)


def test_a_body_that_does_not_arrive_is_not_waited_for():
    limits = ServiceLimits(body_seconds=0.01)
    assert with_service(lambda made: Exchange(made.app).body(b"{", more=True).run(), limits=limits) == 408


def test_more_requests_than_the_limit_are_told_to_come_again():
    limits = ServiceLimits(max_requests=2)

    async def check():
        async with service(gate=asyncio.Event(), limits=limits) as made:
            held = [asyncio.create_task(made.classify("held")) for _ in range(2)]
            await until(lambda: made.client.waiting == 2)
            refused, health = await made.classify("third"), await made.http.get("/healthz")
            made.client.gate.set()
            done = [response.status_code for response in await asyncio.gather(*held)]
            return refused, health.status_code, done, (await made.classify("later")).status_code

    refused, *others = asyncio.run(check())
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert others == [200, [200, 200], 200]


@pytest.mark.parametrize("arrived", [False, True], ids=["in the body", "while it waits"])
def test_a_caller_that_dies_leaves_nothing_waiting(arrived):
    async def check():
        async with service(gate=asyncio.Event()) as made:
            exchange = Exchange(made.app).body(ONE, more=not arrived)
            task = asyncio.create_task(exchange.run())
            if arrived:
                await until(lambda: made.client.waiting == 1)
            exchange.hang_up()
            return await task, made.client.waiting, made.client.cancelled, made.client.calls

    assert asyncio.run(check()) == (0, 0, int(arrived), [])


def test_a_caller_that_does_not_read_is_given_up():
    limits = ServiceLimits(idle_seconds=0.01)
    assert with_service(lambda made: Exchange(made.app, reads=False).body(ONE).run(), limits=limits) == 0


def test_a_service_that_is_stopped_says_so():
    async def check():
        async with service(gate=asyncio.Event()) as made:
            exchange = Exchange(made.app).body(ONE)
            task = asyncio.create_task(exchange.run())
            await until(lambda: made.client.waiting == 1)
            task.cancel()
            return await task, json.loads(exchange.sent[-1]["body"])["error"]["code"], made.client.cancelled

    assert asyncio.run(check()) == (503, "CANCELLED", 1)


CANARY = "canary-5f1c"


def fail(texts):
    if texts:
        raise ValueError(f"cannot encode {texts}")


def test_texts_are_in_no_log_and_no_error(capsys):
    """The bodies that are refused at each place, and an error that quotes its text."""
    bodies = [
        {"input": CANARY},
        {"input": [CANARY, 3]},
        {"input": [CANARY] * 3},
        {"input": CANARY * 20},
        {"input": f"{CANARY}\ud800"},
        {"input": "one", "model": CANARY},
        {"input": "one", "model": [CANARY]},
        {CANARY: CANARY},
        CANARY,
    ]
    configure_logs(as_json=True, quiet=False)

    async def check(made):
        responses = [
            await made.http.post("/v1/classify", content=json.dumps(body), headers={"content-type": "application/json"})
            for body in bodies
        ]
        responses.append(await made.http.get(f"/{CANARY}?q={CANARY}"))
        responses.append(await made.http.get("/metrics"))
        return responses

    limits = ServiceLimits(max_texts=2, max_characters=100)
    responses = with_service(check, limits=limits, act=fail)
    assert [response.status_code for response in responses] == [500, 422, 413, 413, 422, 404, 422, 422, 422, 404, 200]
    shown = capsys.readouterr()
    assert "unexpected fault" in shown.out
    assert shown.out.count('"request"') == len(bodies) + 1
    assert CANARY not in shown.out + shown.err + "".join(response.text for response in responses)
    # The same error shows its text where nothing hides it.
    with pytest.raises(ValueError, match=CANARY):
        fail([CANARY])
