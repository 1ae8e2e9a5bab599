import json

import pytest
from support.experiments import FakeEncoder, fake_config, measure
from typer.testing import CliRunner

from securealign.cli import app
from securealign.errors import InputError
from securealign.lab.experiments.classification.values import figures
from securealign.lab.experiments.page import findings, page, rank_correlation, read_results
from securealign.lab.experiments.run import write_result


@pytest.fixture
def folder(tmp_path):
    config = fake_config(tmp_path, FakeEncoder("a"), FakeEncoder("b"), shots=(8,), seeds=2)
    write_result(measure("classification", tmp_path, config, command="the command"), tmp_path / "results", figures)
    return tmp_path / "results"


@pytest.mark.thorough
def test_the_page_holds_the_sections_of_the_results_that_there_are(folder):
    text = page(read_results(folder))
    assert text.startswith("# Results\n")
    assert "* [Classification: does the head work on mapped embeddings?](#classification-does-the-head" in text
    assert text.count("\n## ") == 2
    assert text.endswith("\n")


@pytest.mark.thorough
def test_a_folder_without_results_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds no result"):
        read_results(tmp_path)


@pytest.mark.thorough
def test_the_page_is_written_beside_the_folder(folder):
    done = CliRunner().invoke(app, ["experiment", "page", str(folder), "--json"])
    assert json.loads(done.stdout) == {"file": str(folder.parent / "results.md"), "experiments": ["classification"]}
    assert (folder.parent / "results.md").read_text() == page(read_results(folder))


@pytest.mark.thorough
def test_an_empty_list_is_refused():
    done = CliRunner().invoke(app, ["experiment", "classification", "--encoders", ","])
    assert done.exit_code == 2
    assert "Name at least one" in done.output


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [([1, 2, 3], [10, 20, 90], 1), ([1, 2, 3], [3, 2, 1], -1), ([1, 1, 1], [1, 2, 3], 0), ([1, 1, 2], [5, 5, 7], 1)],
)
def test_rank_correlations(first, second, expected):
    assert rank_correlation(first, second) == pytest.approx(expected)


@pytest.mark.thorough
def test_findings_say_what_the_results_say(folder):
    results = read_results(folder)
    assert "over 2 combinations" in findings(results)
    assert findings({}) == ""
