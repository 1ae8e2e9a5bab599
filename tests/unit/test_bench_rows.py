"""Figures as rows, as files for machines, and as pictures."""

from __future__ import annotations

import csv
import importlib
import io
from pathlib import Path

import pytest
from support.tiers import first_quick

from securealign.errors import ConfigurationError, DependencyError
from securealign.harness.bench.drawing import PANELS, draw, require_drawable
from securealign.harness.bench.measurements import Spread
from securealign.harness.bench.processes import PeakMemory
from securealign.harness.bench.rows import Comparison, Quantity, Row, as_csv, memory_rows, quantity_rows, ratio_rows

RUNS = {"clear": {1: 1.0, 2: 2.0}, "lwe": {1: 10.0, 2: 30.0}, "tenseal-ckks": {0: 600.0}}


def test_a_quantity_has_a_row_for_every_suite_with_the_number_of_its_runs():
    rows = quantity_rows("training", RUNS, [Quantity("compute", "s", lambda run: run / 2)])
    assert rows[1] == Row("training", "lwe", "compute", "s", Spread(10.0, 5.0, 15.0), 2)
    assert [(row.suite, row.runs) for row in rows] == [("clear", 2), ("lwe", 2), ("tenseal-ckks", 1)]


def test_suites_are_compared_to_clear_and_the_baseline_to_them():
    rows = ratio_rows("training", RUNS, [Comparison("compute", "faster", lambda run: run)])
    assert [(row.suite, row.figure, row.value) for row in rows] == [
        ("lwe", "compute / clear", Spread(12.5, 10.0, 15.0)),
        ("tenseal-ckks", "compute / clear", Spread(400.0, 300.0, 600.0)),
        ("lwe", "times faster than tenseal-ckks", Spread(30.0, 20.0, 60.0)),
    ]


def test_a_baseline_that_was_not_measured_is_not_compared_to():
    runs = {name: RUNS[name] for name in ("clear", "lwe")}
    rows = ratio_rows("training", runs, [Comparison("compute", "faster", lambda run: run)])
    assert [row.figure for row in rows] == ["compute / clear"]


def test_memory_has_a_row_for_each_side_where_it_was_measured():
    rows = memory_rows("inference", {"lwe": PeakMemory(client=1 << 20, provider=3 << 20), "plaintext": None})
    assert [(row.suite, row.figure, row.unit, row.value.median) for row in rows] == [
        ("lwe", "client peak memory", "MiB", 1.0),
        ("lwe", "provider peak memory", "MiB", 3.0),
    ]


def test_csv_has_one_figure_on_each_line():
    text = as_csv([Row("training", "lwe", "upload to provider", "MB", Spread(2.0, 1.0, 3.5), 3)]).decode()
    assert list(csv.reader(io.StringIO(text))) == [
        ["phase", "suite", "figure", "unit", "value", "min", "max", "runs"],
        ["training", "lwe", "upload to provider", "MB", "2.0", "1.0", "3.5", "3"],
    ]


def drawable(phase):
    """Rows for all that a picture of a phase shows, of a suite and of one whose figures are all zero."""
    figures = [figure for panel in PANELS[phase] for parts in panel.series.values() for figure in parts]
    rows = [Row(phase, "lwe", figure, "s", Spread(2.0, 1.0, 4.0), 3) for figure in figures]
    return rows + [Row(phase, "clear", figure, "s", Spread(0.0, 0.0, 0.0), 1) for figure in figures]


@pytest.mark.parametrize("phase", first_quick(["training", "inference"]))
@pytest.mark.parametrize(
    ("extension", "magic"),
    first_quick([(".SVG", b"<?xml"), (".png", b"\x89PNG"), (".pdf", b"%PDF"), (".svg", b"<?xml")]),
)
def test_pictures_are_in_the_format_of_their_name(phase, extension, magic):
    picture = draw(drawable(phase), "A title", Path(f"picture{extension}"))
    assert picture.startswith(magic)
    assert len(picture) > 5000


@pytest.mark.parametrize("name", ["picture.jpeg", "picture"])
def test_another_format_is_refused(name):
    with pytest.raises(ConfigurationError, match=r"\.svg \.png \.pdf"):
        require_drawable(Path(name))


def test_without_matplotlib_the_extra_to_install_is_named(monkeypatch):
    def missing(name):
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(DependencyError, match=r"pip install 'securealign\[figures\]'"):
        require_drawable(Path("picture.svg"))
