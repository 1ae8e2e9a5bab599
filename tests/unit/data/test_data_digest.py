"""The digest tells apart any two sequences of texts."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securealign.data import dataset_digest
from securealign.errors import InputError

texts = st.lists(st.text(max_size=20), max_size=8)


@given(texts, texts)
def test_digests_are_equal_only_for_equal_sequences(left, right):
    assert (dataset_digest(left) == dataset_digest(right)) == (left == right)


@given(st.lists(st.text(max_size=10), min_size=2, max_size=6, unique=True))
def test_order_matters(rows):
    assert dataset_digest(rows) != dataset_digest(rows[::-1])


@given(st.text(min_size=1, max_size=20), st.data())
def test_cutting_a_text_elsewhere_gives_another_digest(text, data):
    # The negative control: a hash over the joined texts cannot tell them apart.
    cut = data.draw(st.integers(0, len(text)))
    parts = [text[:cut], text[cut:]]
    assert hashlib.sha256("".join(parts).encode()).digest() == hashlib.sha256(text.encode()).digest()
    assert dataset_digest(parts) != dataset_digest([text])


@given(texts)
def test_a_stream_gives_the_digest_of_the_sequence(rows):
    assert dataset_digest(iter(rows)) == dataset_digest(tuple(rows))


def test_texts_that_look_alike_but_differ_in_code_points_differ():
    assert dataset_digest(["caf\u00e9"]) != dataset_digest(["cafe\u0301"])


def test_the_digest_is_the_documented_formula():
    body = b"securealign/dataset-digest/v1\x00" + (3).to_bytes(8, "big") + "é!".encode() + (1).to_bytes(8, "big")
    assert dataset_digest(["é!"]) == hashlib.sha256(body).digest()


def test_a_text_without_utf8_form_is_refused():
    with pytest.raises(InputError, match="Text 1 holds a lone surrogate"):
        dataset_digest(["a", "\udc80"])
