"""docs/results.md says what the files beside it say."""

import re
from pathlib import Path

import pytest

from securealign.lab.experiments.page import page, read_results
from securealign.lab.experiments.run import EXPERIMENTS

DOCS = Path(__file__).parents[3] / "docs"
RESULTS = read_results(DOCS / "results")


def test_the_page_is_made_from_the_results():
    assert (DOCS / "results.md").read_text(encoding="utf-8") == page(RESULTS), (
        "Run: securealign experiment page docs/results"
    )


def test_every_experiment_has_its_section():
    assert list(RESULTS) == list(EXPERIMENTS)


def test_every_picture_and_file_of_the_page_exists():
    named = re.findall(r"\]\((results/[^)]+)\)", (DOCS / "results.md").read_text(encoding="utf-8"))
    assert named
    assert [name for name in named if not (DOCS / name).exists()] == []


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_section_names_the_command_that_made_it(name):
    assert RESULTS[name].command.startswith(f"securealign experiment {name}")


def test_encryption_keeps_the_accuracy_of_a_whole_row():
    rows = RESULTS["classification"].table("encrypted")
    assert {row["data"] for row in rows} == set(RESULTS["classification"].settings["tasks"])
    # One text of 500 is 0.2 points.
    assert max(abs(row["clear"] - row["encrypted"]) for row in rows) <= 0.002 + 1e-9
