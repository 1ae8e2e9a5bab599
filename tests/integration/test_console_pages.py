"""The consoles in a browser: whole at every width and in both themes, quiet, named, and usable by keyboard."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from starlette.responses import HTMLResponse
from support.browser import CONTRAST, chromium
from support.consoles import (
    BUSY,
    EMPTY,
    FULL,
    HOSTILE,
    LOCAL,
    NOON,
    STATUS,
    FakeClient,
    Gate,
    client,
    client_app,
    head,
    listing,
    served,
)

from securealign.console import client as console
from securealign.console.provider import provider_app
from securealign.errors import ErrorCode, TransportError

pytestmark = pytest.mark.thorough

WIDTHS = (390, 768, 1280)
TEXTS = f"Shares of the airline rose after the merger\n{HOSTILE}\nA text about nothing in particular"
#: Elements that people use and that have no name, labels that name nothing, and identifiers that are used twice.
UNNAMED = """() => {
  const named = e => e.labels?.length || e.getAttribute('aria-label') || e.textContent.trim();
  const used = [...document.querySelectorAll('[id]')].map(e => e.id);
  return [
    ...[...document.querySelectorAll('input:not([type=hidden]), textarea, select, button, a')].filter(e => !named(e)),
    ...[...document.querySelectorAll('[aria-labelledby]')]
      .filter(e => !document.getElementById(e.getAttribute('aria-labelledby'))?.textContent.trim()),
    ...[...document.querySelectorAll('label')].filter(e => !e.control),
    ...[...document.querySelectorAll('table')].filter(e => !e.querySelector('thead th[scope=col]')),
  ].map(e => e.outerHTML).concat(used.filter((id, index) => used.indexOf(id) !== index));
}"""
#: Texts that are smaller than 12 pixels, or that their boxes cut off.
CRAMPED = """() => [...document.querySelectorAll('body *')]
  .filter(e => e.getClientRects().length && !e.closest('.hidden, thead, .skip') && e.textContent.trim())
  .filter(e => parseFloat(getComputedStyle(e).fontSize) < 12 || e.scrollWidth > e.clientWidth + 1 && e.clientWidth)
  .map(e => e.outerHTML.slice(0, 200))"""


#: Sends a form as a page of any site can, which may not read the answer.
ASK = """async url => {
  await fetch(url, {method: 'POST', mode: 'no-cors', body: new URLSearchParams({texts: 'x'})}).catch(() => {});
}"""


def busy(**changes):
    offered = (listing(), listing("spam"))
    labels = ("trade", "sport", None)
    return FakeClient(replace(STATUS, **BUSY), labels=labels, listed=offered, **changes)


def provider(state):
    return provider_app(lambda: state, LOCAL, clock=lambda: NOON)


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


@pytest.fixture
def opened(browser):
    """A function that opens a page of an application; the page must say nothing, and ask nobody else."""
    ends, said, asked, origins = [], [], [], []

    def open_page(app, path="/", *, width=1280, scheme="light", clock=False, **options):
        serving = served(app)
        url = serving.__enter__()
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, **options)
        ends.append((context, serving))
        origins.append(url)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        if clock:
            page.clock.install()
        page.goto(url + path)
        page.asked, page.said = asked, said
        return page

    yield open_page
    for context, serving in ends:
        context.close()
        serving.__exit__(None, None, None)
    assert said == []
    assert [url for url in asked if not url.startswith(tuple(f"{origin}/" for origin in origins))] == []


def classify(page, texts=TEXTS):
    page.fill("#texts", texts)
    page.get_by_role("button", name="Classify").click()


def shown_client(opened, **options):
    page = opened(client_app(topics=busy(), spam=FakeClient()), **options)
    classify(page)
    page.get_by_text("3 of 3 answered").wait_for()
    page.locator("#status", has_text="99,956").wait_for()
    return page


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("which", ["client", "client before", "provider", "provider before"])
def test_a_page_is_whole_named_and_readable(opened, which, width, scheme):
    look = {"width": width, "scheme": scheme}
    if which == "client":
        page = shown_client(opened, **look)
    else:
        apps = {"client before": client_app(topics=FakeClient()), "provider": provider(FULL)}
        page = opened(apps.get(which) or provider(EMPTY), **look)
    page.get_by_text("Updated every two seconds.").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(CRAMPED) == []
    assert page.evaluate(CONTRAST) == []
    assert page.evaluate(UNNAMED) == []
    for landmark in ("banner", "main", "contentinfo"):
        assert page.get_by_role(landmark).count() == 1
    levels = page.evaluate("[...document.querySelectorAll('h1,h2,h3')].map(e => Number(e.tagName[1]))")
    assert levels.count(1) == 1
    assert all(later - earlier <= 1 for earlier, later in pairwise(levels))


def test_labels_appear_as_they_are_answered_and_texts_are_no_markup(opened):
    gate = Gate()
    page = opened(client_app(topics=busy(gate=gate)))
    classify(page)
    rows = page.locator("#results tbody tr")
    page.get_by_text("Waiting for 3 answers.").wait_for()
    assert page.get_by_role("button", name="Classify").is_disabled()
    gate.let(1)
    rows.nth(0).wait_for()
    assert rows.count() == 1
    gate.let(2)
    page.get_by_role("status").get_by_text("3 of 3 answered").wait_for()
    cells = [row.locator("td").all_inner_texts() for row in rows.all()]
    assert cells[0] == ["Shares of the airline rose after the merger", "trade", "93.7%"]
    assert cells[1][0] == HOSTILE
    assert cells[2][1:] == ["no label", "not told"]
    assert "securealign client" in page.title()
    assert page.get_by_role("button", name="Classify").is_enabled()


def test_heads_are_linked_once_the_provider_has_told_them(opened):
    page = opened(client_app(topics=busy(), spam=FakeClient(labels=("ham",), listed=(listing(), listing("spam")))))
    page.get_by_role("navigation", name="Heads").get_by_role("link", name="spam").click()
    page.wait_for_url("**/?head=spam")
    classify(page, "a text")
    page.get_by_role("cell", name="ham", exact=True).wait_for()
    assert page.get_by_role("link", name="spam").get_attribute("aria-current") == "page"


def test_texts_can_be_stopped(opened):
    gate = Gate()
    page = opened(client_app(topics=busy(gate=gate)))
    classify(page)
    gate.let(1)
    page.locator("#results tbody tr").first.wait_for()
    page.get_by_role("button", name="Stop").click()
    page.get_by_text("Stopped after 1 answers.").wait_for()
    gate.let(10)
    assert page.get_by_role("button", name="Stop").is_hidden()


def test_an_error_is_told_with_what_to_do(opened):
    error = TransportError("The provider is away.", hint="Start it.", code=ErrorCode.PEER_UNREACHABLE)
    page = opened(client_app(topics=busy(error=error)))
    classify(page)
    page.get_by_role("alert").get_by_text("The provider is away. Start it.").wait_for()
    page.get_by_text("2 of 3 answered").wait_for()


def test_the_keyboard_reaches_and_works_everything(opened):
    page = opened(client_app(topics=busy()))
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "texts"
    page.keyboard.type("a text")
    page.keyboard.press("Tab")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    page.get_by_text("1 of 1 answered").wait_for()


def test_without_javascript_the_form_answers(opened):
    page = opened(client_app(topics=busy()), java_script_enabled=False)
    assert "load the page again" in page.inner_text("footer")
    classify(page)
    page.get_by_text("3 of 3 answered").wait_for()
    assert page.locator("#results tbody tr").count() == 3
    assert page.locator("#texts").input_value() == TEXTS


def test_the_live_part_is_renewed_while_somebody_can_see_it(opened):
    states = [EMPTY]
    page = opened(provider_app(lambda: states[0], LOCAL, clock=lambda: NOON), clock=True)
    page.get_by_text("Updated every two seconds.").wait_for()
    states[0] = replace(FULL, clients=(client(HOSTILE),), heads=(head(HOSTILE),))
    hide = "value => { Object.defineProperty(document, 'hidden', {configurable: true, get: () => value});"
    hide += " document.dispatchEvent(new Event('visibilitychange')); }"
    page.evaluate(hide, True)
    before = len(page.asked)
    page.clock.run_for(60_000)
    assert len(page.asked) == before
    page.evaluate(hide, False)
    while not page.get_by_text(HOSTILE).count():
        page.clock.run_for(2000)
    assert "securealign provider" in page.title()


def test_a_service_that_stops_is_told(opened):
    page = opened(provider(FULL), clock=True)
    page.get_by_text("Updated every two seconds.").wait_for()
    page.context.set_offline(True)
    page.clock.run_for(2000)
    page.get_by_text("Updates stopped").wait_for()
    page.said.clear()
    assert page.get_by_text("acme").count()


def test_a_browser_asks_for_the_token_and_gives_it_from_then_on(opened):
    guarded = provider_app(lambda: FULL, replace(LOCAL, token=b"t" * 32), clock=lambda: NOON)
    page = opened(guarded, http_credentials={"username": "anybody", "password": "t" * 32})
    page.get_by_text("Updated every two seconds.").wait_for()
    page = opened(guarded, http_credentials={"username": "anybody", "password": "wrong"})
    assert not page.get_by_text("acme").count()
    page.said.clear()


@pytest.mark.parametrize("motion", ["reduce", "no-preference"])
def test_motion_is_left_out_where_it_is_not_wanted(opened, motion):
    page = opened(client_app(topics=busy()), reduced_motion=motion)
    moving = page.evaluate("getComputedStyle(document.querySelector('button')).transitionDuration")
    assert (moving == "0s") == (motion == "reduce")


@pytest.mark.parametrize("checked", [True, False])
def test_a_page_of_another_site_cannot_ask(browser, monkeypatch, checked):
    if not checked:
        monkeypatch.setattr(console, "require_same_origin", lambda headers: None)
    asked = busy()

    async def other(scope, receive, send):
        await HTMLResponse("<p>another site</p>")(scope, receive, send)

    with served(client_app(topics=asked)) as own, served(other) as evil:
        context = browser.new_context()
        page = context.new_page()
        page.goto(evil)
        page.evaluate(ASK, f"{own}/console/classify")
        context.close()
    assert asked.asked == ([] if checked else [["x"]])


@pytest.mark.parametrize("policy", [True, False])
def test_the_policy_stops_what_escaping_would_have_missed(browser, policy):
    app = client_app(topics=busy())

    async def careless(scope, receive, send):
        async def add(message):
            if message["type"] == "http.response.start":
                dropped = {b"content-length"} if policy else {b"content-length", b"content-security-policy"}
                message["headers"] = [pair for pair in message["headers"] if pair[0] not in dropped]
            elif b"</main>" in message["body"]:
                message["body"] = message["body"].replace(b"</main>", f"{HOSTILE}</main>".encode())
            await send(message)

        await app(scope, receive, add)

    with served(careless) as url:
        context = browser.new_context()
        page = context.new_page()
        page.goto(url)
        taken = page.title() == "taken"
        context.close()
    assert taken == (not policy)
