"""Noted operations do what they would have done at once, in pieces of one axis where that takes few."""

from __future__ import annotations

import numpy as np
import pytest

from securealign.he.labels.steps import Immediate, Noted, pieces


def numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).integers(0, 2**63, shape).astype(np.uint64)


#: How operands are cut from an array, and the number of axes of what is noted for each.
VIEWS = {
    "whole": (lambda array: (array, array), [1]),
    "repeated first axis": (lambda array: (array, array[0]), [1, 1]),
    "every other row": (lambda array: (array[:, ::2], array[:, ::2]), [2]),
    "first words": (lambda array: (array[..., 0], array[..., 1]), [1]),
    "backwards": (lambda array: (array[::-1], array), [1, 1]),
    "a scalar": (lambda array: (array, np.array(3, dtype=np.uint64)), [1]),
    "one element": (lambda array: (array[:1, :1, :1, :1], array[1:, 1:2, 1:2, 1:]), [1]),
    "nothing": (lambda array: (array[:0], array[:0]), []),
}


@pytest.mark.parametrize("name", VIEWS)
def test_pieces_make_up_the_operation(name):
    cut, axes = VIEWS[name]
    left, right = cut(numbers(2, 6, 3, 2))
    out, steps = np.zeros(np.broadcast_shapes(left.shape, right.shape), dtype=np.uint64), Noted()
    steps.apply(np.bitwise_xor, left, right, out)
    assert not out.any()
    for _ in range(2):
        steps.run()
        np.testing.assert_array_equal(out, left ^ right)
        # The steps follow what is in the arrays.
        left ^= np.uint64(5)
    assert [views[-1].ndim for views in pieces(left, right, out)] == axes


def test_results_can_be_parts_of_larger_arrays():
    target, source = numbers(2, 5, 4, 2), numbers(5, 2)
    rest = target[:, :, 1:].copy()
    steps = Noted()
    steps.apply(np.positive, source, target[:, :, 0])
    steps.run()
    np.testing.assert_array_equal(target[:, :, 0], np.stack([source, source]))
    np.testing.assert_array_equal(target[:, :, 1:], rest)


def test_calls_keep_their_order():
    for steps in (Noted(), Immediate()):
        said: list[object] = []
        array = np.zeros(3, dtype=np.uint64)
        steps.call(said.append, "before")
        steps.apply(np.add, array, np.ones(3, dtype=np.uint64), array)
        steps.call(lambda said=said, array=array: said.append(array.sum()))
        if isinstance(steps, Noted):
            steps.run()
        assert said == ["before", 3]
