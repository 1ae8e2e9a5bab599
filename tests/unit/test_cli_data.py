"""securealign data: what built-in sets there are, digests, and files to exchange."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from securealign.cli import app
from securealign.data import builtin_names, dataset_digest, load_dataset
from securealign.errors import ExitCode

TEXTS = [f"text {index} ünïcode \u2028 inside" for index in range(20)]


def run(*arguments, stdin=None):
    return CliRunner().invoke(app, ["data", *map(str, arguments)], input=stdin)


def run_json(*arguments):
    done = run(*arguments, "--json")
    assert done.exit_code == ExitCode.OK, done.output
    assert done.stderr == ""
    return json.loads(done.stdout)


@pytest.fixture
def labelled(tmp_path):
    file = tmp_path / "labelled.jsonl"
    lines = (json.dumps({"text": text, "label": ("odd", "even")[index % 2]}) for index, text in enumerate(TEXTS))
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


@pytest.fixture
def plain(tmp_path):
    file = tmp_path / "plain.jsonl"
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS), encoding="utf-8")
    return file


def test_list_names_the_built_in_sets():
    assert run_json("list") == list(builtin_names())
    assert run("list").stdout.split() == list(builtin_names())


def test_digest_is_the_one_that_parties_compare(labelled):
    expected = dataset_digest(TEXTS).hex()
    assert run_json("digest", labelled) == {"rows": 20, "digest": expected, "repeated": 0}
    assert run("digest", labelled).stdout == f"{expected}  20 texts\n"


def test_repeated_texts_count_once(labelled, tmp_path):
    twice = tmp_path / "twice.jsonl"
    twice.write_bytes(labelled.read_bytes() + b"\n" + labelled.read_bytes())
    expected = dataset_digest(TEXTS).hex()
    assert run_json("digest", twice) == {"rows": 20, "digest": expected, "repeated": 20}
    assert run("digest", twice).stdout == f"{expected}  20 texts, 20 repeated left out\n"
    assert run_json("export", twice, tmp_path / "copy.jsonl")["digest"] == expected


def test_digest_of_standard_input_equals_that_of_the_file(labelled):
    done = run("digest", "-", "--json", stdin=labelled.read_bytes())
    assert json.loads(done.stdout)["digest"] == dataset_digest(TEXTS).hex()


def test_export_writes_texts_and_labels_as_they_were(labelled, tmp_path):
    result = run_json("export", labelled, tmp_path / "new" / "copy.jsonl")
    copy, original = load_dataset(str(tmp_path / "new" / "copy.jsonl")), load_dataset(str(labelled))
    assert result == {
        "file": str(tmp_path / "new" / "copy.jsonl"),
        "rows": 20,
        "digest": dataset_digest(TEXTS).hex(),
    }
    assert (copy.texts, copy.labels, copy.class_names) == (original.texts, original.labels, original.class_names)


def test_export_of_texts_without_labels_has_no_field_for_them(plain, tmp_path):
    run("export", plain, tmp_path / "copy.jsonl")
    records = [json.loads(line) for line in (tmp_path / "copy.jsonl").read_bytes().split(b"\n")[:-1]]
    assert records == [{"text": text} for text in TEXTS]


def test_a_sample_depends_on_its_seed_alone(labelled, tmp_path):
    files = {}
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        done = run("export", labelled, tmp_path / name, "--samples", 7, "--seed", seed)
        assert done.exit_code == ExitCode.OK
        assert done.stdout.startswith("7 texts in")
        files[name] = (tmp_path / name).read_text(encoding="utf-8")
    assert files["a"] == files["b"] != files["c"]
    sample = [json.loads(line) for line in files["a"].split("\n")[:-1]]
    assert len({record["text"] for record in sample}) == 7
    assert all(record["label"] == ("odd", "even")[TEXTS.index(record["text"]) % 2] for record in sample)


def test_a_sample_larger_than_the_set_is_the_set(plain, tmp_path):
    assert run_json("export", plain, tmp_path / "all.jsonl", "--samples", 1000)["rows"] == 20


@pytest.mark.parametrize("command", [["digest"], ["export", "out.jsonl"]])
@pytest.mark.parametrize("spec", ["nowhere.jsonl", "no-such-set"])
def test_what_is_neither_a_file_nor_a_set_is_refused(command, spec):
    done = run(command[0], spec, *command[1:], "--json")
    assert done.exit_code == ExitCode.INPUT
    error = json.loads(done.stdout)
    assert spec in error["message"]
    assert all(name in error["hint"] for name in builtin_names())


def test_a_broken_line_is_named(tmp_path):
    (tmp_path / "broken.jsonl").write_text('{"text": "a"}\n{"text": \n', encoding="utf-8")
    done = run("digest", tmp_path / "broken.jsonl")
    assert done.exit_code == ExitCode.INPUT
    assert "line 2" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("flag", [[], ["--json"]])
def test_an_output_that_cannot_be_written_is_named(plain, tmp_path, flag):
    (tmp_path / "folder").mkdir()
    done = run("export", plain, tmp_path / "folder", *flag)
    assert done.exit_code == ExitCode.INPUT
    assert "FILE_INVALID" in (done.stdout if flag else done.stderr)
    assert (done.stderr if flag else done.stdout) == ""
    assert list((tmp_path / "folder").parent.glob(".folder*")) == []


def test_at_least_one_text_is_drawn(plain, tmp_path):
    assert run("export", plain, tmp_path / "out.jsonl", "--samples", 0).exit_code == ExitCode.USAGE
