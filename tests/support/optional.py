"""Suites and libraries that not every environment has: a test that needs one is skipped aloud, or fails on demand.

`SECUREALIGN_REQUIRE_SUITES` names the suites, separated by commas or spaces, whose absence is a failure: a run that is
meant to cover them cannot pass without them.
"""

from __future__ import annotations

import importlib
import os
from types import ModuleType
from typing import NoReturn

import pytest

from securealign.errors import ErrorCode, SuiteError
from securealign.he.interface import Suite
from securealign.he.registry import get_suite

REQUIRED = "SECUREALIGN_REQUIRE_SUITES"


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
