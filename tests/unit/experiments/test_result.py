import csv
import json

import pytest

from securealign.errors import InputError
from securealign.lab.experiments.figures import heat_map, lines, new_figure
from securealign.lab.experiments.page import each, fill, table, wide
from securealign.lab.experiments.run import Result, read_result, write_result

RESULT = Result(
    experiment="trial",
    settings={"seeds": 3},
    tables={"one": [{"a": 1, "b": 0.5}, {"a": 2, "c": "x,y"}], "none": []},
    command="securealign experiment trial",
)


def draw(result):
    figure, (left, right) = new_figure(1, 2, width=6, height=3)
    heat_map(left, [("p", "q", 0.25)], ["p"], ["q", "r"], title="t", row_label="rows", column_label="columns")
    lines(right, {"a": [(1, 2), (3, 4)], "b": [(1, 1), (3, 2)]}, title="t", x_label="x", y_label="y", logarithmic=True,
          spread={"a": [(1, 3), (3, 5)]})  # fmt: skip
    return {"picture": figure}


@pytest.mark.thorough
def test_a_result_survives_its_file(tmp_path):
    write_result(RESULT, tmp_path, draw)
    assert read_result(tmp_path / "trial.json") == RESULT


@pytest.mark.thorough
def test_files_are_json_csv_and_pictures(tmp_path):
    files = write_result(RESULT, tmp_path, draw)
    assert sorted(file.name for file in files) == ["trial-one.csv", "trial-picture.svg", "trial.json"]
    with (tmp_path / "trial-one.csv").open(newline="") as content:
        assert list(csv.DictReader(content)) == [{"a": "1", "b": "0.5", "c": ""}, {"a": "2", "b": "", "c": "x,y"}]
    assert json.loads((tmp_path / "trial.json").read_text())["tables"]["none"] == []


@pytest.mark.thorough
def test_the_same_result_gives_the_same_files(tmp_path):
    for folder in ("first", "second"):
        write_result(RESULT, tmp_path / folder, draw)
    for file in (tmp_path / "first").iterdir():
        assert file.read_bytes() == (tmp_path / "second" / file.name).read_bytes()


def test_nothing_is_written_when_drawing_fails(tmp_path):
    with pytest.raises(ZeroDivisionError):
        write_result(RESULT, tmp_path / "new", lambda result: {"picture": 1 / 0})
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"experiment": 3, "settings": {}, "tables": {}}', '{"other": 1}'])
def test_another_file_is_refused(tmp_path, content):
    file = tmp_path / "trial.json"
    file.write_text(content)
    with pytest.raises(InputError, match="does not hold the result"):
        read_result(file)


def test_a_missing_table_is_empty():
    assert RESULT.table("unknown") == []


def test_a_cell_cannot_break_its_table():
    assert table(["a", "b"], [["x|y", "1\n2"]]) == "| a | b |\n| --- | ---: |\n| x\\|y | 1 2 |"
    assert fill({"text": "x|y\nz"}, "| {text} |") == "| x\\|y z |"


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("{share:pct} %", "12.5 %"),
        ("{several:mean pct}", "50.0"),
        ("{several:spread pct}", "50.0 ± 14.1"),
        ("{one:spread .2f}", "0.50"),
        ("{several:ends .1f}", "0.4 to 0.6"),
        ("{several:range .1f}", "0.5 (0.4 to 0.6)"),
        ("{bounds:interval .1f}", "0.5 (0.4 to 0.7)"),
        ("{none:spread pct}{missing:.3f}{unknown_bounds:interval .1f}", ""),
    ],
)
def test_numbers_and_lists_are_formatted(pattern, text):
    row = {"share": 0.125, "several": [0.4, 0.6], "one": [0.5], "none": [], "missing": None}
    assert fill({**row, "bounds": [0.5, 0.4, 0.7], "unknown_bounds": [None, None, None]}, pattern) == text


def test_rows_are_spread_over_columns_and_a_missing_cell_is_empty():
    rows = [{"a": "x", "b": "p", "c": 1}, {"a": "x", "b": "q", "c": 2}, {"a": "y", "b": "q", "c": 3}]
    assert wide(rows, {"name": "{a}"}, "{b}", "{c}").splitlines()[2:] == ["| x | 1 | 2 |", "| y |  | 3 |"]
    assert each({"k": 1}, "{name} is {value}") == "k is 1"
