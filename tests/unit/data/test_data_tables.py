"""CSV and TSV: each row is one row, with the right cells, or the file is refused with the line."""

import csv
import io

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from securealign.data import load_texts
from securealign.errors import ErrorCode, InputError


def load(folder, name, content):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return load_texts(path)


@pytest.fixture
def read(tmp_path):
    return lambda name, content: load(tmp_path, name, content)


def pairs(dataset):
    return [(text, dataset.class_names[label]) for text, label in zip(dataset.texts, dataset.labels, strict=True)]


any_text = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=20)
any_text = any_text | st.text(',;"\t\n\r a', max_size=12)
one_line = st.text(st.characters(exclude_characters="\t\r\n\0", exclude_categories=("Cs",)), max_size=20)
one_line = one_line | st.text('", a', max_size=8)
label = st.sampled_from(["a", "b;c", "d,e", 'f"g'])


@given(st.lists(st.tuples(any_text, label), min_size=1, max_size=6), st.sampled_from(",;\t"))
def test_csv_is_read_as_it_was_written(tmp_path_factory, rows, separator):
    file = io.StringIO(newline="")
    csv.writer(file, delimiter=separator, quoting=csv.QUOTE_ALL).writerows([("text", "label"), *rows])
    assert pairs(load(tmp_path_factory.mktemp("csv"), "x.csv", file.getvalue())) == rows


@given(st.lists(st.tuples(one_line, label), min_size=1, max_size=6), st.sampled_from(",;\t"))
def test_csv_with_few_quotes_is_read_as_it_was_written(tmp_path_factory, rows, separator):
    file = io.StringIO(newline="")
    csv.writer(file, delimiter=separator).writerows([("text", "label"), *rows])
    assert pairs(load(tmp_path_factory.mktemp("csv"), "x.csv", file.getvalue())) == rows


@given(st.lists(st.tuples(one_line, label), min_size=1, max_size=6))
@example([('"open', "a"), ("b", "a"), ('close"', "a")])
@example([('"quoted"', "a")])
@example([('"quoted"', "a"), ("not", "a"), ('"quoted"', "a")])
def test_tsv_is_read_as_it_was_written_quotes_and_all(tmp_path_factory, rows):
    assume(len(rows) == 1 or not all(text[:1] == text[-1:] == '"' and len(text) > 1 for text, _ in rows))
    content = "text\tlabel\n" + "".join(f"{text}\t{name}\n" for text, name in rows)
    assert pairs(load(tmp_path_factory.mktemp("tsv"), "x.tsv", content)) == rows


@given(st.text(',"\na;', max_size=40))
def test_csv_gives_the_rows_of_the_standard_library_or_an_error(tmp_path_factory, body):
    content = f"text,id\n{body}"
    try:
        expected = [row for row in csv.reader(io.StringIO(content, newline=""), strict=True) if row][1:]
    except csv.Error:
        expected = []
    if expected and all(len(row) == 2 for row in expected):
        assert load(tmp_path_factory.mktemp("csv"), "x.csv", content).texts == tuple(row[0] for row in expected)
    else:
        with pytest.raises(InputError):
            load(tmp_path_factory.mktemp("csv"), "x.csv", content)


def test_a_cell_that_opens_with_a_quote_merges_no_rows_of_a_tsv(read):
    found = read("x.tsv", 'text\tlabel\none\tpos\n"two\tneg\nthree\tpos\nfour"\tneg\n')
    assert pairs(found) == [("one", "pos"), ('"two', "neg"), ("three", "pos"), ('four"', "neg")]


def test_a_tsv_whose_header_is_quoted_has_quoting(read):
    found = read("x.tsv", '"text"\t"label"\n"say ""hi""\tthere"\t"pos"\n"two\nlines"\tneg\n')
    assert pairs(found) == [('say "hi"\tthere', "pos"), ("two\nlines", "neg")]


@pytest.mark.parametrize("header", ["text,label", "text;label", "text\tlabel", '"text";"label"', " text ; label "])
def test_the_header_shows_the_separator(read, header):
    separator = next(mark for mark in ",;\t" if mark in header)
    found = read("x.csv", f'{header}\none{separator}x\n"a{separator}b"{separator}y\n')
    assert pairs(found) == [("one", "x"), (f"a{separator}b", "y")]


def test_a_header_of_one_column_shows_commas(read):
    assert read("x.csv", 'text\na;b\n"c,d"\n').texts == ("a;b", "c,d")


def test_a_byte_order_mark_and_white_space_are_no_part_of_a_name(read):
    assert pairs(read("x.csv", b"\xef\xbb\xbf text , label\r\none,a\r\n")) == [("one", "a")]
    assert pairs(read("x.csv", b'\xef\xbb\xbf"text","label"\r\none,a\r\n')) == [("one", "a")]
    assert pairs(read("x.tsv", b"\xef\xbb\xbftext\tlabel\r\none\ta\r\n")) == [("one", "a")]


def test_long_cells_are_read_and_the_limit_of_other_readers_stays(read):
    limit = csv.field_size_limit()
    assert read("x.csv", f'text\n{"a" * 200_000}\n"{"b" * 200_000}"\n').texts == ("a" * 200_000, "b" * 200_000)
    assert csv.field_size_limit() == limit


def test_other_columns_may_share_a_name_or_have_none(read):
    assert read("x.csv", "id,id,,,text\n1,2,3,4,a\n").texts == ("a",)


def test_a_quoted_cell_may_span_lines(read):
    found = read("x.csv", 'text,label\r\n"one\r\n\r\nstill one\rhere",a\r\ntwo,b\r\n')
    assert pairs(found) == [("one\r\n\r\nstill one\rhere", "a"), ("two", "b")]


MISTAKES = {
    "no text": ("x.csv", "body,label\na,b\n", "line 1: the header has no field 'text'.*semicolons"),
    "commas in a TSV": ("x.tsv", "text,label\na,b\n", "line 1: the header has no field 'text'.*between tabs"),
    "no text below blank lines": ("x.csv", "\n\nbody\na\n", "line 3: the header has no field 'text'"),
    "text twice": ("x.csv", "text,text\na,b\n", "line 1: the header has more than one column 'text'"),
    "label twice": ("x.tsv", "text\tlabel\t label\na\tb\tc\n", "line 1: the header has more than one column 'label'"),
    "too few cells": ("x.csv", "text,label\na\n", "line 2: 1 fields where the header has 2"),
    "too many cells": ("x.csv", "text\na,b\n", "line 2: 2 fields where the header has 1. Enclose a cell"),
    "a tab in a text": ("x.tsv", "text\tlabel\na\tb\tc\n", "line 2: 3 fields where the header has 2. TSV has no"),
    "a line end in quotes": (
        "x.tsv",
        'text\tlabel\n"a\nb"\tc\n',
        "line 2: 1 fields where the header has 2. TSV has no",
    ),
    "the line where a row begins": ("x.csv", 'text,id\n"a\nb",c,d\n', "line 2: 3 fields where the header has 2"),
    "an open quote": ("x.csv", 'text,id\na,1\n"open,2\nb,3\n', "line 3: a quote that opens a cell is never closed"),
    "after a quote": ("x.csv", 'text\n"a" b\n', "line 2: something follows a quote that closes a cell"),
    "texts in quotes": ("x.tsv", 'text\tlabel\n"a"\tx\n"b"\ty\n', "line 2: every text is in quotes"),
    "labels in quotes": ("x.tsv", 'text\tlabel\na\t"x"\n', "line 2: every label is in quotes"),
    "carriage returns": ("x.tsv", "text\na\rb\n", "line 2: a carriage return stands inside the line"),
    "a header alone": ("x.csv", "text\n\n", "holds no texts"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_what_is_wrong_is_named_with_file_line_and_remedy(read, tmp_path, case):
    name, content, message = MISTAKES[case]
    with pytest.raises(InputError, match=message) as caught:
        read(name, content)
    assert caught.value.hint
    assert str(tmp_path / name) in caught.value.message
    assert case == "a header alone" or caught.value.code is ErrorCode.FILE_INVALID
