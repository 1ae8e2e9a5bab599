"""Files are read strictly: what is wrong is reported with its line, and nothing but blank lines is skipped."""

import csv
import io
import json
import sys
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securealign.data import load_texts
from securealign.errors import ConfigurationError, ErrorCode, InputError


@pytest.fixture
def write(tmp_path):
    def write(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
        return path

    return write


@pytest.fixture
def stdin(monkeypatch):
    def give(content):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content.encode("utf-8"))))

    return give


# What a line-oriented format can hold: anything but line ends, and for .txt something visible.
one_line = st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=("Cs",)), max_size=30)


@given(st.lists(st.tuples(st.text(max_size=20), st.sampled_from("abc")), min_size=1, max_size=6))
def test_jsonl_returns_what_was_written(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("jsonl") / "x.jsonl"
    path.write_text("".join(json.dumps({"text": t, "label": c}) + "\n" for t, c in rows), encoding="utf-8")
    read = load_texts(path)
    assert list(read.texts) == [text for text, _ in rows]
    assert [read.class_names[label] for label in read.labels] == [label for _, label in rows]


@given(st.lists(st.text(st.characters(exclude_characters="\x00", exclude_categories=("Cs",))), min_size=1, max_size=6))
def test_csv_returns_what_was_written(tmp_path_factory, texts):
    path = tmp_path_factory.mktemp("csv") / "x.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows([["id", "text"], *([str(i), t] for i, t in enumerate(texts))])
    assert list(load_texts(path).texts) == texts


@given(st.lists(one_line.filter(str.strip), min_size=1, max_size=6))
def test_plain_lines_return_what_was_written(tmp_path_factory, texts):
    path = tmp_path_factory.mktemp("txt") / "x.txt"
    path.write_bytes("\n\n".join(texts).encode("utf-8"))
    assert list(load_texts(path).texts) == texts


@given(st.binary(max_size=200), st.sampled_from([".jsonl", ".csv", ".tsv", ".txt"]))
def test_any_bytes_give_texts_or_an_input_error(tmp_path_factory, content, suffix):
    path = tmp_path_factory.mktemp("any") / f"x{suffix}"
    path.write_bytes(content)
    with suppress(InputError):
        assert len(load_texts(path)) > 0


def test_tsv_with_crlf_and_byte_order_mark(write):
    path = write("x.tsv", b"\xef\xbb\xbftext\tlabel\r\none\tb\r\ntwo\ta\r\n")
    read = load_texts(path)
    assert (read.texts, read.labels, read.class_names) == (("one", "two"), (1, 0), ("a", "b"))
    assert read.name == str(path)


def test_other_field_names_and_a_limit(write):
    path = write("x.jsonl", '{"body": "a", "kind": 2}\n{"body": "b", "kind": 0}\nnot read')
    read = load_texts(path, text_field="body", label_field="kind", limit=2)
    assert (read.texts, read.labels, read.class_names) == (("a", "b"), (1, 0), ("0", "2"))


BLANK_LINES = {
    "x.jsonl": '\n{"text": "a"}\n \t\n\r\n{"text": "b"}\n\n',
    "x.csv": "\r\ntext\r\na\r\n  \r\n\r\nb\r\n\r\n",
    "x.tsv": "\ntext\na\n\t\n\nb\n \n",
    "x.txt": "\n\na\n \n\nb\n\n",
}


@pytest.mark.parametrize(("name", "content"), BLANK_LINES.items())
def test_blank_lines_are_skipped_in_every_format(write, name, content):
    assert load_texts(write(name, content)).texts == ("a", "b")


@pytest.mark.parametrize("content", BLANK_LINES.values())
def test_blank_lines_are_skipped_on_standard_input(stdin, content):
    stdin(content)
    assert load_texts("-").texts == ("a", "b")


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("x.jsonl", '{"text": "a"}\n\n\n{"text": }\n', 4),
        ("x.csv", 'text,label\n\n"one\n"\n', 3),
        ("x.csv", "text,label\n\n\na\n", 4),
        ("x.tsv", "text\tlabel\n\n\na\n", 4),
        ("x.txt", "\n\n\na\rb\n", 4),
    ],
)
def test_blank_lines_count_in_messages(write, name, content, line):
    with pytest.raises(InputError, match=rf"{name}, line {line}: "):
        load_texts(write(name, content))


def test_empty_texts_are_texts(write):
    assert load_texts(write("x.csv", 'text\n""\nb\n')).texts == ("", "b")
    assert load_texts(write("x.csv", "text,id\n,1\nb,2\n")).texts == ("", "b")
    assert load_texts(write("x.jsonl", '{"text": ""}\n{"text": " "}\n')).texts == ("", " ")


def test_a_line_separator_inside_a_text_does_not_end_the_line(write):
    assert load_texts(write("x.txt", "one\u2028still one\ntwo\n")).texts == ("one\u2028still one", "two")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.jsonl", b'{"text": "a"}\n{"text": "\xff"}\n', r"line 2: byte 11 is not UTF-8"),
        ("x.jsonl", '{"text": "a"}\n{text: "b"}\n', "line 2: not valid JSON"),
        ("x.jsonl", "[" * 100_000, "line 1: not valid JSON"),
        ("x.jsonl", '["a"]', "line 1: not a JSON object"),
        ("x.jsonl", '{"body": "a"}', "line 1: no text in field 'text'"),
        ("x.jsonl", '{"text": 3}', "line 1: no text in field 'text'"),
        ("x.jsonl", '{"text": "\\ud800"}', "line 1: the text holds a lone surrogate"),
        ("x.jsonl", '{"text": "a", "text": "b"}', "line 1: the field 'text' is there twice"),
        ("x.jsonl", '{"text": "a", "label": 1, "label": 2}', "line 1: the field 'label' is there twice"),
        ("x.txt", "a\rb\rc", "line 1: a carriage return stands inside the line"),
        ("x.csv", "text\ra\rb", "line 1: "),
        ("x.csv", "", "holds no texts"),
        ("x.csv", "text\n", "holds no texts"),
        ("x.txt", "\n \n", "holds no texts"),
        ("x.pkl", "a", r"no known kind of text file\. Name it \.jsonl"),
    ],
)
def test_what_is_wrong_is_reported_with_file_and_line(write, name, content, message):
    path = write(name, content)
    with pytest.raises(InputError, match=message) as caught:
        load_texts(path)
    assert caught.value.hint
    assert str(path) in caught.value.message


def test_a_file_that_does_not_exist_is_reported(tmp_path):
    with pytest.raises(InputError, match="cannot be read: No such file") as caught:
        load_texts(tmp_path / "x.txt")
    assert caught.value.code is ErrorCode.FILE_INVALID


def test_a_limit_below_one_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="The limit is 0"):
        load_texts(tmp_path / "x.txt", limit=0)


def test_standard_input_is_jsonl_when_its_first_line_opens_an_object(stdin):
    stdin('{"text": "a"}\n{"text": "b"}\n')
    read = load_texts("-")
    assert (read.texts, read.name) == (("a", "b"), "standard input")


def test_standard_input_is_plain_lines_otherwise(stdin):
    stdin('a\n\n{"text": "b"}\n')
    assert load_texts("-").texts == ("a", '{"text": "b"}')


@pytest.mark.parametrize(
    ("content", "texts"),
    [
        ("text,label\na,x\n", ("a",)),
        ('text;label\n"a;b";x\n', ("a;b",)),
        ('label\ttext\nx\t"a\n', ('"a',)),
        ('text\n"a, b"\n', ("a, b",)),
        ("\ufefftext, label\na,x\n", ("a",)),
        ("a text, not a header\n", ("a text, not a header",)),
        ("words, text, and more words\n", ("words, text, and more words",)),
    ],
)
def test_standard_input_is_a_table_when_its_first_line_is_a_header(stdin, content, texts):
    stdin(content)
    assert load_texts("-").texts == texts


def test_standard_input_takes_the_name_of_the_column_that_is_asked_for(stdin):
    stdin("body,text\na,b\n")
    assert load_texts("-", text_field="body").texts == ("a",)


def test_labels_of_standard_input_are_kept(stdin):
    stdin("text,label\na,01\nb,1\n")
    assert load_texts("-").class_names == ("01", "1")
    stdin('\n{"text": "a", "label": 01}\n')
    with pytest.raises(InputError, match="standard input, line 2: not valid JSON"):
        load_texts("-")


def test_empty_standard_input_is_reported(stdin):
    stdin("")
    with pytest.raises(InputError, match="standard input holds no texts"):
        load_texts("-")
