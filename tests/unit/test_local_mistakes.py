"""Mistakes of the local user are named before anything is sent."""

from __future__ import annotations

import numpy as np
import pytest

from securealign import AlignmentMap, LinearHead
from securealign.errors import ErrorCode, InputError
from securealign.matrices import as_matrix


def test_rows_of_different_lengths():
    with pytest.raises(InputError, match="different lengths") as caught:
        as_matrix([[1.0, 2.0], [3.0]], "Z_B")
    assert caught.value.code is ErrorCode.SHAPE_MISMATCH


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 257])
def test_class_names_that_cannot_be_published(name):
    with pytest.raises(InputError, match="class name"):
        LinearHead(np.ones((2, 2)), np.zeros(2), ("a", name))


def test_a_printed_head_or_map_shows_no_number_of_its_weights():
    head = LinearHead(np.full((2, 3), 0.125), np.full(3, 0.125), ("a", "b", "c"))
    alignment = AlignmentMap(np.full((2, 3), 0.125), np.full(3, 0.125), {"ridge": 0.125})
    assert repr(head) == "<LinearHead of 2 dimensions and 3 classes>"
    assert repr(alignment) == "<AlignmentMap of 2 to 3 dimensions>"
