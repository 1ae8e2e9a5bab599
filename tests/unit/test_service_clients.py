"""One client is open for each head, within a limit, and a provider is asked for its heads once for all callers."""

from __future__ import annotations

import asyncio

import pytest
from support.open_clients import FakeProvider, listing
from support.service import service

from securealign.client.service.clients import Clients
from securealign.client.service.limits import ServiceLimits
from securealign.client.service.problems import RequestError
from securealign.errors import ErrorCode, SecurealignError

HEADS = tuple(listing(name) for name in ("topics", "spam", "tone"))


def run(check, head="topics", *, offered=HEADS, clock=lambda: 0.0, limits=None, **options):
    """Return what `check` returns for clients of a provider, and the provider."""
    provider = FakeProvider({"offered": offered, **options})

    async def call():
        return await check(Clients(provider, head, limits, clock=clock))

    return asyncio.run(call()), provider


async def names_of(clients, *models):
    found = []
    for model in models:
        async with clients.use(model) as (name, client):
            found.append((name, client.head))
    return found


def test_a_client_is_opened_when_its_head_is_asked_for():
    found, provider = run(lambda clients: names_of(clients, "", "topics", "spam", "spam"))
    assert found == [("topics", "topics"), ("topics", "topics"), ("spam", "spam"), ("spam", "spam")]
    assert (sorted(provider.opened), provider.count) == (["spam", "topics"], 2)


def test_the_only_head_needs_no_name():
    found, provider = run(lambda clients: names_of(clients, "", "topics", ""), "", offered=HEADS[:1])
    assert found == [("topics", "")] * 3
    assert (provider.count, provider.opened[""].asked) == (1, 1)


def test_among_several_heads_one_is_named():
    async def check(clients):
        with pytest.raises(RequestError, match="names no head") as caught:
            await names_of(clients, "")
        return caught.value.status, await names_of(clients, "spam")

    found, _ = run(check, "")
    assert found == (422, [("spam", "spam")])


def test_a_head_that_is_not_offered_opens_no_client():
    async def check(clients):
        with pytest.raises(RequestError) as caught:
            await names_of(clients, "other")
        return caught.value

    error, provider = run(check)
    assert (error.status, error.code, provider.count) == (404, ErrorCode.NOT_OFFERED, 1)


def test_the_client_that_was_used_longest_ago_makes_room():
    async def check(clients):
        await names_of(clients, "spam", "tone")
        await asyncio.sleep(0)
        return list(clients.clients)

    found, provider = run(check, limits=ServiceLimits(max_heads=2))
    assert found == ["topics", "tone"]
    assert provider.opened["spam"].closed


def test_a_client_in_use_is_not_closed():
    async def check(clients):
        async with clients.use("spam"):
            with pytest.raises(RequestError) as caught:
                await names_of(clients, "tone")
        return caught.value.status, await names_of(clients, "tone")

    found, provider = run(check, limits=ServiceLimits(max_heads=2))
    assert found == (503, [("tone", "tone")])
    assert sorted(provider.opened) == ["spam", "tone", "topics"]


def test_the_provider_is_asked_once_in_a_while():
    now = [0.0]

    async def check(clients):
        client = clients.clients["topics"]
        await asyncio.gather(*(clients.heads() for _ in range(10)))
        asked = [client.asked]
        for now[0] in (29.0, 31.0):
            assert [head.name for head in await clients.heads()] == ["topics", "spam", "tone"]
            asked.append(client.asked)
        return asked, clients.last_answer

    found, _ = run(check, clock=lambda: now[0])
    assert found == ([1, 1, 2], 0.0)


def test_a_refusal_holds_for_a_shorter_time():
    now, gone = [0.0], SecurealignError("Gone.", code=ErrorCode.PEER_UNREACHABLE)

    def act(texts):
        if now[0] < 5:
            raise gone

    async def check(clients):
        for now[0] in (0.0, 4.0):
            with pytest.raises(SecurealignError, match="Gone"):
                await clients.heads()
        asked = clients.clients["topics"].asked
        now[0] = 6.0
        return asked, len(await clients.heads())

    assert run(check, clock=lambda: now[0], act=act)[0] == (1, 3)


def test_one_caller_that_gives_up_does_not_end_the_question_of_others():
    async def check(clients):
        first, second = (asyncio.ensure_future(clients.heads()) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        return len(await second)

    assert run(check)[0] == 3


def test_all_clients_are_closed_with_the_service():
    async def check():
        async with service(offered=HEADS) as made:
            for head in ("", "spam"):
                await made.classify("one", model=head)
            await made.clients.close()
            return made.provider.opened

    opened = asyncio.run(check())
    assert {name: client.closed for name, client in opened.items()} == {"topics": True, "spam": True}
