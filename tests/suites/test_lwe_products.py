"""Products on floating-point BLAS are exact: they equal Python's integers for any input, also the largest."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from securealign.he.lwe.parameters import RESIDUE_BYTES
from securealign.he.lwe.products import (
    OPERAND_NORM_LIMIT,
    TILE_ROWS,
    IntegerProduct,
    Planes,
    public_times_ternary,
)
from securealign.he.lwe.residues import Residues, planes, reduce

LOG_Q = [72, 76, 80]
WORD = (1 << 64) - 1


def wire(rows: list[list[int]]) -> Planes:
    """Return the planes of values of 80 bits."""
    columns = len(rows[0])
    data = np.empty((len(rows), columns * RESIDUE_BYTES), dtype=np.uint8)
    words, halves = planes(data, columns)
    words[...] = np.array([[value & WORD for value in row] for row in rows], dtype=np.uint64)
    halves[...] = np.array([[value >> 64 for value in row] for row in rows], dtype=np.uint16)
    return words, halves


def integers(residues: Residues) -> list[list[int]]:
    """Return residues as Python integers."""
    return [
        [int(low) + (int(high) << 40) for low, high in zip(lows, highs, strict=True)]
        for lows, highs in zip(residues.low, residues.high, strict=True)
    ]


def exact(left: list[list[int]], right: list[list[int]], log_q: int) -> list[list[int]]:
    """Return left right modulo 2^log_q."""
    columns = list(zip(*right, strict=True))
    return [[sum(map(int.__mul__, row, column)) % 2**log_q for column in columns] for row in left]


def matrices(entries: st.SearchStrategy[int], rows: int, columns: int) -> st.SearchStrategy[list[list[int]]]:
    return st.lists(st.lists(entries, min_size=columns, max_size=columns), min_size=rows, max_size=rows)


#: 80-bit values, also at the edges of every limb; a public matrix may exceed a smaller modulus.
values = st.one_of(
    st.integers(0, 2**80 - 1),
    st.sampled_from([2**bits + shift for bits in (27, 40, 54, 64, 72, 76) for shift in (-1, 0)] + [0, 2**80 - 1]),
)
ternaries = st.integers(-1, 1)
operands = st.one_of(st.integers(-100_000, 100_000), st.sampled_from([-(1 << 18), 1 << 18]))


@st.composite
def products(draw, left_entries):
    """Draw log q and two matrices that can be multiplied."""
    left, inner, right = (draw(st.integers(1, 4)) for _ in range(3))
    log_q = draw(st.sampled_from(LOG_Q))
    return log_q, draw(matrices(left_entries, left, inner)), draw(matrices(values, inner, right))


@given(products(operands))
def test_integer_product_is_exact(drawn):
    log_q, left, right = drawn
    product = IntegerProduct(len(left), len(right[0]), log_q)
    words, halves = wire(right)
    operand = np.array(left, dtype=np.float64).T
    for row in range(len(right)):
        tile = slice(row, row + 1)
        product.add(operand[tile], [(words[tile], halves[tile])])
    assert integers(product.result()) == exact(left, right, log_q)


@given(st.sampled_from(LOG_Q), st.integers(1, 4), st.integers(1, 3), st.data())
def test_public_matrix_times_ternary_is_exact(log_q, rows, width, data):
    public = data.draw(matrices(values, rows, 8))
    ternary = data.draw(matrices(ternaries, 8, width))
    low, high = public_times_ternary(wire(public), np.array(ternary, dtype=np.float64), log_q)
    assert integers(reduce(low, high, log_q)) == exact(public, ternary, log_q)


@given(st.data())
def test_parts_are_multiplied_side_by_side(data):
    left = data.draw(matrices(operands, 2, 3))
    right = data.draw(matrices(values, 3, 5))
    product = IntegerProduct(2, 5, 80)
    product.add(
        np.array(left, dtype=np.float64).T, [wire([row[:2] for row in right]), wire([row[2:] for row in right])]
    )
    assert integers(product.result()) == exact(left, right, 80)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("log_q", LOG_Q)
def test_integer_product_of_the_largest_norm_and_limbs_is_exact(log_q, sign):
    spread = int(OPERAND_NORM_LIMIT / TILE_ROWS**0.5)
    concentrated = [OPERAND_NORM_LIMIT] + [0] * (TILE_ROWS - 1)
    left = [[sign * spread] * TILE_ROWS, [sign * value for value in concentrated], [spread, -spread] * (TILE_ROWS // 2)]
    right = [[2**80 - 1]] * TILE_ROWS
    product = IntegerProduct(3, 1, log_q)
    product.add(np.array(left, dtype=np.float64).T, [wire(right)])
    assert integers(product.result()) == exact(left, right, log_q)


@pytest.mark.parametrize("sign", [-1024, 1023])
def test_wide_masks_of_the_largest_entries_are_exact(sign):
    assert OPERAND_NORM_LIMIT > 1024 * 8192**0.5
    tile = wire([[2**80 - 1]] * TILE_ROWS)
    product = IntegerProduct(1, 1, 80)
    for _ in range(8192 // TILE_ROWS):
        product.add(np.full((TILE_ROWS, 1), float(sign)), [tile])
    assert integers(product.result()) == [[sign * 8192 * (2**80 - 1) % 2**80]]


def test_the_norm_limit_leaves_exact_sums_and_no_more_than_a_bit_to_spare():
    largest = OPERAND_NORM_LIMIT * TILE_ROWS**0.5 * (2**27 - 1)
    assert 2**52 < largest < 2**53


def test_accumulators_hold_the_largest_number_of_tiles():
    tiles = (1 << 20) // TILE_ROWS
    spread = int(OPERAND_NORM_LIMIT / (1 << 10))
    left, right = [[spread] * TILE_ROWS], [[2**80 - 1]] * TILE_ROWS
    product = IntegerProduct(1, 1, 80)
    operand, part = np.array(left, dtype=np.float64).T, wire(right)
    for _ in range(tiles):
        product.add(operand, [part])
    expected = exact(left, right, 80)[0][0] * tiles % 2**80
    assert integers(product.result()) == [[expected]]


@pytest.mark.parametrize("sign", [1, -1])
def test_ternary_products_of_8192_terms_at_the_largest_limb_are_exact(sign):
    terms = 8192
    expected = sign * terms * (2**80 - 1) % 2**80
    public = wire([[2**80 - 1] * terms] * 2)
    low, high = public_times_ternary(public, np.full((terms, 1), float(sign)), 80)
    assert integers(reduce(low, high, 80)) == [[expected], [expected]]


@settings(max_examples=10)
@given(st.integers(0, 2**32 - 1), st.sampled_from(LOG_Q))
def test_a_full_random_tile_is_exact(seed, log_q):
    random = np.random.default_rng(seed)
    left = random.integers(-2000, 2001, size=(2, TILE_ROWS)).tolist()
    halves = random.integers(0, 2**40, size=(2, TILE_ROWS, 1), dtype=np.int64).tolist()
    right = [[low[0] + (high[0] << 40)] for low, high in zip(*halves, strict=True)]
    product = IntegerProduct(2, 1, log_q)
    product.add(np.array(left, dtype=np.float64).T, [wire(right)])
    assert integers(product.result()) == exact(left, right, log_q)
