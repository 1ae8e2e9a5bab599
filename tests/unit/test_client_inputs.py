"""Inputs of classification, in every format: which rows there are, what is kept, and what is refused."""

from __future__ import annotations

import io
import json
import os
import sys
import threading

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from securealign.client.inputs import Content, Feed, open_inputs
from securealign.client.lines import check_columns
from securealign.data import load_texts
from securealign.errors import DependencyError, ErrorCode, InputError, SecurealignError

BOM = "\ufeff"
ROWS = [("n0", "a, b"), ("n1", "c"), ("n2", "a, b"), ("n3", "é")]
FILES = {
    "x.jsonl": "".join(json.dumps({"id": name, "text": text}) + "\n" for name, text in ROWS),
    "blank.jsonl": "\n".join(json.dumps({"id": name, "text": text}) + "\n \n" for name, text in ROWS),
    "windows.jsonl": BOM + "".join(json.dumps({"id": name, "text": text}) + "\r\n" for name, text in ROWS),
    "x.csv": 'id,text\nn0,"a, b"\nn1,c\n\nn2,"a, b"\nn3,é\n',
    "windows.csv": BOM + 'id;text\r\nn0;"a, b"\r\nn1;c\r\nn2;a, b\r\n\r\nn3;é\r\n',
    "x.tsv": "text\tid\na, b\tn0\nc\tn1\na, b\tn2\né\tn3\n",
}


@pytest.fixture
def write(tmp_path):
    def write(name, content):
        path = tmp_path / name
        if isinstance(content, pa.Table):
            pq.write_table(content, path, row_group_size=2)
        elif isinstance(content, np.ndarray):
            np.save(path, content)
        else:
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def rows(inputs, block=3):
    """Return all inputs, read in blocks."""
    found = []
    while content := inputs.read(block):
        found += zip(content.texts, content.kept, strict=True)
    return found


def table(**columns):
    return pa.table(columns)


@pytest.mark.parametrize("name", FILES)
def test_each_row_has_its_text_and_what_is_kept(write, name):
    inputs = open_inputs(write(name, FILES[name]), keep=["id"])
    assert inputs.count == 4
    assert rows(inputs) == [(text, (name,)) for name, text in ROWS]


def test_parquet_is_read_in_batches_with_the_types_that_json_holds(write):
    columns = {
        "id": [1, 2, None],
        "text": pa.array(["a", "", "é"]).dictionary_encode(),
        "score": [0.5, None, 1e3],
        "new": [True, False, None],
        "when": pa.array([0, 1, 2], pa.timestamp("s")),
    }
    path = write("x.parquet", table(**columns))
    inputs = open_inputs(path, keep=["id", "score", "new"], limit=2)
    assert inputs.count == 2
    assert rows(inputs) == [("a", (1, 0.5, True)), ("", (2, None, False))]
    assert load_texts(path).texts == ("a", "", "é")
    assert load_texts(write("y.parquet", table(text=["a", "b"], label=["x", "y"]))).class_names == ("x", "y")


@pytest.mark.parametrize(
    ("content", "keep", "message"),
    [
        (table(body=["a"]), (), "has no columns 'text'"),
        (table(text=["a"]), ("id",), "has no columns 'id'"),
        (table(text=["a", None]), (), "no text in row 2"),
        (table(text=[1, 2]), (), "no text in row 1"),
        (table(text=["a"], when=pa.array([0], pa.timestamp("s"))), ("when",), "of the type timestamp"),
        (table(text=["a"], score=[float("nan")]), ("score",), "in row 1 that is not finite"),
        (b"no parquet", (), "cannot be read"),
        (table(text=pa.array([], pa.string())), (), "holds no texts"),
    ],
)
def test_what_is_wrong_with_a_parquet_file_is_said(write, content, keep, message):
    with pytest.raises(InputError, match=message):
        open_inputs(write("x.parquet", content), keep=keep)


def test_parquet_without_its_package_names_the_extra(write, monkeypatch):
    path = write("x.parquet", table(text=["a"]))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DependencyError) as caught:
        open_inputs(path)
    assert "securealign[parquet]" in caught.value.hint


def test_lines_of_text_have_no_columns(write):
    path = write("x.txt", "a\n\n  \nb\r\n")
    assert rows(open_inputs(path)) == [("a", ()), ("b", ())]
    with pytest.raises(InputError, match="no column 'id'"):
        open_inputs(path, keep=["id"])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.csv", "id,text\n", "holds no texts"),
        ("x.csv", "text\na\n", "the header has no field 'id'"),
        ("x.csv", "id,text,id\n1,a,2\n", "more than one column 'id'"),
        ("x.tsv", "text\na\n", "the header has no field 'id'"),
        ("x.jsonl", '{"text": "a", "id": 1}\n{"text": "b"}\n', "line 2: no field 'id'"),
        ("x.jsonl", '{"text": "a", "id": 1, "id": 2}\n', "is there twice"),
        ("x.jsonl", '{"text": "a", "id": [1, NaN]}\n', "no finite value"),
        ("x.jsonl", '{"text": "a", "id": 1e999}\n', "no finite value"),
        ("x.jsonl", '{"id": 1}\n', "no text in field"),
        ("x.doc", "a", "no known kind of text file"),
        ("missing/x.jsonl", None, "cannot be read"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_asked(write, tmp_path, name, content, message):
    path = tmp_path / name if content is None else write(name, content)
    with pytest.raises(InputError, match=message):
        open_inputs(path, keep=["id"])


def test_values_of_json_are_kept_as_they_are(write):
    value = {"a": [1, 2.5, True, None, "x"], "b": {"c": 10**20}}
    path = write("x.jsonl", json.dumps({"text": "a", "id": value, "label": [1]}) + "\n")
    assert rows(open_inputs(path, keep=["id"])) == [("a", (value,))]


@pytest.mark.parametrize(("content", "kept"), [('{"text": "a", "id": 1}\n', (1,)), ("id,text\n1,a\n", ("1",))])
def test_standard_input_and_pipes_are_read_once(tmp_path, monkeypatch, content, kept):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content.encode())))
    inputs = open_inputs("-", keep=["id"])
    assert (inputs.count, inputs.name) == (None, "standard input")
    assert rows(inputs) == [("a", kept)]
    pipe = tmp_path / ("x.jsonl" if content.startswith("{") else "x.csv")
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_text(content))
    writer.start()
    inputs = open_inputs(pipe, keep=["id"])
    assert (inputs.count, rows(inputs)) == (None, [("a", kept)])
    writer.join(600)


def test_a_matrix_is_read_by_blocks(write):
    matrix = np.arange(20.0).reshape(10, 2)
    inputs = open_inputs(write("x.npy", matrix.astype(np.float32)), limit=7)
    blocks = [inputs.read(3).vectors for _ in range(4)]
    assert [len(block) for block in blocks] == [3, 3, 1, 0]
    np.testing.assert_array_equal(np.vstack(blocks), matrix[:7])


def feed(write, known=(0, ""), *, embeddings=False):
    if embeddings:
        return Feed(open_inputs(write("x.npy", np.arange(20.0).reshape(10, 2))), known)
    return Feed(open_inputs(write("x.txt", "".join(f"{n}\n" for n in range(10)))), known)


@pytest.mark.parametrize("embeddings", [False, True])
def test_a_feed_gives_the_same_digest_however_it_is_read(write, embeddings):
    whole, pieces = feed(write, embeddings=embeddings), feed(write, embeddings=embeddings)
    assert len(whole.take(7)) == 7
    pieces.skip_to(2)
    assert pieces.more()
    content = pieces.take(3)
    pieces.give_back(content)
    assert pieces.position == 2
    again = pieces.take(5)
    assert (pieces.position, pieces.digest) == (7, whole.digest)
    assert list(again.encoded())[:3] == list(content.encoded())
    known = (7, whole.digest)
    feed(write, known, embeddings=embeddings).skip_to(10)
    with pytest.raises(InputError, match="first 7 inputs"):
        feed(write, (7, feed(write).digest), embeddings=embeddings).skip_to(10)
    with pytest.raises(InputError, match="first 11 inputs"):
        feed(write, (11, whole.digest), embeddings=embeddings).skip_to(10 + 1)
    assert not feed(write, embeddings=embeddings).take(10)[3:3]


def test_texts_that_are_cut_elsewhere_have_another_digest():
    one, other = Content(["ab", "c"], None, [(), ()]), Content(["a", "bc"], None, [(), ()])
    kept = Content(["ab", "c"], None, [("x",), ()])
    assert len({b"".join(content.encoded()) for content in (one, other, kept)}) == 3


@pytest.mark.parametrize("columns", [("label",), ("index",), ("id", "id")])
def test_names_of_results_cannot_be_kept(columns):
    with pytest.raises(SecurealignError) as caught:
        check_columns(columns)
    assert caught.value.code is ErrorCode.INPUT_INVALID
    check_columns(("id", "source"))


@pytest.mark.parametrize("name", ["x.txt", "x.jsonl", "x.csv"])
def test_bytes_of_utf_16_are_no_text(write, name):
    content = {"x.txt": "a\nb\n", "x.jsonl": '{"text": "a"}\n', "x.csv": "text\na\n"}[name]
    for encoding in ("utf-16", "utf-16-le", "utf-16-be"):
        with pytest.raises(InputError, match=r"line 1: (a NUL byte|byte 1 is not UTF-8)"):
            open_inputs(write(name, content.encode(encoding)))
    assert open_inputs(write(name, content)).read(1).texts == ["a"]
    # JSON writes the character as an escape.
    assert open_inputs(write("y.jsonl", '{"text": "a\\u0000"}\n')).read(1).texts == ["a\0"]


LONG = {
    "x.txt": "{}\n",
    "x.jsonl": '{{"text": "{}"}}\n',
    "x.csv": "text\n{}\n",
    "x.tsv": "text\n{}\n",
    "cell.csv": 'text\n"{}\n{}\n"\n',
}


@pytest.mark.parametrize("name", LONG)
def test_a_line_or_cell_without_an_end_is_refused_before_it_fills_the_memory(write, monkeypatch, name):
    for module in ("lines", "tables"):
        monkeypatch.setattr(f"securealign.data.{module}.MAX_LINE_BYTES", 1000)
    assert len(open_inputs(write(name, LONG[name].format("a" * 480, "a" * 480))).read(1).texts[0]) >= 480
    size = 990 if name == "cell.csv" else 1001
    with pytest.raises(InputError, match="MiB without an end"):
        open_inputs(write(name, LONG[name].format("a" * size, "a" * size)))


@pytest.mark.parametrize(("lines", "kept"), [(3, 3), (12, 10)])
def test_a_file_that_changes_while_it_is_read_is_refused(write, lines, kept):
    path = write("x.txt", "".join(f"text {number}\n" for number in range(10)))
    inputs = open_inputs(path)
    path.write_text("".join(f"text {number}\n" for number in range(lines)))
    with pytest.raises(InputError, match="was changed while it was read: it had 10 texts"):
        inputs.read(kept + 1)
    # The control: the same file as before is read to its end.
    path.write_text("".join(f"text {number}\n" for number in range(10)))
    assert [len(opened.read(4).texts) for opened in [open_inputs(path)] for _ in range(4)] == [4, 4, 2, 0]


def test_the_limit_is_no_change_of_a_file(write):
    inputs = open_inputs(write("x.txt", "a\nb\nc\n"), limit=2)
    assert [inputs.count, len(inputs.read(1).texts), len(inputs.read(5).texts), len(inputs.read(5).texts)] == [
        2,
        1,
        1,
        0,
    ]
