"""Suites and libraries that not every environment has: a test that needs one is skipped aloud, or fails on demand.

Libraries that take seconds to import are imported by the first test that uses them: `later` and `needs`.

`SECUREALIGN_REQUIRE_SUITES` names the suites, separated by commas or spaces, whose absence is a failure: a run that is
meant to cover them cannot pass without them.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from types import ModuleType
from typing import Any, NoReturn

import pytest

from securealign.errors import ErrorCode, SuiteError
from securealign.he.interface import Suite
from securealign.he.registry import get_suite

REQUIRED = "SECUREALIGN_REQUIRE_SUITES"


class Later:
    """A module that is imported when a test first uses it; raises ImportError then where it is not installed."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("_"):
            # pytest and Hypothesis look for marks of their own in everything that a module of tests holds.
            raise AttributeError(attribute)
        return getattr(importlib.import_module(self._name), attribute)


def later(name: str) -> Any:
    """Return a module that is imported at its first use."""
    return Later(name)


def needs(*names: str, extra: str) -> pytest.MarkDecorator:
    """Return the mark that skips tests where one of the packages of an extra is not installed, and imports none."""
    missing = any(importlib.util.find_spec(name) is None for name in names)
    return pytest.mark.skipif(missing, reason=f"needs the extra '{extra}'")


def required_suites() -> set[str]:
    """Return the suites that this run must not do without."""
    return set(os.environ.get(REQUIRED, "").replace(",", " ").split())


def library(name: str, *, suite: str) -> ModuleType:
    """Return the library behind a suite, or skip the test, or fail it where the suite is required."""
    try:
        return importlib.import_module(name)
    except (ImportError, OSError) as error:
        _missing(suite, f"{name} cannot be imported: {error}")


def available_suite(name: str) -> Suite:
    """Return a registered suite, or skip the test, or fail it where the suite is required."""
    try:
        return get_suite(name)
    except SuiteError as error:
        if error.code is not ErrorCode.SUITE_UNAVAILABLE:
            raise
        _missing(name, str(error))


def _missing(suite: str, reason: str) -> NoReturn:
    if suite in required_suites():
        pytest.fail(f"{REQUIRED} names {suite!r}, but {reason}", pytrace=False)
    pytest.skip(f"Not tested here, {suite}: {reason}")
