"""The page in a browser: at every width and in both themes it is whole, quiet, named and reachable by keyboard."""

from __future__ import annotations

import pytest
from support.browser import CONTRAST, chromium
from support.runs import CKKS, LAN, PLAINTEXT, Recording, figure, typical

from securealign.harness.report.page import render
from securealign.harness.runs.reading import read_run

pytestmark = pytest.mark.thorough

WIDTHS = (390, 1280, 1920)
HOSTILE = "<script>document.title='taken'</script>"

#: For each piece of text in a drawing: what it says, and its box; hidden text has none.
TEXTS = """() => [...document.querySelectorAll('svg')].map(svg => {
  const whole = svg.getBoundingClientRect();
  const texts = [...svg.querySelectorAll('text')].filter(t => !t.closest('.more') && t.getClientRects().length);
  return texts.map(t => {
    const b = t.getBoundingClientRect();
    return {says: t.textContent, left: b.left - whole.left, right: b.right - whole.right,
            x: b.left, y: b.top, r: b.right, b: b.bottom, size: parseFloat(getComputedStyle(t).fontSize)};
  });
})"""


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Four runs of several suites and networks, the first of 1,000 queries."""
    folder = tmp_path_factory.mktemp("runs")
    return [
        typical(folder / "wan.jsonl"),
        typical(folder / "lan.jsonl", network=LAN, queries=64),
        typical(folder / "ckks.jsonl", suite=CKKS, queries=64, scale=4.0),
        typical(folder / "plaintext.jsonl", suite=PLAINTEXT, network=None, queries=64, side="client"),
    ]


@pytest.fixture(scope="module")
def pages(runs, tmp_path_factory):
    """The page of one run, and the page that compares all."""
    folder = tmp_path_factory.mktemp("pages")
    read = [read_run(path) for path in runs]
    made = {"one": render(read[:1]), "all": render(read)}
    for name, text in made.items():
        (folder / f"{name}.html").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def opened(browser):
    """A function that opens a page; at the end it must not have said or asked for anything."""
    contexts, said, asked = [], [], []

    def open_page(file, *, width=1280, scheme="light"):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(file.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert said == []
    assert [url for url in asked if not url.startswith(("file://", "data:,"))] == []
    assert sum(url.startswith("file://") for url in asked) == len(contexts)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ["one", "all"])
def test_a_page_is_whole_at_every_width_and_in_both_themes(opened, pages, name, width, scheme):
    page = opened(pages / f"{name}.html", width=width, scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for drawing in page.evaluate(TEXTS):
        for text in drawing:
            assert text["left"] >= -1, text
            assert text["right"] <= 1, text
            assert text["size"] >= 12, text
        for index, one in enumerate(drawing):
            for other in drawing[index + 1 :]:
                apart = (
                    one["r"] <= other["x"] + 0.5
                    or other["r"] <= one["x"] + 0.5
                    or one["b"] <= other["y"] + 4
                    or other["b"] <= one["y"] + 4
                )
                assert apart, (one["says"], other["says"])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read(opened, pages, scheme):
    page = opened(pages / "all.html", scheme=scheme)
    assert page.evaluate(CONTRAST) == []


def test_the_numbers_are_those_of_the_files(opened, pages, runs):
    page = opened(pages / "all.html")
    shown = page.evaluate(
        "[...document.querySelectorAll('[data-figure]')].map(e => [e.dataset.figure, e.dataset.value, e.textContent])"
    )
    assert len(shown) > 400
    for name, value, text in shown:
        assert value == figure(runs, name), name
        assert text.strip()


def test_every_drawing_and_every_part_to_focus_has_a_name(opened, pages):
    page = opened(pages / "all.html")
    drawings = page.locator("main svg[role]")
    assert drawings.count() > 20
    for svg in drawings.all():
        name = svg.evaluate("s => document.getElementById(s.getAttribute('aria-labelledby'))?.textContent")
        text = svg.evaluate("s => document.getElementById(s.getAttribute('aria-describedby'))?.textContent")
        assert name
        assert text
    unnamed = "[...document.querySelectorAll('[tabindex]')].filter(e => !e.getAttribute('aria-label')).length"
    assert page.evaluate(unnamed) == 0


def test_the_tab_key_reaches_links_drawings_and_tables(opened, pages):
    page = opened(pages / "one.html")
    wanted = page.locator("a[href], summary, [tabindex='0']:visible").count()
    reached = set()
    for _ in range(wanted + 5):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("e => { e = document.activeElement; return e.className?.baseVal ?? e.className }"))
    assert {"skip", "mark", "scroll"} <= reached


def test_a_message_in_focus_shows_its_details(opened, pages):
    page = opened(pages / "one.html")
    mark = page.locator("svg .mark:has(.more)").nth(2)
    details = mark.locator(".more")
    assert not details.is_visible()
    mark.focus()
    assert details.is_visible()
    assert "bytes" in details.text_content()


def test_tables_open_without_a_script(opened, pages):
    page = opened(pages / "one.html", width=390)
    for details in page.locator("details").all():
        details.locator("summary").click()
        assert details.locator("table").first.is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_printing_makes_a_document_with_the_tables(opened, pages, scheme):
    page = opened(pages / "one.html", scheme=scheme)
    assert page.pdf(format="A4").startswith(b"%PDF-")
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.locator("nav").is_hidden()


def test_hostile_texts_are_shown_and_not_run(opened, tmp_path):
    recording = Recording({**LAN, "name": HOSTILE, "source": HOSTILE})
    recording.begin("inference", {**CKKS, "suite": HOSTILE}, queries=1)
    recording.send("up", HOSTILE, "online", 10)
    recording.end()
    recording.result(**{HOSTILE: HOSTILE})
    file = tmp_path / "page.html"
    file.write_text(render([read_run(recording.write(tmp_path / "run.jsonl"))] * 2), encoding="utf-8")
    page = opened(file, width=390)
    assert "securealign report" in page.title()
    assert page.locator("h1, h2").filter(has_text=HOSTILE).count() > 0
    assert page.evaluate("document.scripts.length") == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.parametrize("policy", [True, False])
def test_the_policy_of_the_page_stops_what_escaping_would_have_missed(browser, pages, tmp_path, policy):
    text = (pages / "one.html").read_text(encoding="utf-8")
    text = text.replace("</main>", "<script>document.title = 'taken'</script><img src='outside.svg'></main>")
    if not policy:
        text = text.replace("Content-Security-Policy", "X-Nothing")
    file = tmp_path / "page.html"
    file.write_text(text, encoding="utf-8")
    outside = '<svg xmlns="http://www.w3.org/2000/svg" width="7" height="7"/>'
    (tmp_path / "outside.svg").write_text(outside, encoding="utf-8")
    context = browser.new_context()
    page = context.new_page()
    page.goto(file.as_uri())
    taken, loaded = page.title() == "taken", page.evaluate("document.images[0].naturalWidth") == 7
    context.close()
    assert taken == loaded == (not policy)
