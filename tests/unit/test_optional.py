"""A suite that is missing is skipped aloud, and fails the run that asked for it."""

from __future__ import annotations

import pytest
from support import optional

from securealign.errors import ErrorCode, SuiteError
from securealign.he.plaintext import PlaintextSuite


@pytest.fixture
def unavailable(monkeypatch):
    def refuse(name):
        raise SuiteError(f"The suite {name!r} cannot run here: not installed", code=ErrorCode.SUITE_UNAVAILABLE)

    monkeypatch.setattr(optional, "get_suite", refuse)


MISSING = {
    "library": lambda: optional.library("no_such_library", suite="tenseal-ckks"),
    "suite": lambda: optional.available_suite("tenseal-ckks"),
}


@pytest.mark.parametrize("ask", MISSING.values(), ids=MISSING)
@pytest.mark.parametrize("required", ["", "openfhe-ckks"])
def test_what_is_missing_is_skipped_with_its_reason(monkeypatch, unavailable, ask, required):
    monkeypatch.setenv(optional.REQUIRED, required)
    with pytest.raises(pytest.skip.Exception, match=r"tenseal-ckks: .*(cannot be imported|not installed)"):
        ask()


@pytest.mark.parametrize("ask", MISSING.values(), ids=MISSING)
@pytest.mark.parametrize("required", ["tenseal-ckks", "openfhe-ckks,tenseal-ckks", "openfhe-ckks tenseal-ckks"])
def test_what_is_missing_and_required_fails(monkeypatch, unavailable, ask, required):
    monkeypatch.setenv(optional.REQUIRED, required)
    with pytest.raises(pytest.fail.Exception, match="names 'tenseal-ckks', but"):
        ask()


def test_what_is_there_is_returned():
    assert optional.library("json", suite="any").loads("1") == 1
    assert isinstance(optional.available_suite("plaintext"), PlaintextSuite)


def test_a_suite_that_nobody_registered_is_a_mistake():
    with pytest.raises(SuiteError, match="no suite named"):
        optional.available_suite("rot13")
