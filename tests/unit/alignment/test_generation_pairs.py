"""Pairs of tokens by character offsets, and passages."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from securealign.errors import ConfigurationError, InputError
from securealign.lab.generation.causal import DEPTHS, blocks_below
from securealign.lab.generation.passages import join_passages, split_passages
from securealign.lab.measures.tokenizers import NO_OFFSET, pair_tokens


@st.composite
def ends(draw):
    """Non-decreasing end offsets with special tokens at both sides and between."""
    offsets = sorted(draw(st.lists(st.integers(0, 30), max_size=20)))
    for _ in range(draw(st.integers(0, 3))):
        offsets.insert(draw(st.integers(0, len(offsets))), NO_OFFSET)
    return offsets


def by_definition(target, source, *, exact):
    pairs = []
    for i, end in enumerate(target):
        partner = next((j for j, other in enumerate(source) if other != NO_OFFSET and other >= end), None)
        if end != NO_OFFSET and partner is not None and (not exact or source[partner] == end):
            pairs.append((i, partner))
    return pairs


@given(ends(), ends(), st.booleans())
def test_pairs_are_those_of_the_paper_s_definition(target, source, exact):
    found = pair_tokens(target, source, exact=exact)
    assert list(zip(found.target.tolist(), found.source.tolist(), strict=True)) == by_definition(
        target, source, exact=exact
    )


@given(ends())
def test_a_tokenizer_is_paired_with_itself_token_by_token_at_distinct_ends(offsets):
    offsets = [end for at, end in enumerate(offsets) if end not in offsets[:at]]
    found = pair_tokens(offsets, offsets)
    np.testing.assert_array_equal(found.target, found.source)
    assert len(found.target) == sum(end != NO_OFFSET for end in offsets)


def test_a_source_token_that_reads_on_is_a_pair_that_exactness_refuses():
    assert pair_tokens([2, 6], [6]).source.tolist() == [0, 0]
    assert pair_tokens([2, 6], [6], exact=True).target.tolist() == [1]


def test_depths_are_shares_of_the_blocks():
    assert [blocks_below(depth, 30) for depth in DEPTHS] == [30, 30, 29, 22, 15, 7]
    assert blocks_below("L/4", 2) == 1
    with pytest.raises(ConfigurationError, match=r"'top' is no depth. Use one of: post-norm, h\[-1\]"):
        blocks_below("top", 4)


def test_passages_have_the_length_and_lose_only_the_rest():
    passages = join_passages([f"sentence {n}." for n in range(10)], characters=30)
    assert passages == [f"sentence {n}. sentence {n + 1}. sentence {n + 2}." for n in (0, 3, 6)]


def test_test_passages_are_apart_and_depend_on_the_seed_alone():
    texts = [f"text {n}" for n in range(20)]
    one, other = split_passages(texts, seed=1), split_passages(texts[::-1], seed=1)
    assert one == other
    assert len(one.test) == 2
    assert set(one.train) | set(one.test) == set(texts)
    assert split_passages(texts, seed=2) != one
    with pytest.raises(InputError, match="1 passages are too few"):
        split_passages(["one"])
