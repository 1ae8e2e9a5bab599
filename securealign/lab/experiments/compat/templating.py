"""The environment in which the page, the summary and the sentences of the recommendation are rendered."""

from __future__ import annotations

from functools import cache

from jinja2 import Environment

from securealign.harness.report import templating


@cache
def environment() -> Environment:
    """Return the environment of this package's templates, which write numbers as the report does."""
    made = templating.environment(__package__)
    made.filters.update(percent=percent, points=points)
    made.globals.update(signed=signed, points=lambda value: signed(100 * value, 1))
    return made


def percent(value: float | None) -> str:
    """Return a share as whole per cents."""
    return "unknown" if value is None else f"{100 * value:.0f} %"


def points(value: float | None) -> str:
    """Return a difference of accuracies in points."""
    return "unknown" if value is None else f"{100 * value:.1f} points"


def signed(value: float, digits: int = 2) -> str:
    """Return a number with a true minus sign, and none before zero."""
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if float(text) == 0 else text.replace("-", "\N{MINUS SIGN}")
