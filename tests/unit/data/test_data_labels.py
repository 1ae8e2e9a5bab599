"""Labels are the characters in the file; where that could mislead, the file is refused with the line."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from securealign.data import load_texts
from securealign.data.labels import sorted_names
from securealign.errors import ErrorCode, InputError


def labels_of(tmp_path, name, content, **options):
    path = tmp_path / name
    path.write_bytes(content.encode("utf-8"))
    read = load_texts(path, **options)
    return None if read.labels is None else [read.class_names[label] for label in read.labels], read.class_names


def jsonl(*labels):
    """Lines with labels as they are to stand in the file."""
    return "".join(f'{{"text": "t{row}", "label": {label}}}\n' for row, label in enumerate(labels))


def table(*labels):
    return "text,label\n" + "".join(f"t{row},{label}\n" for row, label in enumerate(labels))


@pytest.mark.parametrize(
    ("written", "ordered"),
    [
        (["541511", "311811"], ("311811", "541511")),
        (["10", "9", "-1"], ("-1", "9", "10")),
        (["1.0", "0.0"], ("0.0", "1.0")),
        (["10.5", "9.25"], ("9.25", "10.5")),
        (["1000000000000000000000000", "2"], ("2", "1000000000000000000000000")),
        (["1e2", "1E5"], ("1E5", "1e2")),
        (["1e99999999999999999999", "2"], ("1e99999999999999999999", "2")),
    ],
)
def test_numbers_are_kept_as_written_and_ordered_by_value(tmp_path, written, ordered):
    for name, content in (("x.jsonl", jsonl(*written)), ("x.csv", table(*written))):
        assert labels_of(tmp_path, name, content) == (written, ordered)
    assert labels_of(tmp_path, "x.jsonl", jsonl(*map(json.dumps, written))) == (written, ordered)


def test_true_and_false_are_kept(tmp_path):
    assert labels_of(tmp_path, "x.jsonl", jsonl("true", "false")) == (["true", "false"], ("false", "true"))


def test_padded_codes_stay_apart(tmp_path):
    expected = (["01", "1", "001"], ("001", "01", "1"))
    assert labels_of(tmp_path, "x.csv", table("01", "1", "001")) == expected
    assert labels_of(tmp_path, "x.jsonl", jsonl('"01"', '"1"', '"001"')) == expected


def test_one_name_that_is_no_number_orders_all_as_text(tmp_path):
    assert labels_of(tmp_path, "x.csv", table("9", "10", "x"))[1] == ("10", "9", "x")


@given(st.lists(st.text(st.characters(categories=("L", "N", "P")), min_size=1, max_size=8), max_size=8))
@example(["1", "01", "1.0", "-1", "10", "9"])
def test_the_order_depends_on_the_set_of_names_alone(names):
    ordered = sorted_names(names)
    assert ordered == sorted_names(reversed(ordered))
    assert set(ordered) == set(names)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.jsonl", '{"text": "a", "label": null}\n{"text": "b"}\n{"text": "c", "label": ""}\n'),
        ("x.csv", "text,label\na,\nb,\n"),
        ("x.csv", "text\na\nb\n"),
    ],
)
def test_null_nothing_and_an_empty_cell_are_no_label(tmp_path, name, content):
    assert labels_of(tmp_path, name, content) == (None, ())


JOINED = [
    "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",  # Persian
    "\u0915\u094d\u200d\u0937",  # Hindi
    "\u200f\u05e2\u05d1\u05e8\u05d9\u05ea",  # Hebrew behind a mark of direction
    "\U0001f469\u200d\U0001f52c",
    "\U0001f3f4\U000e0067\U000e007f",
    "\U0001fae9",  # newer than some of the interpreters
    "10\u00a0%",
]


@pytest.mark.parametrize("label", JOINED)
def test_joiners_marks_of_direction_and_new_emoji_are_allowed(tmp_path, label):
    assert labels_of(tmp_path, "x.jsonl", jsonl(json.dumps(label), '"b"'))[0] == [label, "b"]
    assert labels_of(tmp_path, "x.csv", table(label, "b"))[0] == [label, "b"]


REFUSED = "\t\n\x00\x1b\x7f\x9b\u2028\u2029\u202a\u202e\u2066\u2069\ud800\uffff"


@pytest.mark.parametrize("character", REFUSED, ids=ascii)
def test_what_cannot_be_shown_on_one_line_is_refused_with_its_line(tmp_path, character):
    content = jsonl('"fine"', json.dumps(f"a{character}b"))
    with pytest.raises(InputError, match=rf"x\.jsonl, line 2: the label holds the character U\+{ord(character):04X}"):
        labels_of(tmp_path, "x.jsonl", content)


MISTAKES = {
    "a padded number": ("x.jsonl", jsonl("01"), "line 1: not valid JSON"),
    "string and number": ("x.jsonl", jsonl('"1"', "1"), "line 2: the label is a number, other lines have a string"),
    "number and truth": ("x.jsonl", jsonl("1", "true"), "line 2: the label is true or false, other lines have a numb"),
    "one missing": ("x.jsonl", jsonl("1", "null"), "line 2: the label is missing, other lines have a number"),
    "first missing": ("x.jsonl", '{"text": "a"}\n' + jsonl('"x"'), "line 1: the label is missing, other lines have a"),
    "an empty cell": ("x.csv", table("a", ""), "line 3: the label is missing, other lines have a string"),
    "not a number": ("x.jsonl", jsonl("NaN"), "line 1: the label is not finite"),
    "infinite": ("x.jsonl", jsonl("-Infinity"), "line 1: the label is not finite"),
    "a list": ("x.jsonl", jsonl('["a"]'), "line 1: the label is a list or an object"),
    "an object": ("x.jsonl", jsonl("{}"), "line 1: the label is a list or an object"),
    "blank": ("x.csv", table(" "), "line 2: the label is blank"),
    "too long": ("x.csv", table("a" * 257), "line 2: the label has 257 characters, more than 256"),
    "one number twice": ("x.jsonl", jsonl("1", "2", "1.0"), "line 3: the label is written otherwise on line 1"),
    "minus zero": ("x.jsonl", jsonl("0", "-0"), "line 2: the label is written otherwise on line 1"),
    "white space": ("x.csv", table("pos", "neg", " pos"), "line 4: the label is written otherwise on line 2"),
    "composed": ("x.csv", table("\u00e9", "e\u0301"), "line 3: the label is written otherwise on line 2"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_labels_that_could_mislead_are_refused_with_their_line(tmp_path, case):
    name, content, message = MISTAKES[case]
    with pytest.raises(InputError, match=message) as caught:
        labels_of(tmp_path, name, content)
    assert caught.value.code is ErrorCode.FILE_INVALID
    assert str(tmp_path / name) in caught.value.message
    assert caught.value.hint


def test_given_class_names_fix_the_numbers(tmp_path):
    assert labels_of(tmp_path, "x.csv", table("c", "a"), class_names=("a", "b", "c")) == (["c", "a"], ("a", "b", "c"))
    with pytest.raises(InputError, match=r"x\.csv, line 2: the label is none of the 2 class names. Use one of: a, b"):
        labels_of(tmp_path, "x.csv", table("c", "a"), class_names=("a", "b"))


def test_numbers_are_no_places_among_given_class_names(tmp_path):
    assert labels_of(tmp_path, "x.jsonl", jsonl("7", "10"), class_names=("10", "7"))[0] == ["7", "10"]
    with pytest.raises(InputError, match="line 1: the label is none of the 2 class names"):
        labels_of(tmp_path, "x.jsonl", jsonl("0", "1"), class_names=("a", "b"))


@pytest.mark.parametrize(("name", "content"), [("x.jsonl", jsonl('"a"')), ("x.csv", table("a")), ("x.txt", "a\n")])
def test_a_label_field_that_was_asked_for_must_be_there(tmp_path, name, content):
    with pytest.raises(InputError, match=rf"{name} has no labels in a field or column 'kind'") as caught:
        labels_of(tmp_path, name, content, label_field="kind")
    assert caught.value.code is ErrorCode.FILE_INVALID
