"""How alike two tokenizers are: texts of tokens, Jaccard index, exact matches, fertility, verdict."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from securealign.lab.measures.tokenizers import (
    BYTE_OF_CHARACTER,
    Outlook,
    Style,
    Tokenized,
    fertility,
    jaccard,
    match_tokens,
    style_of,
    surface,
    surfaces,
    verdict,
)

CHARACTER_OF_BYTE = {byte: character for character, byte in BYTE_OF_CHARACTER.items()}


def tokenized(*tokens):
    return Tokenized(tokens, np.cumsum([len(token) for token in tokens]))


@given(st.text())
def test_byte_level_tokens_are_read_back(text):
    token = "".join(CHARACTER_OF_BYTE[byte] for byte in text.encode())
    assert surface(token, Style.BYTES) == text


def test_bytes_that_are_no_character_stay_as_they_are():
    assert surface("ðŁ", Style.BYTES) == "ðŁ"


def test_a_word_s_beginning_is_a_space_in_every_style():
    assert surface("Ġcafé".replace("é", "Ã©"), Style.BYTES) == " café"
    assert surface("▁café", Style.METASPACE) == " café"
    assert surface("café", Style.WORDPIECE) == " café"
    assert surface("##fé", Style.WORDPIECE) == "fé"


@pytest.mark.parametrize(
    ("vocabulary", "style"),
    [(["Ġa", "Ġb", "a"], Style.BYTES), (["▁a", "b"], Style.METASPACE), (["a", "##b"], Style.WORDPIECE)],
)
def test_the_style_is_that_of_most_marks(vocabulary, style):
    assert style_of(vocabulary) is style


def test_equal_texts_count_however_spaces_are_written():
    one = surfaces(["Ġthe", "ing", "Ġa", "<|end|>"], special=["<|end|>"])
    other = surfaces(["▁the", "ing", "▁b", "<eos>"], special=["<eos>"])
    assert jaccard(one, other) == pytest.approx(2 / 4)
    assert jaccard(one, one) == 1
    assert jaccard(frozenset(), frozenset()) == 0


def test_a_text_matches_itself_at_every_position():
    text = tokenized("The", " cat", " sat")
    found = match_tokens([text], [text])
    assert (found.positions, found.exact_rate, found.aligned_rate, found.boundary_rate) == (3, 1.0, 1.0, 1.0)


def test_a_shared_end_is_a_boundary_and_not_yet_a_match():
    target, source = tokenized("un", "like", "ly", " so"), tokenized("unlike", "ly", " so")
    found = match_tokens([target], [source])
    assert (found.boundary_rate, found.aligned_rate) == (3 / 4, 2 / 4)
    assert match_tokens([source], [target]).aligned_rate == pytest.approx(2 / 3)


def test_a_token_more_shifts_the_positions_that_follow_it():
    target, source = tokenized("a", " b", " c", " d"), tokenized("a", " ", "b", " c", " d")
    found = match_tokens([target], [source])
    assert (found.positions, found.exact_rate, found.aligned_rate) == (5, 1 / 5, 4 / 4)
    assert found.exact_rate == match_tokens([source], [target]).exact_rate == pytest.approx(1 / 5)


def test_no_texts_match_nowhere():
    found = match_tokens([], [])
    assert (found.exact_rate, found.aligned_rate, found.boundary_rate) == (0, 0, 0)


def test_fertility_counts_words_and_characters():
    found = fertility(["The cat"], [tokenized("The", " c", "at")])
    assert found.tokens_per_word == pytest.approx(1.5)
    assert found.characters_per_token == pytest.approx(7 / 3)
    assert fertility([], []).tokens_per_word == fertility([], []).characters_per_token == 0


@pytest.mark.parametrize(
    ("exact", "parameters", "outlook", "reason"),
    [
        (0.24, 8e9, Outlook.POOR, "failed at 0.24"),
        (0.9, 0.135e9, Outlook.POOR, "0.14 billion weights"),
        (0.5, 8e9, Outlook.UNCERTAIN, "between 0.24 and 0.64"),
        (0.9, None, Outlook.UNCERTAIN, "suffice for models of 4 billion"),
        (0.65, 8e9, Outlook.UNCERTAIN, "at the paper's thresholds"),
        (0.9, 3e9, Outlook.UNCERTAIN, "at the paper's thresholds"),
        (0.925, 7e9, Outlook.PROMISING, "0.93 with 7.00 billion"),
    ],
)
def test_the_verdict_is_that_of_the_paper_s_thresholds(exact, parameters, outlook, reason):
    found = verdict(exact, parameters)
    assert found.outlook is outlook
    assert reason in found.reason
