"""Stop strings, loops and letters."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securealign.lab.generation.decoding import StopScanner, first_letter, loops


@given(st.text("ab", max_size=40), st.lists(st.text("ab", min_size=1, max_size=4), max_size=3), st.data())
def test_what_is_shown_ends_at_the_first_stop_string_however_the_text_arrives(text, strings, data):
    scanner, shown, rest = StopScanner(strings), "", text
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        shown += scanner.push(rest[:size])
        rest = rest[size:]
    shown += scanner.finish()
    # A stop is seen when it is complete; of those that one piece completes, the first counts.
    places = [text.find(string) for string in strings if string in text]
    assert scanner.stopped == bool(places)
    assert text.startswith(shown)
    if not places:
        assert shown == text
    assert all(string not in shown for string in strings)


def test_text_that_may_begin_a_stop_waits():
    scanner = StopScanner(["\nUser:"])
    assert [scanner.push(piece) for piece in ("Hello", "\nUs", "eful", "\nUser", ": more", "!")] == [
        "Hello", "", "\nUseful", "", "", ""
    ]  # fmt: skip
    assert (scanner.stopped, scanner.finish()) == (True, "")


@pytest.mark.parametrize(
    ("tokens", "repeats", "expected"),
    [
        ([1, 2, 2, 2], 3, True),
        ([9, 1, 2, 1, 2, 1, 2], 3, True),
        ([1, 2, 1, 2, 1], 3, False),
        ([1, 1, 1, 1], 0, False),
        ([1], 3, False),
        (list(range(33)) * 3, 3, False),
    ],
)
def test_a_loop_is_the_same_run_so_many_times_in_a_row(tokens, repeats, expected):
    assert loops(tokens, repeats) is expected


@pytest.mark.parametrize(
    ("text", "letter"),
    [(" B", "B"), (" Because (C) it", "C"), ("Animal", None), ("E", None), ("", None), ("it's A.", "A")],
)
def test_the_first_letter_that_stands_alone_is_the_answer(text, letter):
    assert first_letter(text, "ABCD") == letter


def test_no_letters_are_no_answer():
    assert first_letter("A", "") is None
