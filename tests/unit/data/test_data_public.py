"""Public texts count once: N and the digest are those of the first occurrences."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from securealign.data import PublicTexts, dataset_digest, load_public, unique_rows

texts = st.lists(st.text(max_size=2), min_size=1, max_size=12)


@given(texts)
def test_first_occurrences_are_kept_in_their_order(rows):
    kept = unique_rows(rows)
    assert list(kept) == sorted(kept)
    assert [rows[row] for row in kept] == list(dict.fromkeys(rows))
    assert all(rows[row] not in rows[:row] for row in kept)


@given(texts)
def test_rows_follow_their_texts(rows):
    public = PublicTexts.of(rows)
    matrix = np.arange(2 * len(rows)).reshape(len(rows), 2)
    assert public.select(matrix)[:, 0].tolist() == [2 * rows.index(text) for text in public.texts]
    assert len(public.texts) + public.repeated == public.in_source == len(rows)


@given(st.lists(st.text(max_size=3), min_size=1, max_size=6, unique=True), st.data())
def test_repeats_change_neither_number_nor_digest(rows, data):
    more = data.draw(st.lists(st.sampled_from(rows), max_size=6))
    public = PublicTexts.of(rows + more)
    assert public.texts == tuple(rows)
    assert public.digest == dataset_digest(rows)


def test_a_matrix_without_repeats_is_not_copied():
    matrix = np.ones((2, 3))
    assert PublicTexts.of(["a", "b"]).select(matrix) is matrix


def test_texts_that_differ_in_white_space_or_composition_are_two():
    assert unique_rows(["a", "a ", "caf\u00e9", "cafe\u0301", "A"]) == (0, 1, 2, 3, 4)


def test_the_order_of_first_occurrences_matters_to_the_digest():
    assert PublicTexts.of(["a", "b", "a"]).digest != PublicTexts.of(["b", "a", "a"]).digest


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.jsonl", "".join(json.dumps({"text": text}) + "\n" for text in "abcab")),
        ("x.csv", "text\na\nb\nc\na\nb\n"),
        ("x.txt", "a\nb\nc\n\na\nb\n"),
    ],
)
def test_a_file_is_loaded_without_its_repeats(tmp_path, name, content):
    (tmp_path / name).write_text(content, encoding="utf-8")
    public = load_public(str(tmp_path / name))
    assert (public.texts, public.rows, public.in_source, public.repeated) == (("a", "b", "c"), (0, 1, 2), 5, 2)


def test_a_repr_shows_no_text():
    assert repr(PublicTexts.of(["password", "password"])) == "PublicTexts(texts=1, in_source=2)"
