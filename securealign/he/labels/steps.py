"""Operations on arrays: done at once, or noted to be done many times on arrays that stay where they are.

For a single slot an operation of numpy takes longer to begin than to do. It begins several times faster on arrays of
one axis, and operations are noted in that form where two of them suffice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

#: More operations of one axis take longer to begin than one of several axes.
_MOST_PIECES = 2


class Steps(Protocol):
    """What takes operations in their order."""

    def call(self, function: Callable[..., object], *arguments: object) -> None:
        """Take a call."""

    def apply(self, function: Callable[..., object], *arrays: Array) -> None:
        """Take an elementwise function of numpy; the last array takes the result, and has the shape of it."""


class Immediate:
    """Does each operation at once."""

    @staticmethod
    def call(function: Callable[..., object], *arguments: object) -> None:
        """Call a function."""
        function(*arguments)

    apply = call


class Noted:
    """A list of operations, done when it is run."""

    def __init__(self) -> None:
        self._steps: list[tuple[Callable[..., object], tuple[object, ...]]] = []

    def call(self, function: Callable[..., object], *arguments: object) -> None:
        """Note a call."""
        self._steps.append((function, arguments))

    def apply(self, function: Callable[..., object], *arrays: Array) -> None:
        """Note an elementwise function in pieces."""
        self._steps.extend((function, views) for views in pieces(*arrays))

    def run(self) -> None:
        """Do everything that was noted."""
        for function, arguments in self._steps:
            function(*arguments)


def pieces(*arrays: Array) -> list[tuple[Array, ...]]:
    """Return views that make up the same elementwise operation on the last array; none where it is empty.

    They have one axis each if that takes few of them, and else there is one with as few axes as possible.
    """
    shape = arrays[-1].shape
    if 0 in shape:
        return []
    if all(array.flags.c_contiguous and array.shape == shape for array in arrays):
        return [tuple(array.reshape(-1) for array in arrays)]
    wide = [array if array.shape == shape else np.broadcast_to(array, shape) for array in arrays]
    # The innermost axis first: neighbours in all arrays are one.
    axes: list[tuple[int, list[int]]] = []
    for size, *steps in zip(shape[::-1], *(array.strides[::-1] for array in wide), strict=True):
        if axes and steps == [axes[-1][0] * step for step in axes[-1][1]]:
            axes[-1] = axes[-1][0] * size, axes[-1][1]
        elif size > 1:
            axes.append((size, steps))
    lengths = tuple(size for size, _ in reversed(axes)) or (1,)
    views = tuple(array.reshape(lengths) for array in wide)
    if len(lengths) != 2 or min(lengths) > _MOST_PIECES:
        return [views]
    if lengths[0] == min(lengths):
        return [tuple(view[place] for view in views) for place in range(lengths[0])]
    return [tuple(view[:, place] for view in views) for place in range(lengths[1])]
