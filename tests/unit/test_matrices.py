"""Matrices are checked where they enter, and read in blocks without being copied."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from securealign import matrices
from securealign.errors import ErrorCode, InputError
from securealign.matrices import (
    BLOCK_ROWS,
    Affine,
    MappedRows,
    Rows,
    StackedRows,
    UnitRows,
    as_matrix,
    require_finite,
)

FINITE = st.floats(-1e6, 1e6, width=32)
SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "uint16", "int64", "bool"])
def test_numbers_of_any_kind_are_taken(dtype):
    matrix = as_matrix(np.ones((2, 3), dtype=dtype), "M")
    assert matrix.dtype.kind == "f"
    np.testing.assert_array_equal(matrix, np.ones((2, 3)))


def test_lists_are_taken_and_arrays_are_not_copied():
    np.testing.assert_array_equal(as_matrix([[1, 2], [3, 4]], "M"), [[1.0, 2.0], [3.0, 4.0]])
    array = np.zeros((2, 2), dtype=np.float32)
    assert as_matrix(array, "M") is array


@pytest.mark.parametrize(
    ("values", "code"),
    [
        (np.zeros(3), ErrorCode.SHAPE_MISMATCH),
        (np.zeros((1, 2, 3)), ErrorCode.SHAPE_MISMATCH),
        (np.zeros((0, 3)), ErrorCode.SHAPE_MISMATCH),
        (np.zeros((3, 0)), ErrorCode.SHAPE_MISMATCH),
        (np.zeros((2, 4)), ErrorCode.SHAPE_MISMATCH),
        (1.0, ErrorCode.SHAPE_MISMATCH),
        ([], ErrorCode.SHAPE_MISMATCH),
        ([["a", "b", "c"]], ErrorCode.INPUT_INVALID),
        (np.zeros((2, 3), dtype=complex), ErrorCode.INPUT_INVALID),
        (np.full((2, 3), None), ErrorCode.INPUT_INVALID),
    ],
    ids=["vector", "cube", "no rows", "no columns", "columns", "scalar", "empty", "texts", "complex", "objects"],
)
def test_what_is_no_matrix_is_refused_by_name(values, code):
    with pytest.raises(InputError, match="The query matrix") as caught:
        as_matrix(values, "The query matrix", columns=3)
    assert caught.value.code is code
    assert caught.value.hint


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_named_by_row(value):
    matrix = np.zeros((5, 2))
    matrix[3, 1] = value
    with pytest.raises(InputError, match="row 13") as caught:
        require_finite(matrix, "M", first_row=10)
    assert caught.value.code is ErrorCode.NON_FINITE_INPUT
    require_finite(np.zeros((5, 2)), "M")


def test_the_row_is_that_of_the_whole_matrix(monkeypatch):
    monkeypatch.setattr(matrices, "BLOCK_ROWS", 4)
    values = np.zeros((10, 2))
    values[7, 0] = np.nan
    with pytest.raises(InputError, match="Z_B holds NaN or an infinite value in row 7"):
        list(Rows(values, name="Z_B").blocks())


@given(values=hnp.arrays(np.float64, SHAPES, elements=FINITE), block=st.integers(1, 13), data=st.data())
def test_blocks_join_to_the_transformed_matrix(values, block, data):
    columns = data.draw(st.integers(0, 5))
    affine = None
    if columns:
        small = st.integers(-8, 8)
        affine = Affine(
            data.draw(hnp.arrays(np.float64, (values.shape[1],), elements=small)),
            data.draw(hnp.arrays(np.float64, (values.shape[1], columns), elements=small)),
            data.draw(hnp.arrays(np.float64, (columns,), elements=small)),
        )
    rows = MappedRows(Rows(values), affine.apply, columns=columns) if affine else Rows(values)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matrices, "BLOCK_ROWS", block)
        blocks = list(rows.blocks())
        norms = rows.column_norms()
    whole = (values - affine.centre) @ affine.matrix + affine.offset if affine else values
    assert all(len(piece) <= block for piece in blocks)
    assert rows.shape == whole.shape
    np.testing.assert_allclose(np.vstack(blocks), whole, rtol=1e-9, atol=1e-6)
    np.testing.assert_allclose(norms, np.linalg.norm(whole, axis=0), rtol=1e-9, atol=1e-5)


def test_a_large_mean_is_taken_off_before_the_matrix_is_applied():
    values = np.array([[1e12 + 1.0], [1e12 - 1.0]])
    affine = Affine(np.array([1e12]), np.array([[1e8]]), np.array([0.0]))
    np.testing.assert_array_equal(affine.apply(values), [[1e8], [-1e8]])


def test_memory_mapped_rows_are_read_as_float64_in_blocks(tmp_path):
    path = tmp_path / "rows.npy"
    np.save(path, np.arange(12, dtype=np.float32).reshape(4, 3))
    rows = Rows(np.load(path, mmap_mode="r"))
    assert rows.block(1, 3).dtype == np.float64
    np.testing.assert_array_equal(rows.block(1, 3), [[3, 4, 5], [6, 7, 8]])


def resident_bytes(path) -> int:
    """Bytes of the mapping of a file that are resident in this process."""
    lines = iter(Path("/proc/self/smaps").read_text(encoding="utf-8").splitlines())
    found = 0
    for line in lines:
        if line.endswith(str(path)):
            found += next(int(field.split()[1]) * 1024 for field in lines if field.startswith("Rss:"))
    return found


def test_a_pass_over_a_memory_mapped_matrix_leaves_it_on_disk(tmp_path):
    path = tmp_path / "large.npy"
    np.save(path, np.ones((8 * BLOCK_ROWS, 64), dtype=np.float32))
    values = np.load(path, mmap_mode="r")
    whole = values.nbytes
    values.sum()
    assert resident_bytes(path) > whole // 2
    rows = Rows(values)
    assert sum(block.sum() for block in rows.blocks()) == values.size
    assert resident_bytes(path) < whole // 4


def test_pages_that_were_written_are_kept(tmp_path):
    path = tmp_path / "rows.npy"
    np.save(path, np.ones((4, 2)))
    values = np.load(path, mmap_mode="c")
    values[:] = 5.0
    rows = Rows(values)
    assert rows.block(0, 4).min() == rows.block(0, 4).max() == 5.0


def test_mapped_rows_are_changed_block_by_block():
    rows = MappedRows(Rows(np.arange(12.0).reshape(6, 2)), lambda block: -block)
    assert rows.shape == (6, 2)
    np.testing.assert_array_equal(rows.block(1, 3), [[-2, -3], [-4, -5]])
    np.testing.assert_allclose(rows.column_norms(), np.linalg.norm(np.arange(12.0).reshape(6, 2), axis=0))
    assert (MappedRows(Rows(np.ones((2, 2))), np.negative, norms=np.array([7.0, 8.0])).column_norms() == [7, 8]).all()


@given(size=st.integers(1, 9), first=st.integers(0, 8), count=st.integers(1, 20))
def test_unit_rows_are_an_identity_times_a_factor(size, first, count):
    rows = UnitRows(size, 0.25)
    assert rows.shape == (size, size)
    if first < size:
        np.testing.assert_array_equal(rows.block(first, first + count), 0.25 * np.eye(size)[first : first + count])
    assert (rows.column_norms() == 0.25).all()


@given(heights=st.lists(st.integers(1, 5), min_size=1, max_size=4), first=st.integers(0, 19), count=st.integers(1, 25))
def test_stacked_rows_read_like_one_matrix(heights, first, count):
    blocks = [np.random.default_rng(seed).normal(size=(height, 3)) for seed, height in enumerate(heights)]
    whole = np.vstack(blocks)
    rows = StackedRows([Rows(block) for block in blocks])
    assert rows.shape == whole.shape
    if first < len(whole):
        np.testing.assert_array_equal(rows.block(first, first + count), whole[first : first + count])
    np.testing.assert_array_equal(np.vstack(list(rows.blocks())), whole)
    np.testing.assert_allclose(rows.column_norms(), np.linalg.norm(whole, axis=0))
    assert (StackedRows([Rows(whole)], norms=np.ones(3)).column_norms() == 1).all()
