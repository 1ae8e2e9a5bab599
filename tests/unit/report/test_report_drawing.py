"""Numbers for the eye, and drawings: well-formed, named, and with the numbers that they stand for."""

from __future__ import annotations

import itertools
import math
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.runs import typical

from securealign.harness.report import bars, timeline, units
from securealign.harness.report.bars import Bar, Piece
from securealign.harness.report.steps import activity, steps
from securealign.harness.report.templating import drawing
from securealign.harness.runs.reading import read_run

NAMESPACE = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return read_run(typical(tmp_path_factory.mktemp("runs") / "run.jsonl", queries=200))


def parsed(drawing):
    return ET.fromstring(str(drawing))  # noqa: S314 - drawn here


def values(root):
    return [node.get("data-value") for node in root.iter() if node.get("data-value") is not None]


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (units.size(0), "0 B"),
        (units.size(999), "999 B"),
        (units.size(1088000), "1.09 MB"),
        (units.size(999_999), "1.00 MB"),
        (units.size(12_300_000), "12.3 MB"),
        (units.size(563_000_000_000), "563 GB"),
        (units.seconds(0.0), "0 s"),
        (units.seconds(0.00039), "390 µs"),
        (units.seconds(0.04), "40.0 ms"),
        (units.seconds(2.4812), "2.48 s"),
        (units.seconds(12_345.6), "12,346 s"),
        (units.seconds(1e-9), "0.001 µs"),
        (units.share(0.93), "93.0%"),
        (units.share(0.99999), "99.9+%"),
        (units.share(1.0), "100.0%"),
        (units.count(1000), "1,000"),
        (units.number(5e-4), "5.0e-4"),
        (units.number(40.0), "40"),
        (units.number(0.5), "0.5"),
        (units.ratio(1, 3), "\N{MULTIPLICATION SIGN}0.33"),
        (units.ratio(1, 150), "\N{MULTIPLICATION SIGN}0.0067"),
        (units.ratio(1, 1e6), "\N{MULTIPLICATION SIGN}1.0e-6"),
        (units.ratio(0, 3), "\N{MULTIPLICATION SIGN}0"),
        (units.ratio(300, 1), "\N{MULTIPLICATION SIGN}300"),
        (units.ratio(2, 1), "\N{MULTIPLICATION SIGN}2.00"),
    ],
)
def test_numbers_in_words(shown, text):
    assert shown.text == text


def test_a_ratio_to_nothing_is_none():
    assert units.ratio(1, 0) is None


@given(st.floats(0, 1e6), st.floats(1e-6, 1e6))
def test_ticks_are_few_even_and_inside(low, width):
    made = units.ticks(low, low + width)
    assert len(made) <= 7
    assert all(low <= tick <= (low + width) * (1 + 1e-6) for tick in made)
    gaps = [b - a for a, b in itertools.pairwise(made)]
    assert all(math.isclose(gap, gaps[0], rel_tol=1e-6, abs_tol=1e-9 * (low + width)) for gap in gaps)


def test_ticks_without_a_range_and_their_labels():
    assert units.ticks(1.0, 1.0) == [1.0]
    assert units.tick(0.0, units.size) == "0"
    assert units.tick(5e6, units.size) == "5 MB"
    assert units.tick(0.5, units.share) == "50%"
    assert units.tick(2500.0, units.number) == "2,500"


def test_a_sequence_holds_a_focusable_part_for_each_arrow(run):
    for session in run.sessions:
        made = steps(session)
        root = parsed(drawing("sequence", "s", "Messages", made))
        marks = [node for node in root.iter(f"{NAMESPACE}g") if node.get("class") == "mark"]
        arrows = [arrow for step in made for arrow in step.arrows]
        assert len(marks) == len(arrows)
        assert all(mark.get("tabindex") == "0" and mark.get("aria-label") for mark in marks)
        assert {str(arrow.bytes) for arrow in arrows} <= set(values(root))
        assert sum(1 for _ in root.iter()) < 400


def test_a_time_line_holds_the_totals_of_the_file(run):
    for session in run.sessions:
        acts = activity(session)
        rows = timeline.lanes(run.about, acts, session.stats, "p")
        root = parsed(timeline.draw("t", "Time", acts, steps(session), rows))
        named = {node.get("data-figure"): node.get("data-value") for node in root.iter() if node.get("data-figure")}
        assert named == {
            "p.stats.client_seconds": repr(session.stats.client_seconds),
            "p.stats.provider_seconds": repr(session.stats.provider_seconds),
        }
        assert len(rows) == 5


def test_bars_are_an_image_with_a_name_and_their_numbers():
    some = [Bar("keys", (Piece(12_300_000, "client"), Piece(5, "provider striped"), Piece(0, "wire")),
                (units.size(12_300_000, "a.b"), ", ", units.size(5)))]  # fmt: skip
    root = parsed(bars.draw("b", "Bytes", some, units.size, "bytes", limit=(20_000_000, "enough")))
    assert root.get("role") == "img"
    name = root.find(f"{NAMESPACE}title")
    assert name.get("id") == root.get("aria-labelledby")
    assert name.text == "Bytes"
    description = root.find(f"{NAMESPACE}desc")
    assert description.get("id") == root.get("aria-describedby")
    assert "keys: 12.3 MB, 5 B" in description.text
    assert values(root) == ["12300000", "5"]
    assert "enough" in "".join(root.itertext())


def test_bars_of_nothing_and_of_the_tiny_can_be_drawn():
    root = parsed(bars.draw("b", "Bytes", [Bar("none", (Piece(0, "client"),), ())], units.size, "bytes"))
    assert not [node for node in root.iter(f"{NAMESPACE}rect") if node.get("class") == "client"]
    tiny = [Bar("a", (Piece(1e9, "client"), Piece(1, "wire")), ())]
    root = parsed(bars.draw("b", "Bytes", tiny, units.size, "bytes"))
    for node in root.iter(f"{NAMESPACE}rect"):
        assert float(node.get("x").rstrip("%")) + float(node.get("width").rstrip("%")) <= 100.001


def test_hostile_words_are_cut_and_escaped():
    name = "<script>alert(1)</script>" * 3
    drawn = str(bars.draw("b", name, [Bar(name, (Piece(1, "client"),), ())], units.size, name))
    assert "<script>" not in drawn
    assert "…" in "".join(parsed(drawn).itertext())
