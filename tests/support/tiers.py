"""Which parameters of a test belong to which tier."""

from collections.abc import Iterable
from typing import Any

import pytest


def first_quick(values: Iterable[Any], count: int = 1) -> list[Any]:
    """Return parameters of which only the first few are in the quick tier: the others repeat what these show."""
    return [
        value if index < count else pytest.param(value, marks=pytest.mark.thorough)
        for index, value in enumerate(values)
    ]
