"""Which parameters and how many drawn examples of a test belong to which tier."""

from collections.abc import Collection, Iterable
from typing import Any

import pytest
from hypothesis import settings


def examples(count: int) -> settings:
    """Return the settings of a test with so many drawn examples; the profile "quick" draws its share of them."""
    return settings(max_examples=max(10, count * settings.default.max_examples // 100))


def first_quick(values: Iterable[Any], count: int = 1) -> list[Any]:
    """Return parameters of which only the first few are in the quick tier: the others repeat what these show."""
    values = list(values)
    return quick(values, values[:count])


def quick(values: Iterable[Any], chosen: Collection[Any]) -> list[Any]:
    """Return parameters of which only those chosen are in the quick tier; a tuple holds values of several names."""
    return [
        value
        if value in chosen
        else pytest.param(*(value if isinstance(value, tuple) else [value]), marks=pytest.mark.thorough)
        for value in values
    ]
